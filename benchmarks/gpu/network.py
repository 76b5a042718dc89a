"""The whole network on a GPU: forward, runtime, training step, and from an image to its verdict.

Beside it the same network in plain PyTorch, as it is (``eager``) and compiled. Convolutions may
round to TF32 where a record does not say otherwise, as they do by PyTorch's default.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.parts import Record, Run
from benchmarks.gpu.timing import difference, milliseconds, peak_memory, plain_operations
from benchmarks.harness.subjects import detector, images, recipe_step
from pyramidflow import Detector, ops
from pyramidflow.model import Contrast
from pyramidflow.ops import dispatch
from pyramidflow.ops.tf32 import convolutions_with_tf32
from pyramidflow.runtime import TrainedNetwork, runtime_on
from pyramidflow.runtime.inspection_settings import PRECISIONS, InspectionSettings

SECONDS = 0.5
"""For each candidate, apart from compiling."""

CASES: tuple[tuple[str, int], ...] = (("lift", 256), ("lift", 1024), ("resnet18", 1024))
"""Encoder and image size."""

TRAINING_BATCH = 2
LATENCY_ROUNDS = 300


@dataclass
class Subject:
    """A network on a device, as a training would leave it.

    Attributes:
        found: the detector that it belongs to, on the CPU.
        trained: the network with its template, on the device.
        case: what the records say of it.
    """

    found: Detector
    trained: TrainedNetwork
    case: Record


def subjects(run: Run) -> Iterator[Subject]:
    """The networks to measure, the smallest first."""
    for encoder, size in CASES[:1] if run.rehearse else CASES:
        side = 16 if run.rehearse else size
        tiny = (4, 2, 1)  # channels, levels, stacks
        found = detector(encoder, side, *(tiny if run.rehearse else (16,)))
        assert found.template is not None
        trained = TrainedNetwork(
            copy.deepcopy(found.model).to(run.device),
            Contrast([z.to(run.device) for z in found.template]),
            found.preprocessing.mean,
            found.preprocessing.std,
        )
        yield Subject(found, trained, {"encoder": encoder, "size": side})


def normalised(subject: Subject, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """``[B, 3, H, W]`` from pixels on the device, in plain PyTorch."""
    trained = subject.trained
    mean, std = torch.tensor([trained.mean, trained.std], device=pixels.device)
    return ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2).to(dtype)


def backends(run: Run) -> list[str]:
    """Backends that can run on the device, the reference left out."""
    names = ("cpu",) if run.rehearse else ("cuda", "triton")
    return [name for name in names if dispatch.status(name).available]


def around(candidate: str) -> AbstractContextManager[None]:
    """What holds while a candidate runs: its backend, or plain operations."""
    plain = candidate in ("eager", "compiled")
    return plain_operations() if plain else ops.use_backend(candidate)


def tell(
    run: Run, record: Record, measure: Callable[..., Record], *arguments: Any, **options: Any
) -> None:
    """Emit a record with what was measured, or with the error that ended it.

    Args:
        run: of the part.
        record: what is measured, and the candidate.
        measure: gives the numbers.
        arguments: of ``measure``.
        options: of ``measure``.
    """
    if run.left < 0:
        return
    try:
        numbers = measure(*arguments, **options)
    except Exception as error:
        numbers = {"error": f"{type(error).__name__}: {error}"[:500]}
    torch._dynamo.reset()
    run.emit(record | numbers)


def model(run: Run) -> None:
    """The network's forward pass, float32, from normalised images to maps."""
    for candidates in ([*backends(run), "eager"], ["compiled"]):  # compiling takes longest
        for subject in subjects(run):
            for batch in (1, 8):
                pixels = images(batch, subject.case["size"]).to(run.device)
                exact = _exact_maps(subject, pixels)
                for candidate in candidates:
                    record = subject.case | {"batch": batch, "candidate": candidate}
                    tell(run, record, _forward, run, subject, pixels, exact, candidate)


def _forward(run: Run, subject: Subject, pixels: Tensor, exact: Tensor, candidate: str) -> Record:
    x = normalised(subject, pixels)

    @torch.no_grad()
    def forward() -> Tensor:
        return subject.trained.network.anomaly_map(x, subject.trained.comparison)

    function = run.compiled(forward) if candidate == "compiled" else forward
    with around(candidate):
        error = difference(function(), exact)
        return {"relative difference": error} | milliseconds(function, run.device, SECONDS)


def _exact_maps(subject: Subject, pixels: Tensor) -> Tensor:
    """Maps by plain operations in float32, products not rounded, one image at a time."""
    trained = subject.trained
    with torch.no_grad(), plain_operations(), convolutions_with_tf32(False):
        parts = torch.split(normalised(subject, pixels), 1)
        return torch.cat([trained.network.anomaly_map(x, trained.comparison) for x in parts])


