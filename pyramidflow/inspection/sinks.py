"""Where the results of an inspection go: a JSONL file, overlays, raw maps."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyramidflow.data import to_uint8
from pyramidflow.detector.findings import Inspection
from pyramidflow.errors import InputError
from pyramidflow.inspection.overlay import overlay
from pyramidflow.inspection.sources import Source
from pyramidflow.io.files import exclusive, write_atomically

RESULTS_NAME = "results.jsonl"


class ResultFolder:
    """A folder of results: ``results.jsonl``, ``overlays/NAME.png``, ``maps/NAME.tiff``.

    Each line of ``results.jsonl`` is complete on disk before the next image is looked at, so that
    nothing is lost when the process ends early; a line that does not fit on the disk is left out.

    Args:
        folder: where to write.
        lines: the open ``results.jsonl``, without a buffer.
        scale: anomaly value at the top of the overlays' colour scale; ``None`` draws no overlays.
        keep_maps: write the raw anomaly maps.
    """

    def __init__(
        self, folder: Path, lines: io.FileIO, scale: float | None, keep_maps: bool
    ) -> None:
        self._folder = folder
        self._lines = lines
        self._scale = scale
        self._keep_maps = keep_maps

    def add(self, source: Source, pixels: npt.NDArray[Any], inspection: Inspection) -> None:
        """Record an inspected image.

        Args:
            source: the image.
            pixels: ``[H, W, 3]``.
            inspection: what was found.

        Raises:
            InputError: a file cannot be written.
        """
        record: dict[str, Any] = {"path": str(source.path), **inspection.as_dict()}
        if self._scale is not None:
            record["overlay"] = f"overlays/{source.name}.png"
        if self._keep_maps:
            record["map"] = f"maps/{source.name}.tiff"
        self._write(record)  # first: the verdict matters more than its pictures
        if self._scale is not None:
            picture = overlay(
                to_uint8(pixels),
                inspection.anomaly_map,
                self._scale,
                inspection.threshold,
                [region.box for region in inspection.regions],
            )
            write_png(self._folder / record["overlay"], picture)
        if self._keep_maps:
            write_float_tiff(self._folder / record["map"], inspection.anomaly_map)

    def add_error(self, source: Source, error: InputError) -> None:
        """Record an image that could not be inspected.

        Raises:
            InputError: the line cannot be written.
        """
        self._write({"path": str(source.path), "error": str(error)})

    def _write(self, record: dict[str, Any]) -> None:
        line = memoryview((json.dumps(record, ensure_ascii=False) + "\n").encode())
        start = self._lines.tell()
        try:
            while line:  # a disk that becomes full takes a part first
                line = line[self._lines.write(line) :]
        except OSError as error:
            self._lines.truncate(start)
            raise _unwritable(self._folder, error) from error


@contextmanager
def open_result_folder(
    folder: Path, *, scale: float | None, keep_maps: bool
) -> Iterator[ResultFolder]:
    """Open a folder for results, replacing the ``results.jsonl`` of an earlier run.

    Args:
        folder: made where it is missing.
        scale: see :class:`ResultFolder`.
        keep_maps: see :class:`ResultFolder`.

    Yields:
        The open folder; no other process can open it meanwhile.

    Raises:
        InputError: the folder cannot be written, or another process is writing to it.
    """
    with exclusive(folder / RESULTS_NAME):
        try:
            lines = (folder / RESULTS_NAME).open("wb", buffering=0)
        except OSError as error:
            raise _unwritable(folder, error) from error
        with lines:
            yield ResultFolder(folder, lines, scale, keep_maps)


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder} cannot be written ({error.strerror}): choose another --output.")


def write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture ``[H, W, 3]`` as PNG, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    write_atomically(path, lambda file: file.write(data.getvalue()))


def write_float_tiff(path: Path, anomaly_map: npt.NDArray[np.float32]) -> None:
    """Write an anomaly map ``[H, W]`` as a float32 TIFF, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    import tifffile

    data = io.BytesIO()
    tifffile.imwrite(data, anomaly_map.astype(np.float32), photometric="minisblack")
    write_atomically(path, lambda file: file.write(data.getvalue()))
