"""The spec: whatever it accepts comes back from its file, and all else is refused by a sentence."""

import json
import math
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramidflow import Detector
from pyramidflow.errors import InputError
from pyramidflow.spec import DEFAULT_CONTRAST, PLAIN_CONTRAST, Ablation, Spec, names

FRACTIONS = st.floats(0, 1)
WELL_FORMED = {
    "encoder": st.sampled_from(["lift", "resnet18", "resnet34", "custom"]),
    "channels": st.sampled_from([3, 16, 64, 4096]),
    "levels": st.integers(2, 16),
    "stacks": st.integers(1, 256),
    "kernel_size": st.sampled_from([1, 3, 7, 63]),
    "volume_norm": st.sampled_from(["cvn", "svn"]),
    "statistics": st.sampled_from(["sample", "batch"]),
    "reduction": st.sampled_from(["nearest", "max"]),
    "image_size": st.integers(1, 65536),
    "mean": st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    "std": st.tuples(*[st.floats(1e-6, 1e6)] * 3),
    "white_level": st.none() | st.integers(256, 65535),
    "epochs": st.integers(1, 1_000_000),
    "batch_size": st.integers(2, 65536),
    "seed": st.integers(0, 2**63 - 1),
    "augment": st.sampled_from(["none", "texture"]),
    "validation_share": st.floats(0, 0.5),
    "without": st.lists(
        st.sampled_from(["volume-norm", "template", "pyramid-difference", "fourier-loss"])
    ),
    "deterministic": st.booleans(),
    "learning_rate": st.floats(1e-12, 1e12),
    "betas": st.tuples(*[st.floats(0, 0.999)] * 2),
    "region_of_interest": st.none() | st.tuples(FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS),
}
DEEP = [[[[["deep"]]]]]
ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**70)
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.lists(st.integers() | st.floats() | st.text())
    | st.dictionaries(st.text(), st.integers())
    | st.just(DEEP)
    | st.just(object())
)


def made(given_settings):
    try:
        return Spec.of(given_settings)
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 400
    return None


@given(st.fixed_dictionaries({}, optional=WELL_FORMED))
@settings(max_examples=300, deadline=None)
def test_what_is_accepted_comes_back_from_a_file(chosen):
    spec = made(chosen)
    if spec is None:
        return
    stored = json.loads(json.dumps(spec.as_dict(), allow_nan=False))
    assert Spec.from_dict(stored) == spec
    assert Spec.of(spec.as_settings()) == spec
    assert spec.changed() == spec
    for name, value in chosen.items():
        if value is not None and name not in ("volume_norm", "image_size"):
            expected = tuple(value) if isinstance(value, list) else value
            assert spec.as_settings()[name] == expected


@given(st.sampled_from(sorted(names())), ANYTHING)
@settings(max_examples=500, deadline=None)
def test_anything_else_is_refused_by_a_sentence(name, value):
    spec = made({name: value})
    if spec is not None:
        json.dumps(spec.as_dict(), allow_nan=False)
        assert all(
            math.isfinite(number)
            for number in spec.as_settings().values()
            if isinstance(number, float)
        )


@pytest.mark.parametrize("spec", [5, {}, "spec", Spec])
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(InputError, match="give a Spec"):
        Detector(spec=spec)


@pytest.mark.parametrize("ablation", get_args(Ablation))
def test_an_ablation_compares_as_published(ablation):
    assert Spec.of({"without": (ablation,)}).contrast == PLAIN_CONTRAST
    assert Spec().changed(without=(ablation,)).contrast == PLAIN_CONTRAST
    assert Spec.of({}).contrast == DEFAULT_CONTRAST != PLAIN_CONTRAST


def test_an_ablation_compares_as_it_is_told():
    found = Spec.of({"without": ("fourier-loss",), "light": True}).contrast
    assert (found.light, found.spread) == (True, "none")
    channel = Spec.of({"spread": "channel"}).changed(without=("fourier-loss",)).contrast
    assert channel.spread == "channel"
