"""The detector: what users train, calibrate, ship as one file and inspect images with."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL.Image import Image as PictureFile
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow import __version__, ops
from pyramidflow.data import (
    Category,
    Image,
    ImageSet,
    Pixels,
    Preprocessing,
    as_pixels,
    check_trainable,
    list_images,
    open_dataset,
    resize_image,
    resolve_augmentation,
    split_validation,
)
from pyramidflow.data.imageset import stack
from pyramidflow.detector.calibration import conformal_threshold
from pyramidflow.detector.findings import Inspection, Region, Verdict, find_regions
from pyramidflow.engine import Engine, EngineSlot, Precision, Settings, TrainedNetwork
from pyramidflow.errors import InputError
from pyramidflow.io.tensors import load_tensors, save_tensors, tensors_below
from pyramidflow.model import Architecture, EncoderName, PyramidFlow, ResNetEncoder
from pyramidflow.model.encoder_weights import load_encoder_weights

Box: TypeAlias = tuple[float, float, float, float]

GPU_BATCH = 8
"""Images that go through a GPU at once."""

DEFAULT_IMAGE_SIZE = {"none": 256, "resnet18": 1024, "resnet34": 1024, "custom": 256}
"""Image size by encoder (supplement section 1.1)."""


class Detector:
    """A defect detector: network, template and threshold.

    Args:
        image_size: side of the square that images are resized to, in pixels; by default 256, and
            1024 with a ResNet.
        channels: ``C``; 16 by default, 64 with a ResNet.
        levels: ``L`` of the pyramid.
        stacks: ``D`` of the flow.
        kernel_size: odd ``k`` of the coupling convolutions.
        volume_norm: ``"cvn"`` or ``"svn"``.
        encoder: ``"none"``, ``"resnet18"``, ``"resnet34"``, or a module that maps
            ``[B, 3, H, W]`` to ``[B, channels, h, w]``.
        encoder_weights: file with a ResNet's weights; ``None`` downloads torchvision's.
        without: ablations, from :data:`pyramidflow.training.ABLATIONS`.
        region_of_interest: ``(left, top, right, bottom)`` as fractions of width and height; the
            anomaly map is zero outside. ``None`` is the whole image.
        seed: of the initial weights, the held-out split, data order and augmentation.
        device: ``"auto"`` takes a CUDA device where there is one.

    Raises:
        InputError: an argument is out of range, or the encoder's weights cannot be had.
    """

    def __init__(
        self,
        image_size: int | None = None,
        *,
        channels: int | None = None,
        levels: int = 4,
        stacks: int = 4,
        kernel_size: int = 7,
        volume_norm: ops.VolumeNormKind = "cvn",
        encoder: EncoderName | nn.Module = "none",
        encoder_weights: str | os.PathLike[str] | None = None,
        without: Sequence[str] = (),
        region_of_interest: Box | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = PyramidFlow(
                channels=channels,
                levels=levels,
                stacks=stacks,
                kernel_size=kernel_size,
                volume_norm="none" if "volume-norm" in without else volume_norm,
                encoder=encoder,
                pyramid_difference="pyramid-difference" not in without,
            )
        if isinstance(model.encoder, ResNetEncoder):
            file = None if encoder_weights is None else Path(encoder_weights)
            load_encoder_weights(model.encoder, model.architecture.encoder, file)
        elif encoder_weights is not None:
            raise InputError(
                f"encoder weights were given ({encoder_weights}), but the encoder is "
                f"{model.architecture.encoder}: choose resnet18 or resnet34."
            )
        size = image_size or DEFAULT_IMAGE_SIZE[model.architecture.encoder]
        least = 2 ** (levels - 1)
        if size < least:
            raise InputError(f"the image size is {size}: {levels} levels need at least {least}.")
        self.model = model.eval().to(resolve_device(device))
        self.preprocessing = Preprocessing(size)
        self.template: tuple[Tensor, ...] | None = None
        self.threshold: float | None = None
        self.calibration: dict[str, Any] | None = None
        self.region_of_interest = _checked_region(region_of_interest)
        self.without = tuple(without)
        self.seed = seed
        self.training: dict[str, Any] = {}
        self._engine = EngineSlot()

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return next(self.model.parameters()).device

    @property
    def map_scale(self) -> float:
        """Anomaly value at the top of the overlays' colour scale: twice the threshold.

        Raises:
            InputError: the detector is not calibrated.
        """
        if self.threshold is None:
            raise InputError("this detector has no threshold yet: calibrate it on good images.")
        return 2 * self.threshold

    def fit(
        self,
        data: "str | os.PathLike[str] | Category",
        category: str | None = None,
        *,
        epochs: int = 15,
        batch_size: int = 2,
        augment: Literal["texture", "none"] = "none",
        validation_share: float = 0.1,
        deterministic: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        show_progress: bool = True,
    ) -> "Detector":
        """Train on good images, take the template, and calibrate on the held-out share.

        Args:
            data: a folder of good images, a data set in MVTec AD, BTAD or VisA layout, or an opened
                :class:`pyramidflow.data.Category`.
            category: which one, where the data set has several.
            epochs: passes over the training images.
            batch_size: images in a step.
            augment: ``"texture"`` flips and rotates by 90°, for parts without an upright side.
            validation_share: share of the good images that is held out from training; the
                threshold is calibrated on it. Test images are never looked at.
            deterministic: refuse operations whose result may differ from run to run.
            checkpoint: file to write after each epoch and on Ctrl-C.
            resume: go on from ``checkpoint``; the result is bit-equal to an uninterrupted training.
            show_progress: show a progress bar and a line for each epoch on standard error.

        Returns:
            The detector itself.

        Raises:
            InputError: the data cannot be used, or the checkpoint does not belong to it.
            Interrupted: a stop was requested; the checkpoint is written.
        """
        from pyramidflow.training import Recipe, train

        if not isinstance(data, Category):
            data = open_dataset(Path(data), category)
        check_trainable(data.train)
        training, held_out = split_validation(data.train, validation_share, self.seed)
        size = self.preprocessing.image_size
        recipe = Recipe(
            epochs=epochs,
            batch_size=batch_size,
            seed=self.seed,
            augment=resolve_augmentation(augment),
            without=self.without,
            deterministic=deterministic,
        )
        result = train(
            self.model,
            self.preprocessing,
            ImageSet(training, size),
            ImageSet(held_out, size),
            recipe,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            resume=resume,
            show_progress=show_progress,
        )
        self.model.eval()
        self.template = result.template
        self._engine.empty()
        self.training = {
            "category": data.name,
            "layout": data.layout,
            "images": len(training),
            "held_out": len(held_out),
            "recipe": recipe.as_dict(),
            "history": list(result.history),
            "seconds": result.seconds,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "torch": torch.__version__,
        }
        return self._calibrate(held_out or training, 0.01, "held-out" if held_out else "training")

    def calibrate(
        self,
        good: "str | os.PathLike[str] | Sequence[Image]",
        target_false_reject_rate: float = 0.01,
    ) -> "Detector":
        """Set the threshold from good images that were not trained on.

        See :func:`pyramidflow.detector.calibration.conformal_threshold`; :attr:`calibration` then
        holds its record: with few images the rate that can be promised is larger than the target.

        Args:
            good: a folder of good images, or images.
            target_false_reject_rate: share of good parts that may be rejected, in (0, 1).

        Returns:
            The detector itself.

        Raises:
            InputError: no images, a rate outside (0, 1), or the detector is not trained.
        """
        if isinstance(good, str | os.PathLike):
            folder = Path(good)
            good = list_images(folder)
            if not good:
                raise InputError(f"there are no images in {folder}: give a folder of good images.")
        return self._calibrate(good, target_false_reject_rate, "given")

    def _calibrate(self, good: Sequence[Image], rate: float, source: str) -> "Detector":
        scores = [score for score, _ in self._network_maps(good)]
        self.threshold, self.calibration = conformal_threshold(scores, rate)
        self.calibration["source"] = source
        return self

    @overload
    def inspect(self, images: "list[Image] | tuple[Image, ...]") -> list[Inspection]: ...
    @overload
    def inspect(self, images: "str | os.PathLike[str] | PictureFile") -> Inspection: ...
    @overload
    def inspect(self, images: Pixels) -> "Inspection | list[Inspection]": ...

    def inspect(self, images: Any) -> "Inspection | list[Inspection]":
        """Look for defects.

        Args:
            images: one image (a path; an array ``[H, W, 3]`` or ``[H, W]`` of uint8 or uint16; a
                Pillow image), or a batch (a sequence of those, or an array ``[B, H, W, 3]``).
                Images of a batch may differ in size.

        Returns:
            One :class:`Inspection`, or a list of them for a batch.

        Raises:
            InputError: an image cannot be read or has another shape or type, or the detector is not
                trained.
        """
        is_batch = isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4
        batch = images if is_batch else [images]
        found = list(self.inspect_each(batch))
        return found if is_batch else found[0]

    def inspect_each(self, images: Sequence[Image]) -> Iterator[Inspection]:
        """Inspect images one after the other, as :meth:`inspect`; results come as they are ready.

        Args:
            images: a sequence of images.

        Yields:
            An :class:`Inspection` for each image.

        Raises:
            InputError: see :meth:`inspect`.
        """
        pixels = (as_pixels(image) for image in images)
        for size, (score, network_map) in self._sized_maps(pixels):
            yield self._inspection(score, network_map, size)

    def working_map(self, image: Image) -> tuple[float, npt.NDArray[np.float32]]:
        """Score and anomaly map of an image in the size that the detector works at.

        Args:
            image: one image, as for :meth:`inspect`.

        Returns:
            The score, and float32 ``[image_size, image_size]``.

        Raises:
            InputError: see :meth:`inspect`.
        """
        [(score, network_map)] = self._network_maps([image])
        size = self.preprocessing.image_size
        return score, _resize_map(network_map, (size, size))

    def _inspection(self, score: float, network_map: Tensor, size: tuple[int, int]) -> Inspection:
        verdict: Verdict | None = None
        regions: tuple[Region, ...] = ()
        if self.threshold is not None:
            verdict = "ng" if score > self.threshold else "ok"
            regions = find_regions(network_map.numpy(), self.threshold, size)
        return Inspection(score, self.threshold, verdict, regions, _resize_map(network_map, size))

    def _network_maps(self, images: Sequence[Image]) -> Iterator[tuple[float, Tensor]]:
        for _, found in self._sized_maps(as_pixels(image) for image in images):
            yield found

    def _sized_maps(
        self, images: Iterator[Pixels]
    ) -> Iterator[tuple[tuple[int, int], tuple[float, Tensor]]]:
        sizes: list[tuple[int, int]] = []
        waiting: list[Pixels] = []
        for image in images:
            sizes.append((image.shape[0], image.shape[1]))
            waiting.append(resize_image(image, self.preprocessing.image_size))
            if len(waiting) == self._images_at_once:
                yield from zip(sizes, self._maps(waiting), strict=True)
                sizes, waiting = [], []
        if waiting:
            yield from zip(sizes, self._maps(waiting), strict=True)

    @torch.inference_mode()
    def _maps(self, resized: Sequence[Pixels]) -> list[tuple[float, Tensor]]:
        if self.template is None:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        images = stack(resized)  # [B, H, W, 3]
        with self._engine.lock:
            engine = self._ready_engine()
            if engine is None:
                batch = self.preprocessing.batch(resized, self.device)
                maps = self.model.anomaly_map(batch, self.template)  # [B, h, w]
            else:
                maps = engine.anomaly_map(images)  # [B, h, w]
            maps = maps * self._interest_mask(maps.shape[-2:])
        scores = maps.amax((1, 2)).cpu()  # [B]
        return [(float(score), m) for score, m in zip(scores, maps.float().cpu(), strict=True)]

    def prepare(
        self,
        *,
        threads: int | None = None,
        memory_budget: int | None = None,
        precision: Precision | None = None,
    ) -> Engine | None:
        """Get ready to inspect: freeze the network and allocate everything an inspection needs.

        The first inspection does so by itself; call this to choose, or to pay the time beforehand.

        Args:
            threads: how many an inspection on the CPU uses; ``None`` takes PyTorch's number.
            memory_budget: bytes that the process may have at its peak, everything included but
                the decoding of pictures larger than the image size, about 10 bytes for each of
                their pixels; images that do not fit whole are inspected in tiles, with the same
                result up to rounding. ``None`` for whole images and the fastest plan.
            precision: of the arithmetic: ``"float32"`` or, where the processor has it,
                ``"bfloat16"`` on the CPU; ``"half"``, ``"bfloat16"``, ``"tf32"`` or ``"float32"``
                on a GPU; ``None`` takes the first.

        Returns:
            The engine, whose ``plan`` says how it computes; ``None`` where there is none: without
            the compiled kernels the network runs as it is.

        Raises:
            InputError: the detector is not trained, the precision is not there, or the budget is
                too small.
        """
        if self.template is None:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        self._engine = EngineSlot(Settings(threads, memory_budget, precision))
        return self._ready_engine()

    @property
    def _images_at_once(self) -> int:
        # Alone on a CPU an image costs no more than in a batch, and its bits do not depend on its
        # neighbours.
        return 1 if self.device.type == "cpu" else GPU_BATCH

    def _ready_engine(self) -> Engine | None:
        assert self.template is not None
        side = self.preprocessing.image_size
        trained = TrainedNetwork(
            self.model, self.template, self.preprocessing.mean, self.preprocessing.std
        )
        return self._engine.get(trained, (self._images_at_once, side, side), self.device)

    def _interest_mask(self, size: Sequence[int]) -> Tensor:
        mask = torch.ones(tuple(size), device=self.device)  # [h, w]
        if self.region_of_interest is not None:
            left, top, right, bottom = self.region_of_interest
            y = (torch.arange(size[0], device=self.device) + 0.5) / size[0]
            x = (torch.arange(size[1], device=self.device) + 0.5) / size[1]
            mask *= ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
        return mask

    def template_picture(self) -> npt.NDArray[np.uint8]:
        """Picture of the normal part, ``[image_size, image_size, 3]``.

        Raises:
            InputError: the detector is not trained, or its encoder has no inverse.
        """
        if self.template is None:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        size = self.preprocessing.image_size
        picture = self.model.image_template(self.template, (size, size))
        return self.preprocessing.denormalize(picture[0])

    def header(self) -> dict[str, Any]:
        """What a file stores beside the tensors: settings, calibration, training record."""
        return {
            "library_version": __version__,
            "architecture": self.model.architecture.as_dict(),
            "preprocessing": {
                "image_size": self.preprocessing.image_size,
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
            },
            "threshold": self.threshold,
            "calibration": self.calibration,
            "region_of_interest": self.region_of_interest,
            "without": list(self.without),
            "seed": self.seed,
            "training": self.training,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file to ship: weights, template and all settings, atomically.

        Args:
            path: a ``.safetensors`` file.

        Raises:
            InputError: the detector is not trained, or the file cannot be written.
        """
        if self.template is None:
            raise InputError("this detector is not trained: there is nothing to save yet.")
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors.update({f"template/{d}": z for d, z in enumerate(self.template)})
        save_tensors(Path(path), "detector", self.header(), tensors)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: nn.Module | None = None,
        device: str | torch.device = "auto",
    ) -> "Detector":
        """Read a file that :meth:`save` wrote.

        Args:
            path: the file.
            encoder: the module, for a detector that was made with an encoder of its own.
            device: ``"auto"`` takes a CUDA device where there is one.

        Returns:
            The detector; on the same machine its results are bit-equal to the saved one's.

        Raises:
            InputError: the file is missing, damaged, foreign or of a newer format.
        """
        header, tensors = load_tensors(Path(path), "detector")
        target = resolve_device(device)
        detector = cls.__new__(cls)
        try:
            architecture = Architecture(**header["architecture"])
            stored = header["preprocessing"]
            detector.preprocessing = Preprocessing(
                stored["image_size"], tuple(stored["mean"]), tuple(stored["std"])
            )
            detector.threshold = header["threshold"]
            detector.calibration = header["calibration"]
            detector.region_of_interest = _checked_region(header["region_of_interest"])
            detector.without = tuple(header["without"])
            detector.seed = header["seed"]
            detector.training = header["training"]
            # Nothing is initialised that the file's tensors would replace at once.
            with torch.device("meta"):
                model = PyramidFlow.from_architecture(architecture, encoder)
            model.load_state_dict(tensors_below(tensors, "model/"), assign=True)
            detector.template = tuple(
                tensors[f"template/{d}"].to(target) for d in range(architecture.levels)
            )
        except InputError:
            raise
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path} does not describe a detector ({reason}): copy or make it again."
            ) from error
        detector.model = model.eval().to(target)
        detector._engine = EngineSlot()
        return detector


def resolve_device(device: str | torch.device) -> torch.device:
    """Device by name; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        InputError: the device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the device {device!r} cannot be used here ({reason}): give cpu, or auto."
        ) from error
    return chosen


def _resize_map(network_map: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    resized = functional.interpolate(
        network_map[None, None], size=size, mode="bilinear", antialias=True
    )
    pixels: npt.NDArray[np.float32] = resized[0, 0].numpy()  # [H, W]
    return pixels


def _checked_region(region: Sequence[float] | None) -> Box | None:
    if region is None:
        return None
    if len(region) != 4 or not (
        0 <= region[0] < region[2] <= 1 and 0 <= region[1] < region[3] <= 1
    ):
        raise InputError(
            f"the region of interest is {list(region)}: give left, top, right, bottom as fractions "
            "of the image, 0 ≤ left < right ≤ 1 and 0 ≤ top < bottom ≤ 1."
        )
    left, top, right, bottom = region
    return left, top, right, bottom
