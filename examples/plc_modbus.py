"""A line that tells a PLC its verdicts over Modbus/TCP, tried with a simulated PLC.

The simulated PLC is a Modbus server with an ejector: it lets a part pass only where the verdict is
"ok", ejects every other one, and acknowledges each part. Where you have a PLC, keep
:func:`configuration` with its address, and leave the rest to the real one.

Run it: pip install '.[line,modbus]' in the checkout, then python examples/plc_modbus.py
"""

import asyncio
import struct
import tempfile
import threading
from pathlib import Path

import numpy as np
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from pyramidflow import Detector
from pyramidflow.line.line import Line

OK = 1
VERDICTS = {1: "ok", 2: "review", 3: "ng", 4: "not inspected"}
WRITE_REGISTERS = 16
ACKNOWLEDGE = 10


class SimulatedPlc:
    """A PLC with an ejector.

    Attributes:
        ejected: for each part in order, whether it was ejected.
    """

    def __init__(self, port: int) -> None:
        self.ejected: list[bool] = []
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._started(), self._loop).result(10)

    async def _started(self) -> ModbusTcpServer:
        registers = SimData(0, values=[0] * 16, datatype=DataType.REGISTERS)
        device = SimDevice(1, simdata=[registers], action=self._on_request)
        server = ModbusTcpServer(device, address=("127.0.0.1", self._port))
        await server.serve_forever(background=True)
        return server

    async def _on_request(self, function, start, address, count, registers, values):
        """A program of a PLC would do this when the part counter changes."""
        if function != WRITE_REGISTERS or address != 0:
            return
        counter, verdict, high, low, _flags, _heartbeat = values
        [score] = struct.unpack(">f", struct.pack(">HH", high, low))
        is_ejected = verdict != OK
        self.ejected.append(is_ejected)
        action = "ejects" if is_ejected else "lets pass"
        print(f"PLC: part {counter} is {VERDICTS[verdict]}, score {score:.3g}: {action}")
        registers[ACKNOWLEDGE] = counter

    def close(self) -> None:
        """Stop serving."""
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def configuration(folder: Path, detector: Path, port: int) -> dict[str, object]:
    """A line with one station, fed from Python, and one PLC."""
    return {
        "store": str(folder / "line.sqlite"),
        "stations": [{"name": "press", "detector": str(detector), "source": {"kind": "python"}}],
        "sinks": [
            {
                "kind": "modbus",
                "host": "127.0.0.1",
                "port": port,
                "acknowledge": ACKNOWLEDGE,
            }
        ],
    }


def picture_of_a_part(number: int, has_hole: bool) -> np.ndarray:
    """A grainy grey part; a bright hole where it is defective."""
    pixels = np.random.default_rng(number).integers(112, 144, (64, 64, 3), dtype=np.uint8)
    if has_hole:
        pixels[20:36, 24:40] = 255
    return pixels


def trained_detector(path: Path) -> Path:
    """A small detector, trained from good parts alone in a few seconds."""
    from PIL import Image

    good = path.parent / "good"
    good.mkdir()
    for number in range(24):
        Image.fromarray(picture_of_a_part(number, has_hole=False)).save(good / f"{number}.png")
    detector = Detector(image_size=64, epochs=1)
    detector.fit(good, show_progress=False, augment="none", validation_share=0.4)
    detector.threshold = 1.2 * detector.threshold  # few parts were seen: leave some room
    detector.save(path)
    return path


def main(port: int = 15020) -> list[bool]:
    """Run twelve parts, three of them defective, past the PLC; says which were ejected."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector = trained_detector(folder / "part.safetensors")
        plc = SimulatedPlc(port)
        with Line(configuration(folder, detector, port)) as line:
            for number in range(12):
                has_hole = number % 4 == 3
                line.put(picture_of_a_part(1000 + number, has_hole), identity=f"part {number}")
        plc.close()
    return plc.ejected


if __name__ == "__main__":
    main()
