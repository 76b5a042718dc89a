"""The criterion that settings are chosen by, against the exact metrics."""

from itertools import chain

import numpy as np
import pytest

from pyramidflow.errors import InputError
from pyramidflow.evaluation import aupro, auroc, average_precision
from pyramidflow.spec import Spec
from pyramidflow.tuning.choices import CHOICES, Choice, written
from pyramidflow.tuning.criterion import Answers


def answers_of(rng, images=5, copies=3, size=(40, 30), contrast=1.5):
    """Maps of noise, lighter where a defect is; scores are their maxima."""
    maps, masks = [], []
    for _ in range(images):
        some = [np.zeros(size, bool)]
        for _ in range(copies):
            mask = np.zeros(size, bool)
            top, left = rng.integers(0, 25, 2)
            mask[top : top + rng.integers(2, 12), left : left + rng.integers(2, 12)] = True
            some.append(mask)
        masks.append(some)
        maps.append([(rng.gamma(2, 1, size) + contrast * m).astype(np.float32) for m in some])
    scores = np.array([[m.max() for m in some] for some in maps], dtype=float)
    return scores, maps, masks


def exact(scores, maps, masks):
    flat, where = list(chain(*maps)), list(chain(*masks))
    pixels, labels = np.stack(flat), np.stack(where)
    good, bad = scores[:, 0], scores[:, 1:].ravel()
    is_bad = np.repeat([False, True], [good.size, bad.size])
    return (
        aupro(flat, where, 0.3),
        average_precision(pixels, labels),
        auroc(np.concatenate([good, bad]), is_bad),
        good.std() / good.mean(),
    )


@pytest.mark.parametrize("contrast", [0.0, 1.5, 6.0])
def test_its_parts_are_the_exact_metrics(contrast):
    given = answers_of(np.random.default_rng(0), contrast=contrast)
    parts = Answers.of(*given).parts
    found = [float(x[0]) for x in (parts.aupro, parts.pixel_ap, parts.image_auroc, parts.spread)]
    np.testing.assert_allclose(found, exact(*given), atol=4e-3)


def test_an_image_that_counts_twice_is_there_twice():
    scores, maps, masks = answers_of(np.random.default_rng(1))
    found = Answers.of(scores, maps, masks).weighted(np.array([[2.0, 0, 1, 1, 1]]))
    order = [0, 0, 2, 3, 4]
    twice = Answers.of(scores[order], [maps[i] for i in order], [masks[i] for i in order]).parts
    for name in ("aupro", "pixel_ap", "image_auroc", "spread", "criterion"):
        np.testing.assert_allclose(getattr(found, name), getattr(twice, name), atol=4e-3)


def test_draws_scatter_around_the_criterion():
    answers = Answers.of(*answers_of(np.random.default_rng(2), images=12))
    drawn, value = answers.resampled.criterion, answers.parts.criterion[0]
    assert 0.001 < drawn.std() < 0.1
    assert abs(drawn.mean() - value) < 2 * drawn.std()


def test_every_choice_names_settings_and_values_of_the_spec():
    for choice in CHOICES:
        for alternative in choice.alternatives:
            assert Spec().changed(**alternative).as_settings().keys() >= alternative.keys()
    assert not Choice.of("spread").needs_training
    assert not Choice.of("smoothing", 1.0).needs_training
    assert Choice.of("volume_norm").needs_training
    assert Choice.of("volume_norm").alternatives == ({"volume_norm": "cvn"}, {"volume_norm": "svn"})
    assert Choice.of("light").alternatives == ({"light": False}, {"light": True})
    assert written({"image_size": (64, 32), "light": True}) == ("image_size=64x32", "light=true")


def test_a_choice_of_no_setting_is_refused():
    with pytest.raises(InputError, match="'sharpness' is no setting"):
        Choice.of("sharpness", 1)
    with pytest.raises(InputError, match="name those to try"):
        Choice.of("smoothing")
