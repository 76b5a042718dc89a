"""The detector: what users train, calibrate, ship as one file and inspect images with."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL.Image import Image as PictureFile
from torch import Tensor, nn

from pyramidflow.data import (
    CACHE_BYTES,
    Category,
    Image,
    Pixels,
    as_pixels,
    each_of,
    is_batch,
    open_dataset,
)
from pyramidflow.detector import artifact as files
from pyramidflow.detector import initialisation
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.counted_area import masks_of
from pyramidflow.detector.findings import Inspection
from pyramidflow.detector.fitting import FitRun, fit
from pyramidflow.detector.judging import judging, masks_with
from pyramidflow.detector.session import Session
from pyramidflow.detector.state import DetectorState, on_device
from pyramidflow.detector.threshold import calibrated_on, good_images_in
from pyramidflow.detector.trials import Trial
from pyramidflow.errors import InputError, shown
from pyramidflow.model import Codebook, PyramidFlow
from pyramidflow.model.encoders import encoder_of
from pyramidflow.runtime import InspectionSettings, Precision
from pyramidflow.runtime.device import resolve_device
from pyramidflow.spec import Spec
from pyramidflow.training import Parallel
from pyramidflow.variants import FALSE_REJECT_RATE


class Detector(DetectorState):
    """A defect detector: network, template and threshold.

    Args:
        image_size: size that images are resized to, in pixels: the side of a square, ``(height,
            width)``, ``"640x256"``, or ``"auto"`` for the aspect of the training images; by default
            256, with an encoder its own.
        spec: every setting at once, in place of single ones.
        encoder: ``"lift"``, ``"resnet18"``, ``"resnet34"``, ``"efficientnet-lite0"``,
            ``"timm:NAME"``, or a module that maps ``[B, 3, H, W]`` to ``[B, channels, h, w]``.
        encoder_weights: file with the encoder's weights; ``None`` takes its own source: a download,
            or a package.
        device: ``"auto"`` takes a CUDA device where there is one.
        settings: any other setting by name, see :mod:`pyramidflow.spec`: ``channels``,
            ``levels``, ``stacks``, ``kernel_size``, ``volume_norm``, ``region_of_interest``,
            ``epochs``, ``batch_size``, ``seed``, …

    Raises:
        InputError: a setting is unknown or out of range, or the encoder's weights cannot be had.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] | str | None = None,
        *,
        spec: Spec | None = None,
        encoder: str | nn.Module | None = None,
        encoder_weights: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        **settings: Any,
    ) -> None:
        module = encoder if isinstance(encoder, nn.Module) else None
        settings |= {"image_size": image_size, "encoder": encoder if module is None else "custom"}
        if spec is not None and not isinstance(spec, Spec):
            raise InputError(f"spec is {shown(spec)}: give a Spec, or single settings by name.")
        spec = Spec.of(settings) if spec is None else spec.changed(**settings)
        target = resolve_device(device)
        network = initialisation.initial_network(spec, module)
        file = None if encoder_weights is None else Path(encoder_weights)
        encoder_of(spec.network.encoder).load_weights(network.encoder, file)
        masks = tuple(mask.to(target) for mask in masks_of(spec.rule, {}))
        self._become(Artifact(spec, network.eval().to(target), (), masks=masks))

    def changed(self, trials: Sequence[Trial] = (), **settings: Any) -> "Detector":
        """An untrained detector with other settings; pre-trained weights of its encoder stay.

        Args:
            trials: how they were chosen.
            settings: by name, but those of the encoder.

        Raises:
            InputError: a setting is unknown or out of range.
        """
        spec = self.spec.changed(**settings)
        network = initialisation.drawn_anew(self.model, spec)
        masks = masks_with(self._artifact, spec.rule, settings)
        return Detector._of(Artifact(spec, network, (), trials=tuple(trials), masks=masks))

    def fit(
        self,
        data: "str | os.PathLike[str] | Category",
        category: str | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        show_progress: bool = True,
        cache_bytes: int = CACHE_BYTES,
        max_pixels: int | None = None,
        workers: int | None = None,
        parallel: Parallel | None = None,
        **recipe: Any,
    ) -> "Detector":
        """Train on good images, take the template, and calibrate on the held-out share.

        Until it is done the detector stays what it was; then everything is replaced at once, also
        what another thread has set meanwhile.

        Args:
            data: a folder of good images, a data set in MVTec AD, BTAD or VisA layout, or an opened
                :class:`pyramidflow.data.Category`.
            category: which one, where the data set has several.
            checkpoint: file to write after each epoch and on Ctrl-C.
            resume: go on from ``checkpoint``; the result is bit-equal to an uninterrupted training.
            show_progress: show a progress bar and a line for each epoch on standard error.
            cache_bytes: memory for decoded images.
            max_pixels: pixels of the largest picture that is decoded; by default 178 million.
            workers: processes that prepare images; by default as many as help.
            parallel: this process among several, see :func:`pyramidflow.training.processes`.
            recipe: settings of the training that differ from the detector's own, as ``epochs``,
                ``batch_size`` or ``augment``, see :class:`pyramidflow.training.Recipe`. A ``seed``
                draws a network that is not trained yet; a trained one is trained further.

        Returns:
            The detector itself.

        Raises:
            InputError: the data or the checkpoint cannot be used, or not with a trained network.
            Interrupted: a stop was requested; the checkpoint is written.
        """
        spec = self.spec.with_recipe(**recipe)
        network = initialisation.network_to_train(self._artifact, spec)
        if not isinstance(data, Category):
            data = open_dataset(data, category)
        file = None if checkpoint is None else Path(checkpoint)
        run = FitRun(file, resume, show_progress, workers, parallel, cache_bytes, max_pixels)
        fitted = fit(network, spec, data, run, self._artifact.masks)
        # The memory budget is for the line: after a training the process has more than it already.
        settings = replace(self._current.settings, memory_budget=None)
        session = Session(fitted.artifact, self.device, settings)
        good = fitted.good_pixels(run)
        found = fitted.artifact
        calibration = calibrated_on(
            found, session, good, FALSE_REJECT_RATE, fitted.origin, parallel=parallel
        )
        with self._changing:
            trials = self._artifact.trials
            self._artifact = replace(found, calibration=calibration, trials=trials)
        return self

    def calibrate(
        self,
        good: "str | os.PathLike[str] | Image | Iterable[Image]",
        target_false_reject_rate: float = FALSE_REJECT_RATE,
        target_review_rate: float | None = None,
        **verdict: Any,
    ) -> "Detector":
        """Set the thresholds from good images that were not trained on.

        See :func:`pyramidflow.detector.calibration.conformal_calibration`; :attr:`calibration` then
        holds its record: with few images the rate that can be promised is larger than the target.
        The scores are taken in the precision that :meth:`prepare` chose. All thresholds are set
        anew: without a review rate no score is for review.

        Args:
            good: a folder of good images, or images, as for :meth:`inspect`.
            target_false_reject_rate: share of good parts that may be rejected, in (0, 1).
            target_review_rate: share of good parts that may be for review or rejected, above that
                of false rejects.
            verdict: settings of the verdict that change with it, see :meth:`set_verdict`.

        Returns:
            The detector itself.

        Raises:
            InputError: no images, a rate outside (0, 1), a setting that is refused, the detector is
                not trained, or another thread has changed it meanwhile.

        Warns:
            CalibrationWarning: some of the images were trained on.
        """
        if isinstance(good, str | os.PathLike):
            good = good_images_in(Path(good))
        before = self._artifact
        artifact = judging(before, verdict) if verdict else before
        if verdict:
            session = Session(artifact, self.device, self._current.settings)
        else:
            session = self._current.get(artifact, self.device)
        pixels = (as_pixels(image, session.decoding) for image in each_of(good))
        found = calibrated_on(
            artifact,
            session,
            pixels,
            target_false_reject_rate,
            "given",
            review_rate=target_review_rate,
        )
        with self._changing:
            now = self._artifact
            if now.network is not before.network or now.spec != before.spec:
                raise InputError(
                    "the detector was changed while it was calibrated, so the threshold would be "
                    "another detector's: calibrate again."
                )
            spec, masks = artifact.spec, artifact.masks
            self._artifact = replace(now, calibration=found, spec=spec, masks=masks)
        return self

    @overload
    def inspect(  # type: ignore[overload-overlap]
        self, images: "str | os.PathLike[str] | PictureFile"
    ) -> Inspection: ...
    @overload
    def inspect(  # type: ignore[overload-overlap]
        self, images: Pixels
    ) -> "Inspection | list[Inspection]": ...
    @overload
    def inspect(self, images: "Iterable[Image]") -> list[Inspection]: ...

    def inspect(self, images: Any) -> "Inspection | list[Inspection]":
        """Look for defects.

        Args:
            images: one image (a path; an array ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]`` of uint8
                or uint16, colours in the order red, green, blue; a Pillow image), or a batch (any
                iterable of those, or an array ``[B, H, W, 3]``). Images of a batch may differ in
                size. OpenCV's arrays are in the order blue, green, red: give
                ``image[:, :, ::-1]``.

        Returns:
            One :class:`Inspection`, or a list of them for a batch.

        Raises:
            InputError: an image cannot be read or has another shape or type, its score is not
                finite, or the detector is not trained.
        """
        if is_batch(images):
            return list(self.inspect_each(images))
        return self.session.inspect(images)

    def inspect_each(self, images: "Image | Iterable[Image]") -> Iterator[Inspection]:
        """Inspect images one after the other, as :meth:`inspect`; results come as they are ready.

        Args:
            images: any iterable of images, or one.

        Yields:
            An :class:`Inspection` for each image.

        Raises:
            InputError: see :meth:`inspect`; behind the results of the images before.
        """
        yield from self.session.inspect_many(images)

    def working_map(self, image: Image) -> tuple[float, npt.NDArray[np.float32]]:
        """Score and anomaly map of an image in the size that the detector works at.

        Args:
            image: one image, as for :meth:`inspect`.

        Returns:
            The score, and float32 ``[h, w]``.

        Raises:
            InputError: see :meth:`inspect`.
        """
        session = self.session
        [found] = session.working_maps([as_pixels(image, session.decoding)])
        return found.score, session.resized(found)

    def prepare(
        self,
        *,
        threads: int | None = None,
        memory_budget: int | None = None,
        precision: Precision | None = None,
        max_pixels: int | None = None,
    ) -> Session:
        """Get ready to inspect: freeze the network and allocate everything an inspection needs.

        The first inspection does so by itself; call this to choose, or to pay the time beforehand.
        Inspections that run in other threads meanwhile end with the session that they began with.

        Args:
            threads: how many an inspection on the CPU uses; ``None`` takes PyTorch's number.
            memory_budget: bytes that the process may have at its peak, everything included but
                the decoding of pictures larger than the image size, about 10 bytes for each of
                their pixels; images that do not fit whole are inspected in tiles, with the same
                result up to rounding. ``None`` for whole images and the fastest plan.
            precision: of the arithmetic: ``"float32"`` or, where the processor has it,
                ``"bfloat16"`` on the CPU; ``"half"``, ``"bfloat16"``, ``"tf32"`` or ``"float32"``
                on a GPU; ``None`` takes the first.
            max_pixels: pixels of the largest picture that is decoded; by default 178 million.

        Returns:
            The session that inspects from now on; its ``runtime.plan`` says how it computes.

        Raises:
            InputError: the detector is not trained, or a setting cannot be honoured: the precision
                is not there, the budget is too small, or the kernels that know them are missing.
        """
        settings = InspectionSettings(threads, memory_budget, precision, max_pixels)
        return self._current.renew(self._artifact, self.device, settings)

    @property
    def session(self) -> Session:
        """What inspects with the detector as it is now; made where there is none.

        Raises:
            InputError: the detector is not trained.
        """
        return self._current.get(self._artifact, self.device)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the one file to ship: weights, template and all settings, atomically.

        Args:
            path: a ``.safetensors`` file.

        Raises:
            InputError: the detector is not trained, or the file cannot be written.
        """
        if self.template is None:
            raise InputError("this detector is not trained: there is nothing to save yet.")
        self._artifact.write(Path(path))

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
            path: the file; what happens to it later does not matter.
            encoder: the module, for a detector that was made with an encoder of its own.
            device: ``"auto"`` takes a CUDA device where there is one.

        Returns:
            The detector; on the same machine its results are bit-equal to the saved one's.

        Raises:
            InputError: the file is missing, damaged, foreign or of a newer format.
        """
        target = resolve_device(device)
        return cls._of(on_device(files.read(Path(path), encoder), target))

    @classmethod
    def from_network(
        cls,
        network: PyramidFlow,
        template: Sequence[Tensor],
        settings: Mapping[str, Any] | None = None,
        inverse_spread: Sequence[Tensor] | None = None,
        codebook: Codebook | None = None,
    ) -> "Detector":
        """A detector around a network that was trained elsewhere.

        Args:
            network: on the device to inspect on; it is put into evaluation mode.
            template: mean latents, levels ``[1, C, h_d, w_d]``, finest first; more than one where
                the settings ask for several ``templates``.
            settings: ``image_size`` and any other that the network does not fix; without settings
                of the contrast it is that with the template alone.
            inverse_spread: where the settings ask for a ``spread``: one over the standard deviation
                of the training latents, levels ``[1, C, h_d, w_d]`` or ``[1, C, 1, 1]``.
            codebook: where the settings ask for one.

        Raises:
            InputError: a setting contradicts network, spread or codebook, or is out of its range,
                or one of them or the template is not one that a detector can have.
        """
        return cls._of(
            initialisation.around(network, template, settings or {}, inverse_spread, codebook)
        )

    @classmethod
    def _of(cls, artifact: Artifact) -> "Detector":
        detector = cls.__new__(cls)
        detector._become(artifact)
        return detector
