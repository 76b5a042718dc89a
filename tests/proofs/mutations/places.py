"""Places in a source file, found whatever its line breaks are."""

import re


def changed(text: str, old: str, new: str, times: int | None = None) -> str:
    """``text`` with ``new`` wherever ``old`` stands.

    Args:
        text: of the file.
        old: code; white space between its words and signs does not count.
        new: code in its place.
        times: how often ``old`` must stand there; ``None`` is at least once.

    Raises:
        LookupError: it stands there less or more often.
    """
    words = re.findall(r"\w+|[^\w\s]", old)
    text, count = re.subn(r"\s*".join(map(re.escape, words)), lambda _: new, text)
    if count == 0 or times not in (None, count):
        raise LookupError(f"{old!r} stands there {count} times: write this mutant anew")
    return text
