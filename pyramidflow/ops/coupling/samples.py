"""Arguments that the couplings can be tried with, for each of their modes."""

from itertools import product

from pyramidflow.ops import dispatch
from pyramidflow.ops.coupling.mode import CLAMP
from pyramidflow.ops.samples import BATCH, CHANNELS, HEIGHT, WIDTH, Calls, Samples

MODES = tuple(product(("cvn", "svn"), ("sample", "batch"), (CLAMP,)))


def couplings(samples: Samples) -> Calls:
    """Of a coupling, or of its inverse: with its own means and given ones, and once without Σ s."""
    calls = [
        (x, params, mean if given else None, *mode)
        for _, _, x, params, mean, given, *mode in gradients(samples)
    ]
    return [calls[0], (*calls[0], False), *calls[1:]]


def gradients(samples: Samples) -> Calls:
    """Of a coupling's gradient."""
    level, grad, log_det = samples.level, samples.draw(*samples.level.shape), samples.draw(BATCH)
    reference = dispatch.steps("reference")
    calls: Calls = []
    for scale in (1, 2):
        params = samples.draw(BATCH, 2 * CHANNELS, scale * HEIGHT, scale * WIDTH)
        for mode in MODES:
            _, mean, _ = reference.affine_coupling(level, params, None, *mode)
            for given in (False, True):
                calls.append((grad, log_det, level, params, mean, given, *mode))
    return calls


def mixed(samples: Samples) -> Calls:
    """Of a coupling with the 1×1 convolution behind it."""
    return [(*call[:3], samples.matrix, *call[3:]) for call in couplings(samples)]


def mixed_gradients(samples: Samples) -> Calls:
    """Of its gradient."""
    return [(*call[:2], samples.matrix, *call[2:]) for call in gradients(samples)]


def blocks(samples: Samples) -> Calls:
    """Of a whole block in inference."""
    hidden, mean = samples.draw(*samples.level.shape), samples.draw(1, 1, HEIGHT, WIDTH)
    kernel = samples.draw(2 * CHANNELS, CHANNELS, 3, 3) / 9
    return [(samples.level, hidden, kernel, mean, samples.matrix, "none", CLAMP)]
