"""The engine ``line``: the line's pipeline in this process."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pyramidflow.bulk.inspecting import Inspecting
from pyramidflow.bulk.listing import Picture
from pyramidflow.bulk.work import Conditions, Outcome, Work


class LineEngine:
    """Inspects in this process, in the order of the pictures.

    Args:
        work: what to inspect with.

    Raises:
        InputError: see :class:`pyramidflow.bulk.inspecting.Inspecting`.
    """

    def __init__(self, work: Work) -> None:
        self._inspecting = Inspecting(work)

    @property
    def conditions(self) -> Conditions:
        """What its verdicts follow from."""
        return self._inspecting.conditions

    def outcomes(
        self, pictures: Iterable[Picture], stop_requested: Callable[[], bool]
    ) -> Iterator[Sequence[Outcome]]:
        """Inspect pictures; see :class:`pyramidflow.bulk.work.Engine`."""
        return self._inspecting.outcomes(pictures, stop_requested)
