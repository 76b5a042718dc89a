"""Libraries of an extra: what needs one says how to install it."""

from importlib.util import find_spec

from pyramidflow.errors import InputError


def need(library: str, extra: str, what: str) -> None:
    """Refuse to go on without a library that an extra installs.

    Args:
        library: its module.
        extra: of this package.
        what: needs it, as in ``"the sink webhook"``.

    Raises:
        InputError: it is not installed.
    """
    if find_spec(library) is None:
        raise InputError(
            f"{what} needs {library}, which is not installed: pip install 'pyramidflow[{extra}]'."
        )
