"""Weights of the authors' released code, in this package's names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.model.architecture import Architecture
from pyramidflow.model.encoders import all_encoders, encoder_of
from pyramidflow.model.topology import stack

BLOCK_PREFIX = "nf.moduleslst."

BLOCK_NAMES = {
    "affineParams.conv.0.weight": "affine_params.conv1.weight",
    "affineParams.conv.2.weight": "affine_params.conv2.weight",
    "affineParams.norm.running_mean": "volume_norm.running_mean",
    "conv1x1.w_l": "conv1x1.lower",
    "conv1x1.w_u": "conv1x1.upper",
    "conv1x1.w_s": "conv1x1.log_diagonal",
    "conv1x1.w_p": "conv1x1.permutation",
    "conv1x1.s_sign": "conv1x1.sign",
}
"""Names inside a block, released → ours."""

MASK_NAMES = ("conv1x1.u_mask", "conv1x1.l_mask", "conv1x1.l_eye")
"""Constants that the released code stores and this one computes."""


def released_name(name: str) -> str | None:
    """Our name of a released tensor; ``None`` for its constants.

    Raises:
        InputError: the released code has no such name.
    """
    for encoder in all_encoders():
        for theirs, ours in encoder.released_names:
            if name.startswith(theirs):
                return f"encoder.{ours}{name.removeprefix(theirs)}"
    if name.startswith(BLOCK_PREFIX):
        index, _, rest = name.removeprefix(BLOCK_PREFIX).partition(".")
        if rest in MASK_NAMES:
            return None
        if rest in BLOCK_NAMES:
            return f"flow.blocks.{index}.{BLOCK_NAMES[rest]}"
    raise InputError(
        f"the weights hold {name!r}, which the released code does not know: give the state "
        "dictionary of the released PyramidFlow."
    )


def convert_released(state_dict: Mapping[str, Any]) -> tuple[Architecture, dict[str, Tensor]]:
    """Infer the architecture of released weights and rename them.

    Args:
        state_dict: tensors or arrays by the released code's names.

    Returns:
        The architecture, and the state dictionary of a network built from it.

    Raises:
        InputError: a name is unknown or missing, or the shapes fit no configuration.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        ours = released_name(name)
        if ours is not None:
            converted[ours] = torch.as_tensor(value)
    architecture = _infer_architecture(converted)
    with torch.device("meta"):
        encoder = encoder_of(architecture.encoder).build(architecture.channels, ())
    for name, ours in encoder.state_dict(prefix="encoder.").items():
        theirs = converted.get(name)
        if theirs is not None and theirs.numel() == ours.numel():
            converted[name] = theirs.reshape(ours.shape)  # the lift's [C, 3, 1, 1] is [C, 3] here
    return architecture, converted


def _infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    conv1 = [w for _, w in _by_block(state, "affine_params.conv1.weight")]
    if not conv1:
        raise InputError(
            "the weights hold no coupling block (nf.moduleslst.0…): give the state dictionary of "
            "the released PyramidFlow."
        )
    channels = conv1[0].shape[0] // 2
    encoder = _infer_encoder({name for name in state if name.startswith("encoder.")}, channels)
    levels, stacks = _infer_depth([w.shape[1] // channels for w in conv1])
    means = [m for _, m in _by_block(state, "volume_norm.running_mean")]
    return Architecture(
        encoder=encoder,
        channels=channels,
        levels=levels,
        stacks=stacks,
        kernel_size=conv1[0].shape[-1],
        volume_norm="svn" if means and all(m.shape[1] == channels for m in means) else "cvn",
        statistics="batch",
        reduction="max",
    )


def _infer_encoder(names: set[str], channels: int) -> str:
    """The smallest encoder that has all these tensors."""
    found = []
    for encoder in all_encoders():
        if not encoder.released_names:
            continue
        try:
            encoder.check_channels(channels, ())
        except InputError:
            continue
        with torch.device("meta"):
            own = encoder.build(channels, ()).state_dict(prefix="encoder.")
        if names and names <= set(own):
            found.append((len(own), encoder.name))
    if not found:
        raise InputError(
            f"the weights hold no encoder (inconv…) that the released code has with {channels} "
            "channels: give the state dictionary of the released PyramidFlow."
        )
    return min(found)[1]


def _by_block(state: Mapping[str, Tensor], name: str) -> list[tuple[int, Tensor]]:
    found = [
        (int(key.split(".")[2]), value)
        for key, value in state.items()
        if key.startswith("flow.blocks.") and key.endswith("." + name)
    ]
    return sorted(found, key=lambda item: item[0])


def _infer_depth(widths: list[int]) -> tuple[int, int]:
    for levels in range(2, len(widths) + 1):
        stacks = len(widths) // levels
        if [len(block.reads) for block in stack(levels)] * stacks == widths:
            return levels, stacks
    raise InputError(
        f"{len(widths)} coupling blocks with condition widths {widths} (in channels) fit no number "
        "of levels and stacks: give the state dictionary of the released PyramidFlow."
    )
