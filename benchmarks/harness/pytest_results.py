"""What pytest-benchmark found, as the results of all benchmarks are kept."""

import statistics
from typing import Any

from benchmarks.harness import results

FACTS = (
    "processor",
    "threads",
    "python",
    "torch",
    "pyramidflow",
    "library",
    "commit",
    "command",
    "gpu",
    "cuda",
)
"""What is kept of the machine's information; node names and processor flags are not."""

SECONDS = ("median", "min", "max", "mean", "stddev", "rounds", "data")
"""What is kept of a benchmark's statistics."""


def facts_of(found: dict[str, Any]) -> dict[str, Any]:
    """What the numbers depend on.

    Args:
        found: as pytest-benchmark would write it.
    """
    machine = found["machine_info"]
    return {key: machine[key] for key in FACTS if key in machine} | {"date": found["datetime"]}


def cases_of(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers by case: what the benchmark recorded, and its seconds.

    Args:
        found: as pytest-benchmark would write it.
    """
    cases = {}
    for benchmark in found["benchmarks"]:
        recorded = benchmark["extra_info"]
        name = ", ".join([benchmark["group"], *filter(None, [recorded.get("backend")])])
        cases[name] = recorded | {"seconds": {key: benchmark["stats"][key] for key in SECONDS}}
    return cases


def table(cases: dict[str, Any]) -> list[str]:
    """Cases as a Markdown table; a column for each number that any of them recorded."""
    numbers = dict.fromkeys(
        key
        for case in cases.values()
        for key, value in _flat(case).items()
        if isinstance(value, int | float | str) and key not in ("case", "threads")
    )
    rows = []
    for name, case in cases.items():
        seconds, recorded = case["seconds"], _flat(case)
        compared = case.get("compared_seconds")
        rows.append(
            [
                name,
                f"{1e3 * seconds['median']:.4g}",
                f"{1e3 * seconds['min']:.4g} to {1e3 * seconds['max']:.4g}",
                str(seconds["rounds"]),
                f"{1e3 * statistics.median(compared):.4g}" if compared else "",
                *(_cell(recorded.get(key)) for key in numbers),
            ]
        )
    heads = ["", "median ms", "least to most", "rounds", "compared with, ms"]
    return results.table([*heads, *(key.replace("_", " ") for key in numbers)], rows)


def _flat(case: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in case.items():
        if key == "milliseconds":
            found |= {f"{name} ms": inner for name, inner in value.items()}
        elif key != "seconds":
            found[key] = value
    return found


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
