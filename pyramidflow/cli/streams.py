"""Standard output and standard error that do not end the work."""

import errno
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TextIO

# A closed pipe (EINVAL on Windows), a terminal that was closed.
_NOBODY_READS: Final = (errno.EPIPE, errno.EINVAL, errno.EIO)


class _LastingFile(io.RawIOBase):
    """A raw file that takes everything, also after it could not be written."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self._is_gone = False
        self.failure: OSError | None = None

    def write(self, data: Any) -> int | None:
        if not self._is_gone:
            try:
                return self._raw.write(data)
            except OSError as error:
                self._is_gone = True
                if error.errno not in _NOBODY_READS:
                    self.failure = error
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()


@contextmanager
def lasting_streams() -> Iterator[Callable[[], OSError | None]]:
    r"""Keep the work going while the context is open, whatever becomes of what it prints.

    A reader that has gone (``| head -1``) ends the printing alone. Characters that the terminal's
    encoding lacks are written as ``\xNN`` or ``\uNNNN``.

    Yields:
        Tells why standard output could not be written, where somebody will miss it (disk full).
    """
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _lasting(out), _lasting(err)
    try:
        yield partial(_failure, sys.stdout)
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        # The interpreter flushes them at its end, and they hold nothing.
        sys.stdout, sys.stderr = out, err


def _raw_file(stream: TextIO) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # with PYTHONUNBUFFERED there is nothing between


def _lasting(stream: TextIO) -> TextIO:
    raw = _raw_file(stream)
    if not isinstance(raw, io.FileIO):
        return stream  # there is none, or it is a test's
    return io.TextIOWrapper(
        io.BufferedWriter(_LastingFile(raw)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


def _failure(stream: TextIO) -> OSError | None:
    raw = _raw_file(stream)
    if not isinstance(raw, _LastingFile):
        return None
    stream.flush()
    return raw.failure
