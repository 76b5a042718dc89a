"""Verdicts into the variables of a PLC's server, over OPC UA."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.secrets import secret
from pyramidflow.line.sinks.plc import LONGEST_DELAY, PlcSettings, code_of, is_stale
from pyramidflow.line.sinks.signing_in import SignInSettings
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway

if TYPE_CHECKING:
    from asyncua.sync import Client, SyncNode

_LARGEST_COUNT: Final = 1 << 31


class OpcuaSettings(PlcSettings, SignInSettings):
    """Settings of :class:`OpcuaSink`.

    Attributes:
        url: of the server.
        counter: node that gets the part counter.
        verdict: node that gets the number of the verdict.
        score: node that gets the score.
        identity: node that gets the identity.
        heartbeat: node that grows while the line is there.
        security: policy, mode, certificate and key, as asyncua writes them.
        timeout: of a request.
    """

    url: str = Field(description="The server, opc.tcp://host:4840.")
    verdict: str = Field(
        description="Node for the verdict, as ns=2;s=Line.Verdict: 1 ok, 2 review, 3 ng, 4 not "
        "inspected. Numbers are written in the node's own type."
    )
    counter: str | None = Field(
        None, description="Node for the part counter, written last; the PLC waits for its change."
    )
    score: str | None = Field(None, description="Node for the score.")
    identity: str | None = Field(None, description="Node for the part's identity, a string.")
    heartbeat: str | None = Field(
        None, description="Node that grows about every second and with every part."
    )
    security: str | None = Field(
        None, description="As in Basic256Sha256,SignAndEncrypt,certificate.der,key.pem."
    )
    timeout: float = Field(4.0, gt=0, description="Seconds that a request may take.")


class OpcuaSink(Sink):
    """Writes each part's verdict, and what else has a node, to a server.

    ``verdict`` is a :class:`~pyramidflow.line.sinks.plc.Code`. The part counter is written after
    everything else: a PLC that waits for its change reads values of one part. It starts at 0 with
    each start of the line.
    """

    Settings = OpcuaSettings
    longest_delay = LONGEST_DELAY

    def __init__(self, settings: OpcuaSettings) -> None:
        super().__init__(settings)
        need("asyncua", "opcua", "the sink opcua")
        self._password = secret("the server's password", settings, "password")
        self._client: Client | None = None
        self._nodes: dict[str, tuple[SyncNode, Any]] = {}
        self._counter = 0
        self._heartbeat = 0
        self._stale = 0

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write the parts, one after the other.

        Raises:
            SinkAway: the server cannot be reached, or refuses a value.
        """
        for done, entry in enumerate(entries):
            counter = (self._counter + 1) % _LARGEST_COUNT
            if is_stale(entry, self.settings.stale_seconds):
                self._stale += 1
            else:
                score = entry.record.get("score")
                values = {
                    "verdict": int(code_of(entry.record)),
                    "score": float("nan") if score is None else score,
                    "identity": entry.record["identity"],
                    "heartbeat": self._next_heartbeat(),
                }
                self._write(values, done)
                self._write({"counter": counter}, done)
            self._counter = counter

    def tick(self) -> None:
        """Write the heartbeat; it stands still while a station of the sink is not at work.

        Raises:
            SinkAway: the server cannot be reached, or refuses it.
        """
        self._write({"heartbeat": self._next_heartbeat()}, 0)

    def status(self) -> dict[str, Any]:
        """The part counter, and how many records were too old to be told."""
        return {"part_counter": self._counter, "stale": self._stale}

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        self._nodes = {}
        if client is not None:
            try:
                client.disconnect()
            except Exception:  # the connection is broken: there is nothing to end
                client.tloop.stop()

    def _next_heartbeat(self) -> int:
        if self.are_stations_at_work():
            self._heartbeat = (self._heartbeat + 1) % _LARGEST_COUNT
        return self._heartbeat

    def _write(self, values: dict[str, Any], done: int) -> None:
        from asyncua import ua

        try:
            client = self._connected()
            wanted = [name for name in values if name in self._nodes]
            if wanted:
                nodes = [self._nodes[name][0] for name in wanted]
                variants = [ua.Variant(values[name], self._nodes[name][1]) for name in wanted]
                client.write_values(nodes, [ua.DataValue(variant) for variant in variants])
        except Exception as error:  # the library raises errors of many families
            self.close()
            said = str(error) or type(error).__name__
            raise SinkAway(printable(f"{self.settings.url}: {said}"), done) from error

    def _connected(self) -> "Client":
        if self._client is None:
            from asyncua.sync import Client

            settings: OpcuaSettings = self.settings
            client = Client(settings.url, timeout=settings.timeout)
            self._client = client
            if settings.username is not None:
                client.set_user(settings.username)
                client.set_password(self._password or "")
            if settings.security is not None:
                client.set_security_string(settings.security)
            client.connect()
            for name in ("counter", "verdict", "score", "identity", "heartbeat"):
                place = getattr(settings, name)
                if place is not None:
                    node = client.get_node(place)
                    self._nodes[name] = node, node.read_data_type_as_variant_type()
        return self._client
