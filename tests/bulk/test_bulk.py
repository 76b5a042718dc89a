"""``pyramidflow bulk`` in one process: its records, and how it stops and goes on."""

import json
import os
import shutil
import signal

import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.bulk import archive as archive_module
from pyramidflow.line import Line
from tests.bulk.results import by_path, identities_in, lasting, lines_in, rows_in
from tests.support.command_line import assert_one_sentence, posix, start

pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, of the extra line")


@pytest.fixture
def strict_file(tiny_detector_file, tmp_path):
    """A detector that finds the defects of some pictures."""
    return tiny_detector_file


def test_records_are_those_of_the_line_and_of_inspect(run, archive, strict_file, tmp_path):
    pictures = archive(8)
    (pictures / "broken.png").write_bytes(b"garbage")
    (pictures / "empty.png").write_bytes(b"")
    code, out, err = run(
        "bulk", pictures, "--model", strict_file, "--output", tmp_path / "out", "--threads", 1
    )
    assert code == 2
    assert err.count("error: ") == 2
    assert "2 errors" in out
    records = by_path(tmp_path / "out")
    assert len(records) == 10
    assert {record["verdict"] for record in records.values()} == {"ok", "ng", None}

    code, _, _ = run(
        *("inspect", pictures, "--model", strict_file, "--output", tmp_path / "inspected"),
        *("--no-overlays", "--threads", 1),
    )
    assert code == 2
    for line in (tmp_path / "inspected" / "results.jsonl").read_text().splitlines():
        told = json.loads(line)
        assert told == {name: records[told["path"]][name] for name in told}

    station = {"detector": strict_file, "source": {"kind": "files", "paths": [pictures]}}
    settings = {
        "store": tmp_path / "line.sqlite",
        "stations": [{**station, "name": "bulk", "threads": 1}],
        "sinks": [{"kind": "jsonl", "folder": tmp_path / "line" / "records"}],
    }
    with Line(settings) as line:
        line.wait()
    assert by_path(tmp_path / "line") == records
    assert [record["path"] for record in lines_in(tmp_path / "out")] == sorted(records)


def test_each_place_gets_each_record_once(run, archive, strict_file, tmp_path):
    pictures, output = archive(8), tmp_path / "out"
    database = tmp_path / "parts.sqlite"
    command = (
        *("bulk", pictures, "--model", strict_file, "--output", output, "--csv", "--maps"),
        *("--database", f"sqlite:///{database}", "--overlays", "--pictures-of", "not-ok"),
    )
    for _ in range(2):
        code, out, _ = run(*command)
        assert code == 0
    assert "resumed: 8 images were inspected earlier" in out
    records = lines_in(output)
    identities = [record["identity"] for record in records]
    assert len(set(identities)) == 8
    assert [row["identity"] for row in rows_in(output)] == identities
    assert sorted(identities_in(database)) == sorted(identities)
    assert identities_in(output / "bulk.sqlite") == identities
    drawn = {record["path"] for record in records if "overlay" in record}
    assert drawn == {record["path"] for record in records if record["verdict"] == "ng"} != set()
    named = {record[kind] for record in records for kind in ("overlay", "map") if kind in record}
    there = (output / "pictures").rglob("*.*")
    assert {path.relative_to(output / "pictures").as_posix() for path in there} == named
    for name in named:
        Image.open(output / "pictures" / name).load()
    # What was written there is no picture of the archive.
    assert run("bulk", tmp_path, "--model", strict_file, "--output", output, "--csv")[0] == 2


def test_the_output_is_not_inspected(run, archive, strict_file, tmp_path):
    pictures = archive(4)
    command = ("bulk", pictures, "--model", strict_file, "--output", pictures, "--overlays")
    assert run(*command)[0] == 0
    code, _, err = run(*command)
    assert (code, len(lines_in(pictures))) == (0, 4)
    assert "left out: 4 (below the output)" in err


def test_new_and_changed_pictures_are_inspected_and_no_other(run, archive, detector_file, tmp_path):
    pictures, output = archive(6), tmp_path / "out"
    command = ("--model", detector_file, "--output", output)
    # What is named twice is one picture; a relative path is the same as an absolute one.
    assert run("bulk", pictures, pictures / "00003.png", *command)[0] == 0
    assert len(lines_in(output)) == 6
    shutil.copy(pictures / "00001.png", pictures / "new.png")
    (pictures / "00002.png").write_bytes((pictures / "00004.png").read_bytes() + b"\0")
    code, out, _ = run("bulk", os.path.relpath(pictures / "*.png"), *command)
    assert code == 0
    assert out.count("\nok  ") == 2
    assert "8 ok, 0 ng, 0 errors" in out
    assert [os.path.basename(record["path"]) for record in lines_in(output)][6:] == [
        "00002.png",
        "new.png",
    ]


