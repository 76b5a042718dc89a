"""The benchmarks' own arithmetic and refusals."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pyramidflow import PyramidFlow, ops
from pyramidflow.model import Contrast
from pyramidflow.runtime import TrainedNetwork
from pyramidflow.training import ContrastLoss

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    chart,
    first_result,
    gpu,
    gpu_kernels,
    gpu_model,
    gpu_network,
    gpu_parts,
    gradients,
    memory,
    peer_models,
    peer_training,
    peers,
    precision,
    scaling,
    scaling_report,
    tiles,
)
from benchmarks import ops as benchmark_ops
from benchmarks.peer_models import Setting
from benchmarks.subjects import detector


def test_peers_refuses_a_folder_without_the_released_code(tmp_path):
    (tmp_path / "model.py").touch()
    with pytest.raises(SystemExit, match=r"holds no autoFlow\.py: give a checkout") as refusal:
        peers.main(["--released", str(tmp_path)])
    assert "\n" not in str(refusal.value)


def test_peers_measures_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "baseline-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released", "reference", "default", "budget"]
    peers.main([*arguments, "--output", str(file)])
    released, reference, default, budget = json.loads(file.with_suffix(".json").read_text())[
        "cases"
    ]["baseline-256"]["rows"]
    assert "--released PATH" in released["missing"]
    for row in (reference, default, budget):
        assert len(row["milliseconds"]) == 2
        assert 0 < row["start_memory"] <= row["peak_memory"]
    text = file.read_text()
    assert "| released | not measured: no checkout was given" in text
    assert f"| default | {default['version']} | " in text
    assert "within 1.23 GB" in text
    assert str(peers.ROOT) not in text


def test_peers_says_which_memory_budget_is_too_small(tmp_path):
    setting = Setting("none", 32, 4, 1, None, 10, budget=1, folder=str(tmp_path))
    [row] = peers.compare(peer_models, ["budget"], setting, rounds=1)
    assert row["missing"].startswith("the memory budget is 1 MB")


def test_peers_trains_ours_alone(tmp_path):
    file = tmp_path / "peers.md"
    arguments = ["--cases", "training-256", "--size", "32", "--channels", "4", "--threads", "1"]
    arguments += ["--rounds", "2", "--only", "released-keeping", "default", "padim"]
    peers.main([*arguments, "--output", str(file)])
    keeping, default = json.loads(file.with_suffix(".json").read_text())["cases"]["training-256"][
        "rows"
    ]
    assert "--released PATH" in keeping["missing"]
    assert len(default["milliseconds"]) == 2


def test_recipe_step_lowers_the_loss():
    torch.manual_seed(0)
    network, batch = PyramidFlow(4, levels=2, stacks=1, kernel_size=3), torch.randn(2, 3, 16, 16)
    step, loss = peer_training.recipe_step(network, batch), ContrastLoss()
    before = loss(network, batch)
    for _ in range(20):
        step()
    assert loss(network, batch) < before


def test_peers_ratio_is_to_the_released_code():
    common = {"version": "1", "note": "", "start_memory": 1, "peak_memory": 2, "errors": {}}
    lines = peers.table(
        [
            {"name": "released", "median_milliseconds": 90.0, **common},
            {"name": "default", "median_milliseconds": 30.0, **common},
        ]
    )
    assert "| 30 | 3.00× | 2 | 1 |" in lines[-1]


def test_gpu_model_counts_kernels_and_operations():
    batch, channels, window = 2, 16, 49
    found = gpu_model.ours("none", 64, batch, torch.float16)
    kernels, _, operations = gpu_model.counts(found)
    dual, single = 5, 3  # two copies, convolution, LeakyReLU, fused; without the copies
    pyramid, contrast, ends = 2 * 3, 4 + 3, 3 + 2
    assert kernels == ends + pyramid + 4 * (2 * dual + 2 * single) + contrast
    wide = 2 * window * (2 * channels) ** 2  # a 7×7 convolution of 2C to 2C channels
    second = wide + 2 * channels**2
    stack = (32**2 + 16**2) * (wide + second)  # dual
    stack += 16**2 * wide // 2 + 8**2 * second  # down
    stack += 33**2 * 2 * 16 * channels * 4 * 2 * channels + 64**2 * second  # up
    assert operations == batch * (2 * 3 * channels * 64**2 + 4 * stack) / 1e9


def test_gpu_model_counts_bytes():
    found = gpu_model.ours("none", 64, 2, torch.float16)
    fused = [launch for launch in found if launch.operation.startswith("conv_coupling")]
    by_shape = {launch.shape: launch for launch in fused}
    pixels, channels = 32 * 32, 16
    weights = 32 * 32 * 49 + channels**2
    elements = 2 * pixels * (channels + 2 * channels + channels) + pixels + weights
    assert by_shape[(2, channels, 32, 32)].read_and_written == 2 * elements
    # The level of the block down is a quarter of what its convolution reads.
    elements = 2 * (64 * 2 * channels + 256 * 2 * channels) + 64 + weights
    assert by_shape[(2, channels, 8, 8)].read_and_written == 2 * elements
    assert found[0].read_and_written == 2 * 64 * 64 * 3 * (1 + 2) + 2 * 3 * 4
    down, up = (launch for launch in found[9:11] if launch.operation == "copy_")
    assert down.read_and_written == 2 * 2 * channels * (pixels + pixels)
    assert up.read_and_written == 2 * 2 * channels * (pixels // 4 + pixels)


@pytest.mark.parametrize("encoder", ["none", "resnet18"])
def test_gpu_model_counts_what_runs(encoder):
    def run(device):
        network = PyramidFlow(encoder=encoder, kernel_size=3, stacks=1, levels=3).eval()
        side = 32 if encoder == "none" else 8
        shapes = [(1, network.architecture.channels, side >> d, side >> d) for d in range(3)]
        template = [torch.zeros(shape) for shape in shapes]
        trained = TrainedNetwork(network, Contrast(template), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        frozen = gpu_model.FrozenNetwork(trained, device, torch.float32)
        images = torch.zeros((2, 32, 32, 3), dtype=torch.uint8, device=device)
        with gpu_model.Recorder() as recorder:
            frozen(images)
        return recorder.launches

    assert run(torch.device("cpu")) == run(torch.device("meta"))


def test_gpu_model_bound_is_the_longer_of_memory_and_arithmetic():
    device = gpu_model.Device("", bandwidth=10, half=100, tf32=50, float32=5, source="")
    memory = gpu_model.Launch("copy", (), read_and_written=30)
    arithmetic = gpu_model.Launch("convolution", (), 10, operations=400, dense=True)
    other = gpu_model.Launch("depthwise", (), 10, operations=400)
    assert gpu_model.bound([memory, arithmetic], device, half=True) == 3 + 4
    assert gpu_model.bound([memory, arithmetic], device, half=False) == 3 + 8
    assert gpu_model.bound([other], device, half=True) == 80


def test_scaling_measures_each_point_in_a_process(tmp_path):
    file = tmp_path / "scaling.md"
    scaling.main(["--small", "--only", "stacks", "--output", str(file)])
    [series] = json.loads(file.with_suffix(".json").read_text())["series"]
    for row, stacks in zip(series["rows"], (1, 2), strict=True):
        assert row["stacks"] == stacks
        assert row["milliseconds"] > 0
        assert 0 < row["start_megabytes"] <= row["peak_megabytes"]
    first, second = (row["plan"]["multiply_adds"] for row in series["rows"])
    assert second == 2 * first
    assert "- A stack costs" in file.read_text()
    assert min(Image.open(file.with_suffix(".png")).size) > 500


def test_scaling_records_what_does_not_fit(tmp_path, capsys):
    threads = torch.get_num_threads()
    point = scaling.Point(size=32, channels=4, levels=3, stacks=1, threads=threads, budget=1)
    file = tmp_path / "detector.safetensors"
    detector("none", 32, 4, 3, 1).save(file)
    scaling.answer(json.dumps([vars(point), str(file), None]))
    found = json.loads(capsys.readouterr().out)["missing"]
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


def bars(panels):
    return [
        [
            (label.get_text(), bar.get_width())
            for label, bar in zip(axis.get_yticklabels(), axis.patches, strict=True)
        ]
        for axis in chart.draw(panels, "").axes
    ]


def test_chart_draws_what_peers_found():
    rows = [
        {"name": "released", "median_milliseconds": 90.0},
        {"name": "padim", "missing": "no anomalib"},
        {"name": "default", "median_milliseconds": 30.0},
    ]
    [panel] = chart.panels({"cases": {"baseline-256": {"size": 64, "rows": rows}}})
    assert panel.title == "baseline, 64×64"
    training = {"training-256": {"size": 64, "rows": rows}}
    assert chart.panels({"cases": training}) == []
    expected = [("PyramidFlow, this package", 30.0), ("PyramidFlow, released code", 90.0)]
    assert bars([panel]) == [expected]


def test_chart_draws_what_pytest_benchmark_found(tmp_path):
    information = {"case": "baseline", "batch": 2, "compared_seconds": [0.3, 0.1, 0.2]}
    found = {"extra_info": information, "stats": {"median": 0.05}}
    machine = {"processor": "one", "threads": 2, "torch": "2"}
    tests = [found | {"name": "test_inference[none]"}, found | {"name": "test_training_step"}]
    report = {"machine_info": machine, "benchmarks": tests}
    expected = [("PyramidFlow, this package", 25.0), ("the same in plain PyTorch", 100.0)]
    assert bars(chart.panels(report)) == [expected]
    file, picture = tmp_path / "model.json", tmp_path / "speed.png"
    file.write_text(json.dumps(report))
    chart.main([str(file), "--output", str(picture)])
    assert min(Image.open(picture).size) > 200


def test_first_result_measures_new_processes(tmp_path):
    file = tmp_path / "first_result.md"
    first_result.main(["--small", "--rounds", "2", "--threads", "1", "--output", str(file)])
    [case] = json.loads(file.with_suffix(".json").read_text())["cases"].values()
    assert len(case["first_verdicts"]) == 2
    assert list(case["seconds"]) == list(first_result.STEPS)
    assert 0 < case["seconds"]["load"] < case["first_verdict"]
    assert "| baseline, 32×32 | " in file.read_text()


def test_gradients_deviation():
    exact = torch.tensor(2.0), {"a": torch.tensor([3.0, 4.0]), "b": torch.ones(1)}
    assert gradients.deviation(exact, exact) == {"loss": 0, "worst": 0, "median": 0}
    found = gradients.deviation(
        (torch.tensor(3.0), {"a": torch.zeros(2), "b": exact[1]["b"]}), exact
    )
    assert found == {"loss": 0.5, "worst": 1, "median": 0.5}


def test_gradients_are_those_of_float64(tmp_path):
    file = tmp_path / "gradients.md"
    gradients.main(["--small", "--output", str(file)])
    cases = json.loads(file.with_suffix(".json").read_text())["cases"]
    assert list(cases) == ["Baseline, 32×32, CVN", "Baseline, 32×32, SVN"]
    for name, rows in cases.items():
        assert f"## {name}" in file.read_text()
        assert len(rows) >= 2
        for found in rows.values():
            assert 0 < found["median"] <= found["worst"] < 1e-4
            assert found["loss"] < 1e-5


def test_precision_deviation():
    expected = torch.tensor([[3.0, 4.0]])
    assert precision.deviation(expected, expected) == {"largest": 0, "norm": 0, "score": 0}
    found = precision.deviation(torch.tensor([[3.0, 3.0]]), expected)
    assert found == pytest.approx({"largest": 1 / 4, "norm": 1 / 5, "score": 1 / 4})


def test_precision_compares_both(tmp_path):
    file = tmp_path / "precision.md"
    precision.main(["--small", "--rounds", "2", "--threads", "1", "--output", str(file)])
    [case] = json.loads(file.with_suffix(".json").read_text())["cases"].values()
    if "missing" in case:
        assert f"not measured: {case['missing']}" in file.read_text()
        return
    deviations = case["deviations"]
    assert 0 < deviations["float32 to plain PyTorch"]["largest"] < 1e-5
    assert 1e-5 < deviations["bfloat16 to float32"]["largest"] < 0.1
    assert "| baseline, 32×32 | bfloat16 to float32 | " in file.read_text()


def test_chart_refuses_other_files():
    with pytest.raises(SystemExit, match="neither cases nor benchmarks"):
        chart.panels({"machine": {}})


def test_tiles_compares_both_ways(tmp_path, monkeypatch):
    file = tmp_path / "tiles.md"
    arguments = ["--size", "64", "--threads", "1", "--output", str(file)]
    monkeypatch.setattr(sys, "argv", ["tiles", *arguments])
    monkeypatch.chdir(Path(tiles.__file__).parents[1])
    tiles.main()
    text = file.read_text()
    assert "| within the budget | " in text
    assert "| without one | " in text
    assert "Relative difference of the two maps: 0.0e+00." in text


NO_GPU = "finds no CUDA device"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_gpu_skips_every_part_without_a_gpu(tmp_path, capsys):
    file = tmp_path / "out" / "gpu.json"
    gpu.main(["--output", str(file)])
    report = json.loads(file.read_text())
    assert list(report["parts"]) == list(gpu.SHARES)
    for found in report["parts"].values():
        assert found["state"] == "skipped"
        assert NO_GPU in found["reason"]
    assert report["machine"]["state"] == "done"
    facts, diagnosis = report["machine"]["records"]
    assert facts["torch"] == torch.__version__
    assert diagnosis["diagnosis"]["findings"]["packages"]["details"]["numpy"]
    assert capsys.readouterr().out.count(f"skipped PyTorch {torch.__version__}") == len(gpu.SHARES)


def test_gpu_refuses_unknown_parts(tmp_path, capsys):
    with pytest.raises(SystemExit) as refusal:
        gpu.main(["--parts", "model,speed", "--output", str(tmp_path / "gpu.json")])
    assert refusal.value.code == 2
    assert "there is no part speed: choose from build, tests" in capsys.readouterr().err


OTHER_PARTS = """
import os, sys, time
from benchmarks import gpu_parts
def hang(run):
    run.emit({"number": float("inf")})
    time.sleep(600)
