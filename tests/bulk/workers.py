"""Workers of a cluster that tests disturb."""

import json
import os
import signal
import time
from pathlib import Path

from pyramidflow.bulk.ray_engine import Worker


def places(block):
    return [Path(json.loads(text)["place"]) for text in block.column("picture").to_pylist()]


class Told(Worker):
    """Leaves a file named as its process beside the folder of the pictures, and takes its time."""

    def __call__(self, block):
        folder = places(block)[0].parent.parent / "processes"
        folder.mkdir(exist_ok=True)
        (folder / str(os.getpid())).touch()
        time.sleep(0.05)
        return super().__call__(block)


class Deadly(Worker):
    """Dies of one picture."""

    def __call__(self, block):
        if any(place.name == "deadly.png" for place in places(block)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(block)