def runtime(run: Run) -> None:
    """From pixels on the device to maps: graphs of every batch size, in every precision."""
    for subject in subjects(run):
        pixels = images(8, subject.case["size"]).to(run.device)
        exact = _exact_maps(subject, pixels)
        for precision in PRECISIONS[run.device][: 1 if run.rehearse else None]:
            record = subject.case | {"candidate": "runtime", "precision": precision}
            tell(run, record, _runtime, run, subject, pixels, exact, record)
    for candidate in ("eager", "compiled"):
        for subject in subjects(run):
            pixels = images(8, subject.case["size"]).to(run.device)
            exact = _exact_maps(subject, pixels)
            for batch in (1, 8):
                record = subject.case | {"candidate": candidate, "precision": "half"}
                record |= {"batch": batch}
                part = pixels[:batch], exact[:batch]
                tell(run, record, _plain_in_half, run, subject, *part, candidate)


def _runtime(run: Run, subject: Subject, pixels: Tensor, exact: Tensor, record: Record) -> Record:
    """Tell a record for each number of images; give back what making the runtime took."""
    size, device = subject.case["size"], torch.device(run.device)
    settings = InspectionSettings(precision=record["precision"])
    start = time.perf_counter()
    with peak_memory(run.device) as peak:
        made = runtime_on(device, subject.trained, (size, size), settings)
    seconds = time.perf_counter() - start
    for batch in range(1, made.at_once + 1):
        part = pixels[:batch]
        numbers = {"relative difference": difference(made.inspect(part), exact[:batch])}
        numbers |= milliseconds(partial(made.inspect, part), run.device, SECONDS / 2)
        numbers["milliseconds per image"] = numbers["milliseconds"] / batch
        run.emit(record | {"batch": batch} | numbers)
    return {"seconds to make": seconds} | peak


def _plain_in_half(
    run: Run, subject: Subject, pixels: Tensor, exact: Tensor, candidate: str
) -> Record:
    """The runtime's way in plain PyTorch in half precision; compiled to CUDA graphs, too."""
    network = copy.deepcopy(subject.trained.network).half()
    contrast = subject.trained.comparison.to(run.device, torch.float16)

    @torch.no_grad()
    def maps() -> Tensor:
        return network.anomaly_map(normalised(subject, pixels, torch.float16), contrast)

    is_compiled = candidate == "compiled"
    function = run.compiled(maps, mode="reduce-overhead") if is_compiled else maps
    with around(candidate):
        error = difference(function(), exact)
        return {"relative difference": error} | milliseconds(function, run.device, SECONDS)


def training(run: Run) -> None:
    """A training step: loss, gradients, clipping and Adam; its time, and memory at its peak."""
    for candidates in ([*backends(run), "eager"], ["compiled"]):
        for subject in subjects(run):
            for candidate in candidates:
                record = subject.case | {"batch": TRAINING_BATCH, "candidate": candidate}
                tell(run, record, _training_step, run, subject, candidate)


def _training_step(run: Run, subject: Subject, candidate: str) -> Record:
    pixels = images(TRAINING_BATCH, subject.case["size"]).to(run.device)
    network = copy.deepcopy(subject.trained.network)
    step = recipe_step(network, normalised(subject, pixels))
    step = run.compiled(step) if candidate == "compiled" else step
    with around(candidate):
        step()
        with peak_memory(run.device) as peak:
            step()
        return milliseconds(step, run.device, SECONDS) | peak


def latency(run: Run) -> None:
    """From uint8 pixels on the host to a verdict on the host, one image at a time."""
    for candidates in ([*backends(run), "eager"], ["compiled"]):
        for subject in subjects(run):
            pixels = [image.numpy() for image in images(8, subject.case["size"])]
            for candidate in candidates:
                measure = _score_latency if candidate == "compiled" else _inspection_latency
                record = subject.case | {"candidate": candidate}
                tell(run, record, measure, run, subject, pixels, candidate)


def _inspection_latency(run: Run, subject: Subject, pixels: list[Any], candidate: str) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "detector.safetensors"
        subject.found.save(file)
        loaded = Detector.load(file, device=run.device)
    # The runtime is chosen by the backend's name, and with none is the network as it is.
    backend = "reference" if candidate == "eager" else candidate
    with ops.use_backend(backend), around(candidate):
        loaded.threshold = float(np.median([loaded.inspect(image).score for image in pixels]))
        return _percentiles(run, loaded.inspect, pixels)


def _score_latency(run: Run, subject: Subject, pixels: list[Any], candidate: str) -> Record:
    """The score alone, in plain PyTorch: no regions, no map of the image's size."""
    network, contrast = subject.trained.network, subject.trained.comparison

    @torch.no_grad()
    def score(part: Tensor) -> Tensor:
        return network.anomaly_map(normalised(subject, part), contrast).amax()

    compiled = run.compiled(score)

    def inspect(image: Any) -> float:
        return float(compiled(torch.from_numpy(image).to(run.device)[None]))

    with around(candidate):
        return _percentiles(run, inspect, pixels)


def _percentiles(run: Run, inspect: Callable[[Any], object], pixels: list[Any]) -> Record:
    for image in pixels:
        inspect(image)
    found = []
    for number in range(len(pixels) if run.rehearse else LATENCY_ROUNDS):
        start = time.perf_counter()
        inspect(pixels[number % len(pixels)])
        found.append(1e3 * (time.perf_counter() - start))
    return {
        "milliseconds": {f"p{p}": float(np.percentile(found, p)) for p in (50, 99)},
        "rounds": len(found),
    }