def crash(run):
    run.emit({"number": 1})
    print("last words", flush=True)
    os.abort()
gpu_parts.PARTS = {
    "machine": lambda run: None,
    "tests": hang,
    "kernels": crash,
    "model": lambda run: run.emit({"number": 2}),
}
gpu_parts.main()
"""


def test_gpu_goes_on_after_a_hang_and_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PROGRAM", ["-c", OTHER_PARTS])
    monkeypatch.setattr(gpu, "SHARES", {"tests": 15, "kernels": 30, "model": 30})
    file = tmp_path / "gpu.json"
    with pytest.raises(SystemExit) as end:
        gpu.main(["--parts", "model,kernels,tests", "--minutes", "1", "--output", str(file)])
    assert end.value.code == 1
    parts = json.loads(file.read_text())["parts"]
    assert [found["state"] for found in parts.values()] == ["stopped", "failed", "done"]
    assert parts["tests"]["records"] == [{"number": "inf"}]
    assert parts["kernels"]["records"] == [{"number": 1}]
    assert parts["kernels"]["log"].startswith("last words")
    assert parts["model"]["records"] == [{"number": 2}]


def test_gpu_without_time_measures_nothing(tmp_path):
    file = tmp_path / "gpu.json"
    gpu.main(["--parts", "model", "--minutes", "0", "--output", str(file)])
    found = json.loads(file.read_text())["parts"]["model"]
    assert found == {"state": "skipped", "reason": "no time was left."}


def rehearsed(part):
    records = []
    part(gpu_parts.Run(records.append, deadline=float("inf"), rehearse=True))
    wrong = [record for record in records if "error" in record]
    assert not wrong
    return records


@pytest.fixture
def needs_cpu_kernels():
    state = {record.name: record for record in ops.backends()}["cpu"]
    if not state.available:
        pytest.skip(state.reason)


@pytest.mark.usefixtures("needs_cpu_kernels")
def test_gpu_kernels_are_compared_with_oracle_and_copy():
    records = rehearsed(gpu_kernels.measure)
    assert {record["candidate"] for record in records} == {"cpu", "reference", "compiled"}
    assert {record["layout"] for record in records} == {"contiguous", "channels-last"}
    assert {record["case"] for record in records if record["dtype"] == "float16"} == (
        gpu_kernels.IN_HALF
    )
    names = {case.name for case in benchmark_ops.cases(1, 4, torch.contiguous_format)}
    assert {record["case"] for record in records} == names
    for record in records:
        assert 0 <= record["relative error"] < (1e-4 if record["dtype"] == "float32" else 1e-2)
        assert record["milliseconds"] > 0
        assert record["share of copy"] > 0


@pytest.mark.usefixtures("needs_cpu_kernels")
@pytest.mark.parametrize("part", ["model", "engine", "training", "latency"])
def test_gpu_network_is_measured_beside_plain_pytorch(part):
    records = rehearsed(getattr(gpu_network, part))
    ours = "engine" if part == "engine" else "cpu"
    assert [ours, "eager", "compiled"] == list(dict.fromkeys(r["candidate"] for r in records))
    for record in records:
        if "seconds to make" in record:
            continue
        limit = 1e-2 if record.get("precision") == "half" else 1e-5
        assert record.get("relative difference", 0) < limit
        assert record["milliseconds"]


def test_memory_is_measured_beside_plain(tmp_path):
    file = tmp_path / "memory.md"
    memory.main(["--small", "--threads", "1", "--steps", "1", "--output", str(file)])
    rows = json.loads(file.with_suffix(".json").read_text())["cases"]["tiny"]
    assert [(row["stacks"], row["mode"]) for row in rows] == [
        (stacks, mode) for stacks in (1, 2) for mode in ("reversible", "plain")
    ]
    for row in rows:
        assert 0 < row["start"] <= row["peak"]
        assert row["seconds"] > 0
    assert "| plain | 2 | " in file.read_text()


def test_what_would_not_fit_is_not_tried(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    row = memory.measure(memory.Point(64, "plain"), "cpu", 1, 1)
    assert "GB are needed, 1.0 GB are free" in row["missing"]
    assert "not measured" in memory.table([row])[-1]
