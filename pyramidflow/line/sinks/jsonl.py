"""Records as lines of JSON, in files of a folder."""

import json
from collections.abc import Sequence

from pyramidflow.io.lines import json_line
from pyramidflow.line.sinks.rotated import RotatedFile, RotatedSettings
from pyramidflow.line.sinks.sink import Entry, Sink


class JsonlSink(Sink):
    """Writes each record as a line of JSON into ``START-DAY-NUMBER.jsonl``.

    Every record stands there once, also after a crash.
    """

    Settings = RotatedSettings

    def __init__(self, settings: RotatedSettings) -> None:
        super().__init__(settings)
        self._file = RotatedFile(settings, ".jsonl", _key)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Append the records.

        Raises:
            SinkAway: the folder cannot be written.
        """
        self._file.write(entries, [json_line(entry.record) for entry in entries])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _key(line: bytes) -> tuple[str, str] | None:
    try:
        record = json.loads(line)
        return record["station"], record["identity"]
    except (ValueError, KeyError, TypeError):
        return None
