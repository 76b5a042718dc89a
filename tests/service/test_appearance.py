"""The pages' files: contrast, no outside host, nothing inline."""

import re
from pathlib import Path

import pytest

import pyramidflow

SERVICE = Path(pyramidflow.__file__).parent / "service"
FILES = sorted(path for folder in ("templates", "files") for path in (SERVICE / folder).iterdir())
STYLE = (SERVICE / "files" / "style.css").read_text("utf-8")


def variables(block):
    found = re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block)
    return {name: value if len(value) == 7 else _long(value) for name, value in found}


def _long(colour):
    return "#" + "".join(2 * digit for digit in colour[1:])


def theme(start):
    return variables(STYLE[STYLE.index(start) :].partition("}")[0])


LIGHT = theme(":root {")
DARK = theme(':root[data-theme="dark"]')

TEXT = [
    ("ink", "page"),
    ("ink", "card"),
    ("soft", "page"),
    ("soft", "card"),
    ("accent", "page"),
    ("accent", "card"),
    ("on-accent", "accent"),
    ("ok", "ok-fill"),
    ("ng", "ng-fill"),
    ("review", "review-fill"),
    ("none", "none-fill"),
    ("ng", "card"),
    ("ng", "page"),
    ("review", "card"),
]
SHAPES = [("edge", "card"), ("bar", "card"), ("ok", "card"), ("accent", "page"), ("ng", "card")]


def contrast(one, other):
    """Of WCAG 2.2, from relative luminances."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_shapes_stand_out(colours):
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in TEXT}
    assert {pair: value for pair, value in low.items() if value < 4.5} == {}
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in SHAPES}
    assert {pair: value for pair, value in low.items() if value < 3} == {}


def test_the_system_s_dark_theme_is_the_same():
    assert theme(':root:not([data-theme="light"])') == DARK
    assert set(DARK) == set(LIGHT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_or_is_inline(path):
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[\w.-]+\.\w+/|@import|url\(", text)
    if path.suffix == ".html":
        assert not re.search(r"\sstyle=|\son\w+=|<style", text)
        assert not re.search(r"<script(?! (?:type=\"module\" )?src=)", text)
        assert "|safe" not in text
    if path.suffix == ".js":
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)


def test_every_file_is_in_the_package():
    from tests.support.places import ROOT

    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("needs the checkout's pyproject.toml")
    data = (ROOT / "pyproject.toml").read_text("utf-8")
    assert "service/templates/*.html" in data
    assert "service/files/*" in data
