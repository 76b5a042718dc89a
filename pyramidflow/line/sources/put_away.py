"""Pictures that leave a folder once their records are safe, at once or as soon as it can be."""

import logging
import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from pyramidflow.io.names import printable
from pyramidflow.line.sources.file_identity import changed_and_size

log = logging.getLogger(__name__)

_MOST_FAILURES: Final = 100
"""In one round: an archive that is away fails for every picture."""


class PutAway:
    """Archives or deletes pictures; those that cannot go now are tried again.

    Args:
        folder: that they lie in.
        archive: where they are moved, into a folder for each day; ``None`` deletes them.
    """

    def __init__(self, folder: Path, archive: Path | None) -> None:
        self._folder = folder
        self._archive = archive
        self._left: dict[Path, tuple[int, int]] = {}

    @property
    def left(self) -> int:
        """How many could not go yet."""
        return len(self._left)

    def put(self, path: Path, seen: tuple[int, int]) -> None:
        """Put a picture away, if it is still the one that was seen.

        Args:
            path: the file.
            seen: when it was changed, in nanoseconds since 1970, and its size.
        """
        try:
            if _is_still(path, seen):
                self._move(path)
        except OSError as error:
            if path not in self._left:
                log.warning(
                    "%s could not be put away (%s): it is tried again",
                    printable(path),
                    error.strerror,
                )
            self._left.pop(path, None)  # behind the others
            self._left[path] = seen
        else:
            self._left.pop(path, None)

    def try_again(self) -> None:
        """Put away what could not go before; after many failures the others wait for their turn."""
        failures = 0
        for path, seen in list(self._left.items()):
            self.put(path, seen)
            failures += path in self._left
            if failures == _MOST_FAILURES:
                return

    def _move(self, path: Path) -> None:
        if self._archive is None:
            path.unlink()
            return
        day = datetime.now().astimezone().date().isoformat()
        target = self._archive / day / path.relative_to(self._folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 2
        while target.exists():
            target = target.with_name(f"{path.stem}-{number}{path.suffix}")
            number += 1
        try:
            os.rename(path, target)
        except OSError:  # to another file system
            _copy_and_remove(path, target)


def _is_still(path: Path, seen: tuple[int, int]) -> bool:
    try:
        return changed_and_size(path) == seen
    except FileNotFoundError:
        return False


def _copy_and_remove(path: Path, target: Path) -> None:
    try:
        shutil.copy2(path, target)
        path.unlink()
    except OSError:
        # It is tried again: each time would leave another copy.
        if os.path.lexists(path):
            with suppress(OSError):
                target.unlink()
        raise
