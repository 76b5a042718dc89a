"""The lift from an image's three channels to ``C``, frozen and invertible.

The flow then works on the image itself. Older versions called this encoder ``none``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyramidflow.errors import InputError
from pyramidflow.model.encoder import Encoder, Stages
from pyramidflow.model.reach import Reach

if TYPE_CHECKING:
    from pyramidflow.model.encoders.lift.network import Lift


@dataclass(frozen=True)
class LiftEncoder(Encoder):
    """The baseline of the paper, whose features are the image itself."""

    def check_channels(self, channels: int, stages: Stages) -> None:
        """See :meth:`Encoder.check_channels`."""
        if channels < 3:
            raise InputError(
                f"channels is {channels}: give a whole number of at least 3, as many as an image "
                "has."
            )

    def stride(self, stages: Stages) -> int:
        """See :meth:`Encoder.stride`."""
        return 1

    def reach(self, stages: Stages, period: int) -> Reach:
        """See :meth:`Encoder.reach`."""
        return Reach.of_pixels(period)

    def settings(self, stages: Stages) -> dict[str, Any]:
        """Nothing: the settings' own defaults are the baseline's."""
        return {}

    def build(self, channels: int, stages: Stages) -> "Lift":
        """See :meth:`Encoder.build`."""
        from pyramidflow.model.encoders.lift.network import Lift

        return Lift(channels)


ENCODERS = (
    LiftEncoder(
        "lift",
        released_names=(("inconv.weight", "weight"),),
        older_names=("none",),
        is_drawn=True,
    ),
)
