"""The one file that a detector is: what it holds, and what it must hold."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pyramidflow import __version__
from pyramidflow.detector.calibration import Calibration
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors, tensors_below
from pyramidflow.model import Contrast, PyramidFlow
from pyramidflow.model.state import TensorKind, check_tensors
from pyramidflow.settings import Validated, setting, shown
from pyramidflow.spec import Spec

KIND = "detector"

TENSORS_OF_A_BLOCK = 8
"""Of a coupling block's state: two convolutions, a running mean, five of the 1×1 convolution."""


@dataclass(frozen=True)
class TrainingRecord(Validated):
    """What a training did; part of every detector file.

    Attributes:
        category: name of the images' folder.
        layout: of the data set.
        images: trained on.
        held_out: good images that were not.
        loss: of the last epoch.
        held_out_loss: likewise, on the held-out images.
        epochs: completed.
        seconds: training time, over all runs.
        finished: date and time, as ISO 8601.
        torch: version of PyTorch.
        contents: a digest of each image that was trained on, at the size that the network works at.
        suspects: images that template and spread leave out, the worst first.
        suspect_scores: of each of them, against the others.
    """

    group: ClassVar[str] = "training record"

    category: str = setting("")
    layout: str = setting("folder")
    images: int = setting(0, least=0)
    held_out: int = setting(0, least=0)
    loss: float | None = setting(None)
    held_out_loss: float | None = setting(None)
    epochs: int = setting(0, least=0)
    seconds: float = setting(0.0, least=0)
    finished: str = setting("")
    torch: str = setting("")
    contents: tuple[str, ...] = setting(())
    suspects: tuple[str, ...] = setting(())
    suspect_scores: tuple[float, ...] = setting(())

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.suspects) != len(self.suspect_scores):
            raise InputError(
                f"suspects names {len(self.suspects)} images and suspect_scores holds "
                f"{len(self.suspect_scores)}: one score for each image is expected."
            )


@dataclass(frozen=True, eq=False)
class Artifact:
    """A trained detector as data.

    Attributes:
        spec: every setting.
        network: in evaluation mode.
        template: mean latents, levels ``[1, C, h_d, w_d]``, finest first.
        calibration: the threshold; ``None`` before there is one.
        training: what the training did; ``None`` where the network comes from elsewhere.
        history: for each epoch its number, losses and seconds.
        inverse_spread: levels ``[1, C, h_d, w_d]`` or ``[1, C, 1, 1]``, as the spec's contrast has
            it; ``None`` where it has none.

    Raises:
        InputError: there is a spread that the spec does not ask for, or none where it does.
    """

    spec: Spec
    network: PyramidFlow
    template: tuple[Tensor, ...]
    calibration: Calibration | None = None
    training: TrainingRecord | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    inverse_spread: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        wanted = self.spec.contrast.spread
        if self.template and (self.inverse_spread is None) != (wanted == "none"):
            given = "none" if self.inverse_spread is None else "one"
            raise InputError(
                f"the contrast's spread is {wanted}, but {given} was given: give the spread of the "
                "training latents where one is wanted, and only there."
            )

    @property
    def contrast(self) -> Contrast:
        """What latents are compared with."""
        return Contrast.of(self.template, self.inverse_spread, self.spec.contrast.light)

    @property
    def header(self) -> "Header":
        """What a file stores beside the tensors."""
        return Header(self.spec, self.calibration, self.training, self.history, __version__)

    def write(self, path: Path) -> None:
        """Write the file, atomically.

        Raises:
            InputError: the file cannot be written.
        """
        tensors = {f"model/{k}": v for k, v in self.network.state_dict().items()}
        tensors.update({f"template/{d}": z for d, z in enumerate(self.template)})
        spread = self.inverse_spread or ()
        tensors.update({f"inverse_spread/{d}": w for d, w in enumerate(spread)})
        save_tensors(path, KIND, self.header.as_dict(), tensors)


