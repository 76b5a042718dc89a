"""The numbers of the README and of ``docs/``, filled in from the files in ``results/``.

``python -m benchmarks.readme`` writes what stands between ``<!-- from NAME -->`` and
``<!-- /from -->`` anew; a test fails where a page says another number than its file.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness.process import ROOT
from benchmarks.harness.results import cases_of, table
from benchmarks.quality import shown

MARKED = re.compile(r"(<!-- from ([\w-]+) -->)(.*?)(<!-- /from -->)", re.DOTALL)


def pages() -> list[Path]:
    """The files that may have numbers to fill in."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A page with every marked number and table as the results have it.

    Raises:
        KeyError: it asks for a number that is not known here.
    """
    return MARKED.sub(lambda found: found[1] + content(found[2]) + found[4], text)


def content(name: str) -> str:
    """What stands between two marks: a number, or the lines of a table."""
    if name in TABLES:
        return "\n\n" + "\n".join(TABLES[name]()) + "\n\n"
    return VALUES[name]()


def spread(values: Sequence[float], digits: int) -> str:
    """``least to most``."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def exact(value: float) -> str:
    """A small number with two digits."""
    return f"{value:.1e}"


def peer(case: str, detector: str, results: str = "peers") -> dict[str, Any]:
    """A row of the comparison with the released code."""
    rows = cases_of(results)[case]["rows"]
    return next(row for row in rows if row["name"] == detector)


def speed(results: str = "peers") -> list[str]:
    """Ours beside the released code."""
    named = {
        "ResNet18, 1024×1024": ("resnet18-1024", "default"),
        "the same, `--memory-budget 1230`": ("resnet18-1024", "budget"),
        "baseline, 1024×1024": ("baseline-1024", "default"),
        "baseline, 256×256": ("baseline-256", "default"),
        "training step, baseline, 256×256, batch 2": ("training-256", "default"),
    }
    rows = []
    for name, (case, detector) in named.items():
        ours, theirs = (peer(case, which, results) for which in (detector, "released"))
        times = ours["median_milliseconds"], theirs["median_milliseconds"]
        memory = f"{ours['peak_memory'] / 1000:.2f} GB"
        cells = [f"{times[1]:.0f} ms", f"{times[0]:.0f} ms", f"{times[1] / times[0]:.1f}×", memory]
        rows.append([name, *cells])
    return table(["", "authors' code", "this package", "faster", "peak memory"], rows)


def plain_pytorch() -> list[str]:
    """The network beside itself in plain PyTorch, on both machines."""
    machines = {"Xeon": cases_of("model_xeon"), "EPYC": cases_of("model")}
    heads = [f"{machine}{unit}" for machine in machines for unit in (", ms", ", faster")]
    rows = []
    for name in machines["EPYC"]:
        cells = []
        for found in machines.values():
            milliseconds = 1e3 * found[name]["seconds"]["median"]
            cells += [f"{milliseconds:.0f}", f"{found[name]['times_faster']:.1f}×"]
        rows.append([name.removeprefix("inference: "), *cells])
    return table(["", *heads], rows)


def throughput() -> list[str]:
    """From a file to its verdict, on both machines."""
    rows = []
    for machine, name in (("EPYC", "throughput"), ("Xeon", "throughput_xeon")):
        for case, found in cases_of(name).items():
            shown = case.removeprefix("file to verdict: ")
            cells = [f"{found['milliseconds'][p]:.0f} ms" for p in ("p50", "p99")]
            rows.append([machine, shown, f"{found['images_per_second']:.1f}", *cells])
    return table(["", "", "images a second", "p50", "p99"], rows, texts=2)


def line_speed() -> list[str]:
    """A line beside its session, and how long its parts take below its most."""
    rows = [
        [
            name,
            f"{found['overhead']:+.0%}",
            f"{found['p50_ms']:.0f} ms",
            f"{found['p99_ms']:.0f} ms",
        ]
        for name, found in cases_of("line_speed").items()
    ]
    return table(["", "a part's time, beside the session's", "p50 at 70% load", "p99"], rows)


def inspect_speed() -> list[str]:
    """Pictures of a folder in a second, the start of the command left out, and the gain."""
    rows = [
        [
            name,
            f"{found['now']['marginal_per_second']:.1f}",
            f"{found['gain_marginal_per_second']:.2f}×",
        ]
        for name, found in cases_of("line_inspect").items()
    ]
    return table(["", "pictures a second", "beside the release before the line"], rows)


