"""The evaluation's report: its page, its charts, its file."""

import base64
import dataclasses
import io
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pyramidflow.detector.overlay import overlay
from pyramidflow.errors import InputError
from pyramidflow.evaluation.report.contents import Curves, MeasuredImages, Report, ReportExample
from pyramidflow.evaluation.report.page import write_report

GREY = np.full((40, 60, 3), 120, np.uint8)
SCORES = np.array([0.1, 0.2, 0.7, 0.5, 0.9, 0.4, 0.8, 0.6, 0.3])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
KINDS = ["good"] * 4 + ["spot", "spot", "hole", "hole", "hole"]
THRESHOLD = 0.5  # a score equal to the threshold is accepted


def example(**changes) -> ReportExample:
    mask = np.zeros((40, 60), bool)
    mask[3, 7] = True
    base = ReportExample(
        name="000.png",
        kind="spot",
        label_defective=True,
        score=0.9,
        verdict="reject",
        image=GREY,
        overlay=overlay(GREY, np.full(GREY.shape[:2], 0.9, np.float32), 1.0),
        mask=mask,
    )
    return dataclasses.replace(base, **changes)


def report(**changes) -> Report:
    curve = (np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.75, 1.0]))
    images = {name: changes.pop(name) for name in ("scores", "labels", "kinds") if name in changes}
    base = Report(
        title="brick",
        summary=[("Model", "FNF"), ("Seconds", "12.5")],
        metrics={"image_auroc": 0.75, "pixel_auroc": 0.98765, "aupro@0.3": 0.5},
        curves=Curves(curve, curve, curve),
        images=dataclasses.replace(MeasuredImages(SCORES, LABELS, KINDS), **images),
        threshold=THRESHOLD,
        scale=1.0,
        best=[example()],
        worst=[example(name="001.png", kind="good", label_defective=False, mask=None)],
    )
    return dataclasses.replace(base, **changes)


class Page(HTMLParser):
    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, source: str):
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.cells: dict[str, list[list[str]]] = {}
        self.counts: dict[str, str] = {}
        self._table = ""
        self._count = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = attributes["id"]
            self.cells[self._table] = []
        if tag == "tr":
            self.cells[self._table].append([])
        if tag in ("td", "th"):
            self.cells[self._table][-1].append("")
            self._count = attributes.get("data-count", "")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._count = ""

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[self._table][-1][-1] += data
        if self._count and self.open[-1] == "b":
            self.counts[self._count] = data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def page_of(written: Report, tmp_path) -> Page:
    path = write_report(written, tmp_path / "report.html")
    return Page(path.read_text(encoding="utf-8"))


def test_page_is_well_formed_and_holds_every_part(tmp_path):
    page = page_of(report(), tmp_path)
    assert page.open == []
    for words in ("brick", "Model", "FNF", "12.5", "Worst examples", "Best examples", "001.png"):
        assert words in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 3
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    referred = re.findall(r'(?:url\(#|href="#)([^)"]+)', page.source)
    assert referred
    assert set(referred) <= set(ids)


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = page_of(report(), tmp_path)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    sources = [attributes["src"] for _, attributes in page.elements if "src" in attributes]
    assert len(sources) == 5  # two examples, one of them without a mask
    assert all(source.startswith("data:image/") for source in sources)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if not name.startswith("xmlns"):
                assert (value or "").startswith("data:image/") or "//" not in (value or ""), tag
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page.source)
    assert "http:" not in without_namespaces
    assert "https:" not in without_namespaces
    assert "@import" not in page.source


def test_confusion_counts_are_those_counted_by_hand(tmp_path):
    page = page_of(report(), tmp_path)
    assert page.counts == {
        "good_accepted": "3",
        "good_rejected": "1",
        "defects_missed": "2",
        "defects_found": "3",
    }


def test_detection_rate_of_each_kind(tmp_path):
    page = page_of(report(), tmp_path)
    rows = page.cells["kinds"][1:]
    assert rows == [
        ["hole", "3", "2", "66.7 %", "", "0.3", "0.6"],
        ["spot", "2", "1", "50.0 %", "", "0.4", "0.65"],
    ]


def test_metrics_have_a_value_and_an_explanation_and_nan_is_a_dash(tmp_path):
    metrics = {"image_auroc": 0.97126, "pixel_ap": float("nan"), "aupro@0.3": 0.5, "mine": 1.0}
    rows = page_of(report(metrics=metrics), tmp_path).cells["metrics"][1:]
    assert [row[:2] for row in rows] == [
        ["Image AUROC", "0.9713"],
        ["Pixel AP", "–"],
        ["AUPRO, limit 0.3", "0.5000"],
        ["mine", "1.0000"],
    ]
    assert all(row[2].endswith(".") for row in rows[:3])


def test_text_is_escaped(tmp_path):
    nasty = '<script>alert("1")</script> & Ø螺.png'
    page = page_of(
        report(
            title=nasty,
            summary=[(nasty, nasty)],
            metrics={nasty: 0.5},
            kinds=["good"] * 4 + [nasty] * 5,
            worst=[example(name=nasty, kind=nasty, verdict=nasty)],
        ),
        tmp_path,
    )
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count(nasty) >= 7
    assert page.cells["kinds"][1][0] == nasty
    alternatives = [attributes.get("alt") for tag, attributes in page.elements if tag == "img"]
    assert f"Image {nasty}" in alternatives


