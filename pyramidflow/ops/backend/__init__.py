"""What a backend is: whoever computes the operations on some devices, in some element types.

A backend is an object of ``ops/backend/<name>.py``; what it computes stands in the families'
folders, in ``ops/<family>/<name>.py``: a function for each operation, of the operation's name and
arguments. What two backends compute alike stands in one file for both. A backend may leave
operations out, see :mod:`pyramidflow.ops.dispatch`.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True)
class Status:
    """Whether a backend can run here.

    Attributes:
        available: whether it can.
        reason: one sentence: what it runs on, or why it cannot run and what to do.
        details: compiler, instruction set, architectures, runtime and driver versions, by name.
    """

    available: bool
    reason: str
    details: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """A backend.

    Attributes:
        name: of the backend, and of its file in each family.
        devices: device types whose tensors it takes.
        dtypes: element types that it computes in.
        lenders: backends that compute what it leaves out where they can, before a composite does.
        shared: name of a family's file whose functions compute for several backends, and take the
            backend's name first; empty for none.
    """

    name: str
    devices: Container[str]
    dtypes: Container[torch.dtype]
    lenders: tuple[str, ...] = ()
    shared: str = ""

    def status(self) -> Status:
        """Whether it can run here and if not, why."""

    def refusal(self, device_type: str) -> str:
        """Why it does not take tensors on a device, and what to do; empty if it takes them.

        Args:
            device_type: ``"cpu"``, ``"cuda"``, …
        """
        if device_type in self.devices:
            return ""
        known = ", ".join(sorted(self.devices)) if isinstance(self.devices, frozenset) else "any"
        return (
            f"the backend {self.name!r} does not take tensors on {device_type!r}: move them to "
            f"{known}, or choose another backend."
        )
