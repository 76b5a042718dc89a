"""Two candidates that take turns, so that what else the machine does hits both."""

import statistics
import time
from collections.abc import Callable
from typing import Any

SECONDS = 6.0
"""Time that a comparison may take, apart from the first runs and the least rounds."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 50


def compare(
    benchmark: Any, ours: Callable[[], object], other: Callable[[], object], small: bool
) -> None:
    """Time ours as pytest-benchmark does, and the other one between its rounds.

    The result's extra information gets the other one's times and how many times faster ours is, by
    the medians.

    Args:
        benchmark: the fixture.
        ours: what the benchmark is of.
        other: what it is compared with.
        small: one round only.
    """
    once = timed(ours) + timed(other)  # the first ones, which allocate and plan
    rounds = 1 if small else max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / once)))
    seconds: list[float] = []
    benchmark.pedantic(ours, setup=lambda: seconds.append(timed(other)), rounds=rounds)
    benchmark.extra_info["compared_seconds"] = seconds
    if benchmark.stats is not None:  # unless --benchmark-disable
        median = benchmark.stats.stats.median
        benchmark.extra_info["times_faster"] = statistics.median(seconds) / median


def timed(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
