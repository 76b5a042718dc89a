"""What the files of a folder offer, so that adding one edits no list elsewhere."""

import pkgutil
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def offered(package: str, kind: type[T]) -> tuple[T, ...]:
    """Objects of a kind that the modules of a package hold under a public name.

    Args:
        package: its full name; its modules are imported, those of packages below it are not.
        kind: what to look for.

    Returns:
        Each object once, by the names of the modules and then by those of the objects.
    """
    found: dict[int, T] = {}
    path = import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(path)):
        module = import_module(f"{package}.{name}")
        for held in sorted(vars(module)):
            value = getattr(module, held)
            if isinstance(value, kind) and not held.startswith("_"):
                found.setdefault(id(value), value)
    return tuple(found.values())
