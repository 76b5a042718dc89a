"""What the runtime of every kind of device can say and do."""

from typing import Protocol

from torch import Tensor

from pyramidflow.runtime.inspection_settings import Precision


class Plan(Protocol):
    """How a runtime computes: known before anything is allocated."""

    def explain(self) -> str:
        """The plan as text: a line for each part, then the sums."""
        ...


class Runtime(Protocol):
    """What inspects images of one size. It has one memory: one call at a time.

    The package of each kind of device has ``plan`` (what would be made, nothing is allocated) and
    ``make`` with the same arguments, and this is what ``make`` gives.

    Attributes:
        precision: of its arithmetic.
        size: height and width of the images in pixels, or batch, height and width.
        at_once: images that one call inspects best.
    """

    precision: Precision
    at_once: int

    @property
    def plan(self) -> Plan:
        """How it computes."""
        ...

    def inspect(self, images: Tensor) -> Tensor:
        """``[B, H, W, 3]`` pixels to anomaly maps ``[B, h, w]``, valid until the next call."""
        ...
