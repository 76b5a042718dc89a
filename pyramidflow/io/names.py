"""Texts from outside, made safe for terminals and tables."""

import re
import unicodedata
from typing import Final

_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MARKDOWN: Final = re.compile(r"[\\`*~|\[\]$]|(?<![^\W_])_|_(?![^\W_])")


def printable(text: object) -> str:
    r"""Write a text from outside as one line that a terminal shows and does not obey.

    Bytes that are no UTF-8 become ``\xNN``, line breaks ``\n``, other control characters, escape
    sequences and marks that turn the writing direction ``\xNN`` or ``\uNNNN``. All else stays.

    Args:
        text: anything with a string form; a path, an error message.
    """
    return "".join(map(_visible, str(text)))


def markdown_cell(text: object) -> str:
    """Write a text from outside as the content of one cell of a Markdown table.

    Args:
        text: as for :func:`printable`.
    """
    line = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _visible(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    return character.encode("unicode_escape").decode()
