"""PyTorch, its CUDA devices, and the GPUs that it should see."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyramidflow.diagnosis.finding import Finding

NVIDIA_DEVICES = Path("/dev")
"""Folder where the driver puts ``nvidia0`` and so on, one for each GPU of this machine."""


def probe_torch() -> Finding:
    """PyTorch, and the CUDA devices that it finds."""
    import torch

    devices, warned = _cuda_devices()
    architectures = torch.cuda.get_arch_list()
    details: dict[str, Any] = {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda,
        "cuda_architectures": architectures,
        "cuda_driver": _cuda_driver(),
        "cuda_devices": devices,
    }
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    summary = f"built {built}, {torch.get_num_threads()} threads"
    is_hidden = "CUDA_VISIBLE_DEVICES" in os.environ
    if not devices and _present_gpus() and not is_hidden:
        why = f" ({warned})" if warned else ""
        advice = "check `nvidia-smi`, the driver and the PyTorch wheel"
        return Finding(
            "broken", f"{summary}: it cannot use this machine's GPU{why}; {advice}.", details
        )
    if not devices:
        hidden = " (CUDA_VISIBLE_DEVICES is set)" if is_hidden else ""
        return Finding("ok", f"{summary}, no CUDA device{hidden}.", details)
    for device in devices:
        if not has_code_for(device["capability"], architectures):
            return Finding(
                "broken",
                f"{summary}: it has no code for {device['name']} (capability "
                f"{device['capability']}); install a PyTorch wheel that has.",
                details,
            )
    names = ", ".join(f"{device['device']} {device['name']}" for device in devices)
    return Finding("ok", f"{summary}, {names}.", details)


def has_code_for(capability: str, architectures: Sequence[str]) -> bool:
    """Whether a GPU can run what was compiled for some architectures.

    Machine code (``sm_86``) runs on its own major version from its minor version on, the driver's
    compiler makes it from intermediate code (``compute_86``) for every later one. Code with a
    letter (``sm_90a``) runs on its own version only.

    Args:
        capability: of the GPU, such as ``"8.6"``.
        architectures: as PyTorch names them.

    Source: CUDA C++ programming guide, binary and PTX compatibility.
    """
    own = tuple(map(int, capability.split(".")))
    for kind, number, letter in re.findall(r"(sm|compute)_(\d+)([a-z]?)", " ".join(architectures)):
        found = divmod(int(number), 10)
        if found == own or (not letter and found <= own and (kind != "sm" or found[0] == own[0])):
            return True
    return False


def _cuda_devices() -> tuple[list[dict[str, Any]], str]:
    """CUDA devices, and what PyTorch warned of while it looked for them."""
    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = []
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            properties = torch.cuda.get_device_properties(index)
            found.append(
                {
                    "device": f"cuda:{index}",
                    "name": properties.name,
                    "capability": f"{properties.major}.{properties.minor}",
                    "memory_bytes": properties.total_memory,
                }
            )
    return found, " ".join(str(w.message).splitlines()[0] for w in caught)


def _cuda_driver() -> str | None:
    """The newest CUDA that the driver can run; ``None`` where there is no driver."""
    import ctypes

    try:
        number = ctypes.c_int()
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _present_gpus() -> list[str]:
    return sorted(device.name for device in NVIDIA_DEVICES.glob("nvidia[0-9]*"))
