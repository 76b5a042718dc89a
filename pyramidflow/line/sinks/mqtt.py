"""Records over MQTT: a message for each record, and whether the line is there."""

import json
import re
import secrets
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field, field_validator

from pyramidflow.io.lines import json_line
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.frame import now
from pyramidflow.line.secrets import secret
from pyramidflow.line.sinks.signing_in import SignInSettings
from pyramidflow.line.sinks.sink import Entry, Sink, SinkAway

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_WILDCARDS: Final = re.compile(r"[+#/\0]")
_SECONDS_TO_CONNECT: Final = 5.0
_KEEPALIVE: Final = 15
_IN_FLIGHT: Final = 100


class MqttSettings(SignInSettings):
    """Settings of :class:`MqttSink`.

    Attributes:
        host: of the broker.
        port: of the broker.
        topic: that topics start with.
        client_id: at the broker.
        tls: whether the connection is encrypted.
        ca_file: certificates that the broker's is checked with.
        certificate_file: of this client.
        key_file: of this client.
        seconds_to_confirm: how long the broker may take.
    """

    host: str = Field("localhost", description="The broker's host.")
    port: int = Field(1883, ge=1, le=65535, description="The broker's port; 8883 with TLS.")
    topic: str = Field(
        "pyramidflow",
        description="Topics start with it: TOPIC/STATION/record for records, TOPIC/status for "
        "whether the line is there.",
    )
    client_id: str | None = Field(
        None, description="Name at the broker, unique there; without it one is made."
    )
    tls: bool = Field(False, description="Encrypt the connection and check the broker.")
    ca_file: Path | None = Field(
        None, description="Certificates to check the broker with; without it the system's."
    )
    certificate_file: Path | None = Field(None, description="This client's certificate.")
    key_file: Path | None = Field(None, description="The key of this client's certificate.")
    seconds_to_confirm: float = Field(
        10.0, gt=0, description="How long the broker may take to confirm what it was sent."
    )

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        if not topic or any(character in topic for character in "+#\0"):
            raise ValueError(f"{topic!r} is no topic to publish to: leave out + and #")
        return topic.rstrip("/")


class MqttSink(Sink):
    """Publishes each record as JSON to ``TOPIC/STATION/record`` with QoS 1.

    A record is delivered when the broker confirms it. Until then it stays in the outbox, so one
    can come twice: the identity tells. ``TOPIC/status`` is retained: ``{"state": "online"}`` or, by
    the last will, ``"offline"``. In a station's name ``/``, ``+`` and ``#`` become ``_``.
    """

    Settings = MqttSettings

    def __init__(self, settings: MqttSettings) -> None:
        super().__init__(settings)
        need("paho", "line", "the sink mqtt")
        self._password = secret("the broker's password", settings, "password")
        self._client: Client | None = None
        self._answered = threading.Event()
        self._refusal: str | None = None

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Publish the records and wait until the broker has them.

        Raises:
            SinkAway: the broker cannot be reached, refuses the client or does not confirm.
        """
        for start in range(0, len(entries), _IN_FLIGHT):
            self._publish(entries[start : start + _IN_FLIGHT], start)

    def tick(self) -> None:
        """Keep the connection, so that the line is seen to be there.

        Raises:
            SinkAway: the broker cannot be reached.
        """
        self._connected()

    def close(self) -> None:
        """Say that the line is no longer there, and disconnect."""
        if self._client is not None:
            client, self._client = self._client, None
            if client.is_connected():
                sent = client.publish(self._status_topic, _status("offline"), qos=1, retain=True)
                sent.wait_for_publish(1.0)
            client.disconnect()
            client.loop_stop()

    def _publish(self, entries: Sequence[Entry], done: int) -> None:
        client = self._connected(done)
        sent = []
        for entry in entries:
            station = _WILDCARDS.sub("_", entry.record["station"]) or "station"
            topic = f"{self.settings.topic}/{station}/record"
            sent.append(client.publish(topic, json_line(entry.record), qos=1))
        for message in sent:
            try:
                message.wait_for_publish(self.settings.seconds_to_confirm)
            except (RuntimeError, ValueError) as error:
                raise self._gone(done, f"lost the connection ({error})") from error
            if not message.is_published():
                raise self._gone(done, "did not confirm a record in time")
            done += 1

    def _connected(self, done: int = 0) -> "Client":
        if self._client is not None and not self._client.is_connected():
            raise self._gone(done, "lost the connection")
        if self._client is None:
            self._client = self._made()
            self._answered.clear()
            self._refusal = None
            try:
                self._client.connect(self.settings.host, self.settings.port, _KEEPALIVE)
            except (OSError, ValueError) as error:
                raise self._gone(done, f"cannot be reached ({error})") from error
            self._client.loop_start()
            if not self._answered.wait(_SECONDS_TO_CONNECT):
                raise self._gone(done, "does not answer")
            if self._refusal is not None:
                raise self._gone(done, f"refuses the connection ({self._refusal})")
        return self._client

    def _made(self) -> "Client":
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        settings: MqttSettings = self.settings
        name = settings.client_id or f"pyramidflow-{socket.gethostname()}-{secrets.token_hex(4)}"
        client = Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        client.connect_timeout = _SECONDS_TO_CONNECT
        client.max_inflight_messages_set(_IN_FLIGHT)
        if settings.username is not None:
            client.username_pw_set(settings.username, self._password)
        if settings.tls:
            client.tls_set(
                ca_certs=_text(settings.ca_file),
                certfile=_text(settings.certificate_file),
                keyfile=_text(settings.key_file),
            )
        client.will_set(self._status_topic, _status("offline"), qos=1, retain=True)
        client.on_connect = self._on_connect
        return client

    def _on_connect(self, client: "Client", _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            client.publish(self._status_topic, _status("online"), qos=1, retain=True)
        self._answered.set()

    def _gone(self, done: int, reason: str) -> SinkAway:
        # A new client: the old one would send its messages again beside the outbox.
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
        place = f"{self.settings.host}:{self.settings.port}"
        return SinkAway(printable(f"the broker {place} {reason}"), done)

    @property
    def _status_topic(self) -> str:
        return f"{self.settings.topic}/status"


def _status(state: str) -> bytes:
    return json.dumps({"state": state, "time": now().isoformat(timespec="seconds")}).encode()


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
