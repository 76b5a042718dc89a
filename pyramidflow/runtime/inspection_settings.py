"""How a runtime inspects: threads, memory, precision and the largest picture."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow.errors import InputError
from pyramidflow.validated import Validated, setting

Precision = Literal["half", "bfloat16", "tf32", "float32"]

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("half", "bfloat16", "tf32", "float32"),
}
"""Arithmetic of the runtimes by device; the first is each one's own choice."""


@dataclass(frozen=True)
class InspectionSettings(Validated):
    """How to inspect.

    Attributes:
        threads: of a runtime on the CPU; ``None`` takes PyTorch's number.
        memory_budget: bytes that the process may have at its peak with a runtime on the CPU,
            decoded pictures of the runtime's size included; ``None`` for whole images and the
            fastest plan.
        precision: of the arithmetic; ``None`` is float32 on the CPU and half on a GPU.
        max_pixels: pixels of the largest picture that is decoded; ``None`` is the package's own.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "inspection settings"

    threads: int | None = setting(None, least=1, most=1024)
    memory_budget: int | None = setting(None, least=1, most=2**60)
    precision: Precision | None = setting(None)
    max_pixels: int | None = setting(None, least=1, most=2**60)

    def precision_on(self, device_type: str) -> Precision:
        """The precision, or a device's own choice.

        Raises:
            InputError: the device does not have it.
        """
        known = PRECISIONS.get(device_type)
        if known is None:
            raise InputError(
                f"the network is on {device_type}: detectors run on {' and '.join(PRECISIONS)}, "
                "move it there."
            )
        precision = self.precision or known[0]
        if precision not in known:
            raise InputError(
                f"the precision is {precision!r}: on {device_type} choose one of "
                f"{', '.join(known)}."
            )
        return precision