def test_a_file_name_that_is_not_unicode_does_not_stop_the_report(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert r"caf\xe9.png" in page_of(report(worst=[example(name=name)]), tmp_path).text


def test_what_was_not_used_is_listed_and_what_a_reader_must_know_is_said(tmp_path):
    nasty = "a<b>\n\u202e" + os.fsdecode(b"\xe9") + ".png"
    page = page_of(
        report(remarks=["1 of 3 defects are small."], failures=[(nasty, f"{nasty} is cut.")]),
        tmp_path,
    )
    assert page.open == []
    assert "1 of 3 defects are small." in page.text
    shown = r"a<b>\n\u202e\xe9.png"
    assert page.cells["failures"][1:] == [[shown, f"{shown} is cut."]]
    assert "failures" not in page_of(report(), tmp_path).cells


@pytest.mark.parametrize("label", [0, 1])
def test_test_set_of_one_class(label, tmp_path):
    nothing = np.array([np.nan]), np.array([np.nan])
    page = page_of(
        report(
            labels=np.full(9, label),
            kinds=["spot" if label else "good"] * 9,
            metrics={"image_auroc": float("nan")},
            curves=Curves(None, nothing, (np.array([]), np.array([]))),
        ),
        tmp_path,
    )
    above = str((SCORES > THRESHOLD).sum())
    below = str((SCORES <= THRESHOLD).sum())
    good = {"good_accepted": below, "good_rejected": above}
    defective = {"defects_missed": below, "defects_found": above}
    none = dict.fromkeys(good if label else defective, "0")
    assert page.counts == none | (defective if label else good)
    assert ("kinds" in page.cells) == bool(label)


def test_equal_scores_do_not_stop_the_report(tmp_path):
    assert page_of(report(scores=np.full(9, 0.5)), tmp_path).counts["good_accepted"] == "4"


def test_examples_say_how_the_verdict_relates_to_the_truth(tmp_path):
    shown = [
        example(label_defective=True, score=0.9),
        example(label_defective=True, score=0.4),
        example(label_defective=False, score=0.4),
        example(label_defective=False, score=0.9),
    ]
    page = page_of(report(worst=shown, best=[]), tmp_path)
    found = re.findall("defect found|missed defect|good, accepted|false alarm", page.text)
    assert found == ["defect found", "missed defect", "good, accepted", "false alarm"]
    assert "Best examples" not in page.text


def test_score_and_threshold_marks_stand_at_their_share_of_the_scale(tmp_path):
    shown = [example(score=1.0), example(score=8.0)]
    source = page_of(report(worst=shown, best=[], scale=4.0), tmp_path).source
    assert re.findall(r'mark score" style="left: ([\d.]+)%', source) == ["25.0", "100.0"]
    assert re.findall(r'mark limit" style="left: ([\d.]+)%', source) == ["12.5", "12.5"]


def embedded(page: Page) -> list[Image.Image]:
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    return [Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))) for s in sources]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((600, 1500), (512, 205)), ((40, 60), (240, 160)), ((300, 300), (300, 300))],
)
def test_pictures_are_shown_at_a_useful_size(shape, shown, tmp_path):
    picture = np.full((*shape, 3), 90, np.uint8)
    picture[:, shape[1] // 2 :] = (200, 60, 60)
    mask = np.zeros(shape, bool)
    mask[7, 9] = True  # one pixel must survive the reduction
    one = example(image=picture, overlay=picture, mask=mask)
    image, over, truth = embedded(page_of(report(worst=[one], best=[]), tmp_path))
    assert image.size == over.size == truth.size == shown
    assert np.abs(np.asarray(image)[-1, -1].astype(int) - (200, 60, 60)).max() < 6
    assert np.asarray(truth.convert("L")).max() == 255


def test_long_curves_are_thinned_but_keep_their_shape():
    from pyramidflow.evaluation.report.charts import _drawable

    # The bend lies in the first thousandth of the points.
    x = np.concatenate([np.linspace(0, 0.1, 200), np.linspace(0.1, 1, 200_000)])
    y = np.concatenate([0.9 * np.linspace(0, 1, 200) ** 0.25, np.linspace(0.9, 1, 200_000)])
    thin_x, thin_y = _drawable((x, y))
    assert len(thin_x) <= 401
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0.0, 0.0, 1.0, 1.0)
    probe = np.linspace(0.01, 1, 500)
    np.testing.assert_allclose(np.interp(probe, thin_x, thin_y), np.interp(probe, x, y), atol=3e-3)


def test_report_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(report(title="first"), path)
    assert write_report(report(title="second"), path) == path
    assert "second" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_failed_write_keeps_the_old_report_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = write_report(report(title="first"), tmp_path / "report.html")
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(InputError, match="disk is full"):
        write_report(report(title="second"), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_same_report_gives_the_same_bytes(tmp_path):
    one = write_report(report(), tmp_path / "one.html").read_bytes()
    assert write_report(report(), tmp_path / "two.html").read_bytes() == one


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": LABELS[:-1]}, "9 scores, 8 labels and 9 kinds"),
        ({"scores": SCORES[:0], "labels": LABELS[:0], "kinds": []}, "0 scores"),
        ({"scores": np.where(SCORES == 0.1, np.nan, SCORES)}, "not finite"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"worst": [example(overlay=GREY[:20])]}, "000.png"),
        ({"best": [example(mask=np.zeros((4, 4), bool))]}, "000.png"),
    ],
)
def test_report_refuses_what_does_not_fit(changes, words, tmp_path):
    with pytest.raises(InputError, match=words):
        write_report(report(**changes), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_a_report(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_report(report(), tmp_path)