@dataclass(frozen=True)
class Header:
    """What the header of a detector file says, checked.

    Attributes:
        spec: every setting.
        calibration: the threshold, or ``None``.
        training: the training record, or ``None``.
        history: a record for each epoch.
        library_version: that wrote the file.
    """

    spec: Spec
    calibration: Calibration | None
    training: TrainingRecord | None
    history: tuple[Mapping[str, Any], ...]
    library_version: str

    def as_dict(self) -> dict[str, Any]:
        """The header as a JSON object."""
        return {
            "library_version": self.library_version,
            "spec": self.spec.as_dict(),
            "threshold": None if self.calibration is None else self.calibration.threshold,
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "training": None if self.training is None else self.training.as_dict(),
            "history": [dict(record) for record in self.history],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Header":
        """Check a header.

        Raises:
            InputError: a field is missing, or of another type or range.
        """
        if document.get("format_version") == 1:
            document = _from_version_1(document)
        calibration = document.get("calibration")
        if calibration is not None:
            calibration = Calibration.from_dict(calibration)
        if document.get("threshold") != (calibration and calibration.threshold):
            raise InputError(
                f"threshold is {shown(document.get('threshold'))}, but the calibration has "
                f"{calibration and calibration.threshold}: one value is expected."
            )
        training = document.get("training")
        version = document.get("library_version")
        if not isinstance(version, str):
            raise InputError(f"library_version is {shown(version)}: a text is expected.")
        return cls(
            Spec.from_dict(document.get("spec")),
            calibration,
            None if training is None else TrainingRecord.from_dict(training),
            _history(document.get("history")),
            version,
        )


def read_header(path: Path) -> Header:
    """Read what a detector file says about itself.

    Raises:
        InputError: as :func:`read`.
    """
    document, _ = load_tensors(path, KIND)
    with _naming(path):
        return Header.of(document)


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
        # Nothing is initialised that the file's tensors would replace at once.
        with torch.device("meta"):
            network = PyramidFlow.from_architecture(header.spec.network, encoder)
        _check_tensors(header.spec, network, tensors)
        network.load_state_dict(tensors_below(tensors, "model/"), assign=True)
        levels = range(header.spec.network.levels)
        template = tuple(tensors[f"template/{d}"] for d in levels)
        spread = None
        if header.spec.contrast.spread != "none":
            spread = tuple(tensors[f"inverse_spread/{d}"] for d in levels)
            _check_positive(spread)
    return Artifact(
        header.spec,
        network.eval(),
        template,
        header.calibration,
        header.training,
        header.history,
        spread,
    )


def _check_positive(inverse_spread: tuple[Tensor, ...]) -> None:
    for level, weights in enumerate(inverse_spread):
        if not bool((weights > 0).all()):
            raise InputError(
                f"inverse_spread/{level} holds numbers that are not above 0: one over a standard "
                "deviation is expected"
            )


def _check_count(spec: Spec, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a header that announces more than the file holds, before anything is built."""
    network = spec.network
    blocks = network.stacks * network.levels
    if len(tensors) < blocks * TENSORS_OF_A_BLOCK + network.levels:
        raise InputError(
            f"{network.stacks} stacks of {network.levels} levels are announced, but only "
            f"{len(tensors)} tensors are there"
        )
    first = tensors.get("model/flow.blocks.0.conv1x1.sign")
    if first is None or first.shape != (network.channels,):
        found = "missing" if first is None else list(first.shape)
        raise InputError(
            f"{network.channels} channels are announced, but flow.blocks.0.conv1x1.sign is {found}"
        )


def _check_tensors(spec: Spec, network: PyramidFlow, tensors: Mapping[str, Tensor]) -> None:
    side = _padded_side(spec, tensors)
    expected = {f"model/{name}": kind for name, kind in network.state_kinds((side, side)).items()}
    for level in range(spec.network.levels):
        shape = (1, spec.network.channels, side >> level, side >> level)
        expected[f"template/{level}"] = TensorKind((shape,), torch.float32)
        if spec.contrast.spread == "channel":
            shape = (*shape[:2], 1, 1)
        if spec.contrast.spread != "none":
            expected[f"inverse_spread/{level}"] = TensorKind((shape,), torch.float32)
    check_tensors(tensors, expected)


def _padded_side(spec: Spec, tensors: Mapping[str, Tensor]) -> int:
    """Side of the finest level."""
    stride = spec.network.stride
    if stride is None:  # only the encoder knows, and the template was made behind it
        finest = tensors.get("template/0", torch.empty(0))
        return spec.network.padded(finest.shape[-1] if finest.dim() == 4 else 1)
    return spec.network.padded(-(-spec.preprocessing.image_size // stride))


def _history(stored: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(stored, list) or not all(isinstance(record, dict) for record in stored):
        raise InputError(f"history is {shown(stored)}: a list of objects is expected.")
    return tuple(stored)


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


def _from_version_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """A header of format version 1 as one of version 2."""
    training = dict(document["training"])
    recipe = dict(training.pop("recipe", {}))
    recipe["augment"] = "texture" if recipe.get("augment") else "none"
    recipe |= {"seed": document["seed"], "without": document["without"]}
    history = training.pop("history", [])
    last = history[-1] if history else {}
    calibration = document["calibration"]
    if calibration is not None:
        calibration = {"threshold": document["threshold"], **calibration}
    elif document["threshold"] is not None:
        calibration = {"threshold": document["threshold"], "source": "by hand"}
    record = {
        **training,
        "loss": last.get("loss"),
        "held_out_loss": last.get("validation_loss"),
        "epochs": last.get("epoch", 0),
    }
    return {
        **document,
        "spec": {
            "network": document["architecture"],
            "preprocessing": document["preprocessing"],
            "recipe": recipe,
            "rule": {"region_of_interest": document["region_of_interest"]},
        },
        "calibration": calibration,
        "training": record if training else None,
        "history": history,
    }
