import hashlib
import hmac
import json
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

import pytest
from pydantic import ValidationError

from pyramidflow.line.outbox.outbox import Outbox, Outgoing
from pyramidflow.line.sinks.sink import SinkAway, SinkRefused
from pyramidflow.line.sinks.webhook import WebhookSink
from tests.line.records import entries, eventually, records


class Receiver:
    """A web server that answers as it is told and remembers what it got."""

    def __init__(self):
        self.requests = []
        self.answers = []
        self.headers = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/parts?key=s3cret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def identities(self):
        return [json.loads(body)["identity"] for _, _, body in self.requests]

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    with closing(Receiver()) as made:
        yield made


def webhook(receiver, **settings):
    return WebhookSink(WebhookSink.Settings(url=receiver.url, **settings))


def test_a_request_holds_the_record_and_its_signature(receiver, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("between us\n")
    monkeypatch.setenv("TOKEN", "abc")
    sink = webhook(receiver, secret_file=tmp_path / "secret", token_env="TOKEN")
    given = entries(1, identity="räder/1 a.png")
    sink.deliver(given)
    sink.close()

    [(path, headers, body)] = receiver.requests
    assert path == "/parts?key=s3cret"
    assert json.loads(body) == given[0].record
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "press/r%C3%A4der%2F1%20a.png"
    assert headers["Authorization"] == "Bearer abc"
    stamp = headers["X-Pyramidflow-Timestamp"]
    assert abs(int(stamp) - time()) < 60
    signed = hmac.new(b"between us", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["X-Pyramidflow-Signature"] == f"sha256={signed}"


@pytest.mark.parametrize("answer", [400, 409, 413, 422])
def test_a_record_that_will_never_work_is_refused(receiver, answer):
    receiver.answers = [204, answer]
    with pytest.raises(SinkRefused, match=f"/parts answers {answer}") as refused:
        webhook(receiver).deliver(entries(3))
    assert refused.value.done == 1
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("answer", [301, 401, 403, 404, 408, 429, 500, 503])
def test_what_another_day_can_mend_is_tried_again(receiver, answer):
    receiver.answers = [204, 204, answer]
    receiver.headers = {"Retry-After": "7", "Location": "http://127.0.0.1:1/"}
    with pytest.raises(SinkAway, match=f"answers {answer}") as away:
        webhook(receiver).deliver(entries(3))
    assert (away.value.done, away.value.after) == (2, 7.0)
    assert len(receiver.requests) == 3


def test_a_server_that_is_not_there_is_away_and_no_secret_is_said(receiver):
    sink = webhook(receiver)
    receiver.close()
    with pytest.raises(SinkAway, match=r"/parts cannot be reached \(ConnectError\)") as away:
        sink.deliver(entries(1))
    assert "s3cret" not in str(away.value)


def test_refused_records_are_counted_and_the_others_come_once(receiver, tmp_path, monkeypatch):
    monkeypatch.setattr("pyramidflow.line.outbox.deliverer.FIRST_DELAY", 0.01)
    receiver.answers = [204, 503, 204, 422, 204, 500, 500]
    outbox = Outbox(tmp_path / "line.sqlite", {"webhook": webhook(receiver)})
    outbox.put([Outgoing(item) for item in records(6)])
    outbox.start()
    assert eventually(lambda: outbox.status()["sinks"]["webhook"]["waiting"] == 0)
    status = outbox.status()["sinks"]["webhook"]
    assert (status["refused"], status["delivered"]) == (1, 5)
    outbox.close()
    numbers = [int(identity[:5]) for identity in receiver.identities]
    assert numbers == [0, 1, 1, 2, 3, 4, 4, 4, 5]


@pytest.mark.parametrize("url", ["ftp://host/x", "host/x", "http://", "https://a:b@host/"])
def test_a_url_that_cannot_be_posted_to_is_refused(url):
    with pytest.raises(ValidationError):
        WebhookSink.Settings(url=url)
