"""From files on disk to verdicts: what a line of parts sees, image by image.

The parts are as large as the detector works at. ``images_per_second`` counts one image at a time;
the percentiles are those of the images' milliseconds, decoding included.
"""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.conftest import Scale
from benchmarks.harness.subjects import detector, images
from benchmarks.harness.turns import timed
from benchmarks.model.test_network import NAMES, SMALL_SIZE
from pyramidflow import ops

CASES: list[tuple[str, int]] = [("lift", 256), ("resnet18", 1024)]
FILES = 8
IMAGES = 100
REFERENCE_IMAGES = 3


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize(("encoder", "size"), CASES)
def test_file_to_verdict(
    benchmark: Any, scale: Scale, tmp_path: Path, encoder: str, size: int, kind: str
) -> None:
    """Read, decode, inspect, find the regions, and decide."""
    size = SMALL_SIZE if scale.small else size
    shown = f"{NAMES[encoder]}, {size}×{size}, {kind.upper()}"
    subject = detector(encoder, size, 4 if scale.small else 16)
    files = []
    for index, pixels in enumerate(images(FILES, size)):
        files.append(tmp_path / f"{index}.{kind}")
        Image.fromarray(pixels.numpy()).save(files[-1])
    subject.calibrate(files, target_false_reject_rate=0.5)  # half of the parts have regions
    with ops.use_backend("reference"):
        reference = [timed(partial(subject.inspect, f)) for f in files[:REFERENCE_IMAGES]]
    benchmark.group = f"file to verdict: {shown}"
    turn = itertools.cycle(files)
    rounds = FILES if scale.small else IMAGES
    found = benchmark.pedantic(
        subject.inspect, setup=lambda: ((next(turn),), {}), rounds=rounds, warmup_rounds=1
    )
    assert found.verdict in ("ok", "ng")
    benchmark.extra_info.update(case=shown, file=kind, threads=torch.get_num_threads())
    if benchmark.stats is None:  # with --benchmark-disable
        return
    seconds = np.array(benchmark.stats.stats.data)
    benchmark.extra_info.update(
        images_per_second=1 / seconds.mean(),
        milliseconds={f"p{p}": 1e3 * float(np.percentile(seconds, p)) for p in (50, 95, 99)},
        reference_seconds=reference,
        times_faster=float(np.median(reference) / np.median(seconds)),
    )
