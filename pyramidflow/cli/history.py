"""``pyramidflow history``: what a line said, what people said of it, and whether scores drift."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pyramidflow.cli.history_places import HistoryPlace, clock_of, open_history, store_of
from pyramidflow.cli.options import refuse_without
from pyramidflow.io.names import printable

if TYPE_CHECKING:
    from datetime import tzinfo

    from pyramidflow.line.history.store import Chosen
    from pyramidflow.line.history.summary import History

EXIT_DRIFT = 1


class ShownByDefault(TyperGroup):
    """A group whose command ``show`` need not be named."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take ``show`` where the first word is no command."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["show", *args])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``show`` where there is no word, or an option first."""
        is_help = any(word in ctx.help_option_names for word in args[:1])
        named = args[:1] and args[0] in self.commands
        return super().parse_args(ctx, args if is_help or named else ["show", *args])


Station = Annotated[
    str | None, typer.Option("--station", help="Only its parts.", show_default=False)
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", help="2026-03-01, 2026-03-01T06:00, or 12h, 7d, 4w ago.", show_default=False
    ),
]
Until = Annotated[
    str | None, typer.Option("--until", help="Likewise; before it.", show_default=False)
]
Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", help="As Europe/Berlin.", show_default="the line's, or this machine's"
    ),
]


def show(
    history: HistoryPlace = "line.toml",
    by: Annotated[
        Literal["hour", "day", "shift"], typer.Option("--by", help="Length of the periods.")
    ] = "day",
    shifts: Annotated[
        str | None,
        typer.Option(
            "--shifts",
            metavar="TIMES",
            help="When shifts start, as 06:00,14:00,22:00.",
            show_default="the line's",
        ),
    ] = None,
    station: Station = None,
    since: Since = None,
    until: Until = None,
    timezone: Zone = None,
    reference: Annotated[
        int,
        typer.Option(
            "--reference", min=20, help="First good parts, which later ones are compared with."
        ),
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with code 1 where scores drift.")
    ] = False,
) -> None:
    """Show counts by hour, day or shift, and whether the scores of good parts drift.

    Good are parts that are ok and that nobody called bad, and those that somebody called good.
    Their drift is judged against the first ones of the detector that works now; an alarm without a
    reason is expected once in 100000 parts.
    """
    from pyramidflow.line.history.periods import parsed_shifts, zone_of
    from pyramidflow.line.history.summary import summarized

    if by != "shift":
        refuse_without("--by shift", {"shifts": shifts})
    usual_shifts, usual_zone = clock_of(history)
    zone = zone_of(timezone or usual_zone)
    starts = parsed_shifts(shifts or usual_shifts)
    with open_history(history) as store:
        chosen = _chosen(station, since, until, zone)
        found = summarized(store.judged(chosen), by, zone, starts)
        name = store.name
    described = _described(found, reference)
    if as_json:
        typer.echo(json.dumps({"history": name, **described}, indent=2))
    else:
        _print(name, found, described)
    if fail_on_drift and any(state["alarm"] for state in described["drift"].values()):
        raise typer.Exit(EXIT_DRIFT)


def export(
    output: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="To write: .csv or .jsonl.", show_default=False),
    ],
    history: HistoryPlace = "line.toml",
    station: Station = None,
    since: Since = None,
    until: Until = None,
    timezone: Zone = None,
) -> None:
    """Write every record with what people said of it into a file."""
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import write_atomically
    from pyramidflow.line.history.export import write_csv, write_jsonl
    from pyramidflow.line.history.periods import zone_of

    writers = {".csv": write_csv, ".jsonl": write_jsonl}
    if output.suffix not in writers:
        raise InputError(f"the output is {printable(output)}: name a .csv or a .jsonl file.")
    with open_history(history) as store:
        zone = zone_of(timezone or clock_of(history)[1])
        parts = store.parts(_chosen(station, since, until, zone))
        write_atomically(output, lambda file: writers[output.suffix](file, parts))
    typer.echo(f"written to {printable(output)}")


def mark(
    identity: Annotated[
        str, typer.Argument(metavar="IDENTITY", help="Of the part.", show_default=False)
    ],
    good: Annotated[
        bool | None,
        typer.Option("--good/--bad", help="What the part was.", show_default=False),
    ] = None,
    who: Annotated[
        str, typer.Option("--who", envvar="USER", help="Who says so.", show_default="$USER")
    ] = "",
    note: Annotated[str, typer.Option("--note", help="Further words.")] = "",
    station: Station = None,
    history: Annotated[
        str, typer.Option("--history", metavar="LINE.TOML|URL", help="Where the part is.")
    ] = "line.toml",
) -> None:
    """Keep what a person says of a part: that it was good, or bad.

    Every word is kept, with who said it and when; the last one counts.
    """
    from pyramidflow.errors import InputError

    if good is None:
        raise InputError("neither --good nor --bad is given: say what the part was.")
    with open_history(history) as store:
        found = store.mark(station, identity, good, who, note)
    said = "good" if good else "bad"
    typer.echo(f"{printable(identity)} of {printable(found)} was {said}, says {printable(who)}")


def refused(
    history: Annotated[
        str,
        typer.Argument(metavar="[LINE.TOML]", help="The line's configuration, or its store."),
    ] = "line.toml",
    again: Annotated[
        bool, typer.Option("--again", help="Send them once more, without pictures.")
    ] = False,
    sink: Annotated[
        str | None, typer.Option("--sink", help="Only what it refused.", show_default=False)
    ] = None,
) -> None:
    """Show records that a sink refused and that were set aside, or send them once more."""
    from pyramidflow.line.outbox.refused import refused_in, send_again

    store = store_of(history)
    if again:
        typer.echo(f"{send_again(store, sink)} wait again")
        return
    found = [item for item in refused_in(store) if sink in (None, item.sink)]
    for item in found:
        typer.echo("  ".join(map(printable, item)))
    typer.echo(f"{len(found)} refused")


def _chosen(
    station: str | None, since: str | None, until: str | None, zone: "tzinfo | None"
) -> "Chosen":
    from pyramidflow.line.frame import now
    from pyramidflow.line.history.store import Chosen
    from pyramidflow.line.history.summary import moment_of

    moments = [None if text is None else moment_of(text, zone, now()) for text in (since, until)]
    return Chosen(station, *moments)


def _described(found: "History", reference: int) -> dict[str, Any]:
    drifts = {}
    for station, scores in sorted(found.drifting.items()):
        state = scores.state(reference)
        began = None if state is None else scores.since(state, reference)
        drifts[station] = {
            "detector": scores.detector,
            "good_parts": len(scores.scores),
            "alarm": state is not None and state.is_alarm,
            "since": None if began is None else began.isoformat(timespec="seconds"),
            **({} if state is None else _numbers(state)),
        }
    periods = {
        start.isoformat(timespec="minutes"): asdict(counts)
        for start, counts in found.periods.items()
    }
    return {"total": asdict(found.total), "periods": periods, "drift": drifts}


def _numbers(state: Any) -> dict[str, float]:
    return {
        "level": state.level,
        "limit": state.limit,
        "reference_median": state.reference,
        "recent_median": state.recent,
    }


def _print(name: str, found: "History", described: dict[str, Any]) -> None:
    from pyramidflow.evaluation.rates import Rate

    typer.echo(f"history  {name}")
    columns = ("ok", "review", "ng", "errors", "dropped", "late")
    typer.echo(f"{'':<18}{''.join(f'{column:>9}' for column in columns)}  ng rate (95% interval)")
    rows = [(f"{start:%Y-%m-%d %H:%M}", counts) for start, counts in found.periods.items()]
    for label, counts in [*rows, ("all", found.total)]:
        values = "".join(f"{getattr(counts, column):>9}" for column in columns)
        typer.echo(f"{label:<18}{values}  {Rate(counts.ng, counts.inspected)}")
    total = found.total
    if total.marked_good or total.marked_bad:
        typer.echo(f"false rejects by marks    {Rate(total.good_rejected, total.marked_good)}")
        typer.echo(f"good for review by marks  {Rate(total.good_reviews, total.marked_good)}")
        typer.echo(f"escapes by marks          {Rate(total.bad_passed, total.marked_bad)}")
    for station, state in described["drift"].items():
        typer.echo(f"{printable(station)}: {_drift_sentence(state)}")


def _drift_sentence(state: dict[str, Any]) -> str:
    if "level" not in state:
        return f"{state['good_parts']} good parts are too few to tell a drift"
    medians = f"median {state['reference_median']:.6g} then, {state['recent_median']:.6g} now"
    level = f"level {state['level']:+.2f}, limit {state['limit']:.2f}"
    if not state["alarm"]:
        return f"no drift of good parts' scores ({level}; {medians})"
    way = "up" if state["level"] > 0 else "down"
    return f"DRIFT: good parts' scores go {way} since {state['since']} ({level}; {medians})"
