"""Slips of the hand on the command line: what is typed wrong is said in one sentence."""

import json

import pytest

from tests.support.command_line import assert_one_sentence

BY_HAND = ("--model", "MODEL", "--output", "m.safetensors", "--threshold", 1)
OUT = ("--model", "MODEL", "--output", "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ["DATA", "pyramidflow train --help"]),
        (["nonsense"], ["nonsense", "pyramidflow --help"]),
        (["inspect", "--modell", "x"], ["--modell", "pyramidflow inspect --help"]),
        (["inspect", "--threads", "two"], ["--threads two", "integer"]),
        (["inspect", "--threads=0"], ["--threads=0", "1"]),
        (["inspect", "--precision", "fp\x1b[31m16"], [r"fp\x1b[31m16", "bfloat16"]),
        (["train", "x", "--betas", "0.5", "half"], ["--betas 0.5 half", "number"]),
        (["train", "x", "--without", "levels"], ["levels", "volume-norm"]),
        (["demo", "--images", "0"], ["--images 0", "4"]),
        (["info", "a", "b"], ["(b)", "pyramidflow info --help"]),
    ],
)
def test_a_usage_error_is_one_sentence_that_repeats_what_was_given(run, arguments, words):
    code, out, err = run(*arguments)
    assert_one_sentence(code, err, *words)
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["inspect", "", "--model", "m.safetensors", "--output", "o"], "argument 2"),
        (["inspect", "x.png", "--model", "m.safetensors", "--output="], "--output"),
        (["train", "x", "--output", "", "--resume"], "argument 4"),
    ],
)
def test_an_empty_argument_is_not_the_current_folder(run, tmp_path, monkeypatch, arguments, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert_one_sentence(code, err, f"{name} is empty")
    assert not list(tmp_path.iterdir())


def test_a_command_without_anything_shows_its_help(run):
    code, out, err = run()
    assert (code, err) == (2, "")
    assert "inspect" in out


@pytest.mark.parametrize("megapixels", ["nan", "inf", "0", "-1", "1e30"])
def test_a_number_of_megapixels_that_no_picture_has_is_refused(
    run, tiny_set, tiny_detector_file, tmp_path, megapixels
):
    code, _, err = run(
        *("inspect", tiny_set / "test", "--model", tiny_detector_file),
        *("--output", tmp_path / "out", "--max-megapixels", megapixels),
    )
    assert_one_sentence(code, err, "--max-megapixels is", "at least 0.000001")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "MODEL", "--threads", 2], ["--threads is 2", "--plan"]),
        (["info", "MODEL", "--memory-budget", 900], ["--memory-budget is 900", "--plan"]),
        (["info", "MODEL", "--precision", "float32"], ["--precision is float32", "--plan"]),
        (["info", "MODEL", "--plan", "--json"], ["--plan and --json"]),
        (["calibrate", *BY_HAND, "--target-false-reject-rate", 0.01], ["rate is 0.01", "good"]),
        (["calibrate", *BY_HAND, "--target-review-rate", 0.1], ["rate is 0.1", "good images"]),
        (["calibrate", *BY_HAND, "--precision", "float32"], ["--precision is", "good images"]),
        (["calibrate", *BY_HAND, "--max-megapixels", 9], ["--max-megapixels is", "good images"]),
        (["calibrate", *BY_HAND, "--pictures", "p"], ["--pictures is p", "--from-history"]),
        (["train", "DATA", "--output", "m.safetensors", "--pictures", "p"], ["--add-from-history"]),
        (["bulk", "DATA", *OUT, "--pictures-of", "all"], ["--pictures-of is all", "--overlays"]),
        (["bulk", "DATA", *OUT, "--address", "auto"], ["--address is auto", "--engine ray"]),
        (["history", "show", "--shifts", "06:00"], ["--shifts is 06:00", "--by shift"]),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    run, tiny_set, tiny_detector_file, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    places = {"MODEL": tiny_detector_file, "DATA": tiny_set}
    code, _, err = run(*(places.get(word, word) for word in arguments))
    assert_one_sentence(code, err, *words)


def test_a_calibration_is_not_written_over_an_image(run, tiny_set, tiny_detector_file, tmp_path):
    image = tmp_path / "000.png"
    image.write_bytes((tiny_set / "test" / "good" / "000.png").read_bytes())
    before = image.read_bytes()
    model = ("--model", tiny_detector_file)
    code, _, err = run("calibrate", tmp_path, *model, "--output", image)
    assert_one_sentence(code, err, "000.png", ".safetensors")
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["000.png"]


def test_a_memory_budget_that_is_too_small_says_which_would_do(
    run, tiny_set, tiny_detector_file, tmp_path
):
    arguments = ("inspect", tiny_set / "test", "--model", tiny_detector_file)
    output = ("--output", tmp_path / "out")
    code, _, err = run(*arguments, *output, "--memory-budget", "1")
    assert_one_sentence(code, err, "the memory budget is 1 MB", "needs at least")
    needed = int(err.partition("needs at least ")[2].split()[0])
    code, _, _ = run(*arguments, *output, "--no-overlays", "--memory-budget", needed + 50)
    assert code == 0


def test_a_name_with_a_line_separator_stays_one_record(run, tiny_set, tiny_detector_file, tmp_path):
    data = (tiny_set / "test" / "good" / "000.png").read_bytes()
    names = ["a\u2028b.png", "c\x85d.png", "e\x9b31mf.png", "g\u202eh.png"]
    for name in names:
        (tmp_path / name).write_bytes(data)
    output = tmp_path / "out"
    code, _, _ = run("inspect", tmp_path, "--model", tiny_detector_file, "--output", output)
    assert code == 0
    text = (output / "results.jsonl").read_text(encoding="utf-8")
    assert all(line.isprintable() for line in text.split("\n"))
    records = [json.loads(line) for line in text.splitlines()]
    assert sorted(record["path"] for record in records) == sorted(
        str(tmp_path / name) for name in names
    )


def test_the_plan_tells_the_whole_way_of_an_image(run, tiny_detector_file):
    code, out, _ = run("info", tiny_detector_file, "--plan")
    assert code == 0
    last = out.partition("From a PNG file of 32×32")[2].splitlines()[1:]
    assert [line.split()[0] for line in last] == ["reading", "resizing", "inspecting", "in"]
    times = [float(line.split()[-2]) for line in last]
    assert all(milliseconds > 0 for milliseconds in times)
    assert times[-1] == pytest.approx(sum(times[:-1]), abs=0.02)


def test_info_says_what_an_open_setting_means(run, tiny_detector_file):
    _, out, _ = run("info", tiny_detector_file)
    assert "region of interest the whole image" in out
    assert "white level 65535" in out
