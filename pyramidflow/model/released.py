"""Weights of the authors' released code, in this package's names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.model.encoders.resnet import CHANNELS as RESNET_CHANNELS
from pyramidflow.model.flow import stack_plan
from pyramidflow.spec import Architecture

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

RESNET_PREFIXES = {
    "inconv.0.": "encoder.conv1.",
    "inconv.1.": "encoder.bn1.",
    "inconv.4.": "encoder.layer1.",
}
"""Parts of the ResNet encoder, released → ours."""

RESNET_BY_DEPTH: dict[int, str] = {2: "resnet18", 3: "resnet34"}
"""Encoder by the number of residual blocks in its first stage."""


def released_name(name: str) -> str | None:
    """Our name of a released tensor; ``None`` for its constants.

    Raises:
        InputError: the released code has no such name.
    """
    if name == "inconv.weight":
        return "encoder.weight"
    for theirs, ours in RESNET_PREFIXES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if name.startswith(BLOCK_PREFIX):
        index, _, rest = name.removeprefix(BLOCK_PREFIX).partition(".")
        if rest in MASK_NAMES:
            return None
        if rest in BLOCK_NAMES:
            return f"flow.blocks.{index}.{BLOCK_NAMES[rest]}"
    raise InputError(f"{name!r} is not a name in the released code's weights.")


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
    if "encoder.weight" in converted:
        converted["encoder.weight"] = converted["encoder.weight"].flatten(1)  # [C, 3]
    return _infer_architecture(converted), converted


def _infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    conv1 = [w for _, w in _by_block(state, "affine_params.conv1.weight")]
    if not conv1:
        raise InputError(
            "the weights hold no coupling block (nf.moduleslst.0…): give the state dictionary of "
            "the released PyramidFlow."
        )
    channels = conv1[0].shape[0] // 2
    encoder = "none"
    if "encoder.weight" not in state:
        blocks = {n.split(".")[2] for n in state if n.startswith("encoder.layer1.")}
        if len(blocks) not in RESNET_BY_DEPTH or channels != RESNET_CHANNELS:
            raise InputError(
                "the weights hold neither the lift (inconv.weight) nor the first layers of a "
                "ResNet18 or ResNet34 (inconv.0, inconv.1, inconv.4)."
            )
        encoder = RESNET_BY_DEPTH[len(blocks)]
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
        stack = [2 if kind == "dual" else 1 for kind, _ in stack_plan(levels)]
        if stack * stacks == widths:
            return levels, stacks
    raise InputError(
        f"{len(widths)} coupling blocks with condition widths {widths} (in channels) fit no number "
        "of levels and stacks."
    )
