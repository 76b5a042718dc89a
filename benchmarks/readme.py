"""The numbers of the README and of ``docs/``, filled in from the files in ``results/``.

``python -m benchmarks.readme`` writes what stands between ``<!-- from NAME -->`` and
``<!-- /from -->`` anew; a test fails where a page says another number than its file.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.harness.facts import RESULTS
from benchmarks.harness.process import ROOT
from benchmarks.harness.results import table

MARKED = re.compile(r"(<!-- from ([\w-]+) -->)(.*?)(<!-- /from -->)", re.DOTALL)
METRICS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO ≤ 0.3": "aupro@0.3",
    "pixel AP": "pixel_ap",
    "image AUROC": "image_auroc",
}


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


@cache
def cases(name: str) -> dict[str, Any]:
    """The numbers of a result."""
    report = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = report["cases"]
    return found


def spread(values: Sequence[float], digits: int) -> str:
    """``least to most``."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def exact(value: float) -> str:
    """A small number with two digits."""
    return f"{value:.1e}"


def peer(case: str, detector: str) -> dict[str, Any]:
    """A row of the comparison with the released code."""
    rows = cases("peers")[case]["rows"]
    return next(row for row in rows if row["name"] == detector)


def speed() -> list[str]:
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
        ours, theirs = peer(case, detector), peer(case, "released")
        times = ours["median_milliseconds"], theirs["median_milliseconds"]
        memory = f"{ours['peak_memory'] / 1000:.2f} GB"
        cells = [f"{times[1]:.0f} ms", f"{times[0]:.0f} ms", f"{times[1] / times[0]:.1f}×", memory]
        rows.append([name, *cells])
    return table(["", "authors' code", "this package", "faster", "peak memory"], rows)


def plain_pytorch() -> list[str]:
    """The network beside itself in plain PyTorch, on both machines."""
    machines = {"Xeon": cases("model_xeon"), "EPYC": cases("model")}
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
        for case, found in cases(name).items():
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
        for name, found in cases("line_speed").items()
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
        for name, found in cases("line_inspect").items()
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
        for name, found in cases("service_throughput").items()
    ]
    loads = [f"{at} at {load}" for load in ("70% load", "full load") for at in ("p50", "p99")]
    return table(["", "of the session's throughput", *loads], rows)


def first_page() -> list[str]:
    """From the command to the page, and to the first verdict that could be given."""
    rows = [
        [name, *(f"{statistics.median(found[key]):.1f} s" for key in ("first", "ready first"))]
        for name, found in cases("service_first_page").items()
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
        for name, found in cases("bulk").items()
    ]
    engines = ["`line`", "`ray`, 1 worker", "`ray`, 2 workers"]
    return table(["", *engines, "2 workers beside 1"], rows)


def endurance() -> list[str]:
    """What a line lived through, by hand."""
    kills, burst, soak = (cases(f"line_{name}")[name] for name in ("kills", "burst", "soak"))
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
    found = cases("memory")["256×256, C = 24, L = 8"]
    peaks = {(row["stacks"], row["mode"]): row["peak"] / 1e3 for row in found}
    rows = [
        [f"{stacks}", *(f"{peaks[stacks, mode]:.2f} GB" for mode in ("reversible", "plain"))]
        for stacks in sorted({stacks for stacks, _ in peaks})
    ]
    return table(["stacks", "`--memory reversible`", "`--memory plain`"], rows, texts=0)


def comparison_cost() -> list[str]:
    """What each way to compare adds to an inspection."""
    rows = [[name, f"{row['ratio']:.2f}×"] for name, row in cases("contrast").items()]
    return table(["comparison", "an inspection takes"], rows)


def precisions() -> list[str]:
    """bfloat16 beside float32."""
    rows = []
    for name, found in cases("precision").items():
        change = found["deviations"]["bfloat16 to float32"]
        cells = [f"{found['milliseconds'][kind]:.0f} ms" for kind in ("float32", "bfloat16")]
        cells += [f"{found['times_faster']:.2f}×", exact(change["largest"]), exact(change["score"])]
        rows.append([name, *cells])
    heads = ["", "float32", "bfloat16", "faster", "change in maps", "change in scores"]
    return table(heads, rows)


def found_on(result: str, named: dict[str, str]) -> list[list[str]]:
    """Medians over the seeds in per cent, a row for each case by the name that it is shown with."""
    rows = []
    for name, case in named.items():
        seeds = cases(result)[case]["seeds"]
        rows.append([name, *(_median(seeds, key) for key in METRICS.values())])
    return rows


