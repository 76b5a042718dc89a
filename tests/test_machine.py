"""What the system lets a process use: control groups of both versions, as containers show them."""

import os
import platform
import subprocess
import sys

import pytest

from pyramidflow import machine

MOUNT = "30 25 0:26 {root} {point} rw,nosuid - {kind} cgroup {options}\n"


def process(tmp_path, membership, *mounts):
    folder = tmp_path / "self"
    folder.mkdir()
    (folder / "cgroup").write_text(membership)
    other = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    (folder / "mountinfo").write_text(other + "".join(mounts))
    return folder


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_version_2_takes_the_least_of_nested_groups(tmp_path):
    point = tmp_path / "cg roup"
    group(point / "a" / "b", cpu__max="150000 100000\n", memory__max="max\n")
    group(point / "a", cpu__max="50000 100000\n", memory__max="1073741824\n")
    group(point)  # the outermost group has neither
    escaped = str(point).replace(" ", "\\040")
    mount = MOUNT.format(root="/", point=escaped, kind="cgroup2", options="rw")
    here = process(tmp_path, "0::/a/b\n", mount)
    assert machine.processor_quota(here) == 0.5
    assert machine.usable_processors(here) == 1
    assert machine.memory_limit(here) == 1 << 30


def test_version_1_has_a_hierarchy_for_each_controller(tmp_path):
    cpu, memory = tmp_path / "cpu", tmp_path / "memory"
    group(cpu / "job", cpu__cfs_quota_us="250000\n", cpu__cfs_period_us="100000\n")
    group(cpu, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    group(memory / "job", memory__limit_in_bytes="536870912\n")
    group(memory, memory__limit_in_bytes="9223372036854771712\n")
    mounts = [
        MOUNT.format(root="/", point=cpu, kind="cgroup", options="rw,cpu,cpuacct"),
        MOUNT.format(root="/", point=memory, kind="cgroup", options="rw,memory"),
        MOUNT.format(root="/", point=tmp_path / "none", kind="cgroup2", options="rw"),
    ]
    here = process(tmp_path, "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n", *mounts)
    assert machine.processor_quota(here) == 2.5
    assert machine.memory_limit(here) == 512 << 20


def test_a_container_sees_its_own_group_as_the_root(tmp_path):
    point = tmp_path / "cgroup"
    group(point, cpu__max="100000 100000\n", memory__max="2147483648\n")
    mount = MOUNT.format(root="/docker/3f", point=point, kind="cgroup2", options="rw")
    here = process(tmp_path, "0::/docker/3f\n", mount)
    assert machine.processor_quota(here) == 1
    assert machine.memory_limit(here) == 2 << 30


def test_no_limit_is_none(tmp_path):
    point = tmp_path / "cgroup"
    group(point / "a", cpu__max="max 100000\n", memory__max="max\n")
    mount = MOUNT.format(root="/", point=point, kind="cgroup2", options="rw")
    here = process(tmp_path, "0::/a\n", mount)
    assert machine.processor_quota(here) is None
    assert machine.memory_limit(here) is None
    assert machine.usable_processors(here) == machine.allowed_processors()


@pytest.mark.parametrize("content", ["", "nonsense\n", "100000\n", "0 0\n", "100000 0\n"])
def test_what_cannot_be_read_limits_nothing(tmp_path, content):
    point = tmp_path / "cgroup"
    group(point, cpu__max=content, memory__max=content or "?")
    mount = MOUNT.format(root="/", point=point, kind="cgroup2", options="rw")
    here = process(tmp_path, "0::/\n", mount)
    assert machine.processor_quota(here) is None
    assert machine.processor_quota(tmp_path / "absent") is None
    assert machine.memory_limit(tmp_path / "absent") is None


def test_free_memory_is_the_least_of_system_and_groups(tmp_path):
    point = tmp_path / "cgroup"
    mount = MOUNT.format(root="/", point=point, kind="cgroup2", options="rw")
    here = process(tmp_path, "0::/a\n", mount)
    assert machine.free_memory(here) is None
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:    3000 kB\n")
    assert machine.free_memory(here) == 3000 << 10
    statistics = "anon 5\ninactive_file 400\n"
    group(point / "a", memory__max="2000\n", memory__current="900\n", memory__stat=statistics)
    assert machine.free_memory(here) == 1500
    group(point, memory__max="1000\n", memory__current="1100\n", memory__stat="anon 5\n")
    assert machine.free_memory(here) == 0
    group(point, memory__max="max\n")
    assert machine.free_memory(here) == 1500


def test_free_memory_of_version_1(tmp_path):
    point = tmp_path / "memory"
    group(
        point / "job",
        memory__limit_in_bytes="5000\n",
        memory__usage_in_bytes="3000\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 1000\n",
    )
    mount = MOUNT.format(root="/", point=point, kind="cgroup", options="rw,memory")
    here = process(tmp_path, "4:memory:/job\n", mount)
    assert machine.free_memory(here) == 3000


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_limits_the_processors():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.allowed_processors() == machine.usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert machine.allowed_processors() == len(before)


BUFFERS = """
import ctypes, os, sys
from pyramidflow.machine import return_large_buffers

class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks mapped".split()]
    _fields_ += [(f"_{number}", ctypes.c_size_t) for number in range(6)]

count = ctypes.CDLL(None).mallinfo2
count.restype = Counts
is_asked = return_large_buffers() if sys.argv[1] == "ask" else None
bytearray(8_000_000)  # freed at once: by default glibc keeps the next one in its heap
before = count().mapped
kept = bytearray(8_000_000)
print(is_asked, count().mapped - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose heap it is about"
)
@pytest.mark.parametrize(
    ("ask", "environment", "found"),
    [
        ("ask", {}, "True 1"),
        ("no", {}, "None 0"),
        ("ask", {"MALLOC_MMAP_THRESHOLD_": "100000000"}, "False 0"),
    ],
)
def test_large_buffers_are_given_back(ask, environment, found):
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", BUFFERS, ask],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == found
