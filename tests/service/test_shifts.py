"""Counts by shift, by the line's own clock."""

from datetime import datetime, timezone

import pytest

from pyramidflow.cli import main
from tests.line.records import record
from tests.service.served import configuration, served

from pyramidflow.line.history.store import Store, sqlite_url  # isort: skip

UTC = timezone.utc


def at(text, number, verdict="ok", **known):
    findings = {"verdict": verdict, "score": 1.0, "threshold": 2.0} if verdict else {}
    return record(number, time=datetime.fromisoformat(text), findings=findings, **known).as_dict()


@pytest.fixture
def berlin(tmp_path, detector_file, monkeypatch):
    given = configuration(tmp_path, detector_file)
    given |= {"timezone": "Europe/Berlin", "shifts": ["06:00", "14:00", "22:00"]}
    now = datetime(2026, 3, 29, 9, tzinfo=UTC)
    monkeypatch.setattr("pyramidflow.service.shifts.now", lambda: now)
    with served(given) as found:
        store = Store.open(sqlite_url(tmp_path / "line.sqlite"), create=True)
        store.add(
            [
                at("2026-03-28T20:59:59+00:00", 1),
                at("2026-03-28T21:00:00+00:00", 2, "ng"),
                at("2026-03-29T03:59:59+00:00", 3),
                at("2026-03-29T03:59:59+00:00", 4, "review"),
                at("2026-03-29T03:59:59+00:00", 5, None),
                at("2026-03-29T04:00:00+00:00", 6, "ng", late=True),
                at("2026-03-29T04:00:00+00:00", 7, None, dropped=True),
                at("2026-03-29T04:00:00+00:00", 8, "ng", station="lathe"),
            ]
        )
        store.close()
        yield found


def test_the_night_in_which_the_clock_is_put_forward_has_seven_hours(berlin):
    query = {"station": "press", "most": 3}
    found = berlin.client.get("/api/shifts", params=query).json()
    assert found["timezone"] == "Europe/Berlin"
    nothing = dict.fromkeys(("ok", "review", "ng", "errors", "dropped", "late"), 0)
    assert found["shifts"] == [
        {
            "start": "2026-03-29T06:00+02:00",
            "end": "2026-03-29T14:00+02:00",
            **nothing,
            "ng": 1,
            "dropped": 1,
            "late": 1,
            "ng_share": 1.0,
        },
        {
            "start": "2026-03-28T22:00+01:00",
            "end": "2026-03-29T06:00+02:00",
            **nothing,
            "ok": 1,
            "review": 1,
            "ng": 1,
            "errors": 1,
            "ng_share": 1 / 3,
        },
        {
            "start": "2026-03-28T14:00+01:00",
            "end": "2026-03-28T22:00+01:00",
            **nothing,
            "ok": 1,
            "ng_share": 0.0,
        },
    ]


def test_a_shift_leads_to_its_parts(berlin):
    found = berlin.client.get("/api/shifts", params={"station": "press", "most": 2}).json()
    shift = found["shifts"][1]
    query = {"station": "press", "since": shift["start"], "until": shift["end"]}
    parts = berlin.client.get("/api/parts", params=query).json()["parts"]
    assert len(parts) == shift["ok"] + shift["review"] + shift["ng"] + shift["errors"]
    page = berlin.client.get("/history", params=query).text
    assert all(part["identity"] in page for part in parts)
    # The form keeps the time, as its fields take it.
    local = datetime.fromisoformat(shift["start"]).astimezone().strftime("%Y-%m-%dT%H:%M")
    assert f'name="since" value="{local}"' in page


def test_other_questions_are_refused(shared):
    assert shared.client.get("/api/shifts", params={"station": "drill"}).status_code == 404
    for most in (0, 101, "x"):
        query = {"station": "press", "most": most}
        assert shared.client.get("/api/shifts", params=query).status_code == 422


def test_the_command_counts_by_the_line_s_shifts(tmp_path, detector_file, capsys):
    store = Store.open(sqlite_url(tmp_path / "line.sqlite"), create=True)
    store.add([at("2026-03-29T00:30:00+00:00", 1), at("2026-03-29T03:29:00+00:00", 2)])
    store.add([at("2026-03-29T03:30:00+00:00", 3)])
    store.close()
    (tmp_path / "line.toml").write_text(
        'shifts = ["05:30", "21:30"]\ntimezone = "Europe/Berlin"\n'
        f'[[stations]]\ndetector = "{detector_file}"\nsource = {{kind = "python"}}\n'
    )
    with pytest.raises(SystemExit):
        main(["history", "show", str(tmp_path / "line.toml"), "--by", "shift"])
    out = capsys.readouterr().out
    rows = [line.split()[:3] for line in out.splitlines() if line.startswith("2026")]
    assert rows == [["2026-03-28", "21:30", "2"], ["2026-03-29", "05:30", "1"]]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("timezone", "Europe/Nowhere", "the time zone is Europe/Nowhere"),
        ("shifts", ["6"], "the shifts are '6'"),
        ("shifts", ["14:00", "06:00"], "the earliest first"),
        ("shifts", [], "the shifts are ''"),
    ],
)
def test_a_clock_that_is_none_is_refused(tmp_path, detector_file, key, value, said):
    from pyramidflow.errors import InputError
    from pyramidflow.line import Line

    with pytest.raises(InputError, match=said):
        Line({**configuration(tmp_path, detector_file), key: value})
