"""Weights of encoders: read from files, and put in where they fit exactly."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pyramidflow.errors import InputError


def fill(
    encoder: nn.Module,
    state: Mapping[str, Tensor],
    described: Collection[str],
    name: str,
    file: Path | None,
) -> None:
    """Fill an encoder with weights of the network that it is the beginning of.

    Args:
        encoder: receives the weights.
        state: the network's state dictionary. What lies outside the parts that are described, such
            as a classifier, is left out.
        described: names of all layers of the described parts, built or not.
        name: of the network.
        file: that the state comes from; ``None`` where the encoder has it from its own source.

    Raises:
        InputError: a tensor is missing, too much, or has another shape.
    """
    expected = encoder.state_dict()
    parts = tuple({layer.split(".")[0] + "." for layer in described})
    missing = [key for key in expected if key not in state and "num_batches" not in key]
    extra = [k for k in state if k.startswith(parts) and k.rpartition(".")[0] not in described]
    misshapen = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    if missing or extra or misshapen:
        raise InputError(
            f"{file or 'the download'} does not hold the weights of a {name} "
            f"({_first_problem(missing, extra, misshapen)}): give a state dictionary of {name} "
            "whose names are those of its usual source."
        )
    encoder.load_state_dict({k: v for k, v in state.items() if k in expected}, strict=False)


def _first_problem(missing: list[str], extra: list[str], misshapen: list[str]) -> str:
    if missing:
        return f"{missing[0]} is missing"
    if extra:
        return f"{extra[0]} is too much"
    return f"{misshapen[0]} has another shape"


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dictionary, without executing anything in its file.

    Args:
        file: ``.safetensors``, or anything else that ``torch.save`` wrote.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    if not file.is_file():
        raise InputError(
            f"there is no encoder weights file {file}: give a state dictionary "
            "(.pth or .safetensors)."
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for files that are not its own
        raise InputError(
            f"{file} cannot be read as encoder weights ({_first_line(error)}): give a state "
            "dictionary (.pth or .safetensors)."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"{file} holds no state dictionary: save one with torch.save(model.state_dict(), …)."
        )
    return state


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
