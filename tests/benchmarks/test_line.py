"""The line's benchmarks and its tests by hand, in small."""

import json

import pytest

from benchmarks.harness.process import ROOT
from benchmarks.line import burst, inspect_speed, kills, newcomer, soak, speed
from benchmarks.line.parts import write_pictures
from tests.line.services import broker_port

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")
pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy, of the extra line")


def test_the_speed_of_the_line_is_written(tmp_path):
    output = tmp_path / "line.md"
    speed.main(["--small", "--rounds", "1", "--threads", "1", "--output", str(output)])
    text = output.read_text()
    assert "| 32×32, PNG |" in text
    assert "p99 / p50" in text


def test_inspect_is_measured_beside_a_former_release(tmp_path):
    output = tmp_path / "inspect.md"
    few = ["--small", "--rounds", "1", "--threads", "1", "--former", str(ROOT)]
    inspect_speed.main([*few, "--former-name", "the same", "--output", str(output)])
    assert "- former: the same, commit" in output.read_text()
    [found] = json.loads(output.with_suffix(".json").read_text())["cases"].values()
    assert found["pictures"] == [4, 8]
    assert found["gain_per_second"] > 0


def test_gains_are_of_what_more_pictures_add():
    run = inspect_speed.Run
    runs = {
        "former": {10: [run(3.0, 2.0)], 30: [run(7.0, 8.0), run(9.0, 9.0), run(6.0, 7.0)]},
        "now": {10: [run(2.0, 2.0)], 30: [run(4.0, 6.0)]},
    }
    found = inspect_speed.compared(runs, 10, 30)
    assert found["former"] == pytest.approx(
        {"per_second": 30 / 7, "marginal_per_second": 5, "processor_ms": 300}
    )
    assert found["gain_per_second"] == pytest.approx(7 / 4)
    assert found["gain_marginal_per_second"] == pytest.approx(2)


def test_releases_that_disagree_about_a_score_are_not_compared(tmp_path, monkeypatch):
    told = iter([[(1.0, "ok")], [(1.5, "ok")]])
    monkeypatch.setattr(inspect_speed, "scores", lambda folder: next(told))
    given = ["--small", "--rounds", "1", "--threads", "1", "--former", str(ROOT)]
    with pytest.raises(ValueError, match="disagree about a score"):
        inspect_speed.main([*given, "--output", str(tmp_path / "inspect.md")])


def test_the_page_for_newcomers_is_walked_to_a_verdict(tmp_path):
    pytest.importorskip("paho", reason="needs paho, of the extra line")
    write_pictures(tmp_path / "good", 32, "PNG", 12)
    output = tmp_path / "newcomer.md"
    with broker_port(tmp_path) as port:
        given = ["--small", "--installed", "--pictures", "12", "--broker", f"127.0.0.1:{port}"]
        newcomer.main([str(tmp_path / "good"), *given, "--output", str(output)])
    steps = json.loads(output.with_suffix(".json").read_text())["cases"]["steps"]
    assert list(steps) == ["train", "check", "ready", "verdict"]
    assert min(steps.values()) > 0


def test_a_short_soak_loses_nothing_and_leaks_nothing(tmp_path):
    found = soak.soak(tmp_path, frames=400, size=32, threads=1, more="")
    assert found["rows"] == found["different"] == 400
    assert found["more_descriptors"] <= 2


def test_a_soak_that_lost_a_frame_or_grew_is_not_passed():
    good = {"rows": 5, "different": 5, "frames": 5, "growth_mb": 1.0, "more_descriptors": 0}
    assert soak.is_passed(good)
    for change in (
        {"rows": 6},
        {"rows": 4, "different": 4},
        {"growth_mb": 6.0},
        {"more_descriptors": 3},
    ):
        assert not soak.is_passed(good | change)


def test_every_part_has_one_row_after_kills(tmp_path):
    output = tmp_path / "kills.md"
    kills.main(["--kills", "2", "--frames", "20", "--threads", "1", "--output", str(output)])
    assert "| SQLite | 40 | 40 | 40 |" in output.read_text()
    [found] = json.loads(output.with_suffix(".json").read_text())["cases"].values()
    assert found["stores"] == {"the line's own store": [40, 40], "SQLite": [40, 40]}


def test_a_part_that_is_missing_ends_the_kills_with_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "killed", lambda folder, options, more: 1)
    with pytest.raises(SystemExit, match="missed, see"):
        kills.main(["--kills", "1", "--output", str(tmp_path / "kills.md")])


def test_useless_files_have_a_record_each_and_the_line_goes_on(tmp_path):
    output = tmp_path / "burst.md"
    burst.main(["--files", "98", "--threads", "1", "--output", str(output)])
    [found] = json.loads(output.with_suffix(".json").read_text())["cases"].values()
    assert found["recorded"] == 98
    assert found["growth_mb"] < burst.MOST_GROWTH
