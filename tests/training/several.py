"""What the processes do that torchrun starts for the tests."""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from pyramidflow import Detector
from pyramidflow.cli import main
from pyramidflow.data import list_images
from pyramidflow.training import Interrupted, Trainer, processes, torchrun, training
from pyramidflow.training.progress import SilentProgress

NETWORK = {"channels": 4, "levels": 3, "stacks": 2, "kernel_size": 3}

CASES = {
    "cvn, samples": {"volume_norm": "cvn", "augment": "texture"},
    "cvn, samples, reversible": {"volume_norm": "cvn", "memory": "reversible"},
    "cvn, batches": {"volume_norm": "cvn", "statistics": "batch"},
    "cvn, batches, reversible": {
        "volume_norm": "cvn",
        "statistics": "batch",
        "memory": "reversible",
    },
    "pairs of samples": {"batch_size": 2},
    "pairs of batches": {
        "volume_norm": "svn",
        "statistics": "batch",
        "memory": "reversible",
        "batch_size": 2,
    },
    "svn, samples": {"volume_norm": "svn", "spread": "channel"},
    "svn, batches, reversible": {
        "volume_norm": "svn",
        "statistics": "batch",
        "memory": "reversible",
    },
    "without volume norm": {"without": ("volume-norm",), "batch_size": 1, "spread": "pixel"},
    "without a partner": {"without": ("template",), "memory": "reversible", "batch_size": 1},
    "codebook": {"codebook": 0.3, "beside_template": False, "volume_norm": "svn"},
    "several templates, some images left out": {"templates": 2, "robust": 0.2},
}
"""Settings of trainings; some batches have an image less for one process, or none for it."""

ALIKE = {"epochs": 2, "validation_share": 0.3, "show_progress": False}
"""Of every training."""

READ_ANEW = {"cache_bytes": 0, "workers": 2}
"""Images that are never kept, and other processes that read them."""


def fitted(root, parallel=None, checkpoint=None, resume=False, reading=None, **settings):
    """A detector that was trained on a set, with a part of it held out."""
    usual = {**NETWORK, "memory": "plain", "batch_size": 3}
    made = Detector(16, device="cpu", **usual | settings)
    how = {"parallel": parallel, "checkpoint": checkpoint, "resume": resume, **(reading or {})}
    return made.fit(root, **how, **ALIKE)


def outcome(detector, root):
    """All numbers that a training gives, by name."""
    artifact = detector._artifact
    weights = detector.model.state_dict()
    means = [weights.pop(name).flatten() for name in list(weights) if "running_mean" in name]
    found = {f"model/{name}": value for name, value in weights.items()}
    # Of numbers that cancel: each is known as well as those that it is the mean of.
    found["running means"] = torch.cat(means)
    found |= {f"template/{level}": z for level, z in enumerate(detector.template)}
    found |= {f"spread/{level}": w for level, w in enumerate(artifact.inverse_spread or ())}
    history = detector.training["history"]
    found["losses"] = torch.tensor([record["loss"] for record in history])
    found["held-out losses"] = torch.tensor([record["validation_loss"] for record in history])
    if artifact.codebook is None:
        images = list_images(root)
        found["scores"] = torch.tensor([one.score for one in detector.inspect(images)])
        found["threshold"] = torch.tensor(detector.threshold)
    else:
        # Distances to entries that lie close are differences of squares: one rounding of the
        # weights alone changes such scores by 5e-4. What they are distances to is compared.
        found["codebook"] = artifact.codebook.entries
        found["codebook's mean"] = artifact.codebook.mean
        found["codebook's spread"] = artifact.codebook.inverse_spread
    suspects = detector.training["suspects"]
    found["suspects"] = torch.tensor([float(Path(name).stem) for name in suspects])
    return {name: value.clone().contiguous() for name, value in found.items()}


class StopAfter(SilentProgress):
    """Sends this process a signal after some steps."""

    def __init__(self, steps):
        self.left = steps
        self.counts = False

    def begin(self, phase, done, total):
        self.counts = phase == "training"

    def advance(self, loss=None):
        self.left -= self.counts
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def stopped(root, checkpoint, steps, parallel=None):
    """Train, and be stopped after some steps; in another process that is not told of it."""
    silent, training.SilentProgress = training.SilentProgress, lambda: StopAfter(steps)
    try:
        fitted(root, parallel, checkpoint)
    except Interrupted:
        return
    finally:
        training.SilentProgress = silent
    raise AssertionError("it was not stopped")


def cases(root, out, *names):
    """Train as each case says, and keep what came out."""
    with processes() as parallel:
        for name in names:
            if name == "stopped":
                steps = 3 if parallel.rank == parallel.world - 1 else 1000
                stopped(root, out / "stopped.safetensors", steps, parallel)
                continue
            resumed = (out / "one.safetensors", True) if name == "resumed" else (None, False)
            reading = READ_ANEW if name == "read anew" else {}
            detector = fitted(root, parallel, *resumed, reading, **CASES.get(name, {}))
            if parallel.rank == 0:
                save_file(outcome(detector, root), out / f"{name}.safetensors")
    # A thread of the group that is left may abort the process while its interpreter ends.
    tasks = Path("/proc/self/task").glob("*/comm")
    assert not [name for name in (task.read_text() for task in tasks) if "gloo" in name]


def fails(how, *arguments):
    """The command line, of which process 1 fails in its third step."""
    step = Trainer._step
    seen = []

    def failing(self, epoch, batch):
        seen.append(epoch)
        if len(seen) == 3 and self.parallel.rank == 1:
            if how == "raises":
                raise RuntimeError("the third step went wrong")
            if how.startswith("is killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return step(self, epoch, batch)

    def stopped_as_it_ends(destroy=dist.destroy_process_group):
        os.kill(os.getpid(), signal.SIGTERM)
        destroy()

    Trainer._step = failing
    if how == "is killed, and the other is stopped":
        dist.destroy_process_group = stopped_as_it_ends
    if how == "hangs":
        torchrun.TIMEOUT = timedelta(seconds=3)
    main(arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, *rest = sys.argv[1:]
    if what == "cases":
        cases(Path(rest[0]), Path(rest[1]), *rest[2:])
    else:
        fails(*rest)
