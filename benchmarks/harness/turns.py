"""Candidates that take turns, so that what else the machine does hits all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

SECONDS = 6.0
"""Time that a comparison may take, apart from the first runs and the least rounds."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 50

Clock = Callable[[], float]
Call = Callable[[], object]


def timed(run: Call, clock: Clock = time.perf_counter) -> float:
    """Seconds that a call takes."""
    start = clock()
    run()
    return clock() - start


def in_turns(
    candidates: Mapping[str, Call],
    rounds: int,
    clock: Clock = time.perf_counter,
    before: Call | None = None,
) -> dict[str, list[float]]:
    """Seconds of each round of each candidate.

    Args:
        candidates: by name. Each runs once before, which allocates and plans.
        rounds: in each of which every candidate runs once, in the same order.
        clock: gives seconds; ``time.process_time`` counts the processor's.
        before: is called before each run, and not timed.
    """
    for run in candidates.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            if before is not None:
                before()
            times[name].append(timed(run, clock))
    return times


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Median of each candidate."""
    return {name: statistics.median(values) for name, values in times.items()}


def median_ratio(times: Mapping[str, list[float]], name: str, other: str) -> float:
    """Median of the rounds' ratios of a candidate's time to another one's."""
    pairs = zip(times[name], times[other], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def compare(benchmark: Any, ours: Call, other: Call, small: bool) -> None:
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
