"""Names that are safe on every terminal."""


def printable(text: object) -> str:
    """Return a text on one line, with everything that is not printable escaped visibly.

    Args:
        text: a path, or any text from outside.

    Returns:
        The text without control characters and without bytes that are not UTF-8.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
