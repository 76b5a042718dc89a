"""The one configuration of a line: read, checked, and refused by the name of the key."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from pyramidflow.errors import InputError, shown
from pyramidflow.io.names import printable, user_path
from pyramidflow.line.history.periods import USUAL_SHIFTS, parsed_shifts, zone_of
from pyramidflow.line.outbox.outbox import Limits
from pyramidflow.line.registry import settings_of, sink_kinds, source_kinds
from pyramidflow.line.service_settings import ServiceSettings
from pyramidflow.line.sinks.pictures import PicturesSettings
from pyramidflow.line.sinks.sink import SinkSettings
from pyramidflow.line.sources.source import SourceSettings

THRESHOLDS = ("threshold", "review_threshold", "pixel_threshold")

STATION_NAME = r"^[\w-]{1,64}$"
"""What a station may be called."""

MOST_SAID = 5
"""Faults of a configuration that its sentence names."""

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class StationSettings(BaseModel):
    """One station: where its parts come from, and what inspects them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "line", pattern=STATION_NAME, description="Name in the records; letters, digits, -, _."
    )
    detector: Path = Field(description="Detector file (.safetensors), trained and calibrated.")
    threshold: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Largest score that is not ng, in place of the calibrated one.",
    )
    review_threshold: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Largest score that is ok, likewise; parts between the two are for review.",
    )
    pixel_threshold: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Map value above which a pixel belongs to a region, likewise.",
    )
    device: str = Field("auto", description="cpu, cuda, cuda:1, …; auto takes CUDA where it is.")
    threads: int | None = Field(None, ge=1, le=1024, description="Of an inspection on the CPU.")
    precision: Literal["half", "bfloat16", "tf32", "float32"] | None = Field(
        None, description="Of the arithmetic; the device's own where it is left out."
    )
    max_megapixels: float = Field(
        178, ge=1e-6, le=1e6, description="Largest picture that is decoded."
    )
    waiting: int = Field(8, ge=1, le=1000, description="Most parts that wait before each stage.")
    when_full: Literal["block", "drop-oldest"] = Field(
        "block",
        description="Where parts come faster than they can be inspected: hold the source up, or "
        "let the oldest go, with a record that says so.",
    )
    deadline_ms: float | None = Field(
        None,
        gt=0,
        description="From the picture's arrival to its verdict; parts that take longer are marked.",
    )
    source: SourceSettings

    @property
    def thresholds(self) -> dict[str, float | None]:
        """Those that are given by hand, and None for the others."""
        return {name: getattr(self, name) for name in THRESHOLDS}


class LimitsSettings(BaseModel):
    """How much may wait for sinks that are away, and how far the history goes back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture_bytes: int = Field(
        Limits.picture_bytes,
        ge=0,
        description="Of pictures that wait; beyond it records are kept without theirs.",
    )
    records: int = Field(
        Limits.records,
        ge=1,
        description="Deliveries that wait, over all sinks; beyond it the line waits.",
    )
    reserve_bytes: int = Field(
        Limits.reserve_bytes, ge=0, description="Free room on the disk that is left to records."
    )
    history_days: float | None = Field(
        None, gt=0, description="How long a delivered record stays; for ever where left out."
    )


class LineSettings(BaseModel):
    """A line: stations, what they share, and where their records go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: Path = Field(
        Path("line.sqlite"), description="The one file that holds records until they are delivered."
    )
    stop_seconds: float = Field(
        20, ge=0, description="How long a stop waits for sinks to take what still waits for them."
    )
    shifts: tuple[str, ...] = Field(
        USUAL_SHIFTS, description="When shifts start, by the clock of the time zone."
    )
    timezone: str | None = Field(
        None, description="As Europe/Berlin; this machine's where it is left out."
    )
    limits: LimitsSettings = Field(
        default_factory=lambda: LimitsSettings.model_validate({}),
        description="How much may wait, and how far the history goes back.",
    )
    service: ServiceSettings | None = Field(
        None, description="Page and HTTP interface of the line; none where the table is left out."
    )
    stations: tuple[StationSettings, ...]
    sinks: tuple[SinkSettings, ...] = ()

    @property
    def picture_folders(self) -> list[Path]:
        """Of the sinks that keep pictures."""
        return [sink.folder for sink in self.sinks if isinstance(sink, PicturesSettings)]

    @model_validator(mode="after")
    def _clock_is_one(self) -> "LineSettings":
        try:
            parsed_shifts(",".join(self.shifts))
            zone_of(self.timezone)
        except InputError as error:
            raise ValueError(f"has a clock that is none: {str(error).rstrip('.')}") from error
        return self

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> "LineSettings":
        stations = [station.name for station in self.stations]
        if not stations:
            raise ValueError("stations is empty: at least one is expected")
        _refuse_twice("station", stations)
        _refuse_twice("sink", [sink_name(sink) for sink in self.sinks])
        for sink in self.sinks:
            for name in sink.stations:
                if name not in stations:
                    raise ValueError(
                        f"sink {sink_name(sink)} names the station {shown(name)}: there is none; "
                        f"name one of {', '.join(stations)}"
                    )
        return self


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what}s are called {shown(name)}: give each its own name")


