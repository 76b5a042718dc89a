"""Two thresholds: which scores are ok, for review and ng, and what good images promise of both."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow import Detector
from pyramidflow.detector.calibration import (
    TOLERANCES,
    Calibration,
    Conditions,
    conformal_calibration,
)
from pyramidflow.detector.verdict import judge
from pyramidflow.errors import InputError

CONDITIONS = Conditions("float32", "cpu", "cpu")
SCORES = st.floats(0, 1e6)


@pytest.fixture(scope="module")
def dents(tiny_set):
    return sorted((tiny_set / "test" / "dent").iterdir())


@given(SCORES, SCORES, SCORES)
def test_a_verdict_is_the_interval_that_the_score_lies_in(score, one, other):
    review, threshold = sorted((one, other))
    order = ("ok", "review", "ng")
    number = int(np.searchsorted([review, threshold], score, side="left"))
    assert judge(score, threshold, review) == order[number]
    assert judge(score, threshold) == ("ng" if number == 2 else "ok")
    assert judge(score, threshold, review, is_placed=False) == "review"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_no_verdict_comes_from_a_score_that_is_not_finite(score):
    for is_placed in (True, False):
        with pytest.raises(InputError, match="a finite number is expected"):
            judge(score, 2.0, 1.0, is_placed=is_placed)


@given(st.integers(1, 400), st.floats(0.001, 0.5), st.floats(0.001, 0.49))
@settings(max_examples=200, deadline=None)
def test_of_further_good_parts_at_most_the_rates_are_not_ok(count, rejected, further):
    """Exchangeable: each rank of a further part among ``n + 1`` is as likely as any other."""
    scores = [float(rank) for rank in range(1, count + 1)]
    found = conformal_calibration(
        scores,
        rejected,
        source="given",
        conditions=CONDITIONS,
        target_review_rate=rejected + further,
    )
    for threshold, rate, promised in (
        (found.threshold, rejected, found.promised_false_reject_rate),
        (found.review_threshold, rejected + further, found.promised_review_rate),
    ):
        places = [place + 0.5 for place in range(count + 1)]  # below, between and above the scores
        above = sum(place > threshold for place in places) / (count + 1)
        assert above == pytest.approx(promised)
        assert promised <= rate + 1e-9 or above == pytest.approx(1 / (count + 1))
    assert found.review_threshold <= found.threshold


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.005, 1.0, -1, math.nan, "0.1"])
def test_impossible_review_rates_are_refused(detector, tiny_set, rate):
    before = detector.calibration
    with pytest.raises(InputError, match="target review rate is"):
        detector.calibrate(tiny_set / "test" / "good", 0.01, rate)
    assert detector.calibration == before


def test_review_lies_between_the_thresholds(detector, dents):
    score = detector.inspect(dents[0]).score
    verdicts = []
    for review, threshold in ((0.5, 0.9), (0.9, 1.1), (1.1, 1.2)):
        detector.review_threshold = None
        detector.threshold = threshold * score
        detector.review_threshold = review * score
        found = detector.inspect(dents[0])
        assert found.threshold == threshold * score
        assert found.review_threshold == found.pixel_threshold == review * score
        assert bool(found.regions) == (found.verdict != "ok")
        verdicts.append(found.verdict)
    assert verdicts == ["ng", "review", "ok"]


def test_a_pixel_threshold_changes_regions_alone(detector, dents):
    plain = detector.inspect(dents[0])
    for pixel in (0.5 * plain.score, 2 * plain.score):
        detector.pixel_threshold = pixel
        found = detector.inspect(dents[0])
        assert (found.verdict, found.score) == (plain.verdict, plain.score)
        assert found.pixel_threshold == pixel
        assert all(region.peak > pixel for region in found.regions)
    assert found.regions == ()
    detector.pixel_threshold = None
    assert detector.inspect(dents[0]).regions == plain.regions


def test_thresholds_come_back_from_the_file(detector, tiny_set, tmp_path):
    detector.calibrate(tiny_set / "test" / "good", 0.2, 0.5)
    detector.pixel_threshold = 0.125
    detector.save(tmp_path / "two.safetensors")
    again = Detector.load(tmp_path / "two.safetensors")
    assert again.calibration == detector.calibration
    assert again.review_threshold < again.threshold
    assert (again.calibration["review_rank"], again.calibration["rank"]) == (3, 4)
    assert again.pixel_threshold == 0.125


def test_a_review_threshold_above_the_threshold_is_refused(detector):
    before = detector.calibration
    with pytest.raises(InputError, match="at most the threshold"):
        detector.review_threshold = 2 * detector.threshold
    detector.review_threshold = 0.5 * detector.threshold
    with pytest.raises(InputError, match="at most the threshold"):
        detector.threshold = 0.25 * detector.threshold
    detector.review_threshold = None
    assert detector.calibration == before
    detector.threshold = None
    for name in ("review_threshold", "pixel_threshold"):
        with pytest.raises(InputError, match="no threshold yet"):
            setattr(detector, name, 0.5)


def test_a_coarser_precision_widens_what_images_gave_and_nothing_by_hand():
    found = conformal_calibration(
        range(1, 100), 0.1, source="given", conditions=CONDITIONS, target_review_rate=0.5
    )
    wider = (1 + TOLERANCES["bfloat16"]) / (1 + TOLERANCES["float32"])
    assert found.review_threshold_at("bfloat16") == pytest.approx(found.review_threshold * wider)
    assert found.review_threshold_at("float32") == found.review_threshold
    by_hand = found.with_thresholds(review_threshold=2.0)
    assert by_hand.review_threshold_at("bfloat16") == 2.0
    assert by_hand.pixel_threshold_at("bfloat16") == 2.0
    assert Calibration.by_hand(3.0).pixel_threshold_at("half") == 3.0


def test_a_session_with_other_thresholds_says_so_and_leaves_the_detector(detector, dents):
    session = detector.session
    before = session.inspect(dents[0])
    other = session.with_thresholds(2 * before.score, 0.5 * before.score, 0.75 * before.score)
    found = other.inspect(dents[0]).as_dict()
    assert other.runtime is session.runtime
    assert found["verdict"] == "review"
    assert found["threshold"] == 2 * before.score
    assert found["review_threshold"] == 0.5 * before.score
    assert found["pixel_threshold"] == 0.75 * before.score
    assert other.calibration.source == "by hand"
    assert session.inspect(dents[0]).as_dict() == before.as_dict()
    assert detector.calibration["source"] == "held-out"
    assert session.with_thresholds().calibration == session.calibration
    detector.threshold = None
    with pytest.raises(InputError, match="give threshold, too"):
        detector.session.with_thresholds(review_threshold=1.0)


def test_commands_set_and_use_both_thresholds(run, tiny_detector_file, tiny_set, tmp_path):
    model, good = tmp_path / "two.safetensors", tiny_set / "test" / "good"
    code, out, err = run(
        "calibrate", good, "--model", tiny_detector_file, "--output", model,
        "--target-false-reject-rate", "0.2", "--target-review-rate", "0.5",
    )  # fmt: skip
    assert code == 0, err
    assert "review above" in out
    expected = Detector.load(model)
    assert expected.review_threshold < expected.threshold
    _, out, _ = run("info", model)
    assert f"{expected.review_threshold:.6g}, aimed at 50.00%" in out
    code, out, err = run(
        "inspect", tiny_set / "test", "--model", model, "--output", tmp_path / "out",
        "--no-overlays", "--threshold", "1000", "--review-threshold", "0.001",
    )  # fmt: skip
    assert code == 0, err
    assert "8 review, 0 errors" in out
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {r["verdict"] for r in records} == {"review"}
    assert {(r["threshold"], r["review_threshold"]) for r in records} == {(1000.0, 0.001)}
    code, _, err = run("calibrate", "--model", model, "--review-threshold", "1e9")
    assert code == 2
    assert "at most the threshold" in err
    code, out, _ = run("calibrate", "--model", model, "--review-threshold", "0.001")
    assert code == 0
    assert Detector.load(model).threshold == expected.threshold
    assert "0.001, set by hand" in out


@pytest.mark.parametrize(
    "given_options",
    [
        ("--target-review-rate", "0.5", "--threshold", "1"),
        ("GOOD", "--target-review-rate", "0.5", "--review-threshold", "1"),
        ("GOOD", "--threshold", "1"),
        (),
    ],
)
def test_contradicting_options_are_refused(run, tiny_detector_file, tiny_set, given_options):
    good = tiny_set / "test" / "good"
    options = [good if option == "GOOD" else option for option in given_options]
    code, _, err = run("calibrate", "--model", tiny_detector_file, *options)
    assert code == 2
    assert err.startswith("error: ")
