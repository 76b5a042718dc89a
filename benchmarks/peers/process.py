"""What a detector's process is given, and how it answers.

``python -m MODULE NAME SETTING`` builds the detector called ``NAME`` and answers each line on
standard input by a line of JSON: ``run`` (milliseconds of one round), ``memory`` (peak of the
process so far, in MB) or ``errors`` (of its results). ``NAME`` may be ``prepare``: it writes
weights, template and image for the others to read, so that all compute the same.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.harness.process import peak_memory


class Missing(Exception):  # noqa: N818
    """A detector that cannot be measured here, and why."""


@dataclass(frozen=True)
class Setting:
    """What every detector of a comparison is given.

    Attributes:
        encoder: ``"lift"`` or ``"resnet18"``.
        size: side of the image.
        channels: of the baseline; a ResNet18 gives 64.
        threads: of PyTorch.
        released: checkout of the released code; ``None`` compares without it.
        patchcore_images: training images whose coreset of 10% fills PatchCore's memory bank.
        budget: memory that the detector called ``budget`` may take, in MB of 10⁶ bytes.
        folder: where ``prepare`` writes.
    """

    encoder: str
    size: int
    channels: int
    threads: int
    released: str | None
    patchcore_images: int
    budget: int
    folder: str

    @property
    def detector_file(self) -> Path:
        """Our detector with the weights and the template of the comparison."""
        return Path(self.folder) / "detector.safetensors"

    @property
    def case_file(self) -> Path:
        """Image, template and, where there is the released code, its weights and results."""
        return Path(self.folder) / "case.pt"

    def as_json(self) -> str:
        """The setting on a command line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Peer:
    """A detector that is ready.

    Attributes:
        run: takes one image to its anomaly map.
        version: of the code.
        path: where the code lies.
        note: what else a reader must know.
        errors: relative errors against the released code.
    """

    run: Callable[[], object]
    version: str
    path: str
    note: str = ""
    errors: Callable[[], dict[str, float]] | None = None


def serve(build: Callable[[Setting], Peer], setting: Setting) -> None:
    """Build a detector and answer the lines on standard input."""
    # Standard output is the answers' alone, whatever the libraries print.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers)

    try:
        peer = build(setting)
    except (Missing, ImportError) as error:
        answer(missing=str(error).splitlines()[0])
        return
    answer(version=peer.version, path=peer.path, note=peer.note, memory=peak_memory())
    for line in sys.stdin:
        if line.strip() == "run":
            start = time.perf_counter()
            peer.run()
            answer(milliseconds=1e3 * (time.perf_counter() - start))
        elif line.strip() == "memory":
            answer(memory=peak_memory())
        else:
            answer(errors=peer.errors() if peer.errors else {})


def answer_lines(
    builders: dict[str, Callable[[Setting], Peer]], prepare: Callable[[Setting], None]
) -> None:
    """Do what the command line asks for: prepare for all, or serve one."""
    name, text = sys.argv[1:]
    setting = Setting(**json.loads(text))
    torch.set_num_threads(setting.threads)
    if name == "prepare":
        prepare(setting)
    else:
        serve(builders[name], setting)
