"""A whole line: a watched folder, a broker, a database and pictures, all real."""

import json
import secrets
import threading

import numpy as np
import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from pyramidflow.line import Line
from pyramidflow.line.history.store import Store, sqlite_url
from tests.line.records import eventually
from tests.line.services import broker_port, postgres_url
from tests.support.tiny import write_image

COUNT = 40


def listener(port, topic, messages):
    client = Client(CallbackAPIVersion.VERSION2, client_id=secrets.token_hex(8))
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_message = lambda _, __, message: messages.append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(10)
    return client


def test_every_picture_of_a_folder_reaches_every_sink_once(tmp_path, detector_file):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for number in range(COUNT // 2):
        write_image(incoming / f"{number:03}.png", np.random.default_rng(number))
    (incoming / "broken.png").write_bytes(b"no picture")
    topic = f"test-{secrets.token_hex(6)}"
    messages = []
    with broker_port(tmp_path) as port, postgres_url() as url:
        client = listener(port, f"{topic}/press/record", messages)
        settings = {
            "store": tmp_path / "line.sqlite",
            "stations": [
                {
                    "name": "press",
                    "detector": detector_file,
                    "source": {"kind": "folder", "path": incoming, "patience_seconds": 0.5},
                }
            ],
            "sinks": [
                {"kind": "database", "url": url},
                {"kind": "mqtt", "host": "127.0.0.1", "port": port, "topic": topic},
                {"kind": "pictures", "folder": tmp_path / "kept", "keep": "all"},
            ],
        }
        with Line(settings):
            for number in range(COUNT // 2, COUNT):
                write_image(incoming / f"{number:03}.png", np.random.default_rng(number))
            assert eventually(lambda: len(messages) >= COUNT + 1, 120)
        client.disconnect()
        client.loop_stop()

        store = Store.open(sqlite_url(tmp_path / "line.sqlite"))
        kept = [part.record for part in store.parts()]
        store.close()
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT record FROM parts ORDER BY id").fetchall()
    assert [record for [record] in rows] == messages == kept
    names = sorted(record["path"].rpartition("/")[2] for record in kept)
    assert names == sorted([*(f"{number:03}.png" for number in range(COUNT)), "broken.png"])
    for record in kept:
        if record["path"].endswith("broken.png"):
            assert (record["verdict"], bool(record["error"])) == (None, True)
        else:
            source = incoming / record["path"].rpartition("/")[2]
            assert (tmp_path / "kept" / record["image"]).read_bytes() == source.read_bytes()
            assert (tmp_path / "kept" / record["overlay"]).stat().st_size > 0
