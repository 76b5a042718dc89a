"""Verdicts into the registers of a PLC, over Modbus/TCP."""

import struct
from collections.abc import Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.sinks.plc import LONGEST_DELAY, PlcSettings, code_of, is_stale
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway

if TYPE_CHECKING:
    from pymodbus.client import ModbusTcpClient

_WORD: Final = 1 << 16
_SECONDS_BETWEEN_LOOKS: Final = 0.005


class ModbusSettings(PlcSettings):
    """Settings of :class:`ModbusSink`.

    Attributes:
        host: of the PLC.
        port: of the PLC.
        device: number of the unit.
        address: of the first register.
        acknowledge: address of the register that the PLC copies the part counter to.
        acknowledge_seconds: how long it may take.
        little_words: order of the two registers of the score.
        timeout: of a request.
    """

    host: str = Field(description="The PLC's host.")
    port: int = Field(502, ge=1, le=65535, description="The PLC's port.")
    device: int = Field(1, ge=0, le=255, description="Number of the unit behind the address.")
    address: int = Field(
        0,
        ge=0,
        le=65529,
        description="First of six holding registers, counted from 0: part counter, verdict (1 ok, "
        "2 review, 3 ng, 4 not inspected), score (two registers, float32), flags, heartbeat.",
    )
    acknowledge: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Holding register that the PLC copies the part counter to; the next verdict "
        "waits for it. Without it verdicts are written as they come.",
    )
    acknowledge_seconds: float = Field(
        5.0, gt=0, description="How long the PLC may take to acknowledge a verdict."
    )
    little_words: bool = Field(False, description="Write the low register of the score first.")
    timeout: float = Field(2.0, gt=0, description="Seconds that a request may take.")


class ModbusSink(Sink):
    """Writes six registers for each part, in one request.

    ``part counter`` (mod 65536) grows by one with every record, so a PLC sees a new part and one
    that is missing; ``verdict`` is a :class:`~pyramidflow.line.sinks.plc.Code`; ``score`` a float32
    (NaN without one); ``flags`` bit 0: late, bit 1: dropped; ``heartbeat`` grows about every
    second and with every part, while every station that the sink serves runs or prepares. The
    counter starts at 0 with each start of the line.
    """

    Settings = ModbusSettings
    longest_delay = LONGEST_DELAY

    def __init__(self, settings: ModbusSettings) -> None:
        super().__init__(settings)
        need("pymodbus", "modbus", "the sink modbus")
        self._client: ModbusTcpClient | None = None
        self._counter = 0
        self._heartbeat = 0
        self._stale = 0

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write the verdicts, one after the other.

        Raises:
            SinkAway: the PLC cannot be reached, refuses a request or does not acknowledge.
        """
        for done, entry in enumerate(entries):
            counter = (self._counter + 1) % _WORD
            if is_stale(entry, self.settings.stale_seconds):
                self._stale += 1
            else:
                self._tell(entry, counter, done)
            self._counter = counter

    def tick(self) -> None:
        """Write the heartbeat; it stands still while a station of the sink is not at work.

        Raises:
            SinkAway: the PLC cannot be reached or refuses.
        """
        self._write(self.settings.address + 5, [self._next_heartbeat()], 0)

    def status(self) -> dict[str, Any]:
        """The part counter, and how many records were too old to be told."""
        return {"part_counter": self._counter, "stale": self._stale}

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _tell(self, entry: Entry, counter: int, done: int) -> None:
        record = entry.record
        score = record.get("score")
        words = list(
            struct.unpack(">HH", struct.pack(">f", float("nan") if score is None else score))
        )
        flags = int(record["late"]) | int(record["dropped"]) << 1
        values = [
            counter,
            int(code_of(record)),
            *(reversed(words) if self.settings.little_words else words),
            flags,
            self._next_heartbeat(),
        ]
        self._write(self.settings.address, values, done)
        if self.settings.acknowledge is not None:
            self._wait_for_acknowledgement(self.settings.acknowledge, counter, done)

    def _next_heartbeat(self) -> int:
        if self.are_stations_at_work():
            self._heartbeat = (self._heartbeat + 1) % _WORD
        return self._heartbeat

    def _write(self, address: int, values: list[int], done: int) -> None:
        from pymodbus import ModbusException

        client = self._connected(done)
        try:
            answer = client.write_registers(address, values, device_id=self.settings.device)
        except (ModbusException, OSError) as error:
            raise self._gone(f"cannot be written ({error})", done) from error
        if answer.isError():
            raise self._gone(f"refuses registers {address} to {address + len(values) - 1}", done)

    def _wait_for_acknowledgement(self, address: int, counter: int, done: int) -> None:
        from pymodbus import ModbusException

        client = self._connected(done)
        until = monotonic() + self.settings.acknowledge_seconds
        while True:
            try:
                answer = client.read_holding_registers(
                    address, count=1, device_id=self.settings.device
                )
            except (ModbusException, OSError) as error:
                raise self._gone(f"cannot be read ({error})", done) from error
            if answer.isError():
                raise self._gone(f"refuses to read register {address}", done)
            if answer.registers[0] == counter:
                return
            if monotonic() > until:
                raise self._gone(f"does not acknowledge part {counter}", done)
            sleep(_SECONDS_BETWEEN_LOOKS)

    def _connected(self, done: int) -> "ModbusTcpClient":
        if self._client is None:
            from pymodbus.client import ModbusTcpClient

            settings: ModbusSettings = self.settings
            self._client = ModbusTcpClient(
                settings.host, port=settings.port, timeout=settings.timeout, retries=0
            )
        if not self._client.connect():  # type: ignore[no-untyped-call]
            raise self._gone("cannot be reached", done)
        return self._client

    def _gone(self, reason: str, done: int) -> SinkAway:
        self.close()
        place = f"{self.settings.host}:{self.settings.port}"
        return SinkAway(printable(f"the PLC {place} {reason}"), done)
