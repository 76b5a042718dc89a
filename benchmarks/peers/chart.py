"""Milliseconds of an image in each detector, as a bar chart of what the benchmarks found.

``python -m benchmarks.peers.chart FILE… [--output benchmarks/results/speed.png]`` reads JSON files
of ``benchmarks.peers`` and of ``pytest benchmarks/model/test_network.py --benchmark-json=FILE``.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.harness.facts import RESULTS

OURS, AUTHORS, OTHERS = "#1f6fb4", "#d1622b", "#9a9a9a"

BARS = {
    "default": ("PyramidFlow, this package", OURS),
    "budget": ("the same within a memory budget", "#8fbbe0"),
    "reference": ("the same in plain PyTorch", "#b9d4ea"),
    "released": ("PyramidFlow, released code", AUTHORS),
    "padim": ("PaDiM (anomalib)", OTHERS),
    "patchcore": ("PatchCore (anomalib)", OTHERS),
    "fastflow": ("FastFlow (anomalib)", OTHERS),
    "efficientad": ("EfficientAD-S (anomalib)", OTHERS),
}
"""Label and colour by the names of ``benchmarks.peers``."""

NAMES = {"baseline": "baseline", "resnet18": "ResNet18"}
"""Networks by the first part of a case's name in ``benchmarks.peers``."""


class Panel(NamedTuple):
    """One comparison: names of :data:`BARS` with their milliseconds."""

    title: str
    milliseconds: dict[str, float]


def panels(report: dict[str, Any]) -> list[Panel]:
    """What a results file compares; nothing for a case that is no inspection of an image.

    Raises:
        SystemExit: it is of neither benchmark.
    """
    found = {case: _panel(case, found) for case, found in report.get("cases", {}).items()}
    if not found:
        raise SystemExit("a file has no cases: give results of peers or test_network.")
    return [panel for panel in found.values() if panel is not None]


def _panel(case: str, found: dict[str, Any]) -> Panel | None:
    if "milliseconds_per_image" in found:
        reference = 1e3 * statistics.median(found["compared_seconds"]) / found["batch"]
        ours = found["milliseconds_per_image"]
        return Panel(found["case"], {"default": ours, "reference": reference})
    name = NAMES.get(case.partition("-")[0])
    if name is None or "rows" not in found:
        return None
    times = {r["name"]: r["median_milliseconds"] for r in found["rows"] if "missing" not in r}
    return Panel(f"{name}, {found['size']}×{found['size']}", times)


def draw(found: Sequence[Panel], note: str) -> Figure:
    """A panel for each comparison, the fastest detector above."""
    counts = [len(panel.milliseconds) for panel in found]
    figure = Figure(figsize=(7.2, 0.5 + sum(0.34 * n + 0.75 for n in counts)), layout="constrained")
    axes = figure.subplots(len(found), 1, squeeze=False, height_ratios=[n + 1 for n in counts])
    for axis, panel in zip(axes[:, 0], found, strict=True):
        _bars(axis, panel)
    axes[-1, 0].set_xlabel("milliseconds per image, fewer is better")
    figure.supxlabel(note, fontsize=7, color="#666666")
    return figure


def _bars(axis: Axes, panel: Panel) -> None:
    ordered = sorted(panel.milliseconds.items(), key=lambda item: item[1])
    labels = [BARS.get(name, (name, OTHERS))[0] for name, _ in ordered]
    colours = [BARS.get(name, (name, OTHERS))[1] for name, _ in ordered]
    values = [value for _, value in ordered]
    bars = axis.barh(labels, values, color=colours, height=0.7)
    axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=4, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.12 * max(values))
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0, labelsize=9)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the files and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.chart", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--output", type=Path, default=RESULTS / "speed.png")
    options = parser.parse_args(arguments)
    reports = [json.loads(file.read_text(encoding="utf-8")) for file in options.files]
    found = [panel for report in reports for panel in panels(report) if panel.milliseconds]
    if not found:
        raise SystemExit("nothing was measured in these files: there is nothing to draw.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw(found, _note(reports[0])).savefig(options.output, dpi=150)


def _note(report: dict[str, Any]) -> str:
    facts = report["machine"]
    return f"{facts['processor']}, {facts['threads']} threads, PyTorch {facts['torch']}, float32"


if __name__ == "__main__":
    main()