def test_another_model_or_other_results_are_refused(run, archive, detector_file, tmp_path):
    pictures, output = archive(2), tmp_path / "out"
    assert run("bulk", pictures, "--model", detector_file, "--output", output)[0] == 0
    other = Detector.load(detector_file)
    other.threshold *= 2
    other.save(tmp_path / "other.safetensors")
    given = ("bulk", pictures, "--output", output)
    cases = {
        "model": ("--model", tmp_path / "other.safetensors"),
        "threshold": ("--model", detector_file, "--threshold", 5),
        "csv": ("--model", detector_file, "--csv"),
        "pictures": ("--model", detector_file, "--overlays"),
        "station": ("--model", detector_file, "--station", "press"),
    }
    for word, options in cases.items():
        code, _, err = run(*given, *options)
        assert_one_sentence(code, err, f"were made with {word} ", "choose another --output")
    (output / "bulk.run.json").unlink()
    code, _, err = run(*given, "--model", detector_file)
    assert_one_sentence(code, err, "bulk.run.json does not say")
    assert len(lines_in(output)) == 2


@posix
def test_killed_at_any_moment_every_record_stands_there_once(run, archive, detector_file, tmp_path):
    pictures, output = archive(300), tmp_path / "out"
    database = tmp_path / "parts.sqlite"
    command = (
        *("bulk", pictures, "--model", detector_file, "--output", output, "--csv", "--overlays"),
        *("--database", f"sqlite:///{database}"),
    )
    for lines in (5, 60):
        process = start(*command)
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "resumed: " in out
    assert "\n300 ok, 0 ng, 0 errors;" in out
    assert len(by_path(output)) == 300
    identities = [record["identity"] for record in lines_in(output)]
    assert [row["identity"] for row in rows_in(output)] == identities
    assert sorted(identities_in(database)) == sorted(identities)
    there = (output / "pictures").rglob("*.png")
    assert sorted(path.relative_to(output / "pictures").as_posix() for path in there) == sorted(
        record["overlay"] for record in lines_in(output)
    )


@posix
def test_a_stop_keeps_what_is_in_hand_and_the_same_command_goes_on(
    run, archive, detector_file, tmp_path
):
    pictures, output = archive(1500), tmp_path / "out"
    command = ("bulk", pictures, "--model", detector_file, "--output", output)
    process = start(*command)
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out = process.stdout.read()
    assert process.wait(60) == 130
    done = len(by_path(output))
    assert 20 <= done < 1500
    assert f"{done} ok, 0 ng, 0 errors;" in out
    assert "the same command goes on from here" in out
    for path in sorted(pictures.iterdir())[done + 5 :]:
        path.unlink()
    code, out, _ = run(*command)
    assert (code, out.count("\nok  "), len(by_path(output))) == (0, 5, done + 5)


def test_a_database_that_is_away_is_told_and_gets_its_records_later(
    run, archive, detector_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(archive_module, "_PATIENCE", 1.0)
    pictures, output = archive(5), tmp_path / "out"
    blocked = tmp_path / "there"
    command = (
        *("bulk", pictures, "--model", detector_file, "--output", output),
        *("--database", f"sqlite:///{blocked}/parts.sqlite"),
    )
    code, _, err = run(*command)
    assert_one_sentence(code, err, "database: 5 records wait", "The same command delivers")
    assert len(lines_in(output)) == 5
    blocked.mkdir()
    code, out, _ = run(*command)
    assert (code, out.count("\nok  ")) == (0, 0)
    assert len(identities_in(blocked / "parts.sqlite")) == 5


def test_slips_are_told_in_one_sentence(run, archive, detector_file, tiny_set, tmp_path):
    pictures = archive(1)
    given = ("bulk", pictures, "--model", detector_file, "--output", tmp_path / "out")
    for options, words in (
        (("--workers", 2), ["--workers is 2", "--engine ray"]),
        (("--address", "auto"), ["--address is auto", "--engine ray"]),
        (("--station", "a/b"), ["the station is 'a/b'", "letters, digits"]),
        (("--database", "mysql://x/y"), ["the database is mysql"]),
        (("--max-megapixels", 0), ["--max-megapixels is 0"]),
    ):
        code, _, err = run(*given, *options)
        assert_one_sentence(code, err, *words)
    code, _, err = run("bulk", tmp_path / "nothing", *given[2:])
    assert_one_sentence(code, err, "there is no file or folder", "nothing")
    code, _, err = run("bulk", tmp_path / "*.tiff", *given[2:])
    assert_one_sentence(code, err, "no file fits")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["ray", "sqlalchemy"])
def test_a_missing_library_is_named_with_its_extra(
    run, archive, detector_file, tmp_path, monkeypatch, library
):
    from pyramidflow.line import extras

    usual = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == library else usual(name))
    code, _, err = run(
        *("bulk", archive(1), "--model", detector_file, "--output", tmp_path, "--engine", "ray")
    )
    extra = {"ray": "ray", "sqlalchemy": "line"}[library]
    assert_one_sentence(code, err, library, f"pip install 'pyramidflow[{extra}]'")


def test_history_reads_what_bulk_wrote(run, archive, strict_file, tmp_path):
    assert run("bulk", archive(8), "--model", strict_file, "--output", tmp_path / "out")[0] == 0
    code, out, _ = run("history", "show", tmp_path / "out" / "bulk.sqlite")
    assert code == 0
    assert "bulk" in out
    first = lines_in(tmp_path / "out")[0]
    assert lasting(first)["station"] == "bulk"
