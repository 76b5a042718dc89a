"""The training loop: the published recipe, resumable to the bit."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from pyramidflow.data import ImageSet, augment_texture, network_input
from pyramidflow.errors import CheckpointError, InputError
from pyramidflow.interrupt import Interrupted, StopRequest
from pyramidflow.model import PyramidFlow
from pyramidflow.model.frozen import Standardised
from pyramidflow.spec import PLAIN_CONTRAST, ContrastRule, Preprocessing, Recipe
from pyramidflow.training.checkpoint import Position, load_checkpoint, save_checkpoint
from pyramidflow.training.contents import fingerprint, read_all
from pyramidflow.training.loss import Loss, choose_loss
from pyramidflow.training.memory import Mode, activation_bytes, fitting_mode, network_of
from pyramidflow.training.progress import SilentProgress, TrainingProgress, console_progress
from pyramidflow.training.standardise import standardise
from pyramidflow.training.statistics import Normal, normal_of, passes


@dataclass(frozen=True)
class TrainingResult:
    """What a training gives besides the network's weights.

    Attributes:
        normal: template, spread, and the images that were left out of both.
        history: for each epoch its number, mean loss, held-out loss and seconds.
        seconds: training time, over all runs.
        contents: digests of the training images.
    """

    normal: Normal
    history: tuple[dict[str, Any], ...]
    seconds: float
    contents: tuple[str, ...]


class Trainer:
    """Trains a network on good images.

    Every random choice is a function of seed, epoch and image, so a training that goes on from a
    checkpoint ends with the same bits as one that was never stopped (on the same machine, with the
    same number of threads).

    Args:
        model: the network, on the device to train on.
        preprocessing: how images become network input.
        images: the training images.
        held_out: good images for the held-out loss; may be empty.
        recipe: how to train.
        contrast: what of the latents is wanted in the end.
        progress: told how it goes.
        checkpoint: file to write after each epoch and on a stop request; ``None`` writes none.

    Raises:
        InputError: there are fewer images than a step needs.
    """

    def __init__(
        self,
        model: PyramidFlow,
        preprocessing: Preprocessing,
        images: ImageSet,
        held_out: ImageSet,
        recipe: Recipe,
        contrast: ContrastRule,
        progress: TrainingProgress,
        checkpoint: Path | None = None,
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.images = images
        self.held_out = held_out
        self.recipe = recipe
        self.contrast = contrast
        self.progress = progress
        self.checkpoint = checkpoint
        read_all(images, progress)
        read_all(held_out, progress)
        self.loss: Loss = choose_loss(recipe.without)
        self.optimizer = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            eps=recipe.eps,
            weight_decay=recipe.weight_decay,
            betas=recipe.betas,
        )
        if len(self._batches(range(len(images)))) == 0:
            raise InputError(
                f"there are {len(images)} training images, but a step needs at least 2: pairs of "
                "good images are contrasted."
            )
        self.position = Position(memory=self._memory())

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            InputError: no checkpoint file was named.
            CheckpointError: there is no checkpoint, or it belongs to another training.
        """
        if self.checkpoint is None:
            raise InputError("a training without a checkpoint file cannot be resumed: name one.")
        try:
            self._go_on_from(self.checkpoint)
        except InputError as error:
            raise CheckpointError(str(error)) from error

    def _go_on_from(self, checkpoint: Path) -> None:
        self.position = load_checkpoint(
            checkpoint,
            self._identity(),
            self.model,
            self._level_size(),
            self.optimizer,
        )
        self._check_memory(checkpoint)
        position = self.position
        if position.step > len(self._batches(range(len(self.images)))):
            raise InputError(
                f"the checkpoint {checkpoint} is in step {position.step}, but an epoch has "
                f"{len(self._batches(range(len(self.images))))}: start without --resume."
            )
        behind = position.epoch + (position.step > 0)
        if behind > self.recipe.epochs:
            raise InputError(
                f"the checkpoint {checkpoint} is in epoch {behind}, but only "
                f"{self.recipe.epochs} are wanted: ask for as many or more."
            )

    def run(self) -> TrainingResult:
        """Train to the last epoch and take the template.

        Returns:
            Template and history.

        Raises:
            Interrupted: a stop was requested (Ctrl-C, SIGTERM); the checkpoint is written.
            InputError: an image cannot be read, or the loss is not finite.
        """
        with _determinism(self.recipe.deterministic), StopRequest() as stop:
            self._standardise(stop)
            batches = self._batches(range(len(self.images)))
            done = self.position.epoch * len(batches) + self.position.step
            self.progress.begin("training", done, self.recipe.epochs * len(batches))
            while self.position.epoch < self.recipe.epochs:
                self._epoch(stop)
            normal = self._normal(stop)
        return TrainingResult(
            normal,
            tuple(dict(r) for r in self.position.history),
            self.position.seconds,
            self.images.contents,
        )

    def _standardise(self, stop: StopRequest) -> None:
        encoder = self.model.encoder
        if not isinstance(encoder, Standardised) or not self.position.is_start:
            return
        self.progress.begin("features", 0, len(self.images))

        def inputs() -> Iterator[Tensor]:
            with closing(self.images.in_turn([i] for i in range(len(self.images)))) as decoded:
                for image in decoded:
                    yield network_input(image, self.preprocessing, self._device())
                    self.progress.advance()
                    self._stop_if(stop)

        standardise(encoder, inputs())

    def _epoch(self, stop: StopRequest) -> None:
        position, recipe = self.position, self.recipe
        epoch = position.epoch
        order = np.random.default_rng((recipe.seed, epoch)).permutation(len(self.images))
        batches = self._batches(order)
        self.model.train()
        remaining = batches[position.step :]
        started = time.perf_counter()
        with closing(self.images.in_turn(remaining)) as decoded:
            for batch, images in zip(remaining, decoded, strict=True):
                loss = self._step(epoch, batch, images)
                position.step += 1
                position.loss_sum += loss
                position.seconds += time.perf_counter() - started
                self.progress.advance(loss)
                self._stop_if(stop)
                started = time.perf_counter()
        started = time.perf_counter()
        validation_loss = self._validation_loss()
        position.seconds += time.perf_counter() - started
        record = {
            "epoch": epoch + 1,
            "loss": position.loss_sum / len(batches),
            "validation_loss": validation_loss,
            "seconds": position.seconds - sum(r["seconds"] for r in position.history),
        }
        self.position = Position(
            epoch + 1, 0, 0.0, position.seconds, (*position.history, record), position.memory
        )
        self._save_checkpoint()
        self.progress.epoch(record, recipe.epochs)

    def _step(self, epoch: int, batch: list[int], images: list[npt.NDArray[Any]]) -> float:
        if self.recipe.augment == "texture":
            images = [
                augment_texture(image, np.random.default_rng((self.recipe.seed, epoch, i)))
                for image, i in zip(images, batch, strict=True)
            ]
        network = network_of(self.model, self.position.memory)
        loss = self.loss(network, network_input(images, self.preprocessing, self._device()))
        value = _finite(float(loss.detach()), "loss", epoch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return value

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        self.model.eval()
        batches = self._batches(range(len(self.held_out)))
        losses = [
            float(self.loss(self.model, network_input(images, self.preprocessing, self._device())))
            for images in self.held_out.in_turn(batches)
        ]
        if not losses:
            return None
        return _finite(sum(losses) / len(losses), "held-out loss", self.position.epoch)

    def _normal(self, stop: StopRequest) -> Normal:
        self.model.eval()
        count = len(self.images)
        self.progress.begin("template", 0, passes(self.contrast) * count)

        def latents_of(index: int) -> tuple[Tensor, ...]:
            latents: tuple[Tensor, ...] = self.model(self._input(index))
            self.progress.advance()
            self._stop_if(stop)
            return latents

        def seen_of(index: int) -> Tensor | None:
            seen = self.images.seen(index, map_size)
            return None if seen is None else torch.from_numpy(seen)

        height, width = self.model.features(self._input(0)).shape[-2:]
        map_size = (height, width)
        has_template = "template" not in self.recipe.without
        return normal_of(self.model, latents_of, count, self.contrast, has_template, seen_of)

    def _level_size(self) -> tuple[int, int]:
        return self.model.level_size(self._input(0))

    def _input(self, index: int) -> Tensor:
        return network_input([self.images[index]], self.preprocessing, self._device())

    def _memory(self) -> Mode:
        memory, batch_size = self.recipe.memory, self.recipe.batch_size
        if memory != "auto":
            return memory
        activations = activation_bytes(self.model, self._level_size(), batch_size)
        mode = fitting_mode(activations, self._device())
        if mode == "reversible":
            self.progress.note(
                f"The activations of a step would take {activations / 1e9:.1f} GB, more than half "
                "of the free memory: they are computed again (--memory plain keeps them)."
            )
        return mode

    def _check_memory(self, checkpoint: Path) -> None:
        # Both ways agree up to rounding only, so a training keeps to the one that it began with.
        wanted, found = self.recipe.memory, self.position.memory
        if wanted not in ("auto", found):
            raise InputError(
                f"the checkpoint {checkpoint} was made with memory = {found!r}, but now it is "
                f"{wanted!r}: use the same setting or 'auto', or start without --resume."
            )

    def _batches(self, order: Iterable[int]) -> list[list[int]]:
        indices = [int(i) for i in order]
        size = self.recipe.batch_size
        batches = [indices[i : i + size] for i in range(0, len(indices), size)]
        return [batch for batch in batches if len(batch) >= min(size, 2)]

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _stop_if(self, stop: StopRequest) -> None:
        if not stop.requested:
            return
        self._save_checkpoint()
        where = f"epoch {self.position.epoch + 1}, step {self.position.step}"
        if self.position.epoch == self.recipe.epochs:
            where = "the template"
        if self.checkpoint is None:
            raise Interrupted(f"stopped at {where}; no checkpoint file was named.")
        raise Interrupted(f"stopped at {where}; go on from {self.checkpoint} with --resume.")

    def _save_checkpoint(self) -> None:
        if self.checkpoint is not None:
            save_checkpoint(
                self.checkpoint, self._identity(), self.position, self.model, self.optimizer
            )

    def _identity(self) -> dict[str, Any]:
        recipe = self.recipe.as_dict()
        del recipe["epochs"], recipe["memory"]  # of memory the position tells
        return {
            **recipe,
            **self.model.architecture.as_dict(),
            "image_size": list(self.preprocessing.size),
            "brightness": self.preprocessing.mean_level,
            "images": fingerprint(self.images),
            "held-out images": fingerprint(self.held_out),
        }


def train(
    model: PyramidFlow,
    preprocessing: Preprocessing,
    images: ImageSet,
    held_out: ImageSet,
    recipe: Recipe,
    *,
    contrast: ContrastRule = PLAIN_CONTRAST,
    checkpoint: Path | None = None,
    resume: bool = False,
    show_progress: bool = True,
) -> TrainingResult:
    """Train a network, see :class:`Trainer`.

    Args:
        model: the network, on the device to train on.
        preprocessing: how images become network input.
        images: the training images.
        held_out: good images for the held-out loss; may be empty.
        recipe: how to train.
        contrast: what of the latents is wanted in the end.
        checkpoint: file to write after each epoch and on a stop request.
        resume: go on from the checkpoint.
        show_progress: show a bar and a line for each epoch on standard error.

    Returns:
        What is normal, and history.

    Raises:
        InputError: images cannot be used.
        CheckpointError: the checkpoint cannot be gone on from.
        Interrupted: a stop was requested; the checkpoint is written.
    """

    def run(progress: TrainingProgress) -> TrainingResult:
        sets = (images, held_out)
        trainer = Trainer(model, preprocessing, *sets, recipe, contrast, progress, checkpoint)
        if resume:
            trainer.resume()
        return trainer.run()

    if not show_progress:
        return run(SilentProgress())
    with console_progress(Console(stderr=True)) as progress:
        return run(progress)


def _finite(loss: float, name: str, epoch: int) -> float:
    if not np.isfinite(loss):
        raise InputError(
            f"the {name} became {loss} in epoch {epoch + 1}: check the images, or lower the "
            "learning rate."
        )
    return loss


@contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    enabled = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled)
        torch.backends.cudnn.benchmark = benchmark
