"""Names and texts from outside, made safe for terminals."""


def printable(text: object) -> str:
    r"""Write a text from outside as one line that a terminal shows and does not obey.

    Args:
        text: anything with a string form.
    """
    line = str(text)
    return line if line.isprintable() else line.encode("unicode_escape").decode()
