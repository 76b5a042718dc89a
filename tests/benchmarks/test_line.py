"""The line's benchmarks and its tests by hand, in small."""

from argparse import Namespace

import pytest

from benchmarks.line import burst, kills, soak, speed

pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")
pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy, of the extra line")


def test_the_speed_of_the_line_is_written(tmp_path):
    output = tmp_path / "line.md"
    speed.main(["--small", "--rounds", "1", "--threads", "1", "--output", str(output)])
    text = output.read_text()
    assert "| 32×32, PNG |" in text
    assert "p99 / p50" in text


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
    options = {"kills": 2, "frames": 20, "threads": 1, "seed": 0}
    services = dict.fromkeys(("stop", "start", "database"))
    put = kills.killed(tmp_path, Namespace(**options, **services), more="")
    from benchmarks.line.running import parts_in

    assert put == 40
    assert parts_in(tmp_path / "line.sqlite") == (40, 40)
    assert parts_in(tmp_path / "parts.sqlite") == (40, 40)


def test_useless_files_have_a_record_each_and_the_line_goes_on(tmp_path):
    recorded, growth = burst.burst(tmp_path, files=98, threads=1)
    assert recorded == 98
    assert growth < burst.MOST_GROWTH