def service() -> list[str]:
    """``POST /inspect`` beside its session."""
    rows = [
        [
            name,
            f"{found['share']:.0%}",
            *(f"{found[load][at]:.0f} ms" for load in ("paced", "full") for at in ("p50", "p99")),
        ]
        for name, found in cases_of("service_throughput").items()
    ]
    loads = [f"{at} at {load}" for load in ("70% load", "full load") for at in ("p50", "p99")]
    return table(["", "of the session's throughput", *loads], rows)


def first_page() -> list[str]:
    """From the command to the page, and to the first verdict that could be given."""
    rows = [
        [name, *(f"{statistics.median(found[key]):.1f} s" for key in ("first", "ready first"))]
        for name, found in cases_of("service_first_page").items()
    ]
    return table(["", "page", "ready"], rows)


def archive() -> list[str]:
    """What a second worker of a cluster brings."""
    rows = [
        [
            name,
            *(f"{value:.0f} ms" for value in found["milliseconds"].values()),
            f"{found['scaling']:.2f}×",
        ]
        for name, found in cases_of("bulk").items()
    ]
    engines = ["`line`", "`ray`, 1 worker", "`ray`, 2 workers"]
    return table(["", *engines, "2 workers beside 1"], rows)


def endurance() -> list[str]:
    """What a line lived through, by hand."""
    kills, burst, soak = (cases_of(f"line_{name}")[name] for name in ("kills", "burst", "soak"))
    rows = [count for count, _ in kills["stores"].values()]
    if any(count != kills["parts"] for count in rows):
        raise ValueError(f"{kills['parts']} parts, and {rows} rows")
    lived = {
        f"killed {kills['kills']} times, its broker and database stopped and started": (
            f"each of {kills['parts']:,} parts once in {len(rows)} stores",
            "line_kills",
        ),
        f"{burst['files']:,} files at once: garbage, halves, huge ones": (
            f"{burst['recorded']:,} records; {burst['growth_mb']:.0f} MB more memory at most",
            "line_burst",
        ),
        f"{soak['frames']:,} pictures, {soak['per_second']:.0f} a second": (
            f"{soak['different']:,} parts, each once; {soak['growth_mb']:.1f} MB more memory",
            "line_soak",
        ),
    }
    cells = [
        [what, found, f"[`{name}.md`](../results/{name}.md)"]
        for what, (found, name) in lived.items()
    ]
    return table(["what it lived through", "what was found", "numbers"], cells, texts=3)


def memory() -> list[str]:
    """A training step's memory, reversible beside plain."""
    found = cases_of("memory")["256×256, C = 24, L = 8"]
    peaks = {(row["stacks"], row["mode"]): row["peak"] / 1e3 for row in found}
    rows = [
        [f"{stacks}", *(f"{peaks[stacks, mode]:.2f} GB" for mode in ("reversible", "plain"))]
        for stacks in sorted({stacks for stacks, _ in peaks})
    ]
    return table(["stacks", "`--memory reversible`", "`--memory plain`"], rows, texts=0)


def comparison_cost() -> list[str]:
    """What each way to compare adds to an inspection."""
    rows = [[name, f"{row['ratio']:.2f}×"] for name, row in cases_of("contrast").items()]
    return table(["comparison", "an inspection takes"], rows)


def precisions() -> list[str]:
    """bfloat16 beside float32."""
    rows = []
    for name, found in cases_of("precision").items():
        change = found["deviations"]["bfloat16 to float32"]
        cells = [f"{found['milliseconds'][kind]:.0f} ms" for kind in ("float32", "bfloat16")]
        cells += [f"{found['times_faster']:.2f}×", exact(change["largest"]), exact(change["score"])]
        rows.append([name, *cells])
    heads = ["", "float32", "bfloat16", "faster", "change in maps", "change in scores"]
    return table(heads, rows)


def _convolution_ratios() -> list[float]:
    return [case["times_faster"] for case in cases_of("convolution").values()]


def _copy_shares() -> list[float]:
    rows = [row for group in cases_of("ops_cpu").values() for row in group]
    memory_bound = [row for row in rows if row["bound"] == "memory"]
    return [
        100 * row["share_of_copy"]
        for row in memory_bound
        if row["case"] != "affine_coupling, down block"
    ]


def _rank_correlation() -> str:
    found = list(cases_of("tuning_kolektorsdd").values())
    drawn = [row["criterion"] for row in found]
    real = [row["real"]["aupro@0.3"] for row in found]
    ranked = [sorted(values).index(value) for values in (drawn, real) for value in values]
    half = len(found)
    return f"{statistics.correlation(ranked[:half], ranked[half:]):.2f}"


def _poses(key: str) -> list[float]:
    return [row[key] for name, row in cases_of("alignment").items() if name.startswith("poses")]


