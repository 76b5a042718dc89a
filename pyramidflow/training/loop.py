"""The training loop: the published recipe, resumable to the bit."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyramidflow.data import ImageSet, network_input, normalised
from pyramidflow.errors import CheckpointError, InputError
from pyramidflow.interrupt import Interrupted, StopRequest
from pyramidflow.model.frozen import Standardised
from pyramidflow.training.batches import Batches, DrawnImages, EpochSampler
from pyramidflow.training.checkpoint import Position, load_checkpoint, save_checkpoint
from pyramidflow.training.contents import encoder_fingerprint, fingerprint, read_all
from pyramidflow.training.determinism import determinism
from pyramidflow.training.joined import (
    JoinedNetwork,
    join_step,
    shared_statistics,
    start_alike,
)
from pyramidflow.training.loss import Loss, Network, choose_loss
from pyramidflow.training.memory import Mode, activation_bytes, fitting_mode, network_of
from pyramidflow.training.parallel import OneProcess, rounds
from pyramidflow.training.progress import TrainingProgress
from pyramidflow.training.standardise import standardise
from pyramidflow.training.statistics import Normal, Together, normal_of, passes
from pyramidflow.training.task import Run, Task


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
        task: what is trained, on what.
        progress: told how it goes.
        run: with what checkpoint, and in which processes; :meth:`resume` goes on from the
            checkpoint.

    Raises:
        InputError: there are fewer images than a step needs.
    """

    def __init__(self, task: Task, progress: TrainingProgress, run: Run) -> None:
        self.model, self.preprocessing = task.model, task.preprocessing
        self.images, self.held_out = task.images, task.held_out
        self.recipe, self.contrast = task.recipe, task.contrast
        recipe = task.recipe
        self._encoder = encoder_fingerprint(task.model.encoder)
        self.progress = progress
        self.checkpoint, self.workers = run.checkpoint, run.workers
        self.parallel = run.parallel or OneProcess()
        read_all(task.images, progress)
        read_all(task.held_out, progress)
        self.loss: Loss = choose_loss(recipe.without)
        self.optimizer = torch.optim.Adam(
            [p for p in task.model.parameters() if p.requires_grad],
            lr=recipe.learning_rate,
            eps=recipe.eps,
            weight_decay=recipe.weight_decay,
            betas=recipe.betas,
        )
        self.batches = self._batches(task.images, recipe.seed, recipe.augment)
        self.held_out_batches = self._batches(task.held_out, None)
        if len(self.batches) == 0:
            raise InputError(
                f"there are {len(task.images)} training images, but a step needs at least 2: pairs "
                "of good images are contrasted."
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
        if position.step > len(self.batches):
            raise InputError(
                f"the checkpoint {checkpoint} is in step {position.step}, but an epoch has "
                f"{len(self.batches)}: start without --resume."
            )
        if (behind := position.epoch + (position.step > 0)) > self.recipe.epochs:
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
        parallel = self.parallel
        if parallel.world > 1:
            at = {"epoch": self.position.epoch, "step": self.position.step}
            start_alike(self.model, self._identity() | at, parallel)
        with (
            determinism(self.recipe.deterministic),
            StopRequest(is_told=parallel.rank == 0) as stop,
            shared_statistics(self.model, parallel),
        ):
            self._standardise(stop)
            steps = len(self.batches)
            done = self.position.epoch * steps + self.position.step
            self.progress.begin("training", done, self.recipe.epochs * steps)
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

        count, world = len(self.images), self.parallel.world
        order = EpochSampler(count, world, None, self.parallel, least=1)
        batches = Batches(DrawnImages(self.images), order, self.preprocessing, self.workers)

        def inputs() -> Iterator[Tensor]:
            for step, batch in enumerate(batches.of_epoch()):
                if len(batch):  # in the last step some processes have none
                    yield self._normalised(batch)
                self._seen(min(world, count - step * world), stop)

        standardise(encoder, inputs(), self.parallel)

    def _epoch(self, stop: StopRequest) -> None:
        position, recipe = self.position, self.recipe
        epoch = position.epoch
        self.model.train()
        started = time.perf_counter()
        for batch in self.batches.of_epoch(epoch, position.step):
            loss = self._step(epoch, batch)
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
            "loss": position.loss_sum / len(self.batches),
            "validation_loss": validation_loss,
            "seconds": position.seconds - sum(r["seconds"] for r in position.history),
        }
        self.position = Position(
            epoch + 1, 0, 0.0, position.seconds, (*position.history, record), position.memory
        )
        self._save_checkpoint()
        self.progress.epoch(record, recipe.epochs)

    def _step(self, epoch: int, batch: Tensor) -> float:
        network = self._joined(network_of(self.model, self.position.memory))
        loss = self.loss(network, self._normalised(batch))
        value = _finite(float(loss.detach()), "loss", epoch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.parallel.world > 1:
            join_step(self.model, len(batch), self.parallel)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        return value

    def _joined(self, network: Network) -> Network:
        return JoinedNetwork(network, self.parallel) if self.parallel.world > 1 else network

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        self.model.eval()
        network = self._joined(self.model)
        batches = map(self._normalised, self.held_out_batches.of_epoch())
        losses = [float(self.loss(network, batch)) for batch in batches]
        if not losses:
            return None
        return _finite(sum(losses) / len(losses), "held-out loss", self.position.epoch)

    def _normal(self, stop: StopRequest) -> Normal:
        self.model.eval()
        count = len(self.images)
        self.progress.begin("template", 0, passes(self.contrast) * count)

        def latents_of(index: int) -> tuple[Tensor, ...]:
            latents: tuple[Tensor, ...] = self.model(self._input(index))
            return latents

        def seen_of(index: int) -> Tensor | None:
            seen = self.images.seen(index, map_size)
            return None if seen is None else torch.from_numpy(seen)

        def in_turn(count: int) -> Iterator[int]:
            for index, images in rounds(count, self.parallel):
                if index is not None:
                    yield index
                self._seen(images, stop)

        height, width = self.model.features(self._input(0)).shape[-2:]
        map_size, has_template = (height, width), "template" not in self.recipe.without
        together = Together(self.parallel, in_turn)
        return normal_of(
            self.model, latents_of, count, self.contrast, has_template, seen_of, together
        )

    def _seen(self, images: int, stop: StopRequest) -> None:
        for _ in range(images):
            self.progress.advance()
        self._stop_if(stop)

    def _level_size(self) -> tuple[int, int]:
        return self.model.level_size(self._input(0))

    def _input(self, index: int) -> Tensor:
        return network_input([self.images[index]], self.preprocessing, self._device())

    def _normalised(self, batch: Tensor) -> Tensor:
        return normalised(batch, self.preprocessing, self._device())

    def _memory(self) -> Mode:
        memory, images = self.recipe.memory, self.recipe.batch_size
        if memory != "auto":
            return memory
        if self._device().type != "cpu":  # else the processes of a machine share its memory
            images = -(-images // self.parallel.world)
        activations = activation_bytes(self.model, self._level_size(), images)
        mode = fitting_mode(activations, self._device())
        if self.parallel.any(mode == "reversible"):
            mode = "reversible"
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

    def _batches(self, images: ImageSet, seed: int | None, augment: str = "none") -> Batches:
        drawn = DrawnImages(images, augment, self.recipe.seed)
        sampler = EpochSampler(len(images), self.recipe.batch_size, seed, self.parallel)
        return Batches(drawn, sampler, self.preprocessing, self.workers)

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _stop_if(self, stop: StopRequest) -> None:
        if not self.parallel.any(stop.requested):
            return
        self._save_checkpoint()
        where = f"epoch {self.position.epoch + 1}, step {self.position.step}"
        if self.position.epoch == self.recipe.epochs:
            where = "the template"
        if self.checkpoint is None:
            raise Interrupted(f"stopped at {where}; no checkpoint file was named.")
        raise Interrupted(f"stopped at {where}; go on from {self.checkpoint} with --resume.")

    def _save_checkpoint(self) -> None:
        if self.checkpoint is not None and self.parallel.rank == 0:
            save_checkpoint(
                self.checkpoint, self._identity(), self.position, self.model, self.optimizer
            )
        self.parallel.barrier()

    def _identity(self) -> dict[str, Any]:
        recipe = self.recipe.as_dict()
        del recipe["epochs"], recipe["memory"]  # of memory the position tells
        return {
            **recipe,
            **self.model.architecture.as_dict(),
            "image_size": list(self.preprocessing.size),
            "brightness": self.preprocessing.mean_level,
            "mean": list(self.preprocessing.mean),
            "std": list(self.preprocessing.std),
            "encoder weights": self._encoder,
            "images": fingerprint(self.images),
            "held-out images": fingerprint(self.held_out),
        }


def _finite(loss: float, name: str, epoch: int) -> float:
    if not np.isfinite(loss):
        raise InputError(
            f"the {name} became {loss} in epoch {epoch + 1}: check the images, or lower the "
            "learning rate."
        )
    return loss
