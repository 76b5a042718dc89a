"""The sentences of errors: what was given and where, a colon, what is expected and what to do."""

import ast
from collections.abc import Iterator

import pytest

from tests.test_house import SOURCES

SENTENCES = (
    "InputError",
    "CheckpointError",
    "RefusedError",
    "LineStoppedError",
    "StationEndedError",
    "IdentityWaitsError",
)
"""Errors whose text people read."""

NAMES = ("Ray",)
"""Words that a sentence may begin with although they have a capital."""


def text(node: ast.expr) -> str | None:
    """What a literal says, a placeholder as a brace; ``None`` for what is no literal."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{" for part in node.values]
        return "".join(map(str, parts))
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return str(node.value) if is_text else None


def sentences() -> Iterator[tuple[str, str]]:
    """Places and texts of all errors that are written as literals."""
    for module, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            found = text(node.args[0])
            if found is not None and ast.unparse(node.func).endswith(SENTENCES):
                yield f"{module}:{node.lineno}", found


def fault(sentence: str) -> str | None:
    """What is wrong with a sentence's form."""
    given, _, expected = sentence.partition(": ")
    if not given.strip("{ "):  # it is passed on
        return None
    first = given.split()[0]
    if first.istitle() and first.isalpha() and first not in NAMES:
        return "begins with a capital"
    if not expected and not sentence.endswith("{"):  # else the placeholder has the rest
        return "says nothing of what is expected, behind a colon"
    if ";" in given:
        return "has a semicolon before the colon"
    return None if sentence.endswith((".", "{")) else "has no full stop"


def test_errors_say_what_was_given_and_what_is_expected():
    assert {place: wrong for place, found in sentences() if (wrong := fault(found))} == {}


@pytest.mark.parametrize(
    ("sentence", "wrong"),
    [
        ("{ has 2 channels: 16 are expected; train again.", None),
        ("{ {", None),
        ("{ would stay, but {", None),
        ("Ray could not connect to {: see its logs.", None),
        ("AE-SSIM is given { images: give more.", None),
        ("Cannot draw on {: give an image.", "begins with a capital"),
        ("{ is missing.", "says nothing of what is expected, behind a colon"),
        ("{ is missing; so is {: give both.", "has a semicolon before the colon"),
        ("{ is missing: give one", "has no full stop"),
    ],
)
def test_other_forms_are_seen(sentence, wrong):
    assert fault(sentence) == wrong
