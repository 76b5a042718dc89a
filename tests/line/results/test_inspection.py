"""The line: sources, sinks, and what happens when something goes wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.line import find_frames, inspect_frames, open_result_folder
from tests.support.tiny import TINY


def test_frames_are_sorted_and_named_without_clashes(tmp_path):
    for name in ("b/x.png", "a/x.png", "a/y.JPG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    paths = [tmp_path, tmp_path / "a" / "x.png", tmp_path / "b", tmp_path / "b" / "x.png"]
    frames = find_frames(paths).frames
    assert [frame.name for frame in frames] == ["a/x", "a/y", "b/x", "x", "x-2", "x-3"]
    assert [frame.path.name for frame in frames] == ["x.png", "y.JPG"] + 4 * ["x.png"]
    with pytest.raises(InputError, match="no file or folder"):
        find_frames([tmp_path / "c"])
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        find_frames([tmp_path / "c"])


FULL_DISK_SCRIPT = """
import json, resource, sys
from pathlib import Path
from pyramidflow.errors import InputError
from pyramidflow.detector.findings import Inspection
from pyramidflow.line import Frame, open_result_folder
from pyramidflow.line.pipeline.drawing import Drawn

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder, count = Path(sys.argv[1]), 0
found = Inspection(0.5, 1.0, "ok", (), None)
try:
    with open_result_folder(folder, kinds=[]) as results:
        for count in range(100):
            results.add(Frame(Path(f"{count}.png"), str(count)), found, Drawn())
except InputError as error:
    print(count, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_line_that_does_not_fit_is_left_out(tmp_path):
    command = [sys.executable, "-c", FULL_DISK_SCRIPT, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count, _, error = out.partition(" ")
    expected = f"{tmp_path / 'results.jsonl'} could not be written (File too large): choose another"
    assert error.startswith(expected)
    lines = (tmp_path / "results.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == int(count) > 5
    assert all(line.endswith("\n") for line in lines)
    assert [json.loads(line)["path"] for line in lines] == [f"{i}.png" for i in range(len(lines))]


def test_an_image_that_goes_away_is_recorded(tmp_path, tiny_detector_file):
    detector = Detector.load(tiny_detector_file)
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), 90 * index, np.uint8)).save(tmp_path / f"{index}.png")
    with open_result_folder(tmp_path / "out", kinds=[]) as results:
        frames = find_frames([tmp_path]).frames
        (tmp_path / "1.png").unlink()
        tally = inspect_frames(detector.session, frames, results)
    assert tally.errors == 1
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

    def stop_at_the_last(frame, found):
        seen.append(len((tmp_path / "out" / "results.jsonl").read_text().splitlines()))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_result_folder(tmp_path / "out", kinds=[]) as results,
    ):
        inspect_frames(detector.session, find_frames(paths).frames, results, stop_at_the_last)
    assert seen == [1, 2, 3]
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert ["error" in record for record in records] == [False, True, False]
    assert records[1]["path"] == str(paths[1])


def test_the_white_level_counts_once_on_every_way(tmp_path):
    rng = np.random.default_rng(0)
    deep, wide = tmp_path / "deep", tmp_path / "wide"
    for folder in (deep, wide):
        folder.mkdir()
    for index in range(6):
        values = rng.integers(0, 4096, (24, 24), dtype=np.uint16)
        Image.fromarray(values).save(deep / f"{index}.png")
        Image.fromarray(np.rint(values * (65535 / 4095)).astype(np.uint16)).save(
            wide / f"{index}.png"
        )
    results = []
    for folder, white_level in ((deep, 4095), (wide, None)):
        detector = Detector(16, **TINY, white_level=white_level)
        detector.fit(folder, epochs=1, validation_share=0, show_progress=False)
        detector.calibrate(folder, 0.5)
        with open_result_folder(folder / "out", kinds=["overlay"]) as opened:
            inspect_frames(detector.session, find_frames([folder / "0.png"]).frames, opened)
        record = json.loads((folder / "out" / "results.jsonl").read_text())
        overlay = (folder / "out" / "overlays" / "0.png").read_bytes()
        working = detector.working_map(folder / "0.png")[0]
        results.append((record["score"], working, detector.threshold, overlay))
    assert results[0] == results[1]
    assert results[0][0] == results[0][1]
