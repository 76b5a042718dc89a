import math
import struct
from contextlib import closing

import pytest
from asyncua import ua
from asyncua.sync import Server

from pyramidflow.line.sinks.modbus import ModbusSink
from pyramidflow.line.sinks.opcua import OpcuaSink
from pyramidflow.line.sinks.sink import Entry, SinkAway
from tests.line.plc import Plc
from tests.line.records import record
from tests.line.services import free_port

OK = {"verdict": "ok", "score": 1.5}


def part(number, **parts):
    return Entry(record(number, **{"time": None, **parts}).as_dict())


VERDICTS = [
    ({"findings": OK}, 1),
    ({"findings": {"verdict": "review", "score": 2.5}}, 2),
    ({"findings": {"verdict": "ng", "score": 3.5}}, 3),
    ({"findings": {}, "error": "broken"}, 4),
    ({"findings": {}, "error": "let go", "dropped": True}, 4),
]


def modbus(port, **settings):
    return ModbusSink(ModbusSink.Settings(host="127.0.0.1", port=port, **settings))


def float_of(registers):
    return struct.unpack(">f", struct.pack(">HH", *registers))[0]


@pytest.fixture
def plc():
    with closing(Plc()) as made:
        yield made


@pytest.mark.parametrize(("parts", "code"), VERDICTS)
def test_a_part_is_six_registers_in_one_request(plc, parts, code):
    sink = modbus(plc.port)
    entry = part(1, late=True, **parts)
    sink.deliver([entry])
    sink.close()

    [(address, registers)] = plc.written
    assert address == 0
    assert registers[:2] == [1, code]
    score = entry.record["score"]
    found = float_of(registers[2:4])
    assert math.isnan(found) if score is None else found == score
    assert registers[4] == 1 | 2 * entry.record["dropped"]
    assert registers[5] == 1


def test_the_part_counter_counts_every_part_and_the_heartbeat_beats(plc):
    sink = modbus(plc.port, address=4, little_words=True)
    sink.deliver([part(1), part(2)])
    sink.tick()
    sink.deliver([part(3)])
    sink.close()

    assert [(address, values[0]) for address, values in plc.written] == [
        (4, 1),
        (4, 2),
        (9, 3),
        (4, 3),
    ]
    assert [values[-1] for _, values in plc.written] == [1, 2, 3, 4]
    assert float_of(plc.written[0][1][3:1:-1]) == 1.5


def test_the_heartbeat_stands_still_while_a_station_is_not_at_work(plc):
    sink = modbus(plc.port)
    is_at_work = True
    sink.serve(lambda: is_at_work)
    sink.tick()
    is_at_work = False
    sink.tick()
    sink.deliver([part(1)])
    is_at_work = True
    sink.tick()
    sink.close()
    assert [values[-1] for _, values in plc.written] == [1, 1, 1, 2]
    assert plc.written[2][1][0] == 1


def test_a_verdict_that_comes_too_late_for_its_part_is_counted_and_not_told(plc):
    sink = modbus(plc.port)
    sink.deliver([part(1), Entry(record(2).as_dict()), part(3)])
    assert [values[0] for _, values in plc.written] == [1, 3]
    assert sink.status() == {"part_counter": 3, "stale": 1}
    sink.close()


def test_the_next_verdict_waits_for_the_acknowledgement():
    plc = Plc(acknowledges=True)
    sink = modbus(plc.port, acknowledge=10, acknowledge_seconds=0.2)
    sink.deliver([part(1), part(2)])
    plc.acknowledges = False
    with pytest.raises(SinkAway, match="does not acknowledge part 3") as away:
        sink.deliver([part(3), part(4)])
    assert away.value.done == 0
    plc.acknowledges = True
    sink.deliver([part(3), part(4)])
    assert [values[0] for _, values in plc.written] == [1, 2, 3, 3, 4]
    sink.close()
    plc.close()


