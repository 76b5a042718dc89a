"""Whether convolutions of float32 round their operands to TF32: PyTorch's setting.

PyTorch 2.9 gave every operator a setting of its own. From then on the old one, of all of cuDNN,
raises when it is read in a program that has set the new ones apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def convolutions_take_tf32() -> bool:
    """Whether PyTorch's own convolutions of float32 round on a GPU."""
    owner, name, rounded, _ = _setting()
    return bool(getattr(owner, name) == rounded)


@contextmanager
def convolutions_with_tf32(wanted: bool) -> Iterator[None]:
    """Let convolutions of float32 round, or not, within the context.

    Args:
        wanted: whether they round.
    """
    owner, name, rounded, exact = _setting()
    before = getattr(owner, name)
    setattr(owner, name, rounded if wanted else exact)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _setting() -> tuple[object, str, object, object]:
    cudnn = torch.backends.cudnn
    if hasattr(cudnn, "conv"):
        return cudnn.conv, "fp32_precision", "tf32", "ieee"
    return cudnn, "allow_tf32", True, False
