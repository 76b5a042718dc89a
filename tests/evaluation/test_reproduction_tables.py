"""The tables of ``pyramidflow reproduce``, and the published numbers in them."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from pyramidflow.evaluation.reproduction import (
    VARIANTS,
    Record,
    State,
    plan_experiments,
    published,
    table_cells,
    write_tables,
)
from pyramidflow.evaluation.reproduction.tables import BTAD, OBJECTS
from pyramidflow.training.presets.mvtec import TEXTURES
from tests.support.places import ROOT

MEANS = {
    "baseline": ((95.2, 95.1), (95.7, 93.5)),
    "I": ((89.4, 87.5), (85.2, 83.6)),
    "II": ((93.1, 91.9), (90.7, 84.7)),
    "III": ((87.8, 87.8), (93.1, 89.4)),
    "IV": ((92.0, 92.8), (93.3, 91.9)),
}
"""The columns "Mean" of tables S1 and S2, as they are printed: pixel AUROC and AUPRO."""


@pytest.mark.parametrize("variant", MEANS)
def test_the_published_numbers_have_the_printed_means(variant):
    for categories, (auroc, aupro) in zip((TEXTURES, OBJECTS), MEANS[variant], strict=True):
        found = [published("mvtec", "lift", variant, name).values for name in categories]
        for metric, mean in (("pixel_auroc", auroc), ("aupro@1.0", aupro)):
            # Printed means are rounded, and of numbers before their rounding.
            assert sum(x[metric] for x in found) / len(found) == pytest.approx(mean, abs=0.11)


def test_numbers_are_looked_up_by_data_set_encoder_and_variant():
    assert published("btad", "resnet18", "baseline", "02").values == {
        "pixel_auroc": 97.6,
        "image_auroc": 88.2,
    }
    assert published("mvtec", "resnet18", "baseline", "grid").values["aupro@1.0"] == 94.3
    assert published("mvtec", "resnet18", "I", "grid") is None
    assert published("mvtec", "lift", "baseline", "plate") is None
    assert published("visa", "lift", "baseline", "grid") is None


def states(tmp_path, categories, results, layout="mvtec", **settings):
    for name in categories:
        (tmp_path / "set" / name / "train" / "good").mkdir(parents=True, exist_ok=True)
    experiments = plan_experiments(
        tmp_path / "set", tmp_path / "out", VARIANTS[:2], "mvtec", settings
    )
    for experiment in experiments:
        found = results.get((experiment.category, experiment.variant.name))
        record = None if found is None else Record({}, found)
        yield State(experiment, record, "not trained yet" if found is None else None, layout)


def table_of(folder):
    lines = [line for line in (folder / "tables.md").read_text().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], row[1]): row[2:] for row in rows}


def test_a_mean_is_over_the_categories_that_are_measured(tmp_path):
    results = {
        ("carpet", "baseline"): {"pixel_auroc": 0.918, "aupro@1.0": None},
        ("tile", "baseline"): {"pixel_auroc": 0.949, "aupro@1.0": 0.968},
    }
    cells = table_cells(list(states(tmp_path, ("tile", "carpet", "wood"), results)))
    write_tables(cells, tmp_path / "out", {})
    table = table_of(tmp_path / "out")
    assert table["Method", "Metric"] == ["carpet", "tile", "wood", "Mean"]
    assert table["Ours (baseline)", "Pixel-AUROC"] == [
        "91.8 (90.8, +1.0)",
        "94.9 (97.9, −3.0)",
        "– (93.8, –)",
        "93.3 (94.3, −1.0)",  # (91.8 + 94.9) / 2, (90.8 + 97.9) / 2
    ]
    assert table["Ours (baseline)", "AUPRO"][-1] == "96.8 (95.8, +1.0)"
    assert table["I. w/o Volume Normalization", "AUPRO"][-1] == "–"
    assert "Textures (table S1)" in (tmp_path / "out" / "tables.md").read_text()
    assert "wood, baseline: not trained yet" in (tmp_path / "out" / "tables.md").read_text()


def test_btad_has_its_own_table(tmp_path):
    results = {("02", "baseline"): {"pixel_auroc": 0.976, "aupro@1.0": 0.5, "image_auroc": 0.9}}
    found = states(tmp_path, BTAD, results, "btad", encoder="resnet18")
    write_tables(table_cells(list(found)), tmp_path / "out", {})
    table = table_of(tmp_path / "out")
    assert table["Ours (baseline)", "Image-AUROC"][1] == "90.0 (88.2, +1.8)"
    assert ("Ours (baseline)", "AUPRO") not in table  # the paper has none of BTAD
    assert "BTAD (table 4)" in (tmp_path / "out" / "tables.md").read_text()


def test_names_are_shown_as_text(tmp_path):
    found = states(tmp_path, ("a|b<u>", "=1"), {})
    write_tables(table_cells(list(found)), tmp_path / "out", {})
    text = (tmp_path / "out" / "tables.md").read_text()
    assert r"a\|b&lt;u&gt;" in text
    assert "\n'=1," in (tmp_path / "out" / "tables.csv").read_text()


def test_the_wheel_holds_the_published_numbers(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 is not installed")
    script = (
        "import os, sys; os.environ |= {'PYRAMIDFLOW_CPU': '0', 'PYRAMIDFLOW_CUDA': '0'}\n"
        "from setuptools.build_meta import build_wheel\n"
        f"build_wheel({str(tmp_path)!r})\n"
    )
    copy = tmp_path / "project"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "*.so", "tests", "results")
    )
    subprocess.run([sys.executable, "-c", script], cwd=copy, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = archive.read("pyramidflow/evaluation/reproduction/published.csv")
    assert held == (ROOT / "pyramidflow/evaluation/reproduction/published.csv").read_bytes()
