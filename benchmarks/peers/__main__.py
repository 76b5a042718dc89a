"""Inference and training beside the authors' released code and anomalib's detectors, on this CPU.

``python -m benchmarks.peers --released PATH`` writes ``benchmarks/results/peers.md`` and ``.json``.

PATH is a checkout of gasharper/PyramidFlow (model.py, autoFlow.py, util.py) whose imports are
installed (albumentations, scikit-image, scikit-learn, scipy). The others run where anomalib is
installed: ``pip install anomalib``.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import ROOT
from benchmarks.peers import models, training
from benchmarks.peers.process import Setting

METHOD = """\
Each detector lives in a process of its own, so that its peak memory is its own and no library
disturbs another; they take turns, and the table gives the median of their rounds after a first one.
A round of inference is one image in evaluation; one of training is a step on a batch of 2: latents,
loss, gradients, clipping and Adam, as in the released training script. All in float32; MB are 10⁶
bytes. Weights are random: time does not depend on them. Ours run with the released network's
weights, template and images; the relative errors are against its results, of the gradients the
largest of a parameter.
"""


class Case(NamedTuple):
    """What is compared: an encoder, an image size, and the module whose processes do it."""

    encoder: str
    size: int
    module: ModuleType = models


CASES = {
    "baseline-256": Case("lift", 256),
    "baseline-1024": Case("lift", 1024),
    "resnet18-1024": Case("resnet18", 1024),
    "training-256": Case("lift", 256, training),
}

DETECTORS = list(dict.fromkeys([*training.BUILDERS, *models.BUILDERS]))
RELEASED_FILES = ("model.py", "autoFlow.py", "util.py")


class Worker:
    """A detector's process."""

    def __init__(self, module: ModuleType, name: str, setting: Setting) -> None:
        self.name = name
        self.milliseconds: list[float] = []
        self.memory: float | None = None
        self.errors: dict[str, float] = {}
        self.process = subprocess.Popen(
            command(module, name, setting),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.ready = self._answer()

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here."""
        return self.ready.get("missing")

    def ask(self, question: str) -> dict[str, Any]:
        """Send one line and wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self._answer()

    def finish(self) -> None:
        """Ask for what is asked once, and end the process."""
        if self.missing is None:
            self.memory = self.ask("memory")["memory"]
            self.errors = self.ask("errors")["errors"]
        self.stop()

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended without an answer: see its messages above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def command(module: ModuleType, name: str, setting: Setting) -> list[str]:
    """How a detector's process is started."""
    return [sys.executable, "-m", module.__name__, name, setting.as_json()]


def compare(
    module: ModuleType, names: Sequence[str], setting: Setting, rounds: int
) -> list[dict[str, Any]]:
    """Measure the module's detectors of these names in turns; a row for each."""
    subprocess.run(command(module, "prepare", setting), check=True, cwd=ROOT)
    workers: list[Worker] = []
    try:
        for name in (name for name in module.BUILDERS if name in names):
            workers.append(Worker(module, name, setting))
            ready = workers[-1].ready
            state = workers[-1].missing or f"{ready['version']}, {ready['path']}"
            print(f"{name}: {state}", flush=True)
        able = [worker for worker in workers if worker.missing is None]
        for worker in able:
            worker.ask("run")
        for _ in range(rounds):
            for worker in able:
                worker.milliseconds.append(worker.ask("run")["milliseconds"])
        for worker in able:
            worker.finish()
    finally:
        for worker in workers:
            worker.stop()
    return [row(worker) for worker in workers]


def row(worker: Worker) -> dict[str, Any]:
    """What the results keep of a detector; no path of this machine is among it."""
    if worker.missing is not None:
        return {"name": worker.name, "missing": worker.missing}
    return {
        "name": worker.name,
        "version": worker.ready["version"],
        "note": worker.ready["note"],
        "median_milliseconds": statistics.median(worker.milliseconds),
        "milliseconds": worker.milliseconds,
        "start_memory": worker.ready["memory"],
        "peak_memory": worker.memory,
        "errors": worker.errors,
    }


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as a Markdown table; the ratio is to the released code, more is faster."""
    medians = {r["name"]: r["median_milliseconds"] for r in rows if "missing" not in r}
    released = medians.get("released")
    compared = next((", ".join(r["errors"]) for r in rows if r.get("errors")), "none")
    heads = ["detector", "version", "ms", "faster than released", "peak MB"]
    heads += ["before the first round MB", f"relative error: {compared}"]
    return results.table(heads, (_cells(r, released) for r in rows), texts=2)


def _cells(found: dict[str, Any], released: float | None) -> list[str]:
    if "missing" in found:
        return [found["name"], f"not measured: {found['missing']}"]
    return [
        found["name"],
        ", ".join(text for text in (found["version"], found["note"]) if text),
        f"{found['median_milliseconds']:.0f}",
        f"{released / found['median_milliseconds']:.2f}×" if released else "",
        _megabytes(found["peak_memory"]),
        _megabytes(found["start_memory"]),
        ", ".join(f"{value:.1e}" for value in found["errors"].values()),
    ]


def _megabytes(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def check_released(path: Path | None) -> str | None:
    """The checkout, made absolute.

    Raises:
        SystemExit: it does not hold the released code.
    """
    if path is None:
        return None
    missing = [name for name in RELEASED_FILES if not (path / name).is_file()]
    if missing:
        raise SystemExit(
            f"{path} holds no {missing[0]}: give a checkout of gasharper/PyramidFlow to --released."
        )
    return str(path.resolve())


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Options of the command line."""
    parser = common.parser("benchmarks.peers", f"{__doc__}\n{METHOD}", "peers", rounds=5)
    parser.add_argument("--released", type=Path, metavar="PATH")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--only", nargs="+", choices=DETECTORS, default=DETECTORS)
    parser.add_argument("--size", type=int, help="another size than the cases'")
    parser.add_argument("--channels", type=int, default=16, help="of the baseline")
    parser.add_argument(
        "--patchcore-images",
        type=int,
        default=10,
        help="images whose 10%% coreset is PatchCore's bank; training sets have about 200, and its "
        "time grows with them",
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=1230,
        metavar="MB",
        help="of memory, for a second row of ours; the released code takes 1230 with ResNet18",
    )
    return common.parse(parser, arguments)


def measured(options: Namespace, case: str, released: str | None) -> dict[str, Any]:
    """Size and rows of a case."""
    encoder, size, module = CASES[case]
    size = options.size or size
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(
            encoder,
            size,
            options.channels,
            options.threads,
            released,
            options.patchcore_images,
            options.budget,
            folder,
        )
        return {"size": size, "rows": compare(module, options.only, setting, options.rounds)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print, and write the two files."""
    options = parse(arguments)
    released = check_released(options.released)
    # The processes inherit it: a library that brings its own pool takes as many threads.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    lines = METHOD.splitlines()
    cases: dict[str, Any] = {}
    for case in options.cases:
        found = cases[case] = measured(options, case, released)
        shown = ["", f"## {case}: {found['size']}×{found['size']}", "", *table(found["rows"])]
        print("\n".join(shown), flush=True)
        lines += shown
    title = "Beside the released code and other detectors"
    results.write(options, title, lines, cases, {"rounds": options.rounds})


if __name__ == "__main__":
    main()
