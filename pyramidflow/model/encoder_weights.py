"""ImageNet weights for the ResNet encoders: torchvision's download, or a file."""

from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.model import ResNetEncoder

ENCODER_PARTS = ("conv1.", "bn1.", "layer1.")
"""Parts of a ResNet that the encoder keeps."""


def load_encoder_weights(encoder: ResNetEncoder, name: str, file: Path | None) -> None:
    """Fill a ResNet encoder with pre-trained weights.

    Args:
        encoder: receives the weights.
        name: ``"resnet18"`` or ``"resnet34"``.
        file: a torchvision state dictionary (``.pth``, read without executing anything in it, or
            ``.safetensors``); ``None`` takes torchvision's ImageNet weights, downloading them where
            they are not cached.

    Raises:
        InputError: the download fails, or the file is missing, damaged or of another network.
    """
    state = _downloaded(name) if file is None else _from_file(file)
    kept = {key: value for key, value in state.items() if key.startswith(ENCODER_PARTS)}
    expected = encoder.state_dict()
    missing = [key for key in expected if key not in kept and "num_batches" not in key]
    extra = [key for key in kept if key not in expected]
    misshapen = [k for k in kept if k in expected and kept[k].shape != expected[k].shape]
    if missing or extra or misshapen:
        raise InputError(
            f"{file or 'the download'} does not hold the weights of a {name} "
            f"({_first_problem(missing, extra, misshapen)}): give torchvision's {name} state "
            "dictionary."
        )
    encoder.load_state_dict(kept, strict=False)


def _first_problem(missing: list[str], extra: list[str], misshapen: list[str]) -> str:
    if missing:
        return f"{missing[0]} is missing"
    if extra:
        return f"{extra[0]} is too much"
    return f"{misshapen[0]} has another shape"


def _downloaded(name: str) -> dict[str, Tensor]:
    from torchvision import models

    weights = models.get_model_weights(name).IMAGENET1K_V1
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded ({reason}): fetch "
            f"{weights.url} on a machine with a network and give the file with --encoder-weights."
        ) from error
    return state


def _from_file(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(
            f"there is no encoder weights file {file}: give a torchvision state dictionary "
            "(.pth or .safetensors)."
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for files that are not its own
        raise InputError(
            f"{file} cannot be read as encoder weights ({_first_line(error)}): give a torchvision "
            "state dictionary (.pth or .safetensors)."
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
