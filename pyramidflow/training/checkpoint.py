"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pyramidflow.errors import InputError, shown
from pyramidflow.io.tensors import load_tensors, save_tensors, tensors_below
from pyramidflow.model import PyramidFlow
from pyramidflow.model.encoders import with_encoder_renamed
from pyramidflow.model.state import TensorKind, check_tensors
from pyramidflow.training.history import LONGEST_SECONDS, read_history
from pyramidflow.training.memory import Mode
from pyramidflow.validated import Validated, setting

KIND = "checkpoint"


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: epochs completed.
        step: steps completed in the epoch under way.
        loss_sum: sum of the losses of those steps.
        seconds: training time so far, over all runs.
        history: one record for each completed epoch.
        memory: what the training keeps for the gradients.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: tuple[Mapping[str, Any], ...] = ()
    memory: Mode = "plain"

    @property
    def is_start(self) -> bool:
        """Whether no step was taken yet."""
        return (self.epoch, self.step) == (0, 0)


@dataclass(frozen=True)
class StoredPosition(Validated):
    """A :class:`Position` as a file holds it, but for its history."""

    group: ClassVar[str] = "position"

    epoch: int = setting(least=0)
    step: int = setting(least=0)
    loss_sum: float = setting(least=-1e300, most=1e300)
    seconds: float = setting(least=0, most=LONGEST_SECONDS)
    memory: Mode = setting("plain")


def save_checkpoint(
    path: Path,
    recipe: Mapping[str, Any],
    position: Position,
    model: PyramidFlow,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write weights, optimiser state, position and random state, atomically.

    Data order and augmentation are functions of seed, epoch and step, so the position holds them.

    Args:
        path: a ``.safetensors`` file.
        recipe: what a resumed training must agree on.
        position: where the training stands.
        model: its ``state_dict`` is stored.
        optimizer: its state is stored.

    Raises:
        InputError: the file cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    save_tensors(path, KIND, {"recipe": recipe, "position": vars(position)}, tensors)


def load_checkpoint(
    path: Path,
    recipe: Mapping[str, Any],
    model: PyramidFlow,
    size: tuple[int, int],
    optimizer: torch.optim.Optimizer,
) -> Position:
    """Restore what :func:`save_checkpoint` wrote.

    Args:
        path: the checkpoint.
        recipe: must equal the stored one.
        model: receives the weights.
        size: ``(h, w)`` of the finest level of the training images.
        optimizer: receives its state.

    Returns:
        Where the training stands.

    Raises:
        InputError: the file is missing or damaged, or belongs to another training.
    """
    if not path.exists():
        raise InputError(f"there is no checkpoint {path} to resume from: start without --resume.")
    header, tensors = load_tensors(path, KIND)
    try:
        position = _position(header.get("position"))
        _check_recipe(path, header.get("recipe"), recipe)
        check_tensors(
            {name: value for name, value in tensors.items() if not name.startswith("random/")},
            _expected(model, size, optimizer, tensors),
        )
        _check_moments(tensors)
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random/cuda"])
    except (InputError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, _OtherTrainingError):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{path} does not describe a checkpoint of this training ({reason}): start without "
            "--resume."
        ) from error
    model.load_state_dict(tensors_below(tensors, "model/"))
    _load_optimizer(optimizer, tensors_below(tensors, "optimizer/"))
    return position


class _OtherTrainingError(InputError):
    """The checkpoint is whole, but was made with other settings, weights or images."""


def _check_recipe(path: Path, stored: object, recipe: Mapping[str, Any]) -> None:
    if not isinstance(stored, Mapping):
        raise InputError(f"recipe is {shown(stored)}: an object is expected.")
    stored = with_encoder_renamed(stored)
    for key, value in recipe.items():
        if stored.get(key) != value:
            raise _OtherTrainingError(
                f"the checkpoint {path} was made with {key} = {shown(stored.get(key))}, but now it "
                f"is {shown(value)}: use the same settings, encoder weights and images, or start "
                "without --resume."
            )


def _position(stored: object) -> Position:
    if not isinstance(stored, Mapping):
        raise InputError(f"position is {shown(stored)}: an object is expected.")
    history = read_history(stored.get("history"))
    found = StoredPosition.from_dict({k: v for k, v in stored.items() if k != "history"})
    if found.epoch != len(history):
        raise InputError(f"epoch is {found.epoch}: {len(history)} are in the history.")
    return Position(**asdict(found), history=history)


def _expected(
    model: PyramidFlow,
    size: tuple[int, int],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
) -> dict[str, TensorKind]:
    kinds = {f"model/{name}": kind for name, kind in model.state_kinds(size).items()}
    parameters = optimizer.param_groups[0]["params"]
    for index, parameter in enumerate(parameters):
        if not any(name.startswith(f"optimizer/{index}/") for name in tensors):
            continue  # before the first step there is no state
        shape = tuple(parameter.shape)
        for name, shapes in (("step", ()), ("exp_avg", shape), ("exp_avg_sq", shape)):
            kinds[f"optimizer/{index}/{name}"] = TensorKind((shapes,), torch.float32)
    return kinds


def _check_moments(tensors: Mapping[str, Tensor]) -> None:
    """Adam counts steps from 1 on, and divides by the root of a mean of squares."""
    for name, value in tensors_below(tensors, "optimizer/").items():
        if name.endswith("/step") and (value < 1 or value != value.round()):
            raise InputError(f"optimizer/{name} is {float(value)}: a count from 1 on is expected.")
        if name.endswith("/exp_avg_sq") and (value < 0).any():
            raise InputError(f"optimizer/{name} has negative numbers: squares are expected.")


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
