"""What other thresholds would have said of the parts of the history."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from pyramidflow.detector.verdict import judge
from pyramidflow.line.history.search import Scored, counted

LOOKED_AT: Final = 20_000
"""Newest parts of a station."""

BINS: Final = 60
MOST_NAMED: Final = 100
"""Changed parts that are named."""


def histogram(parts: Sequence[Scored], thresholds: Sequence[float]) -> dict[str, Any]:
    """Counts of scores in even bins from 0, by what a person said.

    Args:
        parts: of one detector.
        thresholds: that must lie on the scale.

    Returns:
        ``edges`` of the bins, whose last one holds all that lies beyond, too; ``all``, ``good`` and
        ``bad``: counts in each bin.
    """
    values = np.array([part.score for part in parts], dtype=np.float64)
    highest = max(thresholds, default=0.0)
    most = float(np.quantile(values, 0.995)) if len(values) else 0.0
    # Defects score far above the threshold; what people have to see lies near it.
    most = min(max(most, 1.5 * highest), 3 * highest or most)
    edges = np.linspace(0, most or 1.0, BINS + 1)

    def counts(some: "np.ndarray[Any, np.dtype[np.bool_]]") -> list[int]:
        found, _ = np.histogram(np.minimum(values[some], edges[-1]), edges)
        return [int(count) for count in found]

    good = np.array([part.good is True for part in parts], dtype=np.bool_)
    bad = np.array([part.good is False for part in parts], dtype=np.bool_)
    return {
        "edges": [float(edge) for edge in edges],
        "all": counts(np.ones(len(parts), dtype=np.bool_)),
        "good": counts(good),
        "bad": counts(bad),
    }


def judged_again(
    parts: Sequence[Scored], threshold: float, review_threshold: float
) -> dict[str, Any]:
    """What parts got, and what they would have got.

    Args:
        parts: the newest first.
        threshold: largest score that is not ng.
        review_threshold: largest score that is ok.

    Returns:
        ``before`` and ``after``: counts, as :func:`pyramidflow.line.history.search.counted` gives
        them; ``changed``: how many parts; ``named``: the newest of them.
    """
    again = [
        part._replace(
            verdict=judge(part.score, threshold, review_threshold, is_placed=part.is_placed)
        )
        for part in parts
    ]
    pairs = [
        (old, new) for old, new in zip(parts, again, strict=True) if old.verdict != new.verdict
    ]
    return {
        "parts": len(parts),
        "before": counted(parts),
        "after": counted(again),
        "changed": len(pairs),
        "named": [
            {
                "identity": old.identity,
                "score": old.score,
                "before": old.verdict,
                "after": new.verdict,
                "good": old.good,
            }
            for old, new in pairs[:MOST_NAMED]
        ],
    }
