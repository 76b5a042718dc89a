"""Which runtime inspects on a device, and what it refuses."""

from typing import Literal

import torch

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.runtime import cpu
from pyramidflow.runtime.eager import EagerRuntime
from pyramidflow.runtime.inspection_settings import InspectionSettings
from pyramidflow.runtime.plan import Runtime
from pyramidflow.runtime.trained_network import TrainedNetwork


def runtime_on(
    device: torch.device,
    trained: TrainedNetwork,
    size: tuple[int, int],
    settings: InspectionSettings | None = None,
) -> Runtime:
    """The runtime for images of one size on a device.

    Args:
        device: where the network is, ``cpu`` or ``cuda``.
        trained: the network; it must not change while the runtime is used.
        size: height and width of the images in pixels.
        settings: threads, budget and precision.

    Raises:
        InputError: as :func:`check_settings`; or the memory budget is too small, or the network is
            none for images of this size.
    """
    settings = settings or InspectionSettings()
    kind = check_settings(device, settings)
    if kind == "cpu":
        return cpu.make(trained, size, settings)
    if kind == "cuda":
        from pyramidflow.runtime import cuda

        return cuda.make(trained, size, settings)
    return EagerRuntime(trained, size, device)


def check_settings(
    device: torch.device, settings: InspectionSettings
) -> Literal["cpu", "cuda", "eager"]:
    """Refuse settings that no network could be run with, before one is made ready.

    Args:
        device: as for :func:`runtime_on`.
        settings: likewise.

    Returns:
        The kind of runtime.

    Raises:
        InputError: the device, or the backend of its operations, cannot honour a setting.
    """
    settings.precision_on(device.type)
    backend = ops.active_backend(device.type)
    if (device.type, backend) == ("cpu", "cpu"):
        return "cpu"
    _refuse(
        f"on {device.type} with the backend {backend!r}",
        threads=settings.threads,
        memory_budget=settings.memory_budget,
    )
    if device.type == "cuda" and backend in ("cuda", "triton"):
        return "cuda"
    if settings.precision not in (None, "float32"):
        _refuse(f"with the backend {backend!r}", precision=settings.precision)
    return "eager"


def _refuse(where: str, **settings: object) -> None:
    for name, value in settings.items():
        if value is not None:
            raise InputError(
                f"{name} is {value!r}, but {where} it cannot be honoured: leave it out, or inspect "
                "on the CPU with the compiled kernels (see pyramidflow doctor)."
            )


def resolve_device(device: str | torch.device) -> torch.device:
    """Device by name; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises:
        InputError: the device is unknown or not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        if chosen.type not in ("cpu", "cuda"):
            raise RuntimeError(f"detectors run on cpu and cuda, not on {chosen.type}")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the device {str(device)!r} cannot be used here ({reason}): give cpu, or auto."
        ) from error
    return chosen
