"""A part of a benchmark in a process of its own, so that its memory and its start are its own.

``python -m benchmarks.harness.process MODULE:FUNCTION ARGUMENTS`` calls a function with a JSON list
of arguments and prints its result as the last line of JSON. Nothing is imported before the module.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def call(function: str, *arguments: Any, threads: int) -> Any:
    """What a function returns in a new process.

    Args:
        function: ``module:name``.
        arguments: that JSON can hold.
        threads: that OpenMP takes there.

    Raises:
        subprocess.CalledProcessError: the process failed or was ended; what it said stands above.
    """
    command = [sys.executable, "-m", __spec__.name, function, json.dumps(arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> float | None:
    """Most memory that this process has held, in MB of 10⁶ bytes, as budgets are.

    ``None`` where the system does not say.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    print(json.dumps(getattr(importlib.import_module(module), name)(*json.loads(sys.argv[2]))))
