"""What runs from its start to its stop, as a context."""

from abc import ABC, abstractmethod
from typing import TypeVar

_Self = TypeVar("_Self", bound="Started")


class Started(ABC):
    """Starts where a ``with`` begins, and stops where it ends, however it ends."""

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def stop(self) -> None:
        """End; a second time does nothing."""

    def __enter__(self: _Self) -> _Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
