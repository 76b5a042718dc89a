"""Time and memory against size: rows, fits, and the sentences made of them."""

import json

import pytest
import torch
from PIL import Image

from benchmarks.harness.subjects import detector
from benchmarks.model import scaling, scaling_report


def test_scaling_measures_each_point_in_a_process(tmp_path):
    file = tmp_path / "scaling.md"
    scaling.main(["--small", "--only", "stacks", "--output", str(file)])
    [series] = json.loads(file.with_suffix(".json").read_text())["cases"]["series"]
    for row, stacks in zip(series["rows"], (1, 2), strict=True):
        assert row["stacks"] == stacks
        assert row["milliseconds"] > 0
        assert 0 < row["start_megabytes"] <= row["peak_megabytes"]
    first, second = (row["plan"]["multiply_adds"] for row in series["rows"])
    assert second == 2 * first
    assert "- A stack costs" in file.read_text()
    assert min(Image.open(file.with_suffix(".png")).size) > 500


def test_scaling_records_what_does_not_fit(tmp_path):
    threads = torch.get_num_threads()
    point = scaling.Point(size=32, channels=4, levels=3, stacks=1, threads=threads, budget=1)
    file = tmp_path / "detector.safetensors"
    detector("lift", 32, 4, 3, 1).save(file)
    found = scaling.row_of(vars(point), str(file), None)["missing"]
    assert found.startswith("did not fit: the memory budget is 1 MB")
    row = vars(point) | {"missing": found}
    [line] = scaling_report.table({"name": "size", "rows": [row]})[2:]
    assert line.startswith("| 32 | within 1 MB; did not fit: the memory budget")


def test_scaling_fits():
    x = [1, 2, 4, 8]
    assert scaling_report.power(x, [3 * v**1.5 for v in x]) == pytest.approx((3, 1.5, 0))
    assert scaling_report.line(x, [5 + 2 * v for v in x]) == pytest.approx((5, 2, 0))
    deviation = scaling_report.power([1, 10, 100], [1, 20, 100]).deviation
    assert deviation == pytest.approx(1 - 2 ** (-2 / 3))
    # 7 x + 3 x²: at 8 the quadratic part is 192 of 248.
    share = scaling_report.quadratic_share(x, [7 * v + 3 * v * v for v in x])
    assert share == pytest.approx(192 / 248)
    words = [scaling_report.growth(e) for e in (-1, 0.05, 0.5, 1.05, 1.4, 2, 2.5)]
    assert words == [
        "the other way",
        "hardly at all",
        "less than linearly",
        "linearly",
        "between linearly and quadratically",
        "quadratically",
        "more than quadratically",
    ]


def scaling_rows(name, values, milliseconds):
    common = {"budget": None, "plan": None, "start_megabytes": 500.0}
    return [
        vars(scaling.Point())
        | common
        | {name: value, "milliseconds": time, "peak_megabytes": 600.0 + value}
        for value, time in zip(values, milliseconds, strict=True)
    ]


def test_scaling_says_what_the_numbers_show():
    def explained(*arguments):
        series = {"name": arguments[0], "rows": scaling_rows(*arguments)}
        return " ".join(scaling_report.explained(series))

    assert "Time grows quadratically with the channels: to the power 2.00" in explained(
        "channels", [8, 16, 32], [1.0, 4.0, 16.0]
    )
    assert "Time grows linearly with the pixels" in explained("size", [256, 1024], [10.0, 160.0])
    assert "2 threads are 1.60 times as fast as 1, 80% of the ideal: as if 25%" in explained(
        "threads", [1, 2], [16.0, 10.0]
    )
    assert "A stack costs 3.0 ms; 4.0 ms do not depend on their number, 25% of the time with 4" in (
        explained("stacks", [1, 2, 4], [7.0, 10.0, 16.0])
    )
    assert "from 2 to 4 levels time grows by 50%, while the pyramid's pixels grow by 6%" in (
        explained("levels", [2, 4], [10.0, 15.0])
    )
