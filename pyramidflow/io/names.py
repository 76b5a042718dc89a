"""Names and texts from outside, made safe for terminals, tables and every file system."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

LONGEST_COMPONENT: Final = 200
"""Bytes of UTF-8 in a part of an output name: a number and a suffix still fit into 255."""

_JOINERS: Final = "\u200c\u200d"  # Persian words and emoji are written with them
_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RAW_BYTES: Final = re.compile("[\udc80-\udcff]+")
_MARKDOWN: Final = re.compile(r"[\\`*~|\[\]$]|(?<![^\W_])_|_(?![^\W_])")
_REFUSED: Final = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])", re.I)


def printable(text: object) -> str:
    r"""Write a text from outside as one line that a terminal shows and does not obey.

    Bytes that are no UTF-8 become ``\xNN``, line breaks ``\n``, other control characters, escape
    sequences and marks that turn the writing direction ``\xNN`` or ``\uNNNN``. All else stays.

    Args:
        text: anything with a string form; a path, an error message.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(map(_visible, readable_bytes(line)))


def readable_bytes(text: str) -> str:
    r"""Replace the bytes of a file name that Python could not decode, so that UTF-8 can hold it.

    Bytes that are UTF-8 after all (the locale says another encoding) become their characters,
    others ``\xNN``.

    Args:
        text: with lone surrogates, as :func:`os.fsdecode` makes them, or without.
    """
    decoded = _RAW_BYTES.sub(
        lambda raw: bytes(ord(byte) - 0xDC00 for byte in raw[0]).decode(errors="backslashreplace"),
        text,
    )
    return decoded.encode(errors="backslashreplace").decode()


def markdown_cell(text: object) -> str:
    """Write a text from outside as the content of one cell of a Markdown table.

    Args:
        text: as for :func:`printable`.
    """
    line = _MARKDOWN.sub(r"\\\g<0>", printable(text))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def user_path(path: str | os.PathLike[str]) -> Path:
    """Make a path of what a user wrote, with ``~`` as the home folder.

    Args:
        path: the text; where there is no such home it stays as it is.
    """
    # Not Path.expanduser: it raises for a file that is called ~name.
    return Path(os.path.expanduser(path))


def _visible(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Zl", "Zp"):
        return character
    if character.isascii():
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()


class OutputNames:
    """Names for the files of a run: valid on every file system, and no two alike.

    Two names are alike where a file system that does not tell cases or Unicode forms apart would
    take them for one. A name never stands for a file and for the folder of another.

    Args:
        suffixes: what may be written behind a name.
        taken: files that exist already and are to be kept, with their suffix, written with ``/``.
    """

    def __init__(self, suffixes: Iterable[str], taken: Iterable[str] = ()) -> None:
        self._suffixes = tuple(suffixes)
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._next: dict[str, int] = {}
        for file in taken:
            self._take(file)

    def claim(self, wanted: str) -> str:
        """Choose a name that is near a wanted one, and keep it from others.

        Args:
            wanted: without suffix; ``/`` parts folders.

        Returns:
            The name, in characters that UTF-8 can hold.
        """
        *folders, leaf = (safe_component(part) for part in wanted.split("/"))
        parent = ""
        for folder in folders:
            parent = self._numbered(parent + folder, self._is_free_for_a_folder) + "/"
        chosen = self._numbered(parent + leaf, self._is_free_for_files)
        for suffix in self._suffixes:
            self._take(chosen + suffix)
        return chosen

    def _numbered(self, first: str, is_free: Callable[[str], bool]) -> str:
        if is_free(first):
            return first
        key = _key(first)
        number = self._next.get(key, 2)
        while not is_free(f"{first}-{number}"):
            number += 1
        self._next[key] = number
        return f"{first}-{number}"

    def _is_free_for_a_folder(self, path: str) -> bool:
        return _key(path) not in self._files

    def _is_free_for_files(self, path: str) -> bool:
        keys = [_key(path + suffix) for suffix in self._suffixes]
        return self._files.isdisjoint(keys) and self._folders.isdisjoint(keys)

    def _take(self, file: str) -> None:
        key = _key(file)
        self._files.add(key)
        while "/" in key:
            key = key.rpartition("/")[0]
            self._folders.add(key)


def safe_component(part: str) -> str:
    """Make a part of a path that every file system takes: a file's or a folder's name.

    Characters that Windows and SMB refuse become ``_``, as does a dot or space at the end; names of
    devices (``CON``, ``nul``) get ``_`` before them; what is longer than
    :data:`LONGEST_COMPONENT` bytes is cut.

    Args:
        part: the name, without ``/``.
    """
    name = _REFUSED.sub("_", unicodedata.normalize("NFC", readable_bytes(part)))
    name = "".join(map(_kept, name))
    if len(name.encode()) > LONGEST_COMPONENT:
        name = name.encode()[:LONGEST_COMPONENT].decode(errors="ignore")
    if not name or name[-1] in ". ":
        name = name[:-1] + "_"
    if _RESERVED.fullmatch(name.split(".")[0].rstrip()):
        name = f"_{name}"
    return name


def _kept(character: str) -> str:
    return character if character == " " or _visible(character) == character else "_"


def _key(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
