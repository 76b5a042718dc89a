"""No encoder: the lift from three channels to ``C``, frozen and invertible."""

from dataclasses import dataclass
from typing import Any

from pyramidflow.errors import InputError
from pyramidflow.model.description import Encoder, Stages


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

    def settings(self, stages: Stages) -> dict[str, Any]:
        """Nothing: the settings' own defaults are the baseline's."""
        return {}

    def build(self, channels: int, stages: Stages) -> Any:
        """See :meth:`Encoder.build`."""
        from pyramidflow.model.encoder import Lift

        return Lift(channels)


ENCODERS = (LiftEncoder("none"),)
