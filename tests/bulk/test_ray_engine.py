"""Bulk inspection on a Ray cluster: the same records, whatever dies."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pyramidflow.bulk import ray_engine as module
from pyramidflow.bulk.archive import Places, open_archive
from pyramidflow.bulk.cluster import ClusterSettings
from pyramidflow.bulk.listing import find_pictures
from pyramidflow.bulk.ray_engine import ray_engine
from pyramidflow.bulk.run import inspect_archive
from pyramidflow.bulk.work import Work
from pyramidflow.line.record import Record
from tests.bulk import workers
from tests.bulk.results import by_path, lines_in
from tests.line.records import eventually
from tests.support.command_line import assert_one_sentence, posix, start

pytest.importorskip("ray.data", reason="needs Ray, of the extra ray")

pytestmark = posix


@pytest.fixture
def inspected(cluster, detector_file, tmp_path):
    """Inspects a folder on the cluster, from Python."""

    def call(pictures, on_outcome=lambda outcome: None, stop_requested=lambda: False):
        found = find_pictures([str(pictures)], tmp_path / "out", 10**9).pictures
        with (
            ray_engine(Work(detector_file), ClusterSettings()) as engine,
            open_archive(Places(tmp_path / "out"), engine.conditions) as archive,
        ):
            return inspect_archive(found, engine, archive, on_outcome, stop_requested)

    return call


@pytest.mark.usefixtures("cluster")
def test_records_are_those_of_the_line(run, archive, tiny_detector_file, tmp_path):
    pictures = archive(40)
    (pictures / "broken.png").write_bytes(b"garbage")
    command = ("bulk", pictures, tmp_path / "gone.png", "--model", tiny_detector_file, "--maps")
    command = (*command, "--overlays", "--threads", 1, "--output")
    code, out, err = run(*command, tmp_path / "ray", "--engine", "ray")
    assert code == 2
    assert err.count("error: ") == len(err.splitlines()) == 2
    assert run(*command, tmp_path / "line")[0] == 2
    records = by_path(tmp_path / "ray")
    assert records == by_path(tmp_path / "line")
    assert len(records) == 42
    assert {record["verdict"] for record in records.values()} == {"ok", "ng", None}
    assert len(out.splitlines()) == 40 + 4 + 1
    for record in lines_in(tmp_path / "ray"):
        if record["verdict"] is not None:
            assert {"reading", "inspecting", "total"} <= set(record["times"])
    for kind in ("overlay", "map"):
        for record in records.values():
            if kind in record:
                both = [tmp_path / engine / "pictures" / record[kind] for engine in ("ray", "line")]
                assert both[0].read_bytes() == both[1].read_bytes()
    code, out, _ = run(*command, tmp_path / "ray", "--engine", "ray")
    assert "resumed: 42 images" in out
    assert len(by_path(tmp_path / "ray")) == 42


def test_a_killed_worker_loses_nothing_and_writes_nothing_twice(
    inspected, archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "Worker", workers.Told)
    pictures, processes = archive(200), tmp_path / "processes"
    killed = []

    def kill(outcome):
        if not killed:
            killed.append(int(next(processes.iterdir()).name))
            os.kill(killed[0], signal.SIGKILL)

    tally = inspected(pictures, kill)
    assert killed
    assert (tally.counts.ok, tally.counts.errors, tally.away) == (200, 0, 0)
    assert len(by_path(tmp_path / "out")) == 200
    assert len(list(processes.iterdir())) > 2  # another took its place


def test_a_picture_that_ends_every_worker_is_told_and_the_others_are_inspected(
    inspected, archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "Worker", workers.Deadly)
    monkeypatch.setattr(module, "TRIES", 2)
    pictures = archive(20)
    (pictures / "00007.png").rename(pictures / "deadly.png")
    tally = inspected(pictures)
    assert (tally.counts.ok, tally.counts.errors) == (19, 1)
    records = by_path(tmp_path / "out")
    deadly = records.pop(str(pictures / "deadly.png"))
    assert deadly["verdict"] is None
    assert "ended 2 times" in deadly["error"]
    assert {record["verdict"] for record in records.values()} == {"ok"}


def test_a_stop_keeps_what_came_back_and_the_cluster_takes_the_next_run(
    inspected, archive, tmp_path
):
    seen: list[Record] = []
    tally = inspected(archive(300), seen.append, lambda: bool(seen))
    assert tally.counts.stopped
    assert 0 < len(by_path(tmp_path / "out")) == len(seen) < 300
    inspected(tmp_path / "in")
    assert len(by_path(tmp_path / "out")) == 300


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_refuses_is_one_sentence(run, archive, tiny_detector_file, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"garbage")
    given = ("bulk", archive(1), "--output", tmp_path / "out", "--engine", "ray")
    for options, words in (
        (("--model", tmp_path / "bad.safetensors"), [tmp_path / "bad.safetensors"]),
        (("--model", tiny_detector_file, "--precision", "half"), ["half"]),
        (("--model", tiny_detector_file, "--threads", 64), ["64 cores", "the cluster has 2"]),
        (("--model", tiny_detector_file, "--workers", 64), ["64 workers", "has 2"]),
        (("--model", tiny_detector_file, "--device", "cuda"), ["no GPU"]),
        (("--model", tiny_detector_file, "--device", "cuda:1"), ["cuda:1", "hands out"]),
        (("--model", tmp_path / "none.safetensors"), ["none.safetensors cannot be read"]),
    ):
        code, _, err = run(*given, *options)
        assert_one_sentence(code, err, *words)
    assert not (tmp_path / "out" / "records").exists()


def children_of(process):
    found = subprocess.run(
        ["pgrep", "-P", str(process)], capture_output=True, text=True, check=False
    ).stdout.split()
    return [int(each) for each in found] + [pid for each in found for pid in children_of(each)]


def is_running(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may fetch what is dead


def test_a_killed_command_goes_on_and_leaves_no_process(run, archive, detector_file, tmp_path):
    pictures, output = archive(2000), tmp_path / "out"
    command = ("bulk", pictures, "--model", detector_file, "--output", output)
    process = start(*command, "--engine", "ray", "--workers", 2)
    assert process.stdout.readline().startswith("ok  ")
    started = children_of(process.pid)
    assert len(started) > 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert eventually(lambda: not any(map(is_running, started)), 120)
    assert process.stderr.read() == ""
    done = len(by_path(output)) if list((output / "records").glob("*")) else 0
    assert done < 2000
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "resumed: " in out
    assert len(by_path(output)) == 2000
