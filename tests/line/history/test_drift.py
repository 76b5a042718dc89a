import numpy as np
import pytest

from pyramidflow.line.history.drift import drift, run_length


def test_the_run_length_is_that_of_published_charts():
    # Lucas and Saccucci, 1990, table 3: λ = 0.05 with L = 2.615 has a run length of 500.
    assert run_length(2.615, 0.05) == pytest.approx(500, rel=0.01)


@pytest.mark.parametrize("distribution", ["lognormal", "exponential", "normal"])
def test_good_parts_that_stay_as_they_are_raise_no_alarm(distribution):
    rng = np.random.default_rng(1)
    draw = getattr(rng, distribution)
    alarms = sum(drift(draw(size=2200)).is_alarm for _ in range(200))
    # An alarm in 100000 parts on average: at the end of a run of 2000 almost never.
    assert alarms <= 1


@pytest.mark.parametrize(("shift", "sign"), [(1.0, 1), (-1.0, -1)])
def test_scores_that_move_by_a_deviation_are_found_within_200_parts(shift, sign):
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(50):
        scores = np.exp([*rng.normal(size=700), *(rng.normal(size=200) + shift)])
        state = drift(scores)
        assert state.limit > 0
        if state.is_alarm:
            found += 1
            assert sign * state.level > state.limit
            assert 500 <= state.since < 700
            assert sign * (state.recent - state.reference) > 0
    assert found >= 48


def test_few_parts_tell_nothing():
    assert drift(np.ones(249)) is None
    assert drift(np.ones(250)) is not None


def test_scores_that_are_all_alike_do_not_drift_and_a_jump_does():
    assert drift([1.0] * 400).level == 0
    state = drift([1.0] * 300 + [2.0] * 100)
    assert state.is_alarm
    assert state.level > 0


def test_the_level_is_the_moving_average_of_the_normal_scores():
    from scipy.stats import norm, rankdata

    rng = np.random.default_rng(3)
    scores = rng.exponential(size=260).round(2)
    level = 0.0
    for score in scores[200:]:
        rank = rankdata([*scores[:200], score])[-1]
        level = 0.98 * level + 0.02 * norm.ppf((rank - 0.5) / 201)
    assert drift(scores).level == pytest.approx(level, abs=1e-12)
