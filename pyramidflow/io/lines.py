"""Records as lines of JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# JSON escapes the controls of ASCII alone. Others end a line for some readers, or act on a terminal
# that shows the file: DEL and the C1 controls, line and paragraph separators, marks of direction.
_ACTING: Final = re.compile("[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def json_line(record: Mapping[str, Any]) -> bytes:
    r"""Encode a record as one line of strict JSON in UTF-8, with its line break.

    Characters that a terminal obeys, or that some readers take for the end of a line, are written
    as ``\uNNNN``: reading the line gives them back. So are bytes of a file name that are no UTF-8,
    which :func:`os.fsencode` turns back.

    Args:
        record: JSON values under text keys.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return f"{_ACTING.sub(_escaped, text)}\n".encode(errors="backslashreplace")


def _escaped(character: re.Match[str]) -> str:
    return f"\\u{ord(character[0]):04x}"
