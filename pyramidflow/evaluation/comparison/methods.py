"""The methods that the detector can be compared with, by their names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from pyramidflow.data import Reading
from pyramidflow.errors import InputError, shown
from pyramidflow.evaluation.comparison.ae_ssim import AeSsim
from pyramidflow.evaluation.comparison.features import Features
from pyramidflow.evaluation.comparison.method import Method
from pyramidflow.evaluation.comparison.padim import Padim, padim_model
from pyramidflow.evaluation.comparison.patchcore import PatchCore
from pyramidflow.evaluation.comparison.spade import Spade
from pyramidflow.model.encoder import Stages


@dataclass(frozen=True)
class Peers:
    """What the other methods are made from.

    Attributes:
        reading: of their images.
        encoder: that SPADE, PaDiM and PatchCore take features from.
        stages: of it; empty takes the usual ones.
        weights: file with its weights; ``None`` takes its own source.
        device: to compute on.
        seed: of all that is drawn at random.
        epochs: of AE-SSIM.
        say: takes a line of progress.
    """

    reading: Reading
    encoder: str
    stages: Stages
    weights: Path | None
    device: torch.device
    seed: int
    epochs: int
    say: Callable[[str], object] = lambda line: None

    @cached_property
    def features(self) -> Features:
        """One encoder for all methods that need one."""
        return Features(self.encoder, self.stages, self.weights, self.reading.size, self.device)

    def made(self, names: Sequence[str]) -> list[Method]:
        """The methods of some names, untrained.

        Raises:
            InputError: one lacks a package, or the encoder's weights cannot be had.
        """
        if "padim" in names:
            padim_model()  # said before the encoder is read
        return [METHODS[name](self) for name in names]


METHODS: dict[str, Callable[[Peers], Method]] = {
    "ae-ssim": lambda peers: AeSsim(
        peers.reading, peers.seed, peers.device, peers.epochs, peers.say
    ),
    "spade": lambda peers: Spade(peers.features, peers.reading),
    "padim": lambda peers: Padim(peers.features, peers.reading, peers.seed),
    "patchcore": lambda peers: PatchCore(peers.features, peers.reading),
}
"""In the order of the figure's columns."""


def method_names(text: str) -> list[str]:
    """Names of methods as people write them: ``ae-ssim,spade``.

    Returns:
        Each once, in the order of :data:`METHODS`.

    Raises:
        InputError: there is another name.
    """
    given = [part.strip() for part in text.split(",")]
    for name in given:
        if name not in METHODS:
            raise InputError(
                f"--methods is {shown(text)}: name one or more of {', '.join(METHODS)}, with "
                "commas between them."
            )
    return [name for name in METHODS if name in given]
