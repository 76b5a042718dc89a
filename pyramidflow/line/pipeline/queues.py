"""Bounded queues between the stages of a line, and the turn at the machine that stations share."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class StageQueue(Generic[Item]):
    """A queue between two stages, in order, that holds so many items and no more.

    Args:
        room: the most items that wait.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Add an item once there is room; ``False`` where the queue was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._room or self._is_closed)
            return self._add(item)

    def put_over(
        self, item: Item, is_gone: Callable[[Item], bool], let_go: Callable[[Item], object]
    ) -> bool:
        """Add an item at once; where there is no room, the oldest is let go.

        What was let go keeps its place, so that its record keeps its turn, but takes no room.

        Args:
            item: the new one.
            is_gone: whether an item was let go earlier.
            let_go: called with the oldest that was not.

        Returns:
            ``False`` where the queue is closed.
        """
        with self._changed:
            if len(self._items) >= self._room:
                left = [waiting for waiting in self._items if not is_gone(waiting)]
                if len(left) >= self._room:
                    let_go(left[0])
            return self._add(item)

    def _add(self, item: Item) -> bool:
        if self._is_closed:
            return False
        self._items.append(item)
        self._changed.notify_all()
        return True

    def get(self) -> Item | None:
        """The oldest item; ``None`` where there are none and none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._is_closed)
            return self._take()

    def get_if(self, is_wanted: Callable[[Item], bool]) -> Item | None:
        """The oldest item, if it is there and wanted."""
        with self._changed:
            if not self._items or not is_wanted(self._items[0]):
                return None
            return self._take()

    def _take(self) -> Item | None:
        if not self._items:
            return None
        item = self._items.popleft()
        self._changed.notify_all()
        return item

    def close(self) -> None:
        """No more items come; those that wait can still be had."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def clear(self) -> list[Item]:
        """Close the queue and take all that waits."""
        with self._changed:
            self._is_closed = True
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        return left


class Turn:
    """A lock that threads get in the order in which they asked: no station waits for ever."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn while the context is open."""
        with self._guard:
            mine: threading.Lock | None = None
            if self._is_taken:
                mine = threading.Lock()
                mine.acquire()
                self._waiting.append(mine)
            self._is_taken = True
        if mine is not None:
            mine.acquire()  # until the one before hands it over
        try:
            yield
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().release()
                else:
                    self._is_taken = False


class Room:
    """Memory that decoded pictures may take: who comes when it is used up waits.

    Args:
        size: in bytes; one picture may exceed it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._changed = threading.Condition()
        self._is_closed = False

    def wait(self) -> None:
        """Wait until there is some room."""
        with self._changed:
            self._changed.wait_for(lambda: self._used < self._size or self._is_closed)

    def take(self, size: int) -> None:
        """Note that a picture takes memory."""
        with self._changed:
            self._used += size

    def give_back(self, size: int) -> None:
        """Note that it is gone."""
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody through who waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
