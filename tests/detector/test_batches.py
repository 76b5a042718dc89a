"""Images that are inspected together: when their results come, and what one bad image costs."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow.detector.calibration import TOLERANCES
from pyramidflow.errors import CalibrationWarning, InputError


@pytest.fixture
def four_at_once(detector, cpu_library):
    session = detector.prepare(threads=4)
    assert session.at_once == 4
    return detector


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (24, 24, 3)).astype(np.uint8) for _ in range(count)]


def test_a_result_does_not_wait_for_the_next_picture(four_at_once):
    pulled = []

    def frames():
        for number, picture in enumerate(pictures(4)):
            pulled.append(number)
            yield picture

    found = four_at_once.inspect_each(frames())
    for number in range(4):
        assert next(found).score > 0
        assert pulled == list(range(number + 1))


def test_results_before_a_picture_that_cannot_be_read_are_given(four_at_once):
    good, other = pictures(2)
    alone = four_at_once.inspect(good)
    found = four_at_once.inspect_each([good, np.zeros((4, 4, 2), np.uint8), other])
    assert next(found).score == alone.score
    with pytest.raises(InputError, match=r"has shape \[4, 4, 2\]"):
        next(found)


def test_results_before_a_picture_that_cannot_be_judged_are_given(four_at_once):
    with pytest.warns(CalibrationWarning, match="minimum_area 100"):
        four_at_once.set_verdict(minimum_area=100)
    four_at_once.threshold = 1.0
    good, other = pictures(2)
    found = four_at_once.session.inspect_pixels([good, good[:8, :8], other])
    assert next(found).threshold == 1.0
    with pytest.raises(InputError, match="no part of it where defects count is as large"):
        next(found)


def test_a_list_is_inspected_together(four_at_once, monkeypatch):
    session, sizes = four_at_once.session, []
    usual = session.runtime.inspect
    monkeypatch.setattr(
        session.runtime, "inspect", lambda images: sizes.append(len(images)) or usual(images)
    )
    assert len(list(session.inspect_many(pictures(6)))) == 6
    assert sizes == [4, 2]


def test_one_picture_is_one_picture(detector, tmp_path):
    [picture] = pictures(1)
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    score = detector.inspect(picture).score
    for form in (picture, Image.fromarray(picture), path, str(path)):
        assert [found.score for found in detector.inspect_each(form)] == [score]
        assert [found.score for found in detector.session.inspect_many(form)] == [score]


class Pictures(torch.utils.data.Dataset):
    """A data set as PyTorch has them."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return pictures(3)[index] if index < 3 else [][index]


def test_a_data_set_is_several_pictures(detector):
    scores = [found.score for found in detector.inspect(pictures(3))]
    assert [found.score for found in detector.inspect(Pictures())] == scores
    assert [found.score for found in detector.inspect_each(Pictures())] == scores
    assert detector.calibrate(Pictures(), 0.5).calibration["images"] == 3


def test_one_decoded_picture_is_one_picture(detector):
    [picture] = pictures(1)
    [found] = detector.session.inspect_pixels(picture)
    assert found.score == detector.inspect(picture).score


def test_one_picture_to_calibrate_on_is_one_picture(detector):
    [picture] = pictures(1)
    score = detector.inspect(picture).score
    for form in (picture, Image.fromarray(picture)):
        detector.calibrate(form, 0.5)
        assert detector.threshold == score * (1 + TOLERANCES["float32"])
        assert detector.calibration["images"] == 1


def test_what_is_no_picture_to_calibrate_on_is_refused(detector):
    with pytest.raises(InputError, match="is of type int"):
        detector.calibrate(3)
