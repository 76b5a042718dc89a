"""The README and the pages of ``docs/``: their numbers, examples, options and links."""

import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer

import pyramidflow
from benchmarks import readme
from benchmarks.harness.results import cases_of
from pyramidflow import Detector
from tests.support.tiny import TINY, write_image

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in readme.pages() if page.parent.name != "api"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
OTHERS = {"--set", "--small", "--benchmark-json", "--released", "--dry-run", "--head"}
"""Options of the benchmarks and of other programs."""


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


@pytest.fixture(scope="module")
def commands():
    """Options of each command of the program."""
    from pyramidflow.cli.app import app

    group = typer.main.get_command(app)
    found = {command: options_of(made) for command, made in group.commands.items()}
    return found | {"": {o for p in group.params for o in p.opts}}


def options_of(command):
    own = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", readme.pages(), ids=name)
def test_numbers_are_those_of_their_files(page):
    text = page.read_text("utf-8")
    assert text == readme.filled(text), "python -m benchmarks.readme fills the numbers in anew"


@pytest.mark.parametrize("page", readme.pages(), ids=name)
def test_no_number_begins_a_line(page):
    # Markdown would take the line for HTML, and end the paragraph before it.
    assert not re.findall(r"^<!-- from [\w-]+ -->\S.*", page.read_text("utf-8"), re.MULTILINE)


def test_numbers_follow_their_files(monkeypatch):
    found = cases_of("first_result")
    changed = found | {"ResNet18, 1024×1024": {"first_verdict": 7.0}}
    monkeypatch.setattr(readme, "cases_of", lambda result: changed)
    text = "<!-- from first-verdict-resnet18 -->1.3<!-- /from -->"
    assert readme.filled(text) == text.replace("1.3", "7.0")


def test_every_number_is_on_a_page():
    said = {m for page in readme.pages() for _, m, *_ in readme.MARKED.findall(page.read_text())}
    assert said == {*readme.TABLES, *readme.VALUES}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_exist(page, commands):
    known = set().union(*commands.values()) | OTHERS
    text = page.read_text("utf-8")
    assert set(OPTION.findall(BLOCK.sub("", text))) <= known
    for line in "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        if "pyramidflow" in words[:1]:
            assert set(OPTION.findall(line)) <= commands[words[1]], line


def test_every_command_is_listed(commands):
    text = (ROOT / "docs" / "first_detector.md").read_text("utf-8")
    table = text.partition("## All commands")[2]
    assert {*re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE), ""} == set(commands)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=name)
def test_reference_names_what_is_there(page):
    text = page.read_text("utf-8")
    for module, members in re.findall(
        r"^::: (\S+)\n    options:\n(?:    .*\n)*?.*members: \[(.*)\]", text, re.M
    ):
        for member in members.split(", "):
            assert hasattr(import_module(module), member)
            # A module of the same name hides it from the reference: name it with its module.
            assert find_spec(f"{module}.{member}") is None, member


def test_a_running_line_is_configured_so(tmp_path):
    from pyramidflow.line.configuration import read_configuration
    from pyramidflow.line.registry import sink_kinds, source_kinds

    page = ROOT / "docs" / "line.md"
    [example] = blocks(page, "toml")
    (tmp_path / "line.toml").write_text(example)
    found = read_configuration(tmp_path / "line.toml")
    assert [station.name for station in found.stations] == ["lid"]
    rows = re.findall(r"^\| (`.*?`) \| ", page.read_text("utf-8"), re.MULTILINE)
    listed = {kind for row in rows for kind in re.findall(r"`(\w+)`", row)}
    assert listed <= {*source_kinds(), *sink_kinds()}


def test_each_picture_of_a_part_has_an_identity_of_its_own():
    page = (ROOT / "docs" / "line" / "first_line.md").read_text("utf-8")
    [pattern] = re.findall(r"^pattern = '(.*)'$", page, re.MULTILINE)
    told = [
        fits.groupdict()
        for side in ("left", "right")
        if (fits := re.search(pattern, f"4711_{side}.png"))
    ]
    assert told == [{"identity": f"4711_{side}", "side": side} for side in ("left", "right")]


def test_record_is_the_one_that_is_written(tiny_detector_file, tmp_path):
    write_image(tmp_path / "part.png", np.random.default_rng(0), defect=True)
    found = Detector.load(tiny_detector_file).inspect(tmp_path / "part.png").as_dict()
    [example] = blocks(ROOT / "README.md", "json")
    shown = json.loads(example)
    assert list(shown) == ["path", *found, "overlay"]
    assert list(shown["regions"][0]) == list(found["regions"][0])
    told = (ROOT / "docs" / "files.md").read_text("utf-8")
    for field in (*shown, *shown["regions"][0]):
        assert f"`{field}`" in told, field


@pytest.fixture
def workplace(tmp_path, monkeypatch, tiny_detector_file):
    """A folder as the examples find it, and a detector that trains in a second."""

    class Small(Detector):
        def __init__(self, image_size=16, **settings):
            super().__init__(image_size=16, epochs=1, validation_share=0.25, **TINY)

    rng = np.random.default_rng(0)
    for index in range(8):
        for folder in ("good", "more_good", "new"):
            write_image(
                tmp_path / "parts" / folder / f"{index:04}.png", rng, defect=folder == "new"
            )
    (tmp_path / "part.safetensors").write_bytes(tiny_detector_file.read_bytes())
    (tmp_path / "results").mkdir()
    line = '{"path": "a.png", "verdict": "ng"}\n{"path": "b.png", "verdict": "ok"}\n'
    (tmp_path / "results" / "results.jsonl").write_text(line)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pyramidflow, "Detector", Small, raising=False)
    monkeypatch.setattr("pyramidflow.tuning.tune", lambda detector, data: detector)
    return tmp_path


@pytest.mark.filterwarnings("ignore::pyramidflow.errors.PyramidFlowWarning")
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_examples_run(page, workplace):
    for example in blocks(page, "python"):
        if example.startswith("# pyramidflow/"):  # see test_adding.py
            continue
        exec(compile(example, name(page), "exec"), {"__name__": "example"})
