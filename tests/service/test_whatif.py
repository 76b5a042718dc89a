"""Scores of the history under other thresholds."""

import pytest

from tests.service.served import TOKEN  # looks for the extra first

from pyramidflow.line.history.search import Scored  # isort: skip
from pyramidflow.service.whatif import BINS, histogram, judged_again  # isort: skip

assert TOKEN


def parts(*scores, **known):
    made = {"verdict": "ok", "is_placed": True, "good": None, **known}
    return [Scored(number, f"part {number}", score, **made) for number, score in enumerate(scores)]


def test_every_score_is_in_a_bin():
    found = histogram(parts(0.0, 1.0, 2.0, 500.0), [2.0])
    assert len(found["edges"]) == BINS + 1
    assert found["edges"][-1] == 6.0  # three times the threshold: what lies near it is seen
    assert sum(found["all"]) == 4
    assert found["all"][-1] == 1
    assert found["all"][0] == 1


def test_bins_follow_the_scores_where_they_lie_within():
    assert histogram(parts(1.0, 2.5), [2.0])["edges"][-1] == 3.0
    assert histogram([], [2.0])["edges"][-1] == 3.0
    assert histogram([], [])["edges"][-1] == 1.0
    assert histogram(parts(0.0), [0.0])["edges"][-1] == 1.0


def test_marked_scores_are_counted_apart():
    some = [*parts(1.0, 1.0, good=True), *parts(5.0, good=False), *parts(1.0)]
    found = histogram(some, [2.0])
    assert (sum(found["good"]), sum(found["bad"]), sum(found["all"])) == (2, 1, 4)


def test_thresholds_are_the_largest_scores_that_are_still_good():
    found = judged_again(parts(1.0, 1.5, 2.0, 2.5), 2.0, 1.0)
    counts = {key: found["after"][key] for key in ("ok", "review", "ng")}
    assert counts == {"ok": 1, "review": 2, "ng": 1}
    assert [part["after"] for part in found["named"]] == ["review", "review", "ng"]
    assert found["changed"] == 3


def test_a_part_that_was_not_found_stays_for_review():
    found = judged_again(parts(1.0, 9.0, verdict="review", is_placed=False), 2.0, 1.0)
    assert found["changed"] == 0
    assert found["after"]["review"] == 2


@pytest.mark.parametrize(
    ("good", "score", "expected"),
    [(True, 9.0, (1, 0)), (False, 0.5, (0, 1)), (True, 0.5, (0, 0)), (False, 1.5, (0, 0))],
)
def test_marks_that_are_contradicted_are_counted(good, score, expected):
    found = judged_again(parts(score, good=good), 2.0, 1.0)["after"]
    assert (found["good_rejected"], found["bad_passed"]) == expected
