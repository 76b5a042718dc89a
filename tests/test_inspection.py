import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.inspection import find_sources, inspect_sources, open_result_folder
from pyramidflow.inspection.overlay import colour_bar, overlay
from pyramidflow.inspection.report import write_report
from pyramidflow.inspection.report_data import Report, ReportExample

GREY = np.full((40, 60, 3), 120, np.uint8)
BOX_GREEN = (57, 255, 90)
CONTOUR_CYAN = (0, 229, 255)


def flat_map(value: float) -> np.ndarray:
    return np.full(GREY.shape[:2], value, np.float32)


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == np.array(colour, np.uint8)).all(axis=2)


# Overlay


def test_zero_map_returns_the_image_and_leaves_the_input_alone():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    before = image.copy()
    out = overlay(image, flat_map(0.0), 1.0, 0.5)
    np.testing.assert_array_equal(out, before)
    out[:] = 0
    np.testing.assert_array_equal(image, before)


def test_larger_values_are_hotter_up_to_the_scale():
    ramp = np.tile(np.linspace(0, 2, 60, dtype=np.float32), (40, 1))
    row = overlay(GREY, ramp, 1.0, None)[0].astype(int)  # [60, 3]
    warmth = row[:, 0] - row[:, 2]
    inside = ramp[0] <= 1
    assert (np.diff(row[inside, 0]) >= 0).all()
    assert (np.diff(row[inside], axis=0) != 0).any(axis=1).all()
    assert warmth[inside][-1] > 60
    assert (row[~inside] == row[-1]).all()


def test_colour_scale_is_fixed_not_taken_from_the_image():
    quiet, loud = flat_map(0.1), flat_map(0.1)
    quiet[5, 5] = loud[5, 5] = 0.6
    loud[20:30, 20:30] = 5.0
    ours, theirs = (overlay(GREY, m, 1.0, None) for m in (quiet, loud))
    same = quiet == loud
    np.testing.assert_array_equal(ours[same], theirs[same])
    np.testing.assert_array_equal(
        overlay(GREY, flat_map(0.3), 1.0, None), overlay(GREY, flat_map(3.0), 10.0, None)
    )
    assert (
        overlay(GREY, flat_map(0.3), 1.0, None) != overlay(GREY, flat_map(0.3), 2.0, None)
    ).any()


def test_normal_part_stays_visible_under_the_hottest_colour():
    image = GREY.copy()
    image[:, 30:] = 200
    out = overlay(image, flat_map(9.0), 1.0, None).astype(int)
    assert (out[:, 30:].sum(axis=2).min() - out[:, :30].sum(axis=2).max()) > 20


def test_rows_are_drawn_one_like_the_other_in_little_memory():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1000, 800, 3), dtype=np.uint8)
    anomaly_map = rng.random((1000, 800), dtype=np.float32)
    rows = [overlay(image[y : y + 1], anomaly_map[y : y + 1], 1.0, None)[0] for y in range(1000)]
    tracemalloc.start()
    out = overlay(image, anomaly_map, 1.0, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1000 * 800
    np.testing.assert_array_equal(out, rows)


def test_contour_is_the_inner_edge_of_the_region_above_the_threshold():
    anomaly = flat_map(0.5)  # equal to the threshold is not above it
    anomaly[10:20, 30:45] = 0.6
    expected = np.zeros(GREY.shape[:2], bool)
    expected[10:20, 30:45] = True
    expected[11:19, 31:44] = False
    edge = is_colour(overlay(GREY, anomaly, 1.0, 0.5), CONTOUR_CYAN)
    np.testing.assert_array_equal(edge, expected)
    assert not is_colour(overlay(GREY, anomaly, 1.0, None), CONTOUR_CYAN).any()


def test_box_is_a_frame_inside_its_half_open_bounds():
    out = overlay(GREY, flat_map(0.0), 1.0, None, [(4, 6, 14, 11)])
    expected = np.zeros(GREY.shape[:2], bool)
    expected[6:11, 4:14] = True
    expected[7:10, 5:13] = False
    np.testing.assert_array_equal(is_colour(out, BOX_GREEN), expected)
    np.testing.assert_array_equal(out[~expected], GREY[~expected])


def test_boxes_at_and_past_the_edge_are_drawn_inside_the_image():
    out = overlay(
        GREY, flat_map(0.0), 1.0, None, [(-5, 30, 8, 99), (50, -3, 60, 2), (70, 0, 80, 9)]
    )
    expected = np.zeros(GREY.shape[:2], bool)
    expected[30:40, 0:8] = True
    expected[31:39, 1:7] = False
    expected[0:2, 50:60] = True
    np.testing.assert_array_equal(is_colour(out, BOX_GREEN), expected)


@pytest.mark.parametrize(("side", "width"), [(64, 1), (512, 2), (2048, 3)])
def test_frame_width_follows_the_image_size(side, width):
    image = np.zeros((side, side, 3), np.uint8)
    box = (5, 5, 45, 45)
    out = overlay(image, np.zeros((side, side), np.float32), 1.0, None, [box])
    assert is_colour(out, BOX_GREEN)[25, :25].sum() == width


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((GREY, np.zeros((40, 61), np.float32), 1.0, None), r"\[40, 61\].*\[40, 60\]"),
        ((GREY[:, :, 0], np.zeros((40, 60), np.float32), 1.0, None), r"\[40, 60\]"),
        ((GREY.astype(np.float32), np.zeros((40, 60), np.float32), 1.0, None), "float32"),
        ((GREY, flat_map(np.nan), 1.0, None), "not finite"),
        ((GREY, flat_map(0.1), 0.0, None), "scale is 0.0"),
        ((GREY, flat_map(0.1), 1.0, None, [(9, 1, 9, 5)]), "empty"),
    ],
)
def test_overlay_refuses_what_does_not_fit(arguments, words):
    with pytest.raises(InputError, match=words):
        overlay(*arguments)


