"""Settings of a training."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.validated import Validated, setting

Ablation = Literal["volume-norm", "template", "pyramid-difference", "fourier-loss"]
"""A part of the method that a training may leave out: rows I to IV of tables S1 and S2."""

Memory = Literal["auto", "plain", "reversible"]
"""What a training keeps for the gradients."""


@dataclass(frozen=True)
class Recipe(Validated):
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in a step; every pair of them is contrasted.
        seed: of initial weights, held-out share, data order and augmentation.
        augment: ``"texture"`` flips and rotates by 90° at random.
        validation_share: share of the good images that is held out from training.
        without: what to leave out.
        deterministic: refuse operations whose result may differ from run to run.
        memory: ``"plain"`` keeps every activation for the gradients, ``"reversible"`` computes them
            again from the latents, ``"auto"`` is plain where half of the free memory suffices.
        learning_rate: of Adam.
        eps: of Adam.
        weight_decay: of Adam.
        betas: of Adam.
        clip_norm: largest norm of the gradient.

    Raises:
        InputError: a setting is out of its range.

    Source: supplement section 1.1 for the optimiser and its settings; the batch size is by
    measurement, see ``benchmarks/results/quality_leather.md``.
    """

    group: ClassVar[str] = "training settings"

    epochs: int = setting(15, "Passes over the training images.", least=1, most=1_000_000)
    batch_size: int = setting(
        4, "Images in a step.", least=1, most=65536, shown_default="4; with an encoder 2"
    )
    seed: int = setting(
        0, "Seed of weights, held-out share and data order.", least=0, most=2**63 - 1
    )
    augment: Literal["none", "texture"] = setting(
        "none", "texture flips images and turns them by 90° at random."
    )
    validation_share: float = setting(
        0.1,
        "Share of the good images that is held out to watch the training and to set the threshold.",
        least=0,
        most=0.5,
    )
    without: tuple[Ablation, ...] = setting(
        (), "Ablation: leave a part of the method out. May be repeated."
    )
    deterministic: bool = setting(False, "Use only operations that repeat to the bit.")
    memory: Memory = setting(
        "auto",
        "plain keeps all activations; reversible computes them again, slower, in a memory that "
        "hardly grows with the stacks; auto is plain where half of the free memory suffices.",
    )
    learning_rate: float = setting(2e-4, "Step size of Adam.", above=0)
    eps: float = setting(1e-4, "Adam's epsilon.", above=0)
    weight_decay: float = setting(1e-5, "Weight decay of Adam.", least=0)
    betas: tuple[float, float] = setting((0.5, 0.9), "Adam's two decay rates.", least=0, most=1)
    clip_norm: float = setting(1.0, "Largest norm of the gradient.", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        pairs = not {"template", "volume-norm"} & set(self.without)
        least = 2 if pairs else 1
        if self.batch_size < least:
            raise InputError(
                f"batch_size is {self.batch_size}, but at least {least} images are needed in a "
                "step: pairs of good images are contrasted."
            )
        if max(self.betas) >= 1:
            raise InputError(f"betas is {self.betas}: give two numbers below 1.")
