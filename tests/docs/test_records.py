"""The sample of ``docs/line/records.md``: a record as a line writes it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pyramidflow.line import Line
from tests.line.records import eventually
from tests.line.running import records_in
from tests.support.tiny import write_image

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")
pytest.importorskip("sqlalchemy", reason="needs sqlalchemy, of the extra line")
pytest.importorskip("watchfiles", reason="needs watchfiles, of the extra line")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "line" / "records.md"


@pytest.fixture
def written(tmp_path, detector_file):
    """The record of a bad part in a watched folder, with its pictures."""
    write_image(tmp_path / "incoming" / "lid-000231.png", np.random.default_rng(0), defect=True)
    station = {"name": "lid", "detector": detector_file, "threshold": 1e-6}
    source = {"kind": "folder", "path": tmp_path / "incoming"}
    given = {
        "store": tmp_path / "line.sqlite",
        "stations": [{**station, "source": source}],
        "sinks": [
            {"kind": "jsonl", "folder": tmp_path / "records"},
            {"kind": "pictures", "folder": tmp_path / "pictures"},
        ],
    }
    with Line(given) as line:
        assert eventually(lambda: line.status()["stations"]["lid"]["ng"], 60)
    [record] = records_in(tmp_path)
    return record


def test_the_sample_is_as_a_line_writes_it(written):
    [text] = re.findall(r"^```json\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    sample = json.loads(text)
    assert list(sample) == list(written)
    for key in ("times", "queues", "metadata"):
        assert list(sample[key]) == list(written[key]), key
    assert list(sample["regions"][0]) == list(written["regions"][0])
    kinds = {key: type(value) for key, value in written.items()}
    assert {key: type(value) for key, value in sample.items()} == kinds
    assert Path(sample["path"]).is_absolute() == Path(written["path"]).is_absolute()
    name, changed, size = sample["identity"].split(":")
    assert sample["path"].endswith(name)
    assert sample["metadata"]["bytes"] == int(size)
    assert len(changed) == len(written["identity"].split(":")[1])


def test_every_field_is_explained(written):
    table = PAGE.read_text("utf-8").partition("| field |")[2].partition("\n\n")[0]
    explained = set(re.findall(r"`(\w+)`", table))
    assert set(written) <= explained
    assert {*written["times"], *written["queues"]} <= explained
