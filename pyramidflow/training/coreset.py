"""A few points that lie all over many: those of a codebook."""

import numpy as np
import torch
from torch import Tensor

DIMENSIONS = 128
"""Of the random projection that distances are taken in; points of fewer are taken as they are."""

AT_ONCE = 2048
"""Candidates that distances are kept up to date for; those of all others are, a round at a time."""

MOST_BEHIND = 256
"""Chosen points that the other distances may lack: their product is held in memory."""

SEED = 0
"""Of the projection: the same points give the same choice."""


def coreset(points: Tensor, count: int) -> Tensor:
    """Choose points one after the other, each the farthest from those that were chosen before.

    The mean counts as if it were chosen before the first. Every point then lies within twice the
    least radius with which ``count`` balls could cover all of them, but for what the projection
    errs.

    Distances only fall as points are chosen. So those of the farthest few are kept up to date, and
    all others are caught up with, by one product of matrices, when one of them might be next: the
    choice is that of the plain loop.

    Args:
        points: ``[N, F]``.
        count: to choose, at most ``N``.

    Returns:
        Their numbers ``[count]``, in the order in which they were chosen.

    Source: greedy k-center (Gonzalez, 1985), in a random projection as in PatchCore (Roth et al.,
    CVPR 2022).
    """
    points = points.detach()
    x = _projected(points - points.mean(0))  # differences of large sums are taken below
    squares = x.square().sum(1)
    near = squares.clone()  # from the nearest chosen point, or an upper bound of it
    chosen = torch.empty(count, dtype=torch.long)
    done = 0
    while done < count:
        top = near.topk(min(AT_ONCE + 1, len(x)))
        outside = float(top.values[-1]) if len(x) > AT_ONCE else -1.0
        here = top.indices[:AT_ONCE]
        x_here, squares_here, near_here = x[here], squares[here], near[here]
        begun = done
        while done < count:
            at = int(near_here.argmax())
            is_behind = done - begun == MOST_BEHIND
            if is_behind or (done > begun and float(near_here[at]) < outside):
                break
            chosen[done] = here[at]
            found = (squares_here + squares_here[at] - 2 * (x_here @ x_here[at])).clamp_min_(0)
            near_here = torch.minimum(near_here, found)
            near_here[at] = -1.0  # is not chosen again, whatever rounding says
            done += 1
        new = chosen[begun:done].to(x.device)
        distances = squares[:, None] + squares[new] - 2 * (x @ x[new].T)  # [N, new]
        near = torch.minimum(near, distances.amin(1).clamp_min_(0))
        near[chosen[:done].to(x.device)] = -1.0
    return chosen


def _projected(points: Tensor) -> Tensor:
    if points.shape[1] <= DIMENSIONS:
        return points
    shape = (points.shape[1], DIMENSIONS)
    drawn = np.random.default_rng(SEED).standard_normal(shape) / DIMENSIONS**0.5
    return points @ torch.from_numpy(drawn).to(points)
