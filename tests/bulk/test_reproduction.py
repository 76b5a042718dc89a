"""``reproduce --engine ray``: the same tables, categories side by side."""

import json
import shutil
import signal

import pytest

from pyramidflow.bulk.cluster import ClusterSettings
from pyramidflow.bulk.reproduction import _shared_out
from tests.line.records import eventually
from tests.support.command_line import posix, start
from tests.support.places import SHARED_DATA

pytest.importorskip("ray", reason="needs Ray, of the extra ray")

NETWORK = ["--channels", "4", "--levels", "2", "--stacks", "1", "--kernel-size", "3"]
SMALL = ["--image-size", "16", "--epochs", "2", *NETWORK]
REDUCED = SHARED_DATA / "mvtec_reduced"
OF_A_RUN = ("training_seconds", "test_seconds", "finished")


@pytest.fixture
def root(tiny_set, tmp_path):
    """A data set of three categories."""
    for name in ("carpet", "plate", "zipper"):
        shutil.copytree(tiny_set, tmp_path / "set" / name)
    return tmp_path / "set"


def results_in(folder):
    """Metrics, conditions and lasting facts of each experiment."""
    found = {}
    for path in folder.glob("*/*.json"):
        record = json.loads(path.read_text())
        for name in OF_A_RUN:
            record["facts"].pop(name, None)
        found[path.relative_to(folder).as_posix()] = record
    return found


@pytest.mark.usefixtures("cluster")
def test_results_are_those_of_one_after_the_other(run, root, tmp_path):
    bad = sorted((root / "plate" / "train" / "good").iterdir())[3]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    ray = ("reproduce", root, "--output", tmp_path / "ray", *SMALL, "--engine", "ray")
    code, out, err = run(*ray)
    assert code == 2
    assert "plate, baseline failed: " in err
    assert "3 of 3: zipper, baseline: not trained yet" in err
    assert "carpet, baseline: Pixel-AUROC" in out
    bad.write_bytes(whole)
    code, out, err = run(*ray)
    assert code == 0
    assert err.count("finished before") == 2
    assert run("reproduce", root, "--output", tmp_path / "one", *SMALL)[0] == 0
    assert results_in(tmp_path / "ray") == results_in(tmp_path / "one")
    assert len(results_in(tmp_path / "ray")) == 3
    tables = [(tmp_path / folder / "tables.md").read_text() for folder in ("ray", "one")]
    assert tables[0] == tables[1]
    assert not list((tmp_path / "ray").rglob("*.checkpoint.safetensors"))


@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_there_is_keeps_its_threads_however_many_experiments_are_left(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    for left in (1, 3):
        assert _shared_out(ClusterSettings(), left) == ClusterSettings()


@posix
def test_a_stop_writes_checkpoints_and_the_same_command_goes_on(run, root, tmp_path):
    settings = [*SMALL[:2], "--epochs", "100000", *NETWORK, "--category", "carpet"]
    command = ("reproduce", root, "--output", tmp_path / "out", *settings, "--engine", "ray")
    process = start(*command)
    checkpoint = tmp_path / "out" / "carpet" / "baseline.checkpoint.safetensors"
    try:
        assert "not trained yet" in process.stderr.readline()
        assert eventually(checkpoint.exists, 240)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped in carpet, baseline: the same command goes on from there." in err
    assert checkpoint.exists()


@pytest.mark.usefixtures("cluster")
@pytest.mark.skipif(
    not REDUCED.is_dir(),
    reason="the images are not beside the project in shared/data/mvtec_reduced",
)
def test_real_categories_are_measured_side_by_side(run, tmp_path):
    given = ("reproduce", REDUCED, *SMALL, "--image-size", 32, "--output")
    assert run(*given, tmp_path / "ray", "--engine", "ray")[0] == 0
    assert run(*given, tmp_path / "one")[0] == 0
    found = results_in(tmp_path / "ray")
    assert found == results_in(tmp_path / "one")
    assert len(found) == 2
