"""The choice of a few points that lie all over many."""

import pytest
import torch

from pyramidflow.training import coreset as module
from pyramidflow.training.coreset import DIMENSIONS, coreset


def generator(seed):
    return torch.Generator().manual_seed(seed)


def plain(x, count):
    """One point after the other, each the farthest from those before."""
    near, chosen = (x - x.mean(0)).square().sum(1), []
    for _ in range(count):
        chosen.append(int(near.argmax()))
        near = torch.minimum(near, (x - x[chosen[-1]]).square().sum(1))
        near[chosen] = -1
    return torch.tensor(chosen)


def points(count, features, seed=0):
    """In float64, so that no two distances are equal by rounding; some lie close together."""
    x = torch.randn(count, features, generator=generator(seed), dtype=torch.float64)
    x[count // 2 :] *= 0.1
    return x


@pytest.mark.parametrize("candidates", [8, 100, 2048])
@pytest.mark.parametrize(("count", "behind"), [(1, 256), (150, 256), (400, 16)])
def test_it_is_the_choice_of_the_plain_loop(count, behind, candidates, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", candidates)
    monkeypatch.setattr(module, "MOST_BEHIND", behind)
    x = points(600, 12)
    assert torch.equal(coreset(x, count), plain(x, count))


def test_all_points_are_chosen_once_where_as_many_are_asked_for():
    x = torch.cat([points(40, 5)] * 2).float()  # each of them twice
    assert torch.equal(coreset(x, 80).sort().values, torch.arange(80))


def test_what_is_seldom_is_kept():
    x = torch.randn(5000, 8, generator=generator(1)) * 0.1
    x[1234] += 3.0
    x[4321] -= 3.0
    assert {1234, 4321} <= set(coreset(x, 20).tolist())


def test_many_features_are_projected_to_fewer_and_far_points_stay_far():
    x = torch.randn(300, 4 * DIMENSIONS, generator=generator(2))
    x[:10] *= 5
    chosen = coreset(x, 10)
    assert set(chosen.tolist()) == set(range(10))
    assert torch.equal(coreset(x, 10), chosen)
