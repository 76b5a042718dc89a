"""Docstrings as Markdown: roles become code, and marks of literal blocks are taken off."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:mod|class|func|meth|attr|data|exc):`~?([^`]+)`")
LITERAL = re.compile(r":?:$", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites each docstring before it is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """See :class:`griffe.Extension`."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            lines = (line for line in text.split("\n") if line.strip() != "::")
            obj.docstring.value = "\n".join(LITERAL.sub(":", line) for line in lines)
