"""What a PLC sees of a line whose stations end."""

from contextlib import closing
from time import sleep

import numpy as np
import pytest

from pyramidflow.line import Line
from tests.line.plc import Plc
from tests.line.records import eventually

pytest.importorskip("pydantic", reason="needs pydantic, of the extra line")

PICTURE = np.full((24, 24, 3), 100, np.uint8)


def configuration(tmp_path, detector_file, plc, **sink):
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    sources = {"press": {"kind": "python"}, "lathe": {"kind": "video", "path": broken}}
    return {
        "store": tmp_path / "line.sqlite",
        "stations": [
            {"name": name, "detector": detector_file, "source": source}
            for name, source in sources.items()
        ],
        "sinks": [{"kind": "modbus", "host": "127.0.0.1", "port": plc.port, **sink}],
    }


def is_ended(line):
    return line.status()["stations"]["lathe"]["failure"] is not None


def test_the_heart_of_a_plc_stops_when_one_of_its_stations_ends(tmp_path, detector_file):
    with (
        closing(Plc()) as plc,
        Line(configuration(tmp_path, detector_file, plc)) as line,
    ):
        assert eventually(lambda: is_ended(line))
        sleep(0.2)
        last = plc.written[-1][1][-1]
        line.put(PICTURE).result(60)
        count = len(plc.written)
        assert eventually(lambda: len(plc.written) >= count + 2)
        assert {values[-1] for _, values in plc.written[count - 1 :]} == {last}
        assert any(address == 0 for address, _ in plc.written)


def test_a_plc_of_another_station_goes_on(tmp_path, detector_file):
    with (
        closing(Plc()) as plc,
        Line(configuration(tmp_path, detector_file, plc, stations=["press"])) as line,
    ):
        assert eventually(lambda: is_ended(line) and plc.written)
        last = plc.written[-1][1][-1]
        assert eventually(lambda: plc.written[-1][1][-1] >= last + 2)
