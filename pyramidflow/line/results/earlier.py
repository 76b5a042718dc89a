"""What an earlier inspection left in its folder: to go on from it, or to make room.

``results.jsonl`` is the record of what is done. What its verdicts depend on (model, threshold,
settings) lies beside it in ``results.run.json``, once for the run.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pyramidflow.errors import InputError
from pyramidflow.io.files import unwritable, write_atomically
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame, with_free_names
from pyramidflow.line.results.made_with import check_made_with
from pyramidflow.line.results.names import (
    PICTURE_FOLDERS,
    PICTURE_SUFFIXES,
    RESULTS_NAME,
    RUN_NAME,
    picture_path,
)


@dataclass
class Earlier:
    """What an earlier run has done.

    Attributes:
        images: how often each path was inspected, as it is written in the records.
        verdicts: how often each verdict was given.
        pictures: their names, below their folder.
    """

    images: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    pictures: list[str] = field(default_factory=list)

    def remaining(self, frames: Iterable[Frame], taken: Iterable[str]) -> list[Frame]:
        """Frames that are still to be inspected, with names that spare the earlier pictures.

        Args:
            frames: of the whole run; one that is named twice is inspected twice.
            taken: further pictures that stay, named below their folder.
        """
        done = Counter(self.images)
        left = []
        for frame in frames:
            key = frame.origin
            if done[key]:
                done[key] -= 1
            else:
                left.append(frame)
        return with_free_names(left, [*self.pictures, *taken])


def clear_earlier(folder: Path, keep: Iterable[Path]) -> None:
    """Remove the results of an earlier run: its records, and the pictures that they name.

    Args:
        folder: of the results.
        keep: images that are to be inspected; they stay, wherever they lie.

    Raises:
        InputError: the folder cannot be written.
    """
    results = folder / RESULTS_NAME
    spared = {os.path.realpath(path) for path in keep}
    try:
        # First: without it, nobody takes what is half removed for the results of a run.
        (folder / RUN_NAME).unlink(missing_ok=True)
        for _, record in _whole_records(results):
            _remove_pictures(folder, record or {}, spared)
        if results.exists():
            os.truncate(results, 0)
    except OSError as error:
        raise unwritable(folder, error) from error


def take_up_earlier(folder: Path, run: Mapping[str, Any]) -> Earlier:
    """Make ready to go on: keep the records of images that were inspected, and only those.

    Args:
        folder: of the results.
        run: what the verdicts depend on.

    Returns:
        What is done; nothing where there are no results yet.

    Raises:
        InputError: the results were made with another model or settings, are damaged, or cannot be
            read or written.
    """
    results = folder / RESULTS_NAME
    earlier = Earlier()
    lines = []
    try:
        if not results.exists() or results.stat().st_size == 0:
            return earlier
        ways = ["start without --resume", "choose another --output"]
        check_made_with(folder / RUN_NAME, run, what="results", other_ways=ways)
        for number, (line, record) in enumerate(_whole_records(results), 1):
            if record is None:
                raise InputError(
                    f"line {number} of {printable(results)} is damaged: mend or remove the file, "
                    "or start without --resume."
                )
            if "error" in record:
                _remove_pictures(folder, record, set())
                continue
            lines.append(line)
            earlier.images[record["path"]] += 1
            earlier.verdicts[record["verdict"]] += 1
            earlier.pictures += [name.partition("/")[2] for name in _pictures(record)]
    except OSError as error:
        raise unwritable(results, error) from error
    write_atomically(results, lambda file: file.writelines(lines))
    return earlier


def _whole_records(results: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Lines with what they hold, ``None`` for a damaged one; a last one without end is dropped."""
    if not results.exists():
        return
    with results.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line, _record(line)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        return None
    if "error" not in record and record.get("verdict") not in ("ok", "ng", "review"):
        return None
    return record


def _pictures(record: Mapping[str, Any]) -> list[str]:
    """Names of a record's pictures, if an inspection can have written them there."""
    found = []
    for key, folder in PICTURE_FOLDERS.items():
        name = record.get(key)
        if not isinstance(name, str) or name != printable(name):
            continue
        path = PurePosixPath(name)
        if (
            len(path.parts) > 1
            and path.parts[0] == folder
            and ".." not in path.parts
            and "\\" not in name
            and path.suffix == PICTURE_SUFFIXES[folder]
        ):
            found.append(path.as_posix())
    return found


def _remove_pictures(folder: Path, record: Mapping[str, Any], spared: set[str]) -> None:
    for name in _pictures(record):
        path = picture_path(folder, name)
        if os.path.realpath(path) in spared or path.is_dir():
            continue
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        with suppress(OSError):  # the first folder that is not empty ends it
            for emptied in PurePosixPath(name).parents[:-2]:
                (folder / os.fsdecode(emptied.as_posix().encode())).rmdir()
