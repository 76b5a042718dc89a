"""A simulated PLC."""

import asyncio
import threading

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.line.services import free_port


class Plc:
    """A Modbus server with twenty registers; ``acknowledges`` copies the part counter to the tenth.

    ``written`` holds the registers after each write request.
    """

    def __init__(self, acknowledges=False):
        self.port = free_port()
        self.written = []
        self.acknowledges = acknowledges
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    async def _start(self):
        async def act(function, start, address, count, registers, values):
            if function == 16:
                self.written.append((address, list(values)))
                if self.acknowledges and address == 0:
                    registers[10] = values[0]

        registers = SimData(0, values=[0] * 20, datatype=DataType.REGISTERS)
        server = ModbusTcpServer(
            SimDevice(1, simdata=[registers], action=act), address=("127.0.0.1", self.port)
        )
        await server.serve_forever(background=True)
        return server

    def close(self):
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
