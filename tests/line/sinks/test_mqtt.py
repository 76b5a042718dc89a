import json
import secrets
import subprocess
import threading
from time import sleep

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from pyramidflow.errors import InputError
from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from pyramidflow.line.sinks.mqtt import MqttSink
from pyramidflow.line.sinks.sink import SinkAway
from tests.line.records import entries, eventually, records
from tests.line.services import Broker, broker_port, free_port


class Listener:
    """What a broker sends for a topic."""

    def __init__(self, port, topic, **login):
        self.messages = []
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=secrets.token_hex(8), clean_session=False
        )
        if login:
            self._client.username_pw_set(**login)
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_message = lambda _, __, message: self.messages.append(message)
        self._client.reconnect_delay_set(0.05, 0.2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(10)

    @property
    def records(self):
        return [json.loads(message.payload) for message in self.messages]

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def port(tmp_path):
    with broker_port(tmp_path) as found:
        yield found


@pytest.fixture
def topic():
    return f"test-{secrets.token_hex(6)}"


def mqtt(port, **settings):
    return MqttSink(MqttSink.Settings(host="127.0.0.1", port=port, **settings))


def test_each_record_is_a_message_with_qos_1_and_in_order(port, topic):
    listener = Listener(port, f"{topic}/#")
    sink = mqtt(port, topic=topic)
    sink.deliver(entries(250, station="press/1"))
    assert eventually(lambda: len(listener.messages) >= 251)
    sink.close()
    listener.close()

    found = [message for message in listener.messages if message.topic.endswith("/record")]
    assert {message.topic for message in found} == {f"{topic}/press_1/record"}
    assert {message.qos for message in found} == {1}
    expected = [entry.record for entry in entries(250, station="press/1")]
    assert [json.loads(message.payload) for message in found] == expected


def test_the_status_is_retained_and_the_last_will_says_that_the_line_is_gone(port, topic):
    sink = mqtt(port, topic=topic)
    sink.tick()

    def state():
        """What the broker keeps; nothing where the message came while it was asked for."""
        listener = Listener(port, f"{topic}/status")
        assert eventually(lambda: listener.messages)
        listener.close()
        return listener.records[0]["state"] if listener.messages[0].retain else None

    assert eventually(lambda: state() == "online")
    sink._client._sock.close()  # as when the plug is pulled
    assert eventually(lambda: state() == "offline")
    sink.close()

    sink = mqtt(port, topic=topic)
    sink.tick()
    assert eventually(lambda: state() == "online")
    sink.close()
    assert state() == "offline"
    Listener(port, "none")._client.publish(f"{topic}/status", b"", retain=True)


def test_a_broker_that_is_not_there_is_away():
    port = free_port()
    with pytest.raises(SinkAway, match=f"the broker 127.0.0.1:{port} cannot be reached"):
        mqtt(port).deliver(entries(1))


def test_a_broker_that_stops_and_starts_loses_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(MqttSink, "longest_delay", 0.2)
    broker = Broker(
        tmp_path,
        f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/\nuser root\n",
    )
    broker.start()
    listener = Listener(broker.port, "pyramidflow/press/record")
    outbox = Outbox(tmp_path / "line.sqlite", {"mqtt": mqtt(broker.port)})
    outbox.start()
    for number, item in enumerate(records(900)):
        outbox.put([Outgoing(item)])
        sleep(0.001)
        if number % 300 == 150:
            broker.stop()
        if number % 300 == 200:
            broker.start()
    assert eventually(lambda: outbox.status()["sinks"]["mqtt"]["waiting"] == 0, 60)
    expected = {item.identity for item in records(900)}
    assert eventually(lambda: {item["identity"] for item in listener.records} >= expected)
    outbox.close()
    listener.close()
    broker.stop()


@pytest.fixture
def guarded(tmp_path):
    """A broker with TLS that knows one user."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *subject, *files], check=True, capture_output=True)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "line", "hunter2"], check=True)
    broker = Broker(
        tmp_path,
        f"user root\nallow_anonymous false\npassword_file {passwords}\ncertfile {certificate}\n"
        f"keyfile {key}\n",
    )
    broker.start()
    yield broker, certificate
    broker.stop()


def test_tls_and_a_password_from_a_file(guarded, tmp_path):
    broker, certificate = guarded
    (tmp_path / "password").write_text("hunter2\n")
    login = {"username": "line", "password_file": tmp_path / "password"}
    sink = mqtt(broker.port, tls=True, ca_file=certificate, **login)
    sink.deliver(entries(3))
    sink.close()

    with pytest.raises(SinkAway, match="CERTIFICATE_VERIFY_FAILED"):
        mqtt(broker.port, tls=True, **login).deliver(entries(1))


def test_a_wrong_password_is_said_without_it(guarded, monkeypatch):
    broker, certificate = guarded
    monkeypatch.setenv("BROKER", "wrong-hunter3")
    sink = mqtt(broker.port, tls=True, ca_file=certificate, username="line", password_env="BROKER")
    with pytest.raises(SinkAway, match=r"refuses the connection \(Not authorized\)") as away:
        sink.deliver(entries(1))
    assert "hunter3" not in str(away.value)
    assert "hunter3" not in repr(sink.settings)


def test_a_password_from_nowhere_is_refused_at_the_start():
    sentence = "password_env is NOT_SET_ANYWHERE, but nothing is there: the broker's password"
    with pytest.raises(InputError, match=sentence):
        mqtt(1883, username="line", password_env="NOT_SET_ANYWHERE")


def test_a_topic_with_a_wildcard_is_refused():
    with pytest.raises(ValidationError, match="is no topic to publish to"):
        mqtt(1883, topic="all/#")
