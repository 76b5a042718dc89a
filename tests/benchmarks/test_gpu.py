"""The run on a GPU, rehearsed on the CPU."""

import json

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import kernels, network, parts
from benchmarks.operations import cases
from pyramidflow import ops

NO_GPU = "finds no CUDA device"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_gpu_skips_every_part_without_a_gpu(tmp_path, capsys):
    file = tmp_path / "out" / "gpu.json"
    gpu.main(["--output", str(file)])
    report = json.loads(file.read_text())
    machine = report["cases"].pop("machine")
    assert list(report["cases"]) == list(gpu.SHARES)
    for found in report["cases"].values():
        assert found["state"] == "skipped"
        assert NO_GPU in found["reason"]
    assert machine["state"] == "done"
    facts, diagnosis = machine["records"]
    assert facts["torch"] == report["machine"]["torch"] == torch.__version__
    assert report["machine"]["command"] == "python -m benchmarks.gpu --output …/gpu.json"
    assert diagnosis["diagnosis"]["findings"]["packages"]["details"]["numpy"]
    assert capsys.readouterr().out.count(f"skipped PyTorch {torch.__version__}") == len(gpu.SHARES)


def test_gpu_refuses_unknown_parts(tmp_path, capsys):
    with pytest.raises(SystemExit) as refusal:
        gpu.main(["--parts", "model,speed", "--output", str(tmp_path / "gpu.json")])
    assert refusal.value.code == 2
    assert "there is no part speed: choose from build, tests" in capsys.readouterr().err


OTHER_PARTS = """
import os, sys, time
from benchmarks.gpu import parts
def hang(run):
    run.emit({"number": float("inf")})
    time.sleep(600)
def crash(run):
    run.emit({"number": 1})
    print("last words", flush=True)
    os.abort()
parts.PARTS = {
    "machine": lambda run: None,
    "tests": hang,
    "kernels": crash,
    "model": lambda run: run.emit({"number": 2}),
}
parts.main()
"""


def test_gpu_goes_on_after_a_hang_and_a_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PROGRAM", ["-c", OTHER_PARTS])
    monkeypatch.setattr(gpu, "SHARES", {"tests": 15, "kernels": 30, "model": 30})
    file = tmp_path / "gpu.json"
    with pytest.raises(SystemExit) as end:
        gpu.main(["--parts", "model,kernels,tests", "--minutes", "1", "--output", str(file)])
    assert end.value.code == 1
    found = json.loads(file.read_text())["cases"]
    states = {name: part["state"] for name, part in found.items() if name != "machine"}
    assert states == {"tests": "stopped", "kernels": "failed", "model": "done"}
    assert found["tests"]["records"] == [{"number": "inf"}]
    assert found["kernels"]["records"] == [{"number": 1}]
    assert found["kernels"]["log"].startswith("last words")
    assert found["model"]["records"] == [{"number": 2}]
    text = file.with_suffix(".md").read_text()
    assert "| tests | stopped | " in text
    assert "## model\n\n| number |\n|---|\n| 2 |\n" in text


def test_gpu_without_time_measures_nothing(tmp_path):
    file = tmp_path / "gpu.json"
    gpu.main(["--parts", "model", "--minutes", "0", "--output", str(file)])
    found = json.loads(file.read_text())["cases"]["model"]
    assert found == {"state": "skipped", "reason": "no time was left."}


def rehearsed(part):
    records = []
    part(parts.Run(records.append, deadline=float("inf"), rehearse=True))
    wrong = [record for record in records if "error" in record]
    assert not wrong
    return records


@pytest.fixture
def needs_cpu_kernels():
    state = {record.name: record for record in ops.backends()}["cpu"]
    if not state.available:
        pytest.skip(state.reason)


@pytest.mark.usefixtures("needs_cpu_kernels")
def test_kernels_are_compared_with_oracle_and_copy():
    records = rehearsed(kernels.measure)
    assert {record["candidate"] for record in records} == {"cpu", "reference", "compiled"}
    assert {record["layout"] for record in records} == {"contiguous", "channels-last"}
    assert {record["case"] for record in records if record["dtype"] == "float16"} == (
        kernels.IN_HALF
    )
    names = {case.name for case in cases.cases(1, 4, torch.contiguous_format)}
    assert {record["case"] for record in records} == names
    for record in records:
        assert 0 <= record["relative error"] < (1e-4 if record["dtype"] == "float32" else 1e-2)
        assert record["milliseconds"] > 0
        assert record["share of copy"] > 0


@pytest.mark.usefixtures("needs_cpu_kernels")
@pytest.mark.parametrize("part", ["model", "runtime", "training", "latency"])
def test_network_is_measured_beside_plain_pytorch(part):
    records = rehearsed(getattr(network, part))
    ours = "runtime" if part == "runtime" else "cpu"
    assert [ours, "eager", "compiled"] == list(dict.fromkeys(r["candidate"] for r in records))
    for record in records:
        if "seconds to make" in record:
            continue
        limit = 1e-2 if record.get("precision") == "half" else 1e-5
        assert record.get("relative difference", 0) < limit
        assert record["milliseconds"]
