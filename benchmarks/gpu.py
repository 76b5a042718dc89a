"""Everything that only a GPU can tell, in minutes: ``python -m benchmarks.gpu``.

For a machine with a GPU that is at hand for a short time. Parts:

- ``build``: the package with its CUDA library, ``tests``: ``pytest -m gpu``;
- ``kernels``: each operation against its oracle and beside a device copy;
- ``model``: the network, ``engine``: CUDA graphs for each batch size and precision;
- ``training``: time and memory of a step, ``latency``: from an image on the host to its verdict.

The last five are beside plain PyTorch, as it is and compiled. Each part runs in a process of its
own with a share of the time, and tells each number as it has it: a crash, a hang or the end of the
time loses what is in hand. The one JSON file is written after every part. A part that cannot run
here says why and is skipped; the exit code is 1 where one failed. ``--rehearse`` runs the same on
the CPU in tiny sizes, and only shows that it runs.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

SHARES = {
    "build": 100,
    "tests": 120,
    "kernels": 100,
    "model": 50,
    "engine": 60,
    "training": 30,
    "latency": 30,
}
"""Parts in their order, with the seconds that each is expected to want."""

MACHINE = "machine"
"""What the numbers depend on, asked for after the build."""

MACHINE_SECONDS = 60.0
LEAST_SECONDS = 5.0
PROGRAM = ["-m", "benchmarks.gpu_parts"]
LOG_CHARACTERS = 2000


def run_part(name: str, seconds: float, rehearse: bool) -> dict[str, Any]:
    """Run a part in a process of its own.

    Args:
        name: of the part.
        seconds: after which it is stopped.
        rehearse: whether it runs on the CPU in tiny sizes.

    Returns:
        Its state (``done``, ``skipped``, ``failed``, ``stopped``), the reason of any other state
        than the first, its seconds, and its records.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        answers, log = Path(folder) / "answers", Path(folder) / "log"
        command = [sys.executable, *PROGRAM, name, str(answers)]
        command += [f"{time.time() + seconds:.0f}", *(["--rehearse"] if rehearse else [])]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        records = [json.loads(line) for line in _whole_lines(answers)]
        said = log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
    found: dict[str, Any] = {"seconds": round(time.perf_counter() - start, 1)}
    if records and list(records[-1]) == ["missing"]:
        return found | {"state": "skipped", "reason": records[-1]["missing"]}
    found["records"] = records
    if code == 0:
        return found | {"state": "done"}
    if code is None:
        return found | {"state": "stopped", "reason": f"after {seconds:.0f} s.", "log": said}
    return found | {"state": "failed", "reason": f"exit code {code}.", "log": said}


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # its compilers and test runners, too
        process.wait()


def _whole_lines(file: Path) -> list[str]:
    if not file.exists():
        return []
    return [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def measure(parts: Sequence[str], minutes: float, output: Path, rehearse: bool) -> dict[str, Any]:
    """Run parts one after the other, and write the file after each.

    Args:
        parts: their names.
        minutes: for all of them; what one leaves over the next ones may take.
        output: the JSON file.
        rehearse: see :func:`run_part`.

    Returns:
        What is in the file.
    """
    end = time.monotonic() + 60 * minutes
    command = shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])
    report: dict[str, Any] = {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rehearsal": rehearse,
        MACHINE: None,
        "parts": {},
    }
    ordered = [name for name in SHARES if name in parts]
    for position, name in enumerate(ordered):
        wanted = sum(SHARES[other] for other in ordered[position:])
        seconds = (end - time.monotonic()) * SHARES[name] / wanted
        if seconds < LEAST_SECONDS:
            found: dict[str, Any] = {"state": "skipped", "reason": "no time was left."}
        else:
            if name != "build" and report[MACHINE] is None:
                report[MACHINE] = run_part(MACHINE, MACHINE_SECONDS, rehearse)
            found = run_part(name, seconds, rehearse)
        report["parts"][name] = found
        _write(output, report)
        print(f"{name}: {found['state']} {found.get('reason', '')}".rstrip(), flush=True)
    return report


def _write(file: Path, report: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    new.replace(file)


def default_output() -> Path:
    """``$OUT/gpu.json`` where the variable is set, else the folder of the results."""
    return Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results") / "gpu.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for.

    Raises:
        SystemExit: with 1, if one of them failed or was stopped.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(SHARES), help="names, with commas between")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--output", type=Path, default=default_output(), metavar="FILE")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in tiny sizes")
    options = parser.parse_args(arguments)
    parts = options.parts.split(",")
    unknown = sorted(set(parts) - set(SHARES))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}: choose from {', '.join(SHARES)}.")
    report = measure(parts, options.minutes, options.output, options.rehearse)
    print(options.output)
    if any(found["state"] in ("failed", "stopped") for found in report["parts"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
