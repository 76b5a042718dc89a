"""What inspects: a trained detector, frozen, with all memory that it needs."""

import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.data import Image, Pixels, as_pixels, each_of, resize_image, to_mean_level
from pyramidflow.data.imageset import stack
from pyramidflow.detector.area import area_score
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.calibration import (
    Calibration,
    Conditions,
    with_thresholds_by_hand,
)
from pyramidflow.detector.counted_area import CountedArea, Field
from pyramidflow.detector.findings import (
    Inspection,
    Map,
    Region,
    StageTimes,
    find_regions,
    image_map,
    resize_map,
)
from pyramidflow.detector.fitting import decoding_of
from pyramidflow.detector.placing import Batch, Placing
from pyramidflow.detector.smoothing import Smoothing
from pyramidflow.detector.verdict import Verdict, judge, overlay_scale
from pyramidflow.detector.working_map import WorkingMap
from pyramidflow.errors import InputError
from pyramidflow.runtime import InspectionSettings, Runtime, TrainedNetwork, runtime_on
from pyramidflow.runtime.cpu.threads import torch_threads
from pyramidflow.spec import ImageSize

_Any = TypeVar("_Any")


class Session:
    """Inspects images: network frozen, runtime made, memory allocated, device and precision fixed.

    A session does not change, so any number of threads may use it: they take turns at the runtime.
    Another threshold, precision or device is another session. Where its thresholds were made for
    other scores than its own, ``stale`` says so, and it judges nothing.

    Args:
        artifact: the trained detector; its network must not change while the session is used.
        device: where the network is.
        settings: threads, memory budget and precision.

    Raises:
        InputError: a setting cannot be honoured on this device, or the artifact's tensors are not
            those that its spec announces.
    """

    def __init__(
        self, artifact: Artifact, device: torch.device, settings: InspectionSettings | None = None
    ) -> None:
        settings = settings or InspectionSettings()
        artifact.check()
        artifact.network.eval()  # somebody may have put it into training mode
        self._process = os.getpid()
        self.spec = artifact.spec
        self.device = device
        self.decoding = decoding_of(self.spec, settings.max_pixels)
        preprocessing = self.spec.preprocessing
        self.size = preprocessing.size
        self._mean_level = preprocessing.mean_level
        trained = TrainedNetwork(
            artifact.network, artifact.comparison, preprocessing.mean, preprocessing.std
        )
        self.runtime: Runtime = runtime_on(device, trained, self.size, settings)
        map_size = artifact.network.feature_size(*self.size)
        self._place = Placing(artifact.reference, self.spec.alignment, map_size, device)
        self._counted_area = CountedArea(self.spec.rule, artifact.masks, map_size)
        fixed = self._counted_area.fixed
        self._mask = None if fixed is None else torch.from_numpy(fixed).float().to(device)
        self._smoothing: Smoothing | None = None
        if self.spec.rule.smoothing > 0:
            sigma = self.spec.rule.smoothing
            self._smoothing = Smoothing(sigma, map_size, self._mask, device)
        self._turn = threading.Lock()
        self.conditions = Conditions(
            self.runtime.precision, str(device), ops.active_backend(device.type)
        )
        self.scoring = artifact.scoring
        self._take(artifact.calibration)

    def _take(self, calibration: Calibration | None) -> None:
        self.calibration = calibration
        self.stale = None if calibration is None else calibration.stale(self.scoring)
        self.threshold: float | None = None
        self.review_threshold: float | None = None
        self.pixel_threshold: float | None = None
        if calibration is not None:
            precision = self.runtime.precision
            self.threshold = calibration.threshold_at(precision)
            self.review_threshold = calibration.review_threshold_at(precision)
            self.pixel_threshold = calibration.pixel_threshold_at(precision)

    @property
    def at_once(self) -> int:
        """Images that are best inspected together where so many wait: 1, 2, 4 or 8."""
        return self.runtime.at_once

    def calibrated(self, calibration: Calibration | None) -> "Session":
        """This session with another threshold; both share runtime and memory."""
        other = object.__new__(Session)
        other.__dict__.update(self.__dict__)
        other._take(calibration)
        return other

    def with_thresholds(
        self,
        threshold: float | None = None,
        review_threshold: float | None = None,
        pixel_threshold: float | None = None,
    ) -> "Session":
        """This session with thresholds by hand; both share runtime and memory.

        Its :attr:`calibration` says what was set by hand, and each inspection which thresholds it
        was judged by.

        Args:
            threshold: largest score that is not ``"ng"``; ``None`` keeps the calibration's.
            review_threshold: largest score that is ``"ok"``; likewise.
            pixel_threshold: the map's value above which pixels belong to a region; likewise.

        Raises:
            InputError: a threshold is negative or not finite, the review threshold is above the
                threshold, one that would be kept was made for other scores, or the detector is not
                calibrated and no threshold is given.
        """
        given = (threshold, review_threshold, pixel_threshold)
        return self.calibrated(with_thresholds_by_hand(self.calibration, self.scoring, *given))

    @property
    def map_scale(self) -> float:
        """Anomaly value at the top of the overlays' colour scale: twice the threshold.

        Raises:
            InputError: the detector is not calibrated.
        """
        return overlay_scale(self.threshold)

    def inspect(self, image: Image) -> Inspection:
        """Look for defects in one image.

        Args:
            image: a path; an array ``[H, W, 3]`` (red, green, blue), ``[H, W, 1]`` or ``[H, W]`` of
                uint8 or uint16; or a Pillow image.

        Raises:
            InputError: the image cannot be read or has another shape or type, or its score is not
                finite.
        """
        [found] = self.inspect_many([image])
        return found

    def inspect_many(self, images: "Image | Iterable[Image]") -> Iterator[Inspection]:
        """Inspect images one after the other; results come as they are ready.

        Of a list or an array :attr:`at_once` images are inspected together; of what may have to be
        waited for, as a generator, each as it comes.

        Args:
            images: any iterable, or one image, see :meth:`inspect`.

        Yields:
            An :class:`Inspection` for each image.

        Raises:
            InputError: see :meth:`inspect`; behind the results of the images before.
        """
        for batch in _together(each_of(images), self.at_once):
            decoded: list[Pixels] = []
            try:
                for image in batch:
                    decoded.append(as_pixels(image, self.decoding))
            except InputError:
                yield from self.inspect_pixels(decoded)
                raise
            yield from self.inspect_pixels(decoded)

    def inspect_pixels(self, pixels: Iterable[Pixels]) -> Iterator[Inspection]:
        """Inspect images that are decoded already, as :meth:`inspect_many`.

        Args:
            pixels: any iterable of ``[H, W, 3]``, read with :attr:`decoding`, which has scaled them
                by the white level: it must not count twice.

        Yields:
            An :class:`Inspection` for each image.

        Raises:
            InputError: a score is not finite, or the thresholds were made for other scores.
        """
        if self.stale is not None:
            raise InputError(self.stale)
        yield from map(self._judged, self.working_maps(pixels))

    def _judged(self, found: WorkingMap) -> Inspection:
        started = time.perf_counter()
        verdict: Verdict | None = None
        regions: tuple[Region, ...] = ()
        if self.threshold is not None and self.pixel_threshold is not None:
            limits = (self.threshold, self.review_threshold)
            verdict = judge(found.score, *limits, is_placed=found.is_placed)
            regions = find_regions(
                found.anomaly_map,
                self.pixel_threshold,
                found.image_size,
                found.pixels,
                self.spec.rule.scale,
            )
        full = image_map(found.anomaly_map, regions, found.image_size)
        return Inspection(
            score=found.score,
            threshold=self.threshold,
            verdict=verdict,
            regions=regions,
            anomaly_map=full,
            times=found.times.with_more(inspecting=1e3 * (time.perf_counter() - started)),
            pose=found.pose,
            review_threshold=self.review_threshold,
            pixel_threshold=self.pixel_threshold,
            counted=found.counted,
            has_least_area=found.pixels > 1,
        )

    def working_maps(
        self, pixels: Iterable[Pixels], size: ImageSize | None = None
    ) -> Iterator[WorkingMap]:
        """Score and map of images at the size that the network works at.

        Args:
            pixels: decoded, see :meth:`inspect_pixels`.
            size: height and width that all of them had before somebody resized them; ``None`` takes
                each as it is.

        Raises:
            InputError: a score is not finite.
        """
        for batch in _together(each_of(pixels), self.at_once):
            try:
                found = self._working_maps(batch, size)
            except InputError:
                if len(batch) == 1:
                    raise
                for picture in batch:  # what is wrong with one takes nothing from those before
                    yield from self._working_maps([picture], size)
            else:
                yield from found

    def _working_maps(self, pictures: Sequence[Pixels], size: ImageSize | None) -> list[WorkingMap]:
        prepared = self._prepared(pictures, size)
        started = time.perf_counter()
        scores, maps = self._run(prepared.batch, prepared.fields)
        precision = self.runtime.precision
        finite = [_finite(float(score), precision) for score in scores]
        maps = prepared.batch.back(maps)
        # As the image lies, where the regions are: else a part could be ng without one.
        least = [
            score if field.pixels == 1 else area_score(found, field.pixels)
            for score, found, field in zip(finite, maps, prepared.fields, strict=True)
        ]
        counted = prepared.batch.back_masks([field.mask for field in prepared.fields])
        share = 1e3 / len(pictures)
        times = StageTimes(
            share * prepared.resizing,
            share * prepared.aligning,
            share * (time.perf_counter() - started),
        )
        poses = prepared.batch.poses(prepared.sizes)
        return [
            WorkingMap(score, found, size, times, pose, field.pixels, mask)
            for score, found, size, pose, field, mask in zip(
                least, maps, prepared.sizes, poses, prepared.fields, counted, strict=True
            )
        ]

    def _prepared(self, pictures: Sequence[Pixels], size: ImageSize | None) -> "_Prepared":
        started = time.perf_counter()
        resized = [resize_image(image, self.size) for image in pictures]
        ready = time.perf_counter()
        batch = self._place(resized)
        aligned = time.perf_counter()
        sizes = [size or (image.shape[0], image.shape[1]) for image in pictures]
        fields = [self._counted_area.of(size) for size in sizes]
        return _Prepared(batch, sizes, fields, ready - started, aligned - ready)

    @torch.inference_mode()
    def _run(self, batch: Batch, fields: Sequence[Field]) -> tuple[list[float], list[Map]]:
        if os.getpid() != self._process:
            raise InputError(
                "this session was made before the process was forked: make one in this process, or "
                "start it with the method 'spawn'."
            )
        images = stack([to_mean_level(image, self._mean_level) for image in batch.images])
        seen = self._seen(batch, fields)
        with self._turn, self._alone():
            maps = self.runtime.inspect(images)  # [B, h, w], the runtime's own memory
            maps = maps.clone() if self._mask is None else maps * self._mask
            if seen is not None:
                maps *= seen
            if self._smoothing is not None:
                maps = self._smoothing(maps, seen)
            scores = maps.amax((1, 2)).tolist()
        return scores, list(maps.float().cpu().numpy())

    def _alone(self) -> AbstractContextManager[None]:
        """One thread for what is small, where images are inspected side by side.

        The threads that helped would then wait busily, for as long as a tenth of an inspection, on
        the cores that other images need.
        """
        is_beside = self.device.type == "cpu" and self.at_once > 1
        return torch_threads(1) if is_beside else nullcontext()

    def _seen(self, batch: Batch, fields: Sequence[Field]) -> Tensor | None:
        """What the images show, and of that what counts where this depends on their size."""
        if not self._counted_area.varies:
            return batch.seen
        masks = [field.mask for field in fields if field.mask is not None]  # where it varies, all
        counted = torch.from_numpy(np.stack(masks)).float().to(self.device)
        return counted if batch.seen is None else batch.seen * counted

    def resized(self, found: WorkingMap) -> Map:
        """The map of an image at the size that the image was resized to."""
        return resize_map(found.anomaly_map, self.size)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Images at the network's size, in the pose that they are compared in.

    Attributes:
        batch: the images.
        sizes: height and width that each had.
        fields: what counts on the map of each.
        resizing: seconds that it took.
        aligning: likewise.
    """

    batch: Batch
    sizes: list[ImageSize]
    fields: list[Field]
    resizing: float
    aligning: float


def _together(images: Iterable[_Any], most: int) -> Iterator[list[_Any]]:
    """Images in batches: as many as are best of those that are there, the others as they come."""
    waiting, count = iter(images), most if isinstance(images, Sized) else 1
    while batch := list(islice(waiting, count)):
        yield batch


def _finite(score: float, precision: str) -> float:
    if not math.isfinite(score):
        raise InputError(
            f"the score is {score}: a finite number is expected; the network's numbers leave the "
            f"range of {precision}, inspect in float32 or train again."
        )
    return score
