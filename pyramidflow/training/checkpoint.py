"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors, tensors_below


@dataclass
class Position:
    """Where a training stands.

    Attributes:
        epoch: epochs completed.
        step: steps completed in the epoch under way.
        loss_sum: sum of the losses of those steps.
        seconds: training time so far, over all runs.
        history: one record for each completed epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: tuple[Mapping[str, Any], ...] = ()


def save_checkpoint(
    path: Path,
    recipe: Mapping[str, Any],
    position: Position,
    model: nn.Module,
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
    save_tensors(path, "checkpoint", {"recipe": recipe, "position": vars(position)}, tensors)


def load_checkpoint(
    path: Path,
    recipe: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Position:
    """Restore what :func:`save_checkpoint` wrote.

    Args:
        path: the checkpoint.
        recipe: must equal the stored one.
        model: receives the weights.
        optimizer: receives its state.

    Returns:
        Where the training stands.

    Raises:
        InputError: the file is missing or damaged, or belongs to another training.
    """
    if not path.exists():
        raise InputError(f"there is no checkpoint {path} to resume from: start without --resume.")
    header, tensors = load_tensors(path, "checkpoint")
    stored = header["recipe"]
    differing = [key for key in recipe if stored.get(key) != recipe[key]]
    if differing:
        key = differing[0]
        raise InputError(
            f"the checkpoint {path} was made with {key} = {stored.get(key)}, but now it is "
            f"{recipe[key]}: use the same settings and images, or start without --resume."
        )
    model.load_state_dict(tensors_below(tensors, "model/"))
    _load_optimizer(optimizer, tensors_below(tensors, "optimizer/"))
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    position = dict(header["position"])
    return Position(**{**position, "history": tuple(position["history"])})


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
