"""Results in a folder: a JSONL file, overlays, raw maps."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pyramidflow.detector import Inspection
from pyramidflow.errors import InputError
from pyramidflow.io.files import exclusive, is_full, unwritable
from pyramidflow.io.lines import json_line
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline.drawing import Drawn
from pyramidflow.line.record import Record
from pyramidflow.line.results.earlier import Earlier, clear_earlier, take_up_earlier
from pyramidflow.line.results.made_with import write_made_with
from pyramidflow.line.results.names import (
    PICTURE_FOLDERS,
    PICTURE_SUFFIXES,
    RESULTS_NAME,
    RUN_NAME,
    picture_path,
)

_PICTURE_IN_HAND = ".picture.tmp"


class ResultFolder:
    """A folder of results: ``results.jsonl``, ``overlays/NAME.png``, ``maps/NAME.tiff``.

    The pictures of an image are written first, then its record: a record names no picture that is
    not there. Each record is complete on disk before the next one is begun, so that it stays when
    the process ends early; a line that does not fit on the disk is left out.

    Args:
        folder: where to write.
        lines: the open ``results.jsonl``, without a buffer, at its end.
        kinds: of pictures that are kept of each image: ``"overlay"``, ``"map"``.
        earlier: what was done before this run, where it goes on from there.
    """

    def __init__(
        self, folder: Path, lines: io.FileIO, kinds: Sequence[str], earlier: Earlier
    ) -> None:
        self.kinds = kinds
        self.earlier = earlier
        self._folder = folder
        self._lines = lines
        self._folders_made: set[Path] = set()

    def add(self, frame: Frame, inspection: Inspection, drawn: Drawn) -> InputError | None:
        """Record an inspected image.

        Args:
            frame: the image.
            inspection: what was found.
            drawn: its pictures.

        Returns:
            Why a picture could not be written, ``None`` where all were; the record says so too.

        Raises:
            InputError: the record cannot be written, or the disk is full.
        """
        record = Record.of(frame, inspection.as_dict())
        pictures: dict[str, str] = {}
        error, name = drawn.error, ""
        if drawn.failed is not None:
            name = _picture_name(drawn.failed, frame)
        for kind, data in drawn.pictures.items():
            written = _picture_name(kind, frame)
            try:
                self._put(written, data)
            except Exception as caught:  # whatever it is, the verdict matters more
                error, name = caught, written
                break
            pictures[kind] = written
        if error is None:
            self._write(record.changed(pictures=pictures))
            return None
        problem = _missing_picture(self._folder / name, error)
        self._write(record.changed(pictures=pictures, error=str(problem)))
        if isinstance(error, OSError) and is_full(error):
            raise problem from error
        return problem

    def add_error(self, frame: Frame, error: InputError) -> None:
        """Record an image that could not be inspected.

        Raises:
            InputError: the line cannot be written.
        """
        self._write(Record.of(frame, {}, error=printable(error)))

    def _put(self, name: str, data: bytes) -> None:
        # Renamed, so that a reader never sees a part; not synced: the record is what counts.
        in_hand = self._folder / name.partition("/")[0] / _PICTURE_IN_HAND
        path = picture_path(self._folder, name)
        try:
            if path.parent not in self._folders_made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders_made.add(path.parent)
            in_hand.write_bytes(data)
            in_hand.replace(path)
        except BaseException:
            self._folders_made.clear()  # one of them may have been removed
            with suppress(OSError):
                in_hand.unlink()
            raise

    def _write(self, record: Record) -> None:
        line = memoryview(json_line(record.inspection_fields()))
        start = self._lines.tell()
        try:
            while line:  # a disk that becomes full takes a part first
                line = line[self._lines.write(line) :]
        except OSError as error:
            self._lines.truncate(start)
            raise unwritable(self._folder / RESULTS_NAME, error) from error


def _picture_name(kind: str, frame: Frame) -> str:
    folder = PICTURE_FOLDERS[kind]
    return f"{folder}/{frame.name}{PICTURE_SUFFIXES[folder]}"


def _missing_picture(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError):
        return unwritable(path, error)
    reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return InputError(printable(f"{path} could not be made: {reason}"))


@contextmanager
def open_result_folder(
    folder: Path,
    *,
    kinds: Sequence[str],
    run: Mapping[str, Any] | None = None,
    frames: Iterable[Frame] = (),
) -> Iterator[ResultFolder]:
    """Open a folder for results, removing those of an earlier run.

    Args:
        folder: made where it is missing.
        kinds: see :class:`ResultFolder`.
        run: what the verdicts depend on: model, threshold, settings.
        frames: what is to be inspected; an earlier picture that is among them stays.

    Yields:
        The open folder; no other process can open it meanwhile.

    Raises:
        InputError: the folder cannot be written, another process is writing to it, or a frame is
            its ``results.jsonl``.
    """
    paths = [frame.path for frame in frames if frame.path is not None]
    results = os.path.realpath(folder / RESULTS_NAME)
    if any(path.name == RESULTS_NAME and os.path.realpath(path) == results for path in paths):
        raise InputError(
            f"{printable(results)} is named among the images, and the results would be written "
            "over it: choose another --output."
        )
    with exclusive(folder / RESULTS_NAME, covers=[folder / RUN_NAME]):
        clear_earlier(folder, paths)
        write_made_with(folder / RUN_NAME, run or {})
        with _open_results(folder, "wb") as lines:
            yield ResultFolder(folder, lines, kinds, Earlier())


@contextmanager
def resume_result_folder(
    folder: Path, *, kinds: Sequence[str], run: Mapping[str, Any]
) -> Iterator[ResultFolder]:
    """Open a folder of results to go on where an earlier run stopped.

    Records with an error are removed, so that their images are inspected anew.

    Args:
        folder: made where it is missing; without results in it the run starts anew.
        kinds: see :class:`ResultFolder`.
        run: what the verdicts depend on; must be the earlier run's.

    Yields:
        The open folder, whose ``earlier`` says what is done.

    Raises:
        InputError: as :func:`open_result_folder`, and where the earlier results are damaged or were
            made with something else.
    """
    with exclusive(folder / RESULTS_NAME, covers=[folder / RUN_NAME]):
        earlier = take_up_earlier(folder, run)
        write_made_with(folder / RUN_NAME, run)
        with _open_results(folder, "ab") as lines:
            yield ResultFolder(folder, lines, kinds, earlier)


@contextmanager
def _open_results(folder: Path, mode: Literal["wb", "ab"]) -> Iterator[io.FileIO]:
    try:
        for name in PICTURE_SUFFIXES:
            (folder / name / _PICTURE_IN_HAND).unlink(missing_ok=True)
        lines = (folder / RESULTS_NAME).open(mode, buffering=0)
    except OSError as error:
        raise unwritable(folder, error) from error
    with lines:
        yield lines
        with suppress(OSError):  # not every file system can
            os.fsync(lines.fileno())
