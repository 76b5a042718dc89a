import numpy as np
import pytest
from PIL import Image

from pyramidflow import Detector
from pyramidflow.cli import main
from pyramidflow.cli.from_history import marked_in
from pyramidflow.line.history.store import Store, sqlite_url
from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from tests.line.records import record


def grain(path, seed, spot=False):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(110, 140, (48, 48, 3), dtype=np.uint8)
    if spot:
        pixels[10:30, 10:30] = 250
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "good").mkdir()
    for number in range(8):
        grain(folder / "good" / f"{number}.png", number)
    path = folder / "detector.safetensors"
    detector = Detector(image_size=32, epochs=1)
    detector.fit(folder / "good", show_progress=False, augment="none", validation_share=0.25)
    detector.save(path)
    return path


@pytest.fixture
def history(tmp_path):
    """A store with pictures of ten parts marked good and three marked bad."""
    kept = tmp_path / "kept"
    kept.mkdir()
    outbox = Outbox(tmp_path / "line.sqlite", {})
    for number in range(14):
        is_bad = number >= 10
        grain(kept / f"{number}.png", 100 + number, spot=is_bad)
        outbox.put([Outgoing(record(number, pictures={"image": f"{number}.png"}))])
    outbox.close()
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"))
    for number in range(13):
        store.mark(None, f"{number:05}.png", number < 10, "Ada")
    store.close()
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.mark.filterwarnings("ignore::pyramidflow.errors.CalibrationWarning")
def test_calibrate_takes_the_parts_marked_good_and_says_before_and_after(
    trained, history, tmp_path, capsys
):
    before = Detector.load(trained)
    output = tmp_path / "new.safetensors"
    places = ("--from-history", history / "line.sqlite", "--pictures", history / "kept")
    assert run("calibrate", "--model", trained, *places, "--output", output) == 0
    said = capsys.readouterr()
    assert "10 good, 3 bad, 0 without a picture" in said.err

    after = Detector.load(output)
    expected = Detector.load(trained)
    expected.calibrate([history / "kept" / f"{number}.png" for number in range(10)])
    assert after.threshold == expected.threshold != before.threshold
    facts = dict(line.split("  ", 1) for line in said.out.splitlines())
    assert facts["threshold before"].strip() == f"{before.threshold:.6g}"
    assert facts["threshold after"].strip() == f"{after.threshold:.6g}"
    verdicts = [after.inspect(history / "kept" / f"{number}.png").verdict for number in range(13)]
    assert facts["false rejects after"].strip().startswith(f"{verdicts[:10].count('ng')} of 10, ")
    reviews = verdicts[:10].count("review")
    assert facts["good for review after"].strip().startswith(f"{reviews} of 10, ")
    assert facts["escapes after"].strip().startswith(f"{verdicts[10:].count('ok')} of 3, ")


@pytest.mark.filterwarnings("ignore::pyramidflow.errors.CalibrationWarning")
def test_thresholds_for_other_scores_are_none_before(trained, history, tmp_path, capsys):
    model = tmp_path / "changed.safetensors"
    changed = Detector.load(trained)
    changed.set_verdict(smoothing=1.0)
    changed.save(model)
    places = ("--from-history", history / "line.sqlite", "--pictures", history / "kept")
    assert run("calibrate", "--model", model, *places) == 0
    facts = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert facts["threshold before"].strip() == "none"
    assert "false rejects before" not in facts
    assert facts["threshold after"].strip() == f"{Detector.load(model).threshold:.6g}"


@pytest.mark.filterwarnings("ignore::pyramidflow.errors.CalibrationWarning")
def test_train_adds_two_thirds_of_the_marked_pictures_and_judges_by_the_rest(
    trained, history, tmp_path, capsys
):
    output = tmp_path / "new.safetensors"
    output.write_bytes(trained.read_bytes())
    settings = ("--image-size", 32, "--epochs", 1, "--augment", "none")
    places = ("--add-from-history", history / "line.sqlite", "--pictures", history / "kept")
    code = run("train", trained.parent / "good", "--output", output, *settings, *places)
    said = capsys.readouterr()
    assert code == 0, said.err
    words = next(line for line in said.err.splitlines() if "trained on as well" in line).split()
    taught, judged = int(words[0]), int(words[7])
    assert (taught + judged, taught > judged > 0) == (10, True)
    training = Detector.load(output).described().training
    assert training.images + training.held_out == 8 + taught
    assert f"of {judged}, " in next(
        line for line in said.out.splitlines() if line.startswith("false rejects before")
    )
    assert any(line.startswith("escapes after") for line in said.out.splitlines())


def test_a_history_without_marks_is_a_sentence(trained, tmp_path, capsys):
    Outbox(tmp_path / "line.sqlite", {}).close()
    assert run("calibrate", "--model", trained, "--from-history", tmp_path / "line.sqlite") == 2
    assert "has no picture of a part that was marked good" in capsys.readouterr().err


def test_a_file_that_holds_another_picture_now_is_named_and_left_out(history, tmp_path, capsys):
    written_anew = grain(tmp_path / "capture.png", 1)
    store = Store.open(sqlite_url(history / "line.sqlite"))
    store.add([record(20, path=str(written_anew)).as_dict()])
    store.mark(None, "00020.png", True, "Ada")
    store.close()
    found = marked_in(str(history / "line.sqlite"), [history / "kept"])
    assert len(found.good) == 10
    said = capsys.readouterr().err
    assert f"left out, they hold another picture now: {written_anew}\n" in said
