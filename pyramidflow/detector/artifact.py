"""The one file that a detector is: what it holds, and what it must hold."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyramidflow import __version__
from pyramidflow.alignment import Reference
from pyramidflow.detector.calibration import Calibration
from pyramidflow.detector.header import Header
from pyramidflow.detector.record import TrainingRecord
from pyramidflow.detector.scoring import Scoring
from pyramidflow.detector.trials import Trial
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors, tensors_below
from pyramidflow.model import Codebook, Comparison, PyramidFlow
from pyramidflow.model.codebook import level_of
from pyramidflow.model.frozen import CustomEncoder
from pyramidflow.model.normal import comparison_of
from pyramidflow.model.state import TensorKind, check_tensors
from pyramidflow.runtime import InspectionSettings
from pyramidflow.spec import ImageSize, Spec

KIND = "detector"

REFERENCE = "alignment/"
"""Beginning of the names of the tensors that poses are measured against."""

MASK = "mask/"
"""Likewise of the mask pictures of the verdict; a number follows."""

TENSORS_OF_A_BLOCK = 8
"""Of a coupling block's state: two convolutions, a running mean, five of the 1×1 convolution."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A trained detector as data.

    Attributes:
        spec: every setting.
        network: in evaluation mode.
        template: mean latents of each group of images, levels ``[K, C, h_d, w_d]``, finest first.
        calibration: the threshold; ``None`` before there is one.
        training: what the training did; ``None`` where the network comes from elsewhere.
        history: for each epoch its number, losses and seconds.
        inverse_spread: levels ``[1, C, h_d, w_d]`` or ``[1, C, 1, 1]``, as the spec's contrast has
            it; ``None`` where it has none.
        codebook: where the spec's contrast has one.
        reference: what the poses of parts are measured against, as the spec's alignment has it;
            ``None`` where it has none.
        trials: how the settings were chosen; empty where they were given.
        masks: of the mask pictures that the spec's verdict names, uint8 ``[H, W]`` each, in order.

    Raises:
        InputError: there is a spread, a codebook or a reference that the spec does not ask for, or
            none where it does.
    """

    spec: Spec
    network: PyramidFlow
    template: tuple[Tensor, ...]
    calibration: Calibration | None = None
    training: TrainingRecord | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    inverse_spread: tuple[Tensor, ...] | None = None
    codebook: Codebook | None = None
    reference: Reference | None = None
    trials: tuple[Trial, ...] = ()
    masks: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if not self.template:
            return
        contrast, align = self.spec.contrast, self.spec.alignment.align
        _check_learned("codebook", contrast.codebook, self.codebook, contrast.codebook > 0)
        if (self.reference is None) != (align == "none"):
            given = "no" if self.reference is None else "a"
            raise InputError(
                f"align is {align}, but {given} reference was given: train with this setting, or "
                "leave it out."
            )
        _check_learned("spread", contrast.spread, self.inverse_spread, contrast.spread != "none")

    @property
    def comparison(self) -> Comparison:
        """Of latents with what is normal."""
        return comparison_of(
            self.spec.contrast,
            self.template,
            self.inverse_spread,
            self.codebook,
            pyramid_difference=self.spec.network.pyramid_difference,
        )

    @property
    def header(self) -> Header:
        """What a file stores beside the tensors."""
        facts = None if self.reference is None else self.reference.facts
        known = (self.spec, self.calibration, self.training, self.history)
        return Header(*known, __version__, facts, self.trials, self.scoring)

    @cached_property
    def scoring(self) -> Scoring:
        """How scores are made by the settings of the verdict."""
        return Scoring.of(self.spec.rule, self.masks)

    def write(self, path: Path) -> None:
        """Write the file, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        self.check()
        save_tensors(path, KIND, self.header.as_dict(), self.tensors)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Weights and what is compared with by the names that they have in a file."""
        tensors = {f"model/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"template/{d}": z for d, z in enumerate(self.template)}
        if self.codebook is not None:
            tensors |= {f"codebook/{k}": v for k, v in self.codebook.tensors.items()}
        if self.reference is not None:
            tensors |= {f"{REFERENCE}{k}": v for k, v in self.reference.tensors.items()}
        tensors |= {f"{MASK}{number}": mask for number, mask in enumerate(self.masks)}
        return tensors | {f"inverse_spread/{d}": w for d, w in enumerate(self.inverse_spread or ())}

    def check(self) -> None:
        """Refuse tensors that are not those which the spec announces.

        Everything that inspects or is written passes here: compiled code trusts shapes and types,
        and a user may have changed them since.

        Raises:
            InputError: a tensor has another shape, type, device or layout, or is not finite.
        """
        tensors, device = self.tensors, next(self.network.parameters()).device
        encoder = self.network.encoder
        module = encoder.module if isinstance(encoder, CustomEncoder) else None
        try:
            InspectionSettings().precision_on(device.type)
            for name, tensor in tensors.items():
                if tensor.device != device or tensor.layout != torch.strided:
                    raise InputError(
                        f"the tensor {name} is {tensor.layout} on {tensor.device}: "
                        f"{torch.strided} on {device} is expected."
                    )
            _check_tensors(self.spec, _described(self.spec, module), tensors)
        except InputError as error:
            raise InputError(
                f"this detector cannot be used ({str(error).rstrip('.')}): load its file anew, or "
                "give network and template as a training left them."
            ) from error


def read_header(path: Path) -> Header:
    """Read what a detector file says about itself.

    Raises:
        InputError: as :func:`read`.
    """
    document, tensors = load_tensors(path, KIND)
    with _naming(path):
        header = Header.of(document)
        if header.spec.network.encoder != "custom":  # of that one nothing is known here
            _check_count(header.spec, tensors)
            _check_tensors(header.spec, _described(header.spec, None), tensors)
        scoring = Scoring.of(header.spec.rule, _masks(header.spec, tensors))
    return replace(header, scoring=scoring)


def read(path: Path, encoder: nn.Module | None = None) -> Artifact:
    """Read a detector file.

    Every tensor's name, shape, type and finiteness is checked against the header before a network
    is built, and the work that a header can ask for is bounded by the tensors that are there.

    Args:
        path: the file.
        encoder: the module, where the detector was made with an encoder of its own.

    Raises:
        InputError: the file is missing, damaged, foreign, of a newer format, or its tensors are not
            those that its header announces.
    """
    document, tensors = load_tensors(path, KIND)
    with _naming(path):
        header = Header.of(document)
        _check_count(header.spec, tensors)
        network = _described(header.spec, encoder)
        _check_tensors(header.spec, network, tensors)
        network.load_state_dict(tensors_below(tensors, "model/"), assign=True)
        levels = range(header.spec.network.levels)
        template = tuple(tensors[f"template/{d}"] for d in levels)
        spread = None
        if header.spec.contrast.spread != "none":
            spread = tuple(tensors[f"inverse_spread/{d}"] for d in levels)
        codebook = None
        if header.spec.contrast.codebook > 0:
            codebook = _codebook(header.spec, tensors_below(tensors, "codebook/"))
        reference = None
        if header.alignment is not None:
            reference = Reference(**tensors_below(tensors, REFERENCE), facts=header.alignment)
    return Artifact(
        header.spec,
        network.eval(),
        template,
        header.calibration,
        header.training,
        header.history,
        spread,
        codebook,
        reference,
        header.trials,
        _masks(header.spec, tensors),
    )


def _masks(spec: Spec, tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensors[f"{MASK}{number}"] for number in range(len(spec.rule.masks)))


def _codebook(spec: Spec, tensors: Mapping[str, Tensor]) -> Codebook:
    beside = spec.contrast.beside_template
    level = level_of(spec.network.stride, spec.network.levels, beside)
    return Codebook(**tensors, level=level, without_mean=spec.contrast.light)


def _described(spec: Spec, encoder: nn.Module | None) -> PyramidFlow:
    """The network without memory: nothing is initialised that other tensors are to replace."""
    with torch.device("meta"):
        return PyramidFlow.from_architecture(spec.network, encoder)


def _check_learned(part: str, wanted: object, given: object | None, is_wanted: bool) -> None:
    """Refuse a part of the contrast that the spec does not ask for, and a missing one."""
    if (given is not None) != is_wanted:
        raise InputError(
            f"the contrast's {part} is {wanted}, but {'none' if given is None else 'one'} was "
            f"given: give the {part} of the training latents where one is wanted, and only there."
        )


def _check_count(spec: Spec, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a header that announces more than the file holds, before anything is built."""
    network = spec.network
    blocks = network.stacks * network.levels
    least = blocks * TENSORS_OF_A_BLOCK + network.levels
    if len(tensors) < least:
        raise InputError(
            f"{len(tensors)} tensors are there for {network.stacks} stacks of {network.levels} "
            f"levels: at least {least} are expected."
        )
    first = tensors.get("model/flow.blocks.0.conv1x1.sign")
    if first is None or first.shape != (network.channels,):
        found = "missing" if first is None else list(first.shape)
        raise InputError(
            f"{network.channels} channels are announced, but flow.blocks.0.conv1x1.sign is "
            f"{found}: [{network.channels}] is expected."
        )


