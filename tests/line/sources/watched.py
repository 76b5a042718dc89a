"""A watched folder that is read in a thread, and pictures to put there."""

import io
import threading
import time

import numpy as np
from PIL import Image

from pyramidflow.line.record import Record
from pyramidflow.line.sources.folder import FolderSource


class Recorded:
    """Records by identity, in memory."""

    def __init__(self):
        self.records = {}
        self.kept = []

    def earlier(self, identity):
        return self.records.get(identity)

    def keep_only(self, present):
        self.kept.append(sorted(present))
        return 0


class Watch:
    """A folder source that is read in a thread, as a station reads it."""

    def __init__(self, folder, recorded=None, **settings):
        self.recorded = recorded or Recorded()
        settings = FolderSource.Settings(path=folder, **settings)
        self.source = FolderSource(settings, "press", self.recorded)
        self.frames, self.passed_over, self.stop = [], 0, threading.Event()
        self.source.open()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for frame in self.source.frames(self.stop):
            if frame.identity in self.recorded.records:
                self.passed_over += 1
                self.source.acknowledge(frame, None)
                continue
            record = Record.of(frame, {"verdict": "ok"})
            self.recorded.records[frame.identity] = record.as_dict()
            self.frames.append(frame)
            self.source.acknowledge(frame, record)

    def names(self):
        return [frame.path.name for frame in self.frames]

    def wait_for(self, count, seconds=20):
        until = time.monotonic() + seconds
        while len(self.frames) < count and time.monotonic() < until:
            time.sleep(0.01)
        return self.names()

    def close(self):
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.source.close()


def encoded(kind="PNG", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()
