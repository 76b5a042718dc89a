"""A line with its service, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

for library in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
    pytest.importorskip(library, reason=f"needs {library}, of the extra service")

import httpx

from pyramidflow.io.pictures import png
from pyramidflow.line import Line
from pyramidflow.line.service_settings import ServiceSettings
from pyramidflow.service.server import Service

TOKEN = "a token of the tests, 32 letters"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Served:
    """A running service.

    Attributes:
        url: without a slash at the end.
        client: without a token.
        line: behind it.
    """

    url: str
    client: httpx.Client
    line: Line

    def inspect(self, picture: bytes, **query: Any) -> httpx.Response:
        return self.client.post("/inspect", params=query, content=picture, headers=BEARER)

    def change(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers or BEARER)


def picture(seed: int = 0) -> bytes:
    """A PNG file."""
    return png(np.random.default_rng(seed).integers(60, 160, (24, 24, 3), np.uint8))


def configuration(folder, detector, **station: Any) -> dict[str, Any]:
    return {
        "store": folder / "line.sqlite",
        "stations": [
            {"name": "press", "detector": detector, "source": {"kind": "python"}, **station}
        ],
        "sinks": [{"kind": "pictures", "folder": folder / "pictures", "keep": "all"}],
    }


@contextmanager
def served(given: dict[str, Any], token: str | None = TOKEN, **settings: Any) -> Iterator[Served]:
    """A line that can inspect, and its service, on a free port."""
    with beginning(given, token, **settings) as found:
        assert found.line.wait_until_ready(60)
        yield found


@contextmanager
def beginning(
    given: dict[str, Any], token: str | None = TOKEN, **settings: Any
) -> Iterator[Served]:
    """A line that may still prepare, and its service, on a free port."""
    with pytest.MonkeyPatch.context() as patch:
        if token is not None:
            patch.setenv("PYRAMIDFLOW_TEST_TOKEN", token)
            settings["token_env"] = "PYRAMIDFLOW_TEST_TOKEN"
        line = Line(given)
        service = Service(line, ServiceSettings(**{"port": 0, **settings}))
    with line, service:
        url = service.url.rstrip("/")
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Served(url, client, line)