def test_colour_bar_shows_the_colours_of_the_overlay():
    bar = colour_bar(11, 3)
    assert bar.shape == (3, 11, 3)
    grey = np.full((40, 60, 3), 128, np.uint8)
    for column, value in enumerate(np.linspace(0, 1, 11)):
        expected = overlay(grey, flat_map(7.0 * value), 7.0, None)[0, 0]
        np.testing.assert_array_equal(bar[1, column], expected)


def test_importing_overlay_and_report_loads_no_plotting_library():
    code = (
        "import sys; import pyramidflow.inspection.overlay, pyramidflow.inspection.report; "
        "print([m for m in ('matplotlib', 'scipy', 'skimage', 'jinja2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Report

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
        overlay=overlay(GREY, flat_map(0.9), 1.0, None),
        mask=mask,
    )
    return dataclasses.replace(base, **changes)


def report(**changes) -> Report:
    curve = (np.array([0.0, 0.25, 1.0]), np.array([0.0, 0.75, 1.0]))
    base = Report(
        title="brick",
        summary=[("Model", "FNF"), ("Seconds", "12.5")],
        metrics={"image_auroc": 0.75, "pixel_auroc": 0.98765, "aupro@0.3": 0.5},
        roc_image=curve,
        roc_pixel=curve,
        pro=curve,
        scores=SCORES,
        labels=LABELS,
        kinds=KINDS,
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
    assert "caf?.png" in page_of(report(worst=[example(name=name)]), tmp_path).text


@pytest.mark.parametrize("label", [0, 1])
def test_test_set_of_one_class(label, tmp_path):
    nothing = np.array([np.nan]), np.array([np.nan])
    page = page_of(
        report(
            labels=np.full(9, label),
            kinds=["spot" if label else "good"] * 9,
            metrics={"image_auroc": float("nan")},
            roc_image=None,
            roc_pixel=nothing,
            pro=(np.array([]), np.array([])),
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
    from pyramidflow.inspection.report_charts import _drawable

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


def test_sources_are_sorted_and_named_without_clashes(tmp_path):
    for name in ("b/x.png", "a/x.png", "a/y.JPG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    paths = [tmp_path, tmp_path / "a" / "x.png", tmp_path / "b", tmp_path / "b" / "x.png"]
    sources = find_sources(paths)
    assert [source.name for source in sources] == ["a/x", "a/y", "b/x", "x", "x-2", "x-3"]
    assert [source.path.name for source in sources] == ["x.png", "y.JPG"] + 4 * ["x.png"]
    with pytest.raises(InputError, match="no file or folder"):
        find_sources([tmp_path / "c"])
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="no images below"):
        find_sources([tmp_path / "c"])


FULL_DISK_SCRIPT = """
import json, resource, sys
from pathlib import Path
from pyramidflow.errors import InputError
from pyramidflow.findings import Inspection
from pyramidflow.inspection import Source, open_result_folder

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder, count = Path(sys.argv[1]), 0
found = Inspection(0.5, 1.0, "ok", (), None)
try:
    with open_result_folder(folder, scale=None, keep_maps=False) as results:
        for count in range(100):
            results.add(Source(Path(f"{count}.png"), str(count)), None, found)
except InputError as error:
    print(count, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_line_that_does_not_fit_is_left_out(tmp_path):
    command = [sys.executable, "-c", FULL_DISK_SCRIPT, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count, _, error = out.partition(" ")
    assert error.startswith(f"{tmp_path} cannot be written (File too large): choose another")
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == int(count) > 5
    assert all(line.endswith("\n") for line in lines)
    assert [json.loads(line)["path"] for line in lines] == [f"{i}.png" for i in range(len(lines))]


def test_an_image_that_goes_away_is_recorded(tmp_path, tiny_detector_file):
    detector = Detector.load(tiny_detector_file)
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), 90 * index, np.uint8)).save(tmp_path / f"{index}.png")
    with open_result_folder(tmp_path / "out", scale=None, keep_maps=False) as results:
        sources = find_sources([tmp_path])
        tally = inspect_sources(
            detector,
            sources,
            results,
            lambda source, found: (tmp_path / "1.png").unlink(missing_ok=True),
        )
    assert tally.unreadable == 1
    records = [json.loads(x) for x in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert ["no such image file" in record.get("error", "") for record in records] == [
        False,
        True,
        False,
    ]


def test_lines_are_on_disk_before_the_next_image_is_looked_at(tmp_path, tiny_detector_file):
    detector = Detector.load(tiny_detector_file)
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(np.full((8, 8, 3), 90 * index, np.uint8)).save(paths[-1])
    paths[1].write_bytes(b"broken")
    seen = []

    def stop_at_the_last(source, found):
        seen.append(len((tmp_path / "out" / "results.jsonl").read_text().splitlines()))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_result_folder(tmp_path / "out", scale=None, keep_maps=False) as results,
    ):
        inspect_sources(detector, find_sources(paths), results, stop_at_the_last)
    assert seen == [1, 2, 3]
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert ["error" in record for record in records] == [False, True, False]
    assert records[1]["path"] == str(paths[1])
