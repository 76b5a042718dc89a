"""The images and the encoder of a training, told apart from others before its first step."""

import hashlib

import torch
from torch import nn

from pyramidflow.data import ImageSet
from pyramidflow.errors import InputError
from pyramidflow.model.frozen import inner
from pyramidflow.training.progress import TrainingProgress

SHOWN = 10
"""Files that cannot be read of which the sentence tells."""


def read_all(images: ImageSet, progress: TrainingProgress) -> None:
    """Read every image once.

    Args:
        images: what fits its memory stays decoded.
        progress: told how it goes.

    Raises:
        InputError: some cannot be read; all of them are counted, the first are named.
    """
    progress.begin("reading", 0, len(images))
    bad = [error for _, error in images.check(progress.advance)]
    if len(bad) == 1:
        raise bad[0]
    if bad:
        more = f" | and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        listed = " | ".join(str(error) for error in bad[:SHOWN])
        raise InputError(
            f"{len(bad)} of {len(images)} images cannot be used: mend or remove them: "
            f"{listed}{more}"
        )


def fingerprint(images: ImageSet) -> str:
    """One digest of what all images hold, in their order, and of what was done to them."""
    told = [*images.contents, images.treatment] if images.treatment else images.contents
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def encoder_fingerprint(encoder: nn.Module) -> str:
    """One digest of an encoder's weights, but for the standardisation: a training measures that."""
    digest = hashlib.sha256()
    for name, value in inner(encoder).state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        values = value.detach().cpu().contiguous()
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
