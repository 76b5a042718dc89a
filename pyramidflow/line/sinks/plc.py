"""What a PLC is told of a part, whatever the protocol."""

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from pydantic import Field

from pyramidflow.line.frame import now
from pyramidflow.line.sinks.sink import Entry, SinkSettings

LONGEST_DELAY: Final = 2.0
"""Seconds between two tries to reach a PLC: one that is back soon sees verdicts and heartbeat."""


class Code(IntEnum):
    """A verdict as a number; a PLC lets a part pass at :attr:`OK` alone."""

    NONE = 0
    OK = 1
    REVIEW = 2
    NG = 3
    NOT_INSPECTED = 4


class PlcSettings(SinkSettings):
    """Settings of sinks that tell a PLC.

    Attributes:
        stale_seconds: age from which on a record is not told.
    """

    stale_seconds: float = Field(
        10.0,
        gt=0,
        description="A record that is older when its turn comes is not told: its part has long "
        "passed. The part counter counts it all the same, so the PLC sees that one is missing.",
    )


def code_of(record: Mapping[str, Any]) -> Code:
    """The number of a record's verdict; one without a verdict is no good part."""
    verdict = record.get("verdict")
    if verdict is None:
        return Code.NOT_INSPECTED
    return {"ok": Code.OK, "review": Code.REVIEW, "ng": Code.NG}[verdict]


def is_stale(entry: Entry, seconds: float) -> bool:
    """Whether a record is too old to be told; a clock that went back makes none old."""
    time = entry.record["time"]
    return time is not None and (now() - datetime.fromisoformat(time)).total_seconds() > seconds
