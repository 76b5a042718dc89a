"""The diagnosis: every probe, and what damaged libraries and missing things make of it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from pyramidflow.diagnosis import Finding, devices, diagnose, diagnosis, packages, probes
from pyramidflow.diagnosis.inspection import TOLERANCES, inspection_error
from pyramidflow.ops import dispatch, selftest
from pyramidflow.ops.libraries import cuda, loading
from tests.support.places import ROOT


def doctor(*arguments, **environment):
    command = [sys.executable, "-m", "pyramidflow", "doctor", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def with_prelude(monkeypatch, lines):
    """Let the processes of the probes run some lines first."""
    first, second, *rest = diagnosis.PROGRAM.splitlines()
    monkeypatch.setattr(diagnosis, "PROGRAM", "\n".join([first, second, lines, *rest]))


@pytest.fixture(scope="module")
def report():
    ran = doctor("--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def test_json_names_what_decides_results(report):
    found = report["findings"]
    assert list(found) == list(probes.PROBES)
    assert report["broken"] == []
    versions = found["packages"]["details"]
    for name in ("numpy", "pillow", "tifffile", "safetensors", "scipy", "scikit-image", "triton"):
        assert versions[name]
    assert versions["torch"] == found["torch"]["details"]["version"] == torch.__version__
    assert {"libjpeg", "zlib"} <= set(versions["pillow_libraries"])
    assert found["machine"]["details"]["usable_processors"] >= 1
    assert set(found["backend cpu"]["details"]["self_test"]) == set(
        found["backend reference"]["details"]["self_test"]
    )
    cpu = found["inspection on cpu"]["details"]["relative_errors"]["cpu"]
    assert 0 < cpu <= TOLERANCES["cpu"]


ODD_SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "HOME": "/nowhere",
    "TMPDIR": "/proc/nothing",
    "XDG_CACHE_HOME": "/proc/nothing",
}


def test_text_has_a_line_for_each_finding_whatever_the_surroundings():
    ran = doctor(**ODD_SURROUNDINGS)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    lines = ran.stdout.splitlines()
    for name in probes.PROBES:
        [line] = [line for line in lines if line.startswith(f"{name:<18}")]
        assert line.removeprefix(name).split()[0] in ("ok", "absent")
    assert lines[-1] == "all that should work works"


def test_a_backend_that_cannot_be_had_is_broken():
    ran = doctor("--json", PYRAMIDFLOW_BACKEND="nonsense")
    assert ran.returncode == 1
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    assert report["broken"] == ["operations", "inspection on cpu"]
    summary = report["findings"]["operations"]["summary"]
    assert summary.startswith("PYRAMIDFLOW_BACKEND is 'nonsense': choose one of reference, cpu")


def test_a_reader_that_goes_away_ends_nothing():
    command = f"{sys.executable} -m pyramidflow doctor | head -1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("pyramidflow ")
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """Libraries in a folder of the test's own, where the processes of the probes look for them."""
    loader = "from pyramidflow.ops.libraries import loading"
    place = f"loading.FOLDER = pathlib.Path({str(tmp_path)!r})"
    with_prelude(monkeypatch, f"import pathlib; {loader}; {place}")
    return tmp_path


@pytest.mark.parametrize("size", [0, 100, 0.5])
def test_a_cut_library_is_broken(damaged, size):
    whole = loading.path("cpu")
    if not whole.exists():
        pytest.skip("the cpu library is not built")
    content = whole.read_bytes()
    size = int(size * len(content)) if isinstance(size, float) else size
    (damaged / whole.name).write_bytes(content[:size])
    found = diagnose(["backend cpu", "machine"]).findings
    assert found["backend cpu"].state == "broken"
    assert found["machine"].state == "ok"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_another_file_in_a_librarys_place_is_broken(damaged, name):
    (damaged / f"libpyramidflow_{name}.so").write_text("not a library\n")
    found = diagnose([f"backend {name}"])
    assert found.broken == [f"backend {name}"]
    assert "does not load" in found.findings[f"backend {name}"].summary


def test_a_missing_library_is_absent(damaged):
    found = diagnose(["backend cpu", "backend cuda"])
    assert [f.state for f in found.findings.values()] == ["absent", "absent"]
    assert found.broken == []


OTHER_PROBES = """
import os, time
from pyramidflow.diagnosis import probes
from pyramidflow.diagnosis.finding import Finding
def noisy():
    os.write(1, b"a library's own line\\n")
    return Finding("ok", "noise", {"value": float("nan")})
probes.PROBES = {
    "noise": noisy,
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(600),
    "error": lambda: [][0],
    "last": lambda: Finding("ok", "reached"),
}
"""


def test_whatever_a_probe_does_is_a_finding(monkeypatch):
    with_prelude(monkeypatch, OTHER_PROBES)
    names = ["noise", "abort", "exit", "hang", "error", "last"]
    found = diagnose(names, timeout=5)
    assert found.findings == {
        "noise": Finding("ok", "noise", {"value": "nan"}),
        "abort": Finding("broken", "crashes the process (SIGABRT)."),
        "exit": Finding("broken", "ends the process with exit code 3: no message"),
        "hang": Finding("broken", "did not end within 5 s."),
        "error": Finding("broken", "IndexError: list index out of range"),
        "last": Finding("ok", "reached"),
    }
    assert found.broken == names[1:-1]


