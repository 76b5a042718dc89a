"""Whether an image file is written to its end, seen from its first and last bytes."""

import os
from pathlib import Path
from typing import Final, Literal

Ending = Literal["whole", "cut off", "unknown"]

_HEAD: Final = 32
_TAIL: Final = 64
_PNG_END: Final = b"IEND\xaeB`\x82"


def ending_of(path: Path) -> Ending:
    """Whether a file's format says that its end is there.

    PNG, JPEG and GIF end with a mark; BMP and WebP announce their size. A file of another format
    is ``"unknown"``.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be read.
    """
    size = os.stat(path).st_size
    if size == 0:
        return "cut off"
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _told(_PNG_END in tail)
    if head.startswith(b"\xff\xd8\xff"):
        return _told(b"\xff\xd9" in tail)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _told(tail.endswith(b";"))
    if head.startswith(b"BM"):
        return _told(size >= int.from_bytes(head[2:6], "little"))
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _told(size >= int.from_bytes(head[4:8], "little") + 8)
    return "unknown"


def _told(is_whole: bool) -> Ending:
    return "whole" if is_whole else "cut off"