def _median(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return f"{100 * statistics.median(values):.1f}" if values else "–"


def quality(result: str, named: dict[str, str]) -> Callable[[], list[str]]:
    """A table of :func:`found_on`."""
    return lambda: table(["settings", *METRICS], found_on(result, named))


KOLEKTOR = {
    "160x64, `--preset paper`": "image_size=160x64 reduction=nearest; template alone",
    "a square of as many pixels, `--no-light --spread none`": (
        "image_size=101 reduction=max; template alone"
    ),
    "160x64, `--no-light --spread none`": "image_size=160x64 reduction=max; template alone",
    "160x64 (the defaults)": "image_size=160x64 reduction=max; light=true spread=pixel",
}
MAGNETIC = {
    "the released code's: `--statistics batch --no-light --spread none`": (
        "image_size=128 statistics=batch; template alone"
    ),
    "`--no-light --spread none`": "image_size=128; template alone",
    "the defaults": "image_size=128; light=true spread=pixel",
    "`--volume-norm svn`": "image_size=128 volume_norm=svn; light=true spread=pixel",
    "`--volume-norm svn --brightness auto`": (
        "image_size=128 volume_norm=svn brightness=auto; light=true spread=pixel"
    ),
}
LITE0_TRAINING = (
    "encoder=efficientnet-lite0 encoder_stages=2,3,5 kernel_size=3 image_size=256 brightness=auto"
)
LITE0 = {
    "the default comparison": f"{LITE0_TRAINING}; as trained",
    "`--no-light --spread none`": f"{LITE0_TRAINING}; light=false spread=none",
    "`--codebook 1 --beside-template`": f"{LITE0_TRAINING}; codebook=1.0 beside_template=true",
    "`--no-light --spread none --codebook 1 --beside-template`": (
        f"{LITE0_TRAINING}; light=false spread=none codebook=1.0 beside_template=true"
    ),
}
KOLEKTOR_LITE0_TRAINING = "encoder=efficientnet-lite0 image_size=1280x512 kernel_size=7"
KOLEKTOR_LITE0 = {
    "`--no-light --spread none`": f"{KOLEKTOR_LITE0_TRAINING}; light=false spread=none",
    "the default comparison": f"{KOLEKTOR_LITE0_TRAINING}; as trained",
    "`--smoothing 1`": f"{KOLEKTOR_LITE0_TRAINING}; smoothing=1",
    "`--fusion product`": f"{KOLEKTOR_LITE0_TRAINING}; fusion=product",
    "`--fusion product --smoothing 1`": f"{KOLEKTOR_LITE0_TRAINING}; fusion=product smoothing=1",
}
KOLEKTOR_FUSION = {
    "the default comparison": "image_size=320x128; as trained",
    "`--fusion product`": "image_size=320x128; fusion=product",
}
RATES_TRAINING = "image_size=160x64"
RATES = {
    "the defaults: `--learning-rate 2e-4 --batch-size 2`": f"{RATES_TRAINING}; as trained",
    "`--learning-rate 5e-5`": f"{RATES_TRAINING} learning_rate=5e-5; as trained",
    "`--learning-rate 1e-3`": f"{RATES_TRAINING} learning_rate=1e-3; as trained",
    "`--batch-size 4`": f"{RATES_TRAINING} batch_size=4; as trained",
    "`--learning-rate 1e-3 --batch-size 4`": (
        f"{RATES_TRAINING} learning_rate=1e-3 batch_size=4; as trained"
    ),
}
NETWORKS = {
    f"`--{setting.replace('_', '-').replace('=', ' ')}`": f"{RATES_TRAINING} {setting}; as trained"
    for setting in (
        "volume_norm=svn",
        "statistics=batch",
        "reduction=nearest",
        "kernel_size=3",
        "levels=3",
        "levels=5",
        "stacks=2",
        "channels=24",
        "augment=texture",
        "weight_decay=0",
    )
}
SOLAR = {
    "the released code's: `--statistics batch --no-light --spread none`": (
        "image_size=128 statistics=batch; template alone"
    ),
    "`--no-light --spread none`": "image_size=128; template alone",
    "`--spread channel`": "image_size=128; light=true spread=channel",
    "the defaults": "image_size=128; light=true spread=pixel",
}
ALIGNED = {
    ("drawn screws, at any angle", "the defaults"): "screws, align none",
    ("the same", "`--align turn`"): "screws, align turn",
    ("transistors, a little off", "the defaults"): "transistor, align none",
    ("the same", "`--align shift`"): "transistor, align shift",
}
PHOTOGRAPHS = {
    ("magnetic tiles", "256×256, CVN, 5 epochs"): "magnetic_tile_cvn",
    ("the same", "256×256, SVN, 15 epochs"): "magnetic_tile_svn",
    ("solar cells, monocrystalline", "128×128, CVN, 15 epochs"): "solar_cells_128",
    ("the same", "256×256, CVN, 1 epoch"): "solar_cells_256",
}


def alignment() -> list[str]:
    """Parts that lie shifted or turned, as they lie and aligned."""
    found = {
        shown: cases("alignment")[f"{case}, light True, spread pixel"]
        for shown, case in ALIGNED.items()
    }
    return _metrics_of("settings", found, lambda value: f"{100 * value:.1f}")


def real_images() -> list[str]:
    """Trainings on photographs."""
    found = {shown: cases("real_images")[case] for shown, case in PHOTOGRAPHS.items()}
    return _metrics_of("baseline", found, lambda value: f"{value:.3f}")


def _metrics_of(
    what: str, found: dict[tuple[str, str], dict[str, Any]], text: Callable[[float], str]
) -> list[str]:
    """A row for each training, by its images and by what is told of it."""
    rows = [
        [*shown, *(text(row[key]) if key in row else "–" for key in METRICS.values())]
        for shown, row in found.items()
    ]
    return table(["images", what, *METRICS], rows, texts=2)


def _convolution_ratios() -> list[float]:
    return [case["times_faster"] for case in cases("convolution").values()]


def _copy_shares() -> list[float]:
    rows = [row for group in cases("ops_cpu").values() for row in group]
    memory_bound = [row for row in rows if row["bound"] == "memory"]
    return [
        100 * row["share_of_copy"]
        for row in memory_bound
        if row["case"] != "affine_coupling, down block"
    ]


def _rank_correlation() -> str:
    found = list(cases("tuning_kolektorsdd").values())
    drawn = [row["criterion"] for row in found]
    real = [row["real"]["aupro@0.3"] for row in found]
    ranked = [sorted(values).index(value) for values in (drawn, real) for value in values]
    half = len(found)
    return f"{statistics.correlation(ranked[:half], ranked[half:]):.2f}"


def _poses(key: str) -> list[float]:
    return [row[key] for name, row in cases("alignment").items() if name.startswith("poses")]


def _score_change(name: str) -> str:
    return f"{100 * max(found[name] for found in cases('tolerance').values()):.1f}%"


def _gradient(row: str) -> str:
    return exact(max(found[row]["worst"] for found in cases("gradients").values()))


def _photograph(maps: bool) -> str:
    rows = cases("photographs").items()
    return spread([r["bytes_per_pixel"] for name, r in rows if ("--maps" in name) == maps], 0)


TABLES: dict[str, Callable[[], list[str]]] = {
    "speed": speed,
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
    "kolektor": quality("quality_kolektorsdd", KOLEKTOR),
    "kolektor-lite0": quality("quality_kolektorsdd_lite0", KOLEKTOR_LITE0),
    "kolektor-fusion": quality("quality_kolektorsdd_fusion", KOLEKTOR_FUSION),
    "magnetic": quality("quality_magnetic_tile", MAGNETIC),
    "rates": quality("quality_defaults", RATES),
    "networks": quality("quality_networks", NETWORKS),
    "lite0": quality("quality_magnetic_tile_lite0", LITE0),
    "solar": quality("quality_solar_cells", SOLAR),
    "alignment": alignment,
    "real-images": real_images,
}

VALUES: dict[str, Callable[[], str]] = {
    "demo-seconds": lambda: f"{cases('demo')['demo']['seconds']}",
    "newcomer-minutes": lambda: f"{sum(cases('line_newcomer')['steps'].values()) / 60:.0f}",
    "first-verdict-resnet18": lambda: (
        f"{cases('first_result')['ResNet18, 1024×1024']['first_verdict']:.1f}"
    ),
    "first-verdict-baseline": lambda: (
        f"{cases('first_result')['baseline, 256×256']['first_verdict']:.2f}"
    ),
    "map-error": lambda: exact(
        max(peer(case, "default")["errors"].get("map", 0.0) for case in cases("peers"))
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
    "photograph-bytes": lambda: _photograph(maps=False),
    "photograph-bytes-maps": lambda: _photograph(maps=True),
    "tiles-gb": lambda: f"{cases('tiles')['within the budget']['peak'] / 1000:.1f}",
    "tiles-whole-gb": lambda: f"{cases('tiles')['without one']['peak'] / 1000:.1f}",
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