def test_no_process_can_be_started(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = diagnose(["machine", "torch"])
    assert found.broken == ["machine", "torch"]
    assert found.findings["torch"].summary.startswith("FileNotFoundError")


def test_operations_that_are_wrong_are_broken(monkeypatch):
    def wrong(backend):
        return [
            selftest.SelfTest("pyramid_down", 1e-7, 1e-5, True),
            selftest.SelfTest("conv2d", 0.5, 1e-5, False, "conv2d is off by 5e-01."),
        ]

    monkeypatch.setattr(selftest, "selftest", wrong)
    found = probes.run_probe("backend reference")
    assert found.state == "broken"
    assert found.summary.endswith("1 of 2 operations fail: conv2d is off by 5e-01.")
    assert found.details["self_test"] == {"pyramid_down": 1e-7, "conv2d": 0.5}


def test_an_inspection_that_is_wrong_is_broken(monkeypatch):
    from pyramidflow.diagnosis import inspection

    right = inspection._maps
    monkeypatch.setattr(inspection, "_maps", lambda *a: right(*a) * 1.001)
    assert probes.run_probe("inspection on cpu").state == "broken"
    monkeypatch.setattr(inspection, "_maps", lambda *a: right(*a) * torch.nan)
    assert inspection_error(torch.device("cpu")) == torch.inf
    assert probes.run_probe("inspection on cpu").state == "broken"


class Gpu:
    """A GPU as PyTorch would show it."""

    def __init__(self, monkeypatch, capability, architectures):
        self.name, self.total_memory = "GPU", 1 << 30
        self.major, self.minor = map(int, capability.split("."))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: self)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: architectures)


def test_a_gpu_that_torch_has_no_code_for_is_broken(monkeypatch):
    Gpu(monkeypatch, "5.0", ["sm_75", "sm_80", "compute_80"])
    found = probes.run_probe("torch")
    assert found.state == "broken"
    assert "no code for GPU (capability 5.0)" in found.summary
    Gpu(monkeypatch, "8.6", ["sm_75", "sm_80"])
    found = probes.run_probe("torch")
    assert found.state == "ok"
    [device] = found.details["cuda_devices"]
    assert device == {
        "device": "cuda:0",
        "name": "GPU",
        "capability": "8.6",
        "memory_bytes": 1 << 30,
    }


def test_a_gpu_that_torch_cannot_use_is_broken(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "NVIDIA_DEVICES", tmp_path)
    assert probes.run_probe("torch").state == "ok"
    (tmp_path / "nvidiactl").touch()
    assert probes.run_probe("torch").state == "ok"
    (tmp_path / "nvidia0").touch()
    assert probes.run_probe("torch").state == "broken"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert probes.run_probe("torch").state == "ok"


@pytest.mark.parametrize("name", ["cuda", "triton"])
def test_a_backend_that_does_not_take_the_gpu_is_broken(monkeypatch, tmp_path, name):
    status = dispatch.Status(False, "the library has no code for this GPU.")
    monkeypatch.setattr(dispatch, "status", lambda _: status)
    monkeypatch.setattr(loading, "FOLDER", tmp_path)
    assert probes.run_probe(f"backend {name}").state == "absent"

    monkeypatch.setattr(cuda, "loaded", lambda: None)
    (tmp_path / "libpyramidflow_cuda.so").touch()
    assert probes.run_probe(f"backend {name}").state == "absent"  # no GPU that could use it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert probes.run_probe(f"backend {name}").state == "broken"


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ("8.6", ["sm_80"], True),
        ("8.0", ["sm_86"], False),
        ("9.0", ["sm_80", "sm_86"], False),
        ("9.0", ["sm_80", "compute_80"], True),
        ("9.0", ["sm_90a"], True),
        ("12.1", ["sm_120"], True),
        ("10.3", ["sm_100a", "compute_100a"], False),
        ("12.0", ["sm_90", "compute_120"], True),
        ("7.5", ["compute_80"], False),
        ("7.5", [], False),
    ],
)
def test_code_runs_on_its_own_and_later_gpus(capability, architectures, runs):
    assert devices.has_code_for(capability, architectures) is runs


def test_a_package_that_does_not_import_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    found = packages.probe_packages()
    assert found.state == "broken"
    assert "tifffile (" in found.summary
    assert found.details["tifffile"] is None
    monkeypatch.delitem(sys.modules, "tifffile")
    monkeypatch.setattr(packages, "FURTHER", ("no-such-package", "imagecodecs"))
    found = packages.probe_packages()
    assert found.state == "ok"
    assert found.details["no-such-package"] is None
    assert {"libpng", "openjpeg"} == set(found.details["imagecodecs_libraries"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")
def test_a_gpu_is_tried():
    ran = doctor("--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)["findings"]
    for name in ("backend triton", "inspection on cuda"):
        assert found[name]["state"] == "ok"
    assert shutil.which("nvcc") is None or found["backend cuda"]["state"] == "ok"
