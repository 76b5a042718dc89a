"""The stages of a line and what waits between them: source → decode → inspect → draw → records."""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Literal

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.frame import Frame
from pyramidflow.line.pipeline import part as stages
from pyramidflow.line.pipeline.inspector import Inspector
from pyramidflow.line.pipeline.part import Part
from pyramidflow.line.pipeline.queues import Room, StageQueue, Turn

BATCHES: Final = (8, 4, 2, 1)
"""Of images that wait; a GPU has a graph for each of them."""

ROOM_FOR_PICTURES: Final = 256 << 20
"""Bytes of decoded pictures that wait."""

MOST_DROPPED: Final = 10_000
"""Dropped parts that wait for their records, before the source is held up after all."""

_SECONDS_TO_END: Final = 1.0
"""That the threads may take to end, all of them together."""

WhenFull = Literal["block", "drop-oldest"]


@dataclass(frozen=True)
class Flow:
    """How parts go through a pipeline.

    Attributes:
        waiting: the most parts that wait before each stage.
        when_full: ``"block"`` holds the source up; ``"drop-oldest"`` lets the oldest part go.
        workers: threads that decode and draw; 0 does one part after the other, in one thread.
    """

    waiting: int = 8
    when_full: WhenFull = "block"
    workers: int = max(2, min(4, (os.cpu_count() or 2) // 2))


class Pipeline:
    """Takes frames through the stages, several at once, and gives the parts back in order.

    Args:
        inspector: asked before each inspection, so that it may change between two parts.
        kinds: of pictures to draw of an inspected part; asked for each.
        flow: how parts go through.
        turn: at the machine; pipelines of one process share one.
        look: called with each inspected part and the overlays' scale, once its pictures are drawn.
    """

    def __init__(
        self,
        inspector: Callable[[], Inspector],
        kinds: Callable[[Part], Sequence[str]],
        flow: Flow | None = None,
        turn: Turn | None = None,
        look: Callable[[Part, float], None] | None = None,
    ) -> None:
        self._inspector = inspector
        self._kinds = kinds
        self._flow = flow or Flow()
        self._turn = turn or Turn()
        self._look = look
        self._decoding: StageQueue[Part] = StageQueue(self._flow.waiting)
        self._drawing: StageQueue[Part] = StageQueue(self._flow.waiting)
        # Apart: a picture that waits for room to be decoded must not hold up what makes room.
        self._to_decode: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._to_draw: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._letting_in = threading.Lock()
        self._letting_go = threading.Lock()
        self._room = Room(ROOM_FOR_PICTURES)
        self._failure: BaseException | None = None
        self.dropped = 0
        self.is_stopped = False

    def queue_lengths(self) -> dict[str, int]:
        """How many parts wait before inspection and before their records are written."""
        return {"inspecting": len(self._decoding), "writing": len(self._drawing)}

    def run(
        self, frames: Iterable[Frame], stop_requested: Callable[[], bool] = lambda: False
    ) -> Iterator[list[Part]]:
        """Parts in the order of their frames, as soon as they are through all stages.

        Args:
            frames: from a source.
            stop_requested: asked before each inspection; when it says so, what was inspected is
                given back and the rest is left.

        Yields:
            One part, and those behind it that are through by then.

        Raises:
            BaseException: what the source raised.
        """
        if self._flow.workers == 0:
            yield from self._one_by_one(frames, stop_requested)
            return
        threads = [_start(self._inspect_all, stop_requested)]
        for _ in range(self._flow.workers):
            threads += [_start(self._decode_all), _start(self._draw_all)]
        _start(self._feed, frames)
        try:
            while (part := self._drawing.get()) is not None:
                part.is_ready.wait()
                through = [part]
                while part := self._drawing.get_if(lambda part: part.is_ready.is_set()):
                    through.append(part)
                for part in through:
                    part.queues["writing"] = len(self._drawing)
                yield through
            if self._failure is not None:
                raise self._failure
        finally:
            self._end()
            # They are done, or stuck in a picture. A thread that lets go of its last map while the
            # interpreter ends would abort the process.
            for thread in threads:
                thread.join(_SECONDS_TO_END / len(threads))

    def _end(self) -> None:
        self._decoding.clear()
        self._drawing.clear()
        self._room.close()
        for _ in range(self._flow.workers):
            self._to_decode.put(None)
            self._to_draw.put(None)

    def _one_by_one(
        self, frames: Iterable[Frame], stop_requested: Callable[[], bool]
    ) -> Iterator[list[Part]]:
        for frame in frames:
            if stop_requested():
                self.is_stopped = True
                return
            part = Part(frame)
            stages.decode(part, self._inspector().session.decoding)
            self._inspect([part])
            self._draw(part)
            yield [part]

    def _decode_all(self) -> None:
        while True:
            # One after the other: were a later part let in first, it could take the room that an
            # earlier one waits for, which everybody waits for.
            with self._letting_in:
                part = self._to_decode.get()
                self._room.wait()
            if part is None:
                return
            self._decode(part)

    def _draw_all(self) -> None:
        while (part := self._to_draw.get()) is not None:
            self._finish(part)

    def _feed(self, frames: Iterable[Frame]) -> None:
        try:
            for frame in frames:
                part = Part(frame)
                if not self._take_in(part):
                    break
                self._to_decode.put(part)
        except BaseException as failure:  # it ends the line, in the thread that runs it
            self._failure = failure
        finally:
            self._decoding.close()

    def _take_in(self, part: Part) -> bool:
        if self._flow.when_full == "block" or len(self._decoding) >= MOST_DROPPED:
            return self._decoding.put(part)
        return self._decoding.put_over(part, lambda other: other.is_dropped, self._let_go)

    def _let_go(self, part: Part) -> None:
        self.dropped += 1
        problem = InputError(
            f"{printable(part.frame.origin)} was not inspected: parts come faster than they can be "
            "inspected, and the oldest that waited was let go."
        )
        with self._letting_go:
            self._room.give_back(part.let_go(problem))

    def _decode(self, part: Part) -> None:
        part.queues["decoding"] = self._to_decode.qsize()
        decoded = Part(part.frame)
        if not part.is_dropped:
            stages.decode(decoded, self._inspector().session.decoding)
        with self._letting_go:
            if not part.is_dropped:
                part.pixels, part.problem = decoded.pixels, decoded.problem
                part.times.update(decoded.times)
                self._room.take(part.size)
        part.is_ready.set()

    def _inspect_all(self, stop_requested: Callable[[], bool]) -> None:
        try:
            while (batch := self._next_batch()) and not self._is_stopping(stop_requested):
                for part in batch:
                    part.queues["inspecting"] = len(self._decoding)
                self._inspect(batch)
                for part in batch:
                    part.is_ready = threading.Event()
                    self._to_draw.put(part)
                    self._drawing.put(part)
        except BaseException as failure:
            self._failure = failure
        finally:
            self._decoding.clear()
            self._drawing.close()

    def _is_stopping(self, stop_requested: Callable[[], bool]) -> bool:
        self.is_stopped = self.is_stopped or stop_requested()
        return self.is_stopped

    def _next_batch(self) -> list[Part]:
        first = self._decoding.get()
        if first is None:
            return []
        first.is_ready.wait()
        batch = [first]
        most = self._inspector().session.at_once
        while len(batch) < most:
            part = self._decoding.get_if(lambda part: part.is_ready.is_set())
            if part is None:
                break
            batch.append(part)
        return batch

    def _inspect(self, batch: list[Part]) -> None:
        inspector = self._inspector()
        looked_at = [part for part in batch if part.can_be_inspected]
        for part in batch:
            part.detector = inspector.digest
        while looked_at:
            size = next(size for size in BATCHES if size <= len(looked_at))
            now, looked_at = looked_at[:size], looked_at[size:]
            start = perf_counter()
            with self._turn.taken():
                waited = 1e3 * (perf_counter() - start)
                stages.inspect(now, inspector.session)
            for part in now:
                part.times["waiting"] = waited

    def _finish(self, part: Part) -> None:
        size = part.size
        try:
            self._draw(part)
        finally:
            self._room.give_back(size)
            part.is_ready.set()

    def _draw(self, part: Part) -> None:
        if part.inspection is not None:
            scale = self._inspector().session.map_scale
            if kinds := self._kinds(part):
                stages.draw_pictures(part, kinds, scale)
            if self._look is not None:
                self._look(part, scale)
        part.pixels = None


def _start(work: Callable[..., None], *given: Any) -> threading.Thread:
    # A daemon: a picture that cannot be read to its end must not keep the process alive.
    thread = threading.Thread(target=work, args=given, name="line", daemon=True)
    thread.start()
    return thread
