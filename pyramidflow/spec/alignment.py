"""Settings of the alignment: whether parts are brought to one pose before they are compared."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pyramidflow.validated import Validated, setting


@dataclass(frozen=True)
class AlignmentRule(Validated):
    """How parts that lie shifted or turned are brought to one pose.

    Attributes:
        align: ``"shift"`` undoes a translation, ``"turn"`` a rotation as well.
        largest_shift: how far a part may lie off, as a share of the image's width.
        largest_angle: how far a part may be turned either way, in degrees.

    Raises:
        InputError: a setting is out of its range.
    """

    group: ClassVar[str] = "alignment settings"

    align: Literal["none", "shift", "turn"] = setting(
        "none",
        "Bring parts to one pose: undo a shift, or a shift and a turn. A part without a pose gets "
        "the verdict review.",
    )
    largest_shift: float = setting(
        0.25,
        "How far a part may lie off, as a share of the image's width.",
        above=0,
        most=0.5,
    )
    largest_angle: float = setting(
        180.0,
        "How far a part may be turned either way, in degrees; less for parts that look alike when "
        "turned, such as squares.",
        above=0,
        most=180,
    )

    @property
    def turns(self) -> float:
        """Degrees that are searched either way."""
        return self.largest_angle if self.align == "turn" else 0.0


AS_THEY_LIE = AlignmentRule()
"""Without alignment."""