def _check_tensors(spec: Spec, network: PyramidFlow, tensors: Mapping[str, Tensor]) -> None:
    height, width = padded = _padded_size(spec, tensors)
    groups = _groups(spec, tensors)
    expected = {f"model/{name}": kind for name, kind in network.state_kinds(padded).items()}
    for level in range(spec.network.levels):
        shape = (1, spec.network.channels, height >> level, width >> level)
        expected[f"template/{level}"] = TensorKind(((groups, *shape[1:]),), torch.float32)
        if spec.contrast.spread == "channel":
            shape = (*shape[:2], 1, 1)
        if spec.contrast.spread != "none":
            expected[f"inverse_spread/{level}"] = TensorKind((shape,), torch.float32)
    if spec.contrast.codebook > 0:
        features = spec.network.channels * spec.network.levels
        entries = tensors.get("codebook/entries", torch.empty(0))
        count = max(len(entries), 1) if entries.dim() else 1  # as many as there are
        expected |= {
            "codebook/entries": TensorKind(((count, features),), torch.float32),
            "codebook/mean": TensorKind(((features,),), torch.float32),
            "codebook/inverse_spread": TensorKind(((features,),), torch.float32, is_positive=True),
        }
    if spec.alignment.align != "none":
        size = spec.preprocessing.size
        for name, wanted in (("picture", (3, *size)), ("shown", size)):
            expected[f"{REFERENCE}{name}"] = TensorKind((wanted,), torch.float32, 0.0, 1.0)
    for number in range(len(spec.rule.masks)):
        name = f"{MASK}{number}"
        mask = tensors.get(name, torch.empty(0))
        sides = tuple(mask.shape) if mask.dim() == 2 and mask.numel() else (1, 1)
        expected[name] = TensorKind((sides,), torch.uint8, 0, 1)
    check_tensors(tensors, expected)
    for name, weights in tensors.items():
        if name.startswith("inverse_spread/") and not bool((weights > 0).all()):
            raise InputError(
                f"the tensor {name} holds numbers that are not above 0: one over a standard "
                "deviation is expected."
            )


def _groups(spec: Spec, tensors: Mapping[str, Tensor]) -> int:
    """How many templates there are: fewer than asked for where fewer images differ."""
    first = tensors.get("template/0", torch.empty(0))
    found = len(first) if first.dim() else 0
    return found if 1 <= found <= spec.contrast.templates else spec.contrast.templates


def _padded_size(spec: Spec, tensors: Mapping[str, Tensor]) -> ImageSize:
    """Height and width of the finest level."""
    stride = spec.network.stride
    if stride is None:  # only the encoder knows, and the template was made behind it
        finest = tensors.get("template/0", torch.empty(0))
        sides = tuple(finest.shape[-2:]) if finest.dim() == 4 else (1, 1)
    else:
        sides = tuple(-(-side // stride) for side in spec.preprocessing.size)
    return spec.network.padded(sides[0]), spec.network.padded(sides[1])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its content."""
    try:
        yield
    except Exception as error:  # of a forged file almost anything may be asked
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{path} does not describe a detector ({reason}): copy or make it again."
        ) from error
