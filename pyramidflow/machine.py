"""What a process may use of the machine: processors and memory, as the system limits them.

A container often sees all processors and all memory of its host, but may use a part: its control
groups say which, in the first or the second version of their interface.
"""

import ctypes
import math
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROCESS = Path("/proc/self")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's ``mallopt``, as its ``malloc.h`` has them."""

_LARGE_BUFFER = 2**20

UNLIMITED_BYTES = 1 << 60
"""What version 1 says where there is no limit is larger."""


@dataclass(frozen=True)
class _Mount:
    """A mounted hierarchy of control groups.

    Attributes:
        root: group that is mounted.
        point: where.
        controllers: of version 1; empty in version 2.
    """

    root: str
    point: Path
    controllers: frozenset[str]


def processor_name() -> str:
    """Model of the processor, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        found = next(named, "")
        if found:
            return found
    return platform.processor() or platform.machine() or "unknown processor"


def usable_processors(process: Path = PROCESS) -> int:
    """Processors that this process may use: its affinity, or its quota rounded up if that is less.

    Args:
        process: folder of the process in ``/proc``.
    """
    quota = processor_quota(process)
    allowed = allowed_processors()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def allowed_processors() -> int:
    """Processors that the affinity of this process allows."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_quota(process: Path = PROCESS) -> float | None:
    """Seconds of processor time in a second that the control groups grant; ``None`` for no limit.

    Args:
        process: folder of the process in ``/proc``.
    """
    quotas = []
    for group in _groups("cpu", process):
        try:
            if (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota = (group / "cpu.cfs_quota_us").read_text()
                period = (group / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue  # the outermost groups have no such file
    return min(quotas, default=None)


def memory_limit(process: Path = PROCESS) -> int | None:
    """Bytes that the control groups grant; ``None`` for no limit.

    Args:
        process: folder of the process in ``/proc``.
    """
    limits = []
    for group in _groups("memory", process):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limits.append(int((group / name).read_text()))
            except (OSError, ValueError):  # not there, or "max"
                continue
    return min((limit for limit in limits if limit < UNLIMITED_BYTES), default=None)


def free_memory(process: Path = PROCESS) -> int | None:
    """Bytes that this process can still take; ``None`` where the system does not tell.

    What the system calls available, or what is left of the control groups' limits if that is less;
    pages of files that a group can give back count as free.

    Args:
        process: folder of the process in ``/proc``.
    """
    free = []
    try:
        lines = (process.parent / "meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        pass
    for group in _groups("memory", process):
        for limit_file, used_file, reclaimable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                limit = int((group / limit_file).read_text())
                used = int((group / used_file).read_text())
                statistics = dict(
                    line.split() for line in (group / "memory.stat").read_text().splitlines()
                )
                kept = used - int(statistics.get(reclaimable, 0))
            except (OSError, ValueError):  # not there, or "max"
                continue
            if limit < UNLIMITED_BYTES:
                free.append(max(0, limit - max(0, kept)))
    return min(free, default=None)


def total_memory() -> int | None:
    """Bytes of memory of the machine; ``None`` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def return_large_buffers() -> bool:
    """Have the C library give buffers of a megabyte and more back as soon as they are freed.

    By default glibc keeps freed buffers of up to 32 MB in its heap. Small objects that live long
    are put there, the next large buffer finds no room between them, and a process that runs for
    months grows. What the environment says (``MALLOC_…``, ``GLIBC_TUNABLES``) stands.

    Returns:
        Whether this C library can be asked, and was.
    """
    given = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in given):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    pairs = ((_MMAP_THRESHOLD, _LARGE_BUFFER), (_TRIM_THRESHOLD, 2 * _LARGE_BUFFER))
    return all(mallopt(which, size) == 1 for which, size in pairs)


def _groups(controller: str, process: Path) -> Iterator[Path]:
    """Folders of this process's groups that a controller limits, the innermost first."""
    try:
        memberships = os.fsdecode((process / "cgroup").read_bytes()).splitlines()
        mounts = list(_mounts(process))
    except OSError:
        return
    for line in memberships:
        _, names, path = line.split(":", 2)
        for mount in mounts:
            is_unified = not names and not mount.controllers
            if is_unified or controller in mount.controllers.intersection(names.split(",")):
                yield from _upwards(mount, path)


def _upwards(mount: _Mount, path: str) -> Iterator[Path]:
    group = mount.point
    root = mount.root.rstrip("/")
    if path.startswith(f"{root}/"):
        inside = mount.point / path[len(root) + 1 :]
        # In a container the path can be the host's, while the mount shows the own group only.
        group = inside if inside.is_dir() else group
    while group != mount.point:
        yield group
        group = group.parent
    yield mount.point


def _mounts(process: Path) -> Iterator[_Mount]:
    lines = os.fsdecode((process / "mountinfo").read_bytes()).splitlines()
    for line in lines:
        place, _, kind = line.partition(" - ")
        fields, described = place.split(), kind.split()
        if len(fields) < 5 or not described or described[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = described[-1].split(",") if described[0] == "cgroup" else []
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        yield _Mount(fields[3], Path(point), frozenset(controllers))
