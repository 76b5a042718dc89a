"""What the quality benchmarks found, as the pages show it."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness.results import cases_of, table
from pyramidflow.evaluation.reproduction.published import published

METRICS = {
    "pixel AUROC": "pixel_auroc",
    "AUPRO ≤ 0.3": "aupro@0.3",
    "pixel AP": "pixel_ap",
    "image AUROC": "image_auroc",
}


def found_on(result: str, named: dict[str, str]) -> list[list[str]]:
    """Medians over the seeds in per cent, a row for each case by the name that it is shown with."""
    rows = []
    for name, case in named.items():
        seeds = cases_of(result)[case]["seeds"]
        rows.append([name, *(_median(seeds, key) for key in METRICS.values())])
    return rows


def _median(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    return f"{100 * statistics.median(values):.1f}" if values else "–"


def quality(
    result: str, named: dict[str, str], peers: str | None = None
) -> Callable[[], list[str]]:
    """A table of :func:`found_on`, with what other methods found there below, if it is known."""
    return joined(((result, named),), peers)


def joined(
    results: Sequence[tuple[str, dict[str, str]]], peers: str | None = None, head: str = "settings"
) -> Callable[[], list[str]]:
    """Several results in one table of :func:`quality`."""

    def lines() -> list[str]:
        rows = [row for result, named in results for row in found_on(result, named)]
        return table([head, *METRICS], [*rows, *_peers(peers)])

    return lines


def _peers(result: str | None) -> list[list[str]]:
    found = cases_of(result) if result else {}
    return [
        [name, *(f"{100 * one[key]:.1f}" for key in METRICS.values())]
        for name, one in found.items()
    ]


KOLEKTOR = {
    "160x64, `--preset paper`": "image_size=160x64 reduction=nearest; template alone",
    "a square of as many pixels, `--no-light --spread none`": (
        "image_size=101 reduction=max; template alone"
    ),
    "160x64, `--no-light --spread none`": "image_size=160x64 reduction=max; template alone",
    "160x64": "image_size=160x64 reduction=max; light=true spread=pixel",
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
    "encoder=efficientnet-lite0 encoder_stages=2,3,5 kernel_size=3 image_size=256 brightness=auto "
    "light=false spread=none codebook=1.0 beside_template=true"
)
LITE0_DEFAULTS = "light=true spread=pixel codebook=0.0 beside_template=false fusion=product"
LITE0 = {
    "the defaults": f"{LITE0_TRAINING}; {LITE0_DEFAULTS}",
    "`--no-light --spread none`": f"{LITE0_TRAINING}; codebook=0.0 beside_template=false",
    "`--codebook 1 --beside-template`": f"{LITE0_TRAINING}; light=true spread=pixel",
    "`--no-light --spread none --codebook 1 --beside-template`": f"{LITE0_TRAINING}; as trained",
}
SCREWS_TRAINING = (
    "encoder=efficientnet-lite0 encoder_stages=2,3,5 kernel_size=3{levels} image_size=512 "
    "codebook=0.1"
)
FOUR_LEVELS, TWO_LEVELS = (SCREWS_TRAINING.format(levels=levels) for levels in ("", " levels=2"))
SCREWS = (
    (
        "quality_screws",
        {
            "the defaults": f"{FOUR_LEVELS}; codebook=0.0 spread=pixel fusion=product",
            "`--codebook 0.1`": f"{FOUR_LEVELS}; as trained",
        },
    ),
    ("quality_screws_levels", {"`--codebook 0.1 --levels 2`": f"{TWO_LEVELS}; as trained"}),
)
STAGES_TRAINING = "encoder=efficientnet-lite0{stages} kernel_size=3 image_size=256"
LITE0_STAGES = {
    f"{shown}{fusion}": f"{STAGES_TRAINING.format(stages=stages)}; {compared}"
    for shown, stages in (("stage 2", ""), ("stages 2,3", " encoder_stages=2,3"))
    for fusion, compared in ((", `--fusion sum`", "as trained"), ("", "fusion=product"))
}
KOLEKTOR_LITE0_TRAINING = "encoder=efficientnet-lite0 image_size=1280x512 kernel_size=7"
KOLEKTOR_LITE0 = {
    "`--no-light --spread none`": f"{KOLEKTOR_LITE0_TRAINING}; light=false spread=none",
    "`--fusion sum`": f"{KOLEKTOR_LITE0_TRAINING}; as trained",
    "`--fusion sum --smoothing 1`": f"{KOLEKTOR_LITE0_TRAINING}; smoothing=1",
    "the defaults (`--fusion product`)": f"{KOLEKTOR_LITE0_TRAINING}; fusion=product",
    "`--smoothing 1`": f"{KOLEKTOR_LITE0_TRAINING}; fusion=product smoothing=1",
}
KOLEKTOR_FUSION = {
    "the defaults": "image_size=320x128; as trained",
    "`--fusion product`": "image_size=320x128; fusion=product",
}
RATES_TRAINING = "image_size=160x64"
RATES = {
    "`--learning-rate 2e-4 --batch-size 2`, as the paper": f"{RATES_TRAINING}; as trained",
    "`--learning-rate 5e-5`": f"{RATES_TRAINING} learning_rate=5e-5; as trained",
    "`--learning-rate 1e-3`": f"{RATES_TRAINING} learning_rate=1e-3; as trained",
    "the defaults: `--learning-rate 2e-4 --batch-size 4`": (
        f"{RATES_TRAINING} batch_size=4; as trained"
    ),
    "`--learning-rate 1e-3 --batch-size 4`": (
        f"{RATES_TRAINING} learning_rate=1e-3 batch_size=4; as trained"
    ),
}
BATCHES = (
    (
        "quality_leather",
        {
            "leather, two": "image_size=256; as trained",
            "leather, four": "image_size=256 batch_size=4; as trained",
            "leather, two, `--no-light --spread none`": "image_size=256; spread=none light=false",
            "leather, four, `--no-light --spread none`": (
                "image_size=256 batch_size=4; spread=none light=false"
            ),
        },
    ),
    ("quality_magnetic_tile", {"tiles, two": "image_size=128; light=true spread=pixel"}),
    ("quality_magnetic_tile_batch", {"tiles, four": "image_size=128 batch_size=4; as trained"}),
)
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


PRESET_TRAINING = "volume_norm=cvn levels=2 statistics=batch batch_size=2 spread=none light=false"
PRESET = {
    "`--preset mvtec`": f"{PRESET_TRAINING}; as trained",
    "`--preset mvtec --light`": f"{PRESET_TRAINING}; light=true",
}


def preset() -> list[str]:
    """Screws with the published settings, beside the published numbers."""
    named = {"pixel AUROC": "pixel_auroc", "AUPRO ≤ 1.0": "aupro@1.0"}
    rows = [
        [
            name,
            *(_median(cases_of("quality_screws_preset")[case]["seeds"], k) for k in named.values()),
        ]
        for name, case in PRESET.items()
    ]
    printed = published("mvtec", "lift", "baseline", "screw")
    assert printed is not None
    rows.append(["published", *(f"{printed.values[key]:.1f}" for key in named.values())])
    return table(["screws of MVTec AD", *named], rows)


PARTS = (
    (
        "leather of MVTec AD",
        "quality_leather",
        {"the defaults": "image_size=256 batch_size=4; as trained"},
        None,
    ),
    (
        "electrical commutators",
        "quality_kolektorsdd_lite0",
        {"the defaults at 1280×512": KOLEKTOR_LITE0["the defaults (`--fusion product`)"]},
        "quality_peers_kolektorsdd",
    ),
    (
        "magnetic tiles",
        "quality_magnetic_tile_lite0",
        {"a codebook beside the template": f"{LITE0_TRAINING}; as trained"},
        "quality_peers_magnetic_tile",
    ),
    (
        "screws of MVTec AD",
        "quality_screws_levels",
        {"a codebook of two levels": f"{TWO_LEVELS}; as trained"},
        "quality_peers_screws",
    ),
)
"""Parts, what is found on them and where that is, and what other methods find there."""


def parts() -> list[str]:
    """What is found on real parts, beside other methods."""
    rows = []
    for name, result, named, peers in PARTS:
        found = [*found_on(result, named), *_peers(peers)]
        rows += [[name if n == 0 else "", *row] for n, row in enumerate(found)]
    return table(["parts", "settings", *METRICS], rows, texts=2)


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
        shown: cases_of("alignment")[f"{case}, light True, spread pixel"]
        for shown, case in ALIGNED.items()
    }
    return _metrics_of("settings", found, lambda value: f"{100 * value:.1f}")


def real_images() -> list[str]:
    """Trainings on photographs."""
    found = {shown: cases_of("real_images")[case] for shown, case in PHOTOGRAPHS.items()}
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
