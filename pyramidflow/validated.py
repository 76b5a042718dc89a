"""Settings that describe themselves: what each may hold is said once, and checked once.

A group of settings is a frozen dataclass below :class:`Validated` whose fields are made by
:func:`setting`. The command line, Python and the detector file are views of the same fields.
"""

import math
import numbers
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pyramidflow.errors import InputError, shown

KEY = "setting"
"""Of a field's metadata."""

LARGEST_IN_FULL = 1e20
"""Limits from here on are written with an exponent."""


@dataclass(frozen=True)
class Setting:
    """What a field may hold.

    Attributes:
        help: what it does, for the command line and the documentation.
        least: smallest number.
        most: largest number.
        above: number that is not reached itself.
        odd: whether a whole number has to be odd.
        shown_default: what the help says where the default depends on other settings.
        on_command_line: whether commands offer it.
        implied: choices that follow from other settings; commands do not offer them.
        convert: brings a value to the form that the field has, or raises what is wrong with it, as
            the rest of a sentence; the annotation is then not looked at.
        text: how a person writes a value; by default as Python does.
        is_several: whether commands take it several times, and convert a list of texts.
        default: the field's.
    """

    help: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    odd: bool = False
    shown_default: str | None = None
    on_command_line: bool = True
    implied: tuple[str, ...] = ()
    convert: Callable[[Any], Any] | None = None
    text: Callable[[Any], str] = str
    is_several: bool = False
    default: Any = None


def setting(default: Any = MISSING, help: str = "", **limits: Any) -> Any:
    """A dataclass field with its :class:`Setting`.

    Args:
        default: of the field.
        help: what it does.
        limits: the other attributes of :class:`Setting`.
    """
    shown = None if default is MISSING else default
    return field(default=default, metadata={KEY: Setting(help, default=shown, **limits)})


Self = TypeVar("Self", bound="Validated")


@dataclass(frozen=True)
class Validated:
    """A frozen dataclass whose fields are checked when it is made.

    Whole numbers of NumPy become Python's, lists become tuples. Every field is annotated with one
    of: ``int``, ``float``, ``bool``, ``str``, ``Literal``, a tuple of those, or one of them and
    ``None``.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "settings"
    """What the fields are about, for sentences and help."""

    def __post_init__(self) -> None:
        for name, (kind, limits) in described(type(self)).items():
            value = _checked(name, getattr(self, name), kind, limits)
            object.__setattr__(self, name, value)

    def as_dict(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[Self], stored: object) -> Self:
        """Read what :meth:`as_dict` gave.

        A setting that an older version did not know has its default.

        Raises:
            InputError: it is no object, a name is unknown, or a value is refused.
        """
        if not isinstance(stored, Mapping):
            raise InputError(
                f"of the {cls.group} {shown(stored)} is given: an object of names and values is "
                "expected."
            )
        names = described(cls)
        for name in stored:
            if name not in names:
                raise InputError(
                    f"the {cls.group} hold {shown(name)}, which this version does not know: update "
                    "pyramidflow."
                )
        for name in needed_names(cls):
            if name not in stored:
                raise InputError(f"{name} is missing in the {cls.group}: a value is expected.")
        return cls(**stored)


def described(group: type["Validated"]) -> dict[str, tuple[Any, Setting]]:
    """Annotation and :class:`Setting` of each field of a group, by name."""
    if group not in _DESCRIBED:
        hints = get_type_hints(group)
        _DESCRIBED[group] = {
            f.name: (hints[f.name], f.metadata.get(KEY, Setting())) for f in fields(group)
        }
    return _DESCRIBED[group]


def needed_names(group: type["Validated"]) -> list[str]:
    """Names of the fields of a group that have no default."""
    return [f.name for f in fields(group) if f.default is MISSING]


_DESCRIBED: dict[type["Validated"], dict[str, tuple[Any, Setting]]] = {}


def is_optional(kind: Any) -> bool:
    """Whether an annotation allows ``None``."""
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def without_none(kind: Any) -> Any:
    """An annotation's other half, where it allows ``None``."""
    if not is_optional(kind):
        return kind
    (other,) = (part for part in get_args(kind) if part is not type(None))
    return other


def _checked(name: str, value: Any, kind: Any, limits: Setting) -> Any:
    if limits.convert is not None:
        try:
            return limits.convert(value)
        except ValueError as error:
            raise _refused(name, value, str(error)) from error
    if is_optional(kind):
        return None if value is None else _checked(name, value, without_none(kind), limits)
    if get_origin(kind) is tuple:
        return _checked_tuple(name, value, get_args(kind), limits)
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise _refused(name, value, f"choose one of {', '.join(get_args(kind))}")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise _refused(name, value, "a text is expected")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise _refused(name, value, "true or false is expected")
        return value
    return _checked_number(name, value, kind, limits)


def _checked_tuple(name: str, value: Any, kinds: tuple[Any, ...], limits: Setting) -> Any:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise _refused(name, value, "a list is expected")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise _refused(name, value, f"{len(kinds)} values are expected")
    return tuple(_checked(name, v, k, limits) for v, k in zip(value, kinds, strict=True))


def _checked_number(name: str, value: Any, kind: Any, limits: Setting) -> Any:
    wanted = "a whole number" if kind is int else "a number"
    is_right = isinstance(value, numbers.Integral if kind is int else numbers.Real)
    if isinstance(value, bool) or not is_right:
        raise _refused(name, value, f"give {wanted}{_range(limits)}")
    try:
        number = kind(value)
        is_finite = kind is int or math.isfinite(number)  # a whole number may be beyond any float
    except OverflowError as error:
        raise _refused(name, value, f"give {wanted}{_range(limits)}") from error
    if (
        not is_finite
        or (limits.least is not None and number < limits.least)
        or (limits.most is not None and number > limits.most)
        or (limits.above is not None and number <= limits.above)
    ):
        raise _refused(name, value, f"give {wanted}{_range(limits)}")
    if limits.odd and number % 2 == 0:
        raise _refused(name, value, "give an odd number, such as 7")
    return number


def _range(limits: Setting) -> str:
    parts = []
    if limits.least is not None:
        parts.append(f"of at least {_plain(limits.least)}")
    if limits.above is not None:
        parts.append(f"above {_plain(limits.above)}")
    if limits.most is not None:
        parts.append(f"of at most {_plain(limits.most)}")
    return " " + " and ".join(parts) if parts else ""


def _plain(limit: float) -> str:
    """A limit in full, 1000000 and not 1e+06, where people can read it so."""
    is_short = float(limit).is_integer() and abs(limit) < LARGEST_IN_FULL
    return str(int(limit)) if is_short else f"{limit:g}"


def _refused(name: str, value: object, expected: str) -> InputError:
    return InputError(f"{name} is {shown(value)}: {expected}.")