def test_a_plc_that_is_not_there_or_has_no_such_registers_is_away(plc):
    with pytest.raises(SinkAway, match="refuses registers 100 to 105"):
        modbus(plc.port, address=100).deliver([part(1)])
    port = free_port()
    with pytest.raises(SinkAway, match=f"the PLC 127.0.0.1:{port} cannot be reached"):
        modbus(port).tick()


class Variables:
    """An OPC UA server with a variable for each value."""

    def __init__(self, port):
        self.url = f"opc.tcp://127.0.0.1:{port}/"
        self._server = Server()
        self._server.set_endpoint(self.url)
        space = self._server.register_namespace("urn:test:line")
        self.nodes = {}
        kinds = {
            "counter": (0, ua.VariantType.UInt32),
            "verdict": (0, ua.VariantType.Int16),
            "score": (0.0, ua.VariantType.Float),
            "identity": ("", ua.VariantType.String),
            "heartbeat": (0, ua.VariantType.UInt16),
        }
        for name, (value, kind) in kinds.items():
            place = ua.NodeId(f"Line.{name}", space)
            node = self._server.nodes.objects.add_variable(place, name, value, kind)
            node.set_writable()
            self.nodes[name] = node
        self.settings = {name: f"ns={space};s=Line.{name}" for name in kinds}
        self._server.start()

    def values(self):
        return {name: node.read_value() for name, node in self.nodes.items()}

    def close(self):
        self._server.stop()


def test_each_value_has_a_node_of_its_own_type():
    server = Variables(free_port())
    sink = OpcuaSink(OpcuaSink.Settings(url=server.url, **server.settings))
    for number, (parts, code) in enumerate(VERDICTS, 1):
        entry = part(number, **parts)
        sink.deliver([entry])
        found = server.values()
        assert (found["counter"], found["verdict"]) == (number, code)
        assert found["identity"] == entry.record["identity"]
        score = entry.record["score"]
        assert math.isnan(found["score"]) if score is None else found["score"] == score
    sink.tick()
    assert server.values()["heartbeat"] == len(VERDICTS) + 1
    sink.serve(lambda: False)
    sink.tick()
    assert server.values()["heartbeat"] == len(VERDICTS) + 1
    sink.deliver([Entry(record(1).as_dict())])
    assert sink.status() == {"part_counter": len(VERDICTS) + 1, "stale": 1}
    sink.close()
    server.close()


def test_an_opcua_server_that_comes_back_is_written_again():
    port = free_port()
    settings = {"url": f"opc.tcp://127.0.0.1:{port}/", "timeout": 1}
    sink = OpcuaSink(OpcuaSink.Settings(verdict="ns=2;s=Line.verdict", **settings))
    with pytest.raises(SinkAway, match=f"opc.tcp://127.0.0.1:{port}/: "):
        sink.deliver([part(1)])
    server = Variables(port)
    sink.deliver([part(1)])
    assert server.values()["verdict"] == 1
    server.close()
    with pytest.raises(SinkAway):
        sink.deliver([part(2)])
    server = Variables(port)
    sink.deliver([part(2, findings={"verdict": "ng", "score": 1.0})])
    assert server.values()["verdict"] == 3
    sink.close()
    server.close()


def test_a_node_that_is_not_there_is_said():
    server = Variables(free_port())
    sink = OpcuaSink(OpcuaSink.Settings(url=server.url, verdict="ns=2;s=Nowhere"))
    with pytest.raises(SinkAway, match="BadNodeIdUnknown"):
        sink.deliver([part(1)])
    server.close()


@pytest.mark.parametrize("kind", [ModbusSink, OpcuaSink])
def test_a_plc_is_asked_again_before_a_part_is_too_old_to_be_told(kind):
    longest = kind.longest_delay + kind.Settings.model_fields["timeout"].default
    assert longest < kind.Settings.model_fields["stale_seconds"].default
