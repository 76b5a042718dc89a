"""``pyramidflow inspect``: what it writes and what it survives."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pyramidflow import Detector
from pyramidflow.io.files import exclusive
from tests.support.command_line import (
    assert_one_sentence,
    assert_whole,
    posix,
    records_in,
)


def test_inspect_writes_lines_overlays_and_maps(run, tiny_set, tiny_detector_file, tmp_path):
    output = tmp_path / "out"
    image = tiny_set / "test" / "good" / "001.png"
    code, _out, _ = run(
        "inspect",
        tiny_set / "test",
        image,
        "--model",
        tiny_detector_file,
        "--output",
        output,
        "--maps",
    )
    assert code == 0
    records = [json.loads(line) for line in (output / "results.jsonl").open()]
    assert len(records) == 9
    assert [r["path"] for r in records[:2]] == [
        str(tiny_set / "test" / "dent" / f"{i:03}.png") for i in (0, 1)
    ]
    detector = Detector.load(tiny_detector_file)
    for record in records:
        found = detector.inspect(record["path"])
        assert (record["score"], record["verdict"]) == (found.score, found.verdict)
        assert record["threshold"] == detector.threshold
        assert len(record["regions"]) == len(found.regions)
        assert np.array_equal(tifffile.imread(output / record["map"]), found.anomaly_map)
        with Image.open(output / record["overlay"]) as picture:
            assert picture.size == (24, 24)
    assert len({record["overlay"] for record in records}) == 9  # none overwrote another


def test_fail_on_defect_and_unreadable_images(run, tiny_set, tiny_detector_file, tmp_path):
    strict = Detector.load(tiny_detector_file)
    strict.threshold = 0.0  # everything is a defect
    strict.save(tmp_path / "strict.safetensors")
    model = (
        "--model",
        tmp_path / "strict.safetensors",
        "--output",
        tmp_path / "out",
        "--no-overlays",
    )
    image = tiny_set / "test" / "good" / "000.png"
    assert run("inspect", image, *model)[0] == 0
    assert not (tmp_path / "out" / "overlays").exists()
    assert run("inspect", image, *model, "--fail-on-defect")[0] == 1
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:60])
    code, out, err = run("inspect", broken, image, *model, "--fail-on-defect")
    assert code == 2
    assert "broken.png" in err
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").open()]
    assert "error" in records[0]
    assert records[1]["verdict"] == "ng"
    assert "1 errors" in out


def test_overlay_colours_do_not_depend_on_other_images(run, tiny_set, tiny_detector_file, tmp_path):
    image = tiny_set / "test" / "good" / "000.png"
    for name, paths in (("a", [image]), ("b", [tiny_set / "test" / "dent", image])):
        run("inspect", *paths, "--model", tiny_detector_file, "--output", tmp_path / name)
    alone = (tmp_path / "a" / "overlays" / "000.png").read_bytes()
    other = [json.loads(line) for line in (tmp_path / "b" / "results.jsonl").open()][-1]
    assert (tmp_path / "b" / other["overlay"]).read_bytes() == alone


def test_a_model_that_is_overwritten_while_it_is_read_is_told(
    run, monkeypatch, tiny_set, tiny_detector_file, tmp_path
):
    """The records would name the new file, and the old one would inspect."""
    model = tmp_path / "part.safetensors"
    shutil.copy(tiny_detector_file, model)
    load = Detector.load

    def load_and_overwrite(path, **options):
        detector = load(path, **options)
        other = load(path)
        other.threshold = 0.5
        other.save(path)
        return detector

    monkeypatch.setattr(Detector, "load", load_and_overwrite)
    results = tmp_path / "results"
    code, _, err = run("inspect", tiny_set / "test", "--model", model, "--output", results)
    assert_one_sentence(code, err, "part.safetensors", "was overwritten while it was read")
    assert not results.exists()


def test_two_processes_do_not_write_to_one_folder(run, tiny_set, tiny_detector_file, tmp_path):
    with exclusive(tmp_path / "out" / "results.jsonl"):
        code, _, err = run(
            "inspect",
            tiny_set / "test",
            "--model",
            tiny_detector_file,
            "--output",
            tmp_path / "out",
        )
    assert_one_sentence(code, err, "another process")


def test_results_below_the_images_are_left_out_and_counted(run, tiny_set, detector_file, tmp_path):
    parts = tmp_path / "parts"
    shutil.copytree(tiny_set / "test" / "good", parts)
    for output in (parts / "out", parts):
        command = ("inspect", parts, "--model", detector_file, "--output", output)
        assert run(*command)[0] == 0
        code, _, err = run(*command)
        assert code == 0
        assert "left out: 4 (below the output), the first is " in err
        assert [Path(record["path"]).parent for record in records_in(output)] == [parts] * 4
        shutil.rmtree(output / "overlays")
    assert run("inspect", parts, "--model", detector_file, "--output", tmp_path)[0] == 0


def test_no_source_is_overwritten_or_removed(run, image, detector_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(image, tmp_path / "x.png")
    command = ("--model", detector_file, "--output", ".")
    assert run("inspect", "x.png", *command)[0] == 0
    source = (tmp_path / "overlays" / "x.png").read_bytes()
    for resume in ((), ("--resume",)):
        assert run("inspect", "overlays/x.png", *command, *resume)[0] == 0
        assert (tmp_path / "overlays" / "x.png").read_bytes() == source
        [record] = records_in(tmp_path)
        assert record["overlay"] == "overlays/x-2.png"
    before = (tmp_path / "results.jsonl").read_bytes()
    code, _, err = run("inspect", "results.jsonl", "x.png", *command)
    assert_one_sentence(code, err, "results.jsonl is named among the images")
    assert (tmp_path / "results.jsonl").read_bytes() == before


@posix
def test_odd_names_are_inspected_recorded_and_printed_in_one_line(image, detector_file, tmp_path):
    folder = os.fsencode(tmp_path / "parts")
    os.mkdir(folder)
    odd = [b"caf\xe9.png", b"two\nlines.png", b"\x1b[31mred.png", b"[bold]:smile:.png", b"%s.png"]
    odd += ["\u202egnp.png".encode(), "部品 ä.png".encode(), b"n" * 251 + b".png", b"a|b`c.png"]
    odd += [b"nul.png", b"dot..png", b"A.png", b"a.png", b"foo.jpg", b"foo.png"]
    for name in odd:
        shutil.copy(image, os.path.join(folder, name))
    os.mkdir(os.path.join(folder, b"foo.png.png"))
    shutil.copy(image, os.path.join(folder, b"foo.png.png", b"x.png"))
    count = len(odd) + 1
    command = [sys.executable, "-m", "pyramidflow", "inspect", folder, "--maps"]
    command += ["--model", str(detector_file), "--output", str(tmp_path / "out")]
    c_locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    recorded = []
    for environment in ({"PYTHONUTF8": "1"}, c_locale):
        result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True)
        assert (result.returncode, result.stderr) == (0, b"")
        lines = [line for line in result.stdout.split(b"\n") if line.startswith(b"ok ")]
        assert len(lines) == count
        assert result.stdout.decode().replace("\n", "").isprintable()
        assert rb"caf\xe9.png" in result.stdout
        assert rb"two\nlines.png" in result.stdout
        recorded.append(records_in(tmp_path / "out"))
        assert_whole(tmp_path / "out")
    assert recorded[0] == recorded[1]  # whatever the locale
    assert len({record["overlay"].casefold() for record in recorded[0]}) == count
    assert any(record["path"].endswith("部品 ä.png") for record in recorded[0])
    explicit = [*command[:4], *(os.path.join(folder, name) for name in odd), *command[5:]]
    assert subprocess.run(explicit, capture_output=True).returncode == 0
    assert len(records_in(tmp_path / "out")) == len(odd)


def test_paths_without_images_are_records_as_long_as_there_is_an_image(
    run, image, arguments, tmp_path
):
    (tmp_path / "empty").mkdir()
    nothing = (tmp_path / "nowhere.png", tmp_path / "empty", image / "below.png")
    code, out, err = run("inspect", *nothing, image, *arguments)
    assert code == 2
    assert "1 ok, 0 ng, 3 errors" in out
    assert err.count("error: ") == 3
    records = records_in(tmp_path / "out")
    assert [record["path"] for record in records] == [*map(str, nothing), str(image)]
    for record, words in zip(records, ("no file", "holds no images", "no file"), strict=False):
        assert words in record["error"]
    code, _, err = run("inspect", *nothing, *arguments)
    assert_one_sentence(code, err, "none of the 3 paths", "nowhere.png")


def test_a_folder_that_cannot_be_searched_is_an_error_and_a_link_is_told(
    run, monkeypatch, tiny_set, arguments, tmp_path
):
    parts = tmp_path / "parts"
    shutil.copytree(tiny_set / "test", parts)
    (parts / "linked").symlink_to(parts / "good")
    (parts / "notes.txt").write_text("")
    usual = os.scandir

    def scandir(path):
        if Path(path).name == "dent":
            raise PermissionError(13, "Permission denied", path)
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    code, out, err = run("inspect", parts, *arguments)
    assert code == 2
    assert "4 ok, 0 ng, 1 errors" in out
    assert f"left out: 1 (linked folder), the first is {parts / 'linked'}\n" in err
    assert "left out: 1 (ending .txt is not read)" in err
    assert f"error: {parts / 'dent'} could not be searched (no permission)" in err
    assert records_in(tmp_path / "out")[-1]["path"] == str(parts / "dent")


@pytest.mark.parametrize(
    "error",
    [
        OSError(116, "Stale file handle"),
        PermissionError(13, "Permission denied"),
        OSError(5, "Input/output error"),
        MemoryError(),
        RuntimeError("the decoder\nfailed"),
        UnicodeEncodeError("ascii", "ä", 0, 1, "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_line_goes_on_whatever_happens_to_one_image(
    run, monkeypatch, tiny_set, arguments, tmp_path, error
):
    from pyramidflow.line.pipeline import part

    usual = part.read_image

    def fail(path, decoding):
        if path.name == "001.png":
            raise error
        return usual(path, decoding)

    monkeypatch.setattr(part, "read_image", fail)
    code, out, err = run("inspect", tiny_set / "test" / "good", *arguments)
    assert code == 2
    assert "3 ok, 0 ng, 1 errors" in out
    assert err.startswith(f"error: {tiny_set}")
    assert err.count("\n") == 1
    assert ["error" in record for record in records_in(tmp_path / "out")] == [0, 1, 0, 0]


def test_a_score_that_is_no_number_is_an_error(
    run, monkeypatch, tiny_set, detector_file, arguments, tmp_path
):
    runtime = type(Detector.load(detector_file).session.runtime)
    usual = runtime.inspect

    def broken(self, images):
        return usual(self, images) * next(factors)

    factors = iter([float("nan"), 1, float("inf"), 1])
    monkeypatch.setattr(runtime, "inspect", broken)
    code, out, err = run("inspect", tiny_set / "test" / "good", *arguments)
    assert code == 2
    assert "2 ok, 0 ng, 2 errors" in out
    records = records_in(tmp_path / "out")
    assert ["error" in record for record in records] == [1, 0, 1, 0]
    for record, line in zip(records[::2], err.splitlines(), strict=True):
        assert line == f"error: {record['error']}"
        assert record["error"].startswith(record["path"])


def test_a_picture_that_cannot_be_written_is_told_by_the_record(run, tiny_set, arguments, tmp_path):
    (tmp_path / "out" / "maps" / "001.tiff").mkdir(parents=True)
    code, out, err = run("inspect", tiny_set / "test" / "good", *arguments, "--maps")
    assert code == 2
    assert "4 ok, 0 ng, 1 errors" in out
    assert err.count("\n") == 1
    record = records_in(tmp_path / "out")[1]
    assert "001.tiff could not be written" in record["error"]
    assert record["verdict"] == "ok"
    assert "map" not in record
    assert (tmp_path / "out" / record["overlay"]).exists()
    (tmp_path / "out" / "maps" / "001.tiff").rmdir()
    assert run("inspect", tiny_set / "test" / "good", *arguments, "--maps", "--resume")[0] == 0
    assert_whole(tmp_path / "out")


def test_the_summary_tells_the_times_of_each_stage(run, tiny_set, arguments):
    _, out, _ = run("inspect", tiny_set / "test", *arguments)
    lines = out.splitlines()
    assert lines[8].startswith("8 ok, 0 ng, 0 errors; threshold ")
    assert lines[9].split() == ["ms", "p50", "p99"]
    times = {stage: (float(p50), float(p99)) for stage, p50, p99 in map(str.split, lines[10:])}
    assert {"reading", "inspecting", "writing"} <= times.keys()
    assert all(0 <= p50 <= p99 for p50, p99 in times.values())


@posix
def test_the_home_folder_is_known_in_every_path(run, monkeypatch, image, detector_file, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(image, tmp_path / "x.png")
    shutil.copy(detector_file, tmp_path / "m.safetensors")
    assert run("inspect", "~/x.png", "--model=~/m.safetensors", "--output=~/out")[0] == 0
    assert len(records_in(tmp_path / "out")) == 1
    assert run("info", "~/m.safetensors")[0] == 0
    assert not (tmp_path / "~").exists()
