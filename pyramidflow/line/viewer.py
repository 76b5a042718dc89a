"""What looks on while a line runs: it sees each part, and may draw it."""

from collections.abc import Mapping
from typing import Protocol

from pyramidflow.data import Pixels
from pyramidflow.detector import Inspection
from pyramidflow.line.record import Record


class Viewer(Protocol):
    """Sees the parts of a line; it must be quick and must not wait, since the line does for it."""

    def look(
        self, record: Record, pixels: Pixels, inspection: Inspection, scale: float
    ) -> Mapping[str, bytes]:
        """Draw what is to be shown of an inspected part; called by the threads that draw.

        Args:
            record: as far as it is known.
            pixels: ``[H, W, 3]``, uint8 or uint16.
            inspection: what was found.
            scale: anomaly value at the top of the overlays' colour scale.

        Returns:
            Encoded pictures, by a name of the viewer's own.
        """

    def shown(self, record: Record, pictures: Mapping[str, bytes]) -> None:
        """A part's record is durable.

        Args:
            record: complete.
            pictures: that :meth:`look` gave; none where the part was not inspected.
        """
