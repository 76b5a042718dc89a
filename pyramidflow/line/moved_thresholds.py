"""Thresholds that a person moved while the line ran, kept beside its store."""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import printable
from pyramidflow.line.frame import now

log = logging.getLogger(__name__)


class MovedThresholds:
    """A JSON file with one entry a station: thresholds, who moved them, when, and from what.

    An entry counts while the station's detector and its thresholds in the configuration are those
    that it was moved from. So the newest word counts, be it said on the page or in the file.

    Args:
        path: of the file; it need not be there.

    Raises:
        InputError: it is there and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changing = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}
        try:
            self._entries = _checked(json.loads(path.read_bytes()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise InputError(
                f"{printable(path)} cannot be read as moved thresholds ({printable(error)}): mend "
                "it, or remove it to use those of the configuration."
            ) from error

    def of(
        self, station: str, detector: str, configured: Mapping[str, float | None]
    ) -> dict[str, float]:
        """The thresholds that a station was given by hand; empty where none count.

        Args:
            station: its name.
            detector: digest of its file.
            configured: its thresholds in the configuration.
        """
        entry = self._entries.get(station)
        if entry is None:
            return {}
        if entry["detector"] != detector or entry["instead_of"] != dict(configured):
            log.warning(
                "%s: thresholds moved by %s at %s count no more: detector or configuration are new",
                station,
                printable(entry["who"]),
                printable(entry["time"]),
            )
            return {}
        return dict(entry["thresholds"])

    def move(
        self,
        station: str,
        detector: str,
        configured: Mapping[str, float | None],
        thresholds: Mapping[str, float],
        who: str,
    ) -> None:
        """Keep a station's new thresholds.

        Args:
            station: its name.
            detector: digest of its file.
            configured: its thresholds in the configuration.
            thresholds: the new ones.
            who: moved them.

        Raises:
            InputError: the file cannot be written; the old ones stay.
        """
        entry = {
            "thresholds": dict(thresholds),
            "who": who,
            "time": now().isoformat(timespec="seconds"),
            "detector": detector,
            "instead_of": dict(configured),
        }
        with self._changing:
            entries = {**self._entries, station: entry}
            text = json.dumps(entries, indent=2, ensure_ascii=True) + "\n"
            write_atomically(self._path, lambda file: file.write(text.encode()))
            self._entries = entries


def _checked(entries: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(entries, dict):
        raise ValueError("an object is expected")
    for name, entry in entries.items():
        kinds = {"thresholds": dict, "who": str, "time": str, "detector": str, "instead_of": dict}
        if not isinstance(entry, dict) or any(
            not isinstance(entry.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError(f"the entry of {name!r} is not complete")
        for key, value in entry["thresholds"].items():
            is_known = key in ("threshold", "review_threshold")
            if not is_known or not isinstance(value, int | float) or not value >= 0:
                raise ValueError(f"{key} of {name!r} is {value!r}")
    return entries