def sink_name(settings: SinkSettings) -> str:
    """A sink's name: as it is given, or its kind."""
    return settings.name or settings.kind


@cache
def line_model() -> type[LineSettings]:
    """The whole configuration, with every kind of source and sink that is there."""
    station = create_model(
        "Station",
        __base__=StationSettings,
        source=(settings_of(source_kinds()), Field(description="Where its pictures come from.")),
    )
    stations: Any = tuple.__class_getitem__((station, ...))
    sinks: Any = tuple.__class_getitem__((settings_of(sink_kinds()), ...))
    return create_model("Line", __base__=LineSettings, stations=(stations, ...), sinks=(sinks, ()))


def read_configuration(path: Path) -> LineSettings:
    """Read a line's configuration from a TOML file.

    Args:
        path: the file; relative paths in it start from its folder.

    Raises:
        InputError: it cannot be read, is no TOML, or a value is refused; the key is named.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(
            f"{printable(path)} cannot be read ({error.strerror}): give a line's configuration; "
            "pyramidflow run --example prints one."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{printable(path)} is no TOML ({printable(error)}): mend that place; pyramidflow run "
            "--example prints a configuration."
        ) from error
    return check_configuration(given, path.parent, printable(path))


def check_configuration(given: Mapping[str, Any], folder: Path, name: str) -> LineSettings:
    """Check a configuration that was read already.

    Args:
        given: tables and values.
        folder: where relative paths start.
        name: of the configuration, for sentences.

    Raises:
        InputError: a value is refused; the key is named.
    """
    try:
        settings = line_model().model_validate(given)
    except ValidationError as error:
        faults = [_fault(item) for item in error.errors()]
        more = f"; and {len(faults) - MOST_SAID} more" if len(faults) > MOST_SAID else ""
        raise InputError(f"{name}: {'; '.join(faults[:MOST_SAID])}{more}.") from error
    placed: LineSettings = _placed(settings, folder)
    return placed


def _fault(item: Any) -> str:
    """One refused key: where it stands, what was given, what is expected."""
    key = ""
    for place in item["loc"]:
        if isinstance(place, int):
            key += f"[{place}]"
        elif not _is_tag(key, place):
            key += f".{place}" if key else str(place)
    kind, value = item["type"], shown(item["input"])
    if kind == "missing":
        return f"{key} is missing: a value is expected"
    if kind == "extra_forbidden":
        return f"{key} is {value}: no such key is known here; see pyramidflow run --example"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing: one of {item['ctx']['discriminator']} is expected"
    if kind == "union_tag_invalid":
        known = str(item["ctx"]["expected_tags"]).replace("'", "")
        return f"{key}.kind is {shown(item['ctx']['tag'])}: choose one of {known}"
    if kind == "path_type":
        return f"{key} is {value}: a path is expected"
    if kind == "value_error":
        return f"{key} {item['ctx']['error']}".strip()
    _, _, wanted = item["msg"].rpartition(" should ")
    return f"{key} is {value}: it should {wanted}"


def _is_tag(key: str, place: str) -> bool:
    """Whether a place is not a key but the kind that a table of settings was taken for."""
    if key.endswith(".source"):
        return place in source_kinds()
    return key.startswith("sinks[") and key.endswith("]") and place in sink_kinds()


def _placed(value: Any, folder: Path) -> Any:
    """Settings whose relative paths start from a folder."""
    if isinstance(value, Path):
        return folder / user_path(value)
    if isinstance(value, tuple):
        return tuple(_placed(item, folder) for item in value)
    if isinstance(value, BaseModel):
        names = type(value).model_fields
        return value.model_copy(update={n: _placed(getattr(value, n), folder) for n in names})
    return value