def _score_change(name: str) -> str:
    return f"{100 * max(found[name] for found in cases_of('tolerance').values()):.1f}%"


def _gradient(row: str) -> str:
    return exact(max(found[row]["worst"] for found in cases_of("gradients").values()))


def _criterion(compared: str) -> str:
    row = cases_of("tuning_screws")[f"{shown.FOUR_LEVELS}; {compared}"]
    return f"{100 * row['criterion']:.1f} ± {100 * row['error']:.1f}"


def _photograph(maps: bool) -> str:
    rows = cases_of("photographs").items()
    return spread([r["bytes_per_pixel"] for name, r in rows if ("--maps" in name) == maps], 0)


TABLES: dict[str, Callable[[], list[str]]] = {
    "speed": speed,
    "speed-zen3": partial(speed, "peers_zen3"),
    "plain-pytorch": plain_pytorch,
    "throughput": throughput,
    "line-speed": line_speed,
    "inspect-speed": inspect_speed,
    "service": service,
    "first-page": first_page,
    "bulk": archive,
    "endurance": endurance,
    "memory": memory,
    "comparison-cost": comparison_cost,
    "precision": precisions,
    "parts": shown.parts,
    "kolektor": shown.quality("quality_kolektorsdd", shown.KOLEKTOR),
    "kolektor-lite0": shown.quality("quality_kolektorsdd_lite0", shown.KOLEKTOR_LITE0),
    "kolektor-fusion": shown.quality("quality_kolektorsdd_fusion", shown.KOLEKTOR_FUSION),
    "magnetic": shown.quality("quality_magnetic_tile", shown.MAGNETIC),
    "batches": shown.joined(shown.BATCHES, head="images in a step"),
    "rates": shown.quality("quality_defaults", shown.RATES),
    "networks": shown.quality("quality_networks", shown.NETWORKS),
    "lite0": shown.quality(
        "quality_magnetic_tile_lite0", shown.LITE0, "quality_peers_magnetic_tile"
    ),
    "screws": shown.joined(shown.SCREWS, "quality_peers_screws"),
    "preset": shown.preset,
    "lite0-stages": shown.quality("quality_magnetic_tile_stages", shown.LITE0_STAGES),
    "solar": shown.quality("quality_solar_cells", shown.SOLAR),
    "alignment": shown.alignment,
    "real-images": shown.real_images,
}

VALUES: dict[str, Callable[[], str]] = {
    "demo-seconds": lambda: f"{cases_of('demo')['demo']['seconds']}",
    "newcomer-minutes": lambda: f"{sum(cases_of('line_newcomer')['steps'].values()) / 60:.0f}",
    "first-verdict-resnet18": lambda: (
        f"{cases_of('first_result')['ResNet18, 1024×1024']['first_verdict']:.1f}"
    ),
    "first-verdict-baseline": lambda: (
        f"{cases_of('first_result')['baseline, 256×256']['first_verdict']:.2f}"
    ),
    "map-error": lambda: exact(
        max(peer(case, "default")["errors"].get("map", 0.0) for case in cases_of("peers"))
    ),
    "convolution-ratio": lambda: spread(_convolution_ratios(), 0),
    "copy-share": lambda: spread(_copy_shares(), 0),
    "pose-ms": lambda: spread(_poses("milliseconds"), 0),
    "pose-pixels": lambda: f"{max(_poses('most_pixels')):.2f}",
    "pose-degrees": lambda: f"{max(_poses('most_degrees')):.2f}",
    "bfloat16-scores": lambda: _score_change("bfloat16, CPU runtime"),
    "half-scores": lambda: _score_change("half, throughout"),
    "bfloat16-throughout-scores": lambda: _score_change("bfloat16, throughout"),
    "gradients-ours": lambda: _gradient("float32, backend cpu"),
    "gradients-plain": lambda: _gradient("float32, backend reference"),
    "gradients-rounding": lambda: _gradient("float64, images changed by a rounding"),
    "tuning-rank": _rank_correlation,
    "tuning-screws-codebook": lambda: _criterion("as trained"),
    "tuning-screws-template": lambda: _criterion("codebook=0.0 spread=pixel fusion=product"),
    "photograph-bytes": lambda: _photograph(maps=False),
    "photograph-bytes-maps": lambda: _photograph(maps=True),
    "tiles-gb": lambda: f"{cases_of('tiles')['within the budget']['peak'] / 1000:.1f}",
    "tiles-whole-gb": lambda: f"{cases_of('tiles')['without one']['peak'] / 1000:.1f}",
}


def main() -> None:
    """Fill in every page, and say which ones changed."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
