"""Everything that only a GPU can tell, in minutes: ``python -m benchmarks.gpu``.

For a machine with a GPU that is at hand for a short time. Parts:

- ``build``: the package with its CUDA library, ``tests``: ``pytest -m gpu``;
- ``kernels``: each operation against its oracle and beside a device copy;
- ``model``: the network, ``runtime``: CUDA graphs for each batch size and precision;
- ``training``: time and memory of a step, ``latency``: from an image on the host to its verdict.

The last five are beside plain PyTorch, as it is and compiled. Each part runs in a process of its
own with a share of the time, and tells each number as it has it: a crash, a hang or the end of the
time loses what is in hand. ``gpu.md`` and ``gpu.json`` are written after every part, into ``$OUT``
where the variable is set, else among the results. A part that cannot run
here says why and is skipped; the exit code is 1 where one failed. ``--rehearse`` runs the same on
the CPU in tiny sizes, and only shows that it runs.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import ROOT

SHARES = {
    "build": 100,
    "tests": 120,
    "kernels": 100,
    "model": 50,
    "runtime": 60,
    "training": 30,
    "latency": 30,
}
"""Parts in their order, with the seconds that each is expected to want."""

MACHINE = "machine"
"""What the numbers depend on, asked for after the build."""

MACHINE_SECONDS = 60.0
LEAST_SECONDS = 5.0
PROGRAM = ["-m", "benchmarks.gpu.parts"]
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


def measure(options: Namespace) -> dict[str, dict[str, Any]]:
    """Run parts one after the other, and write the files after each.

    Args:
        options: of the command line; what one part leaves over of the time the next ones may take.

    Returns:
        What each part found.
    """
    end = time.monotonic() + 60 * options.minutes
    facts = {
        "command": options.command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rehearsal": options.rehearse,
    }
    found: dict[str, dict[str, Any]] = {}
    ordered = [name for name in SHARES if name in options.parts]
    for position, name in enumerate(ordered):
        wanted = sum(SHARES[other] for other in ordered[position:])
        seconds = (end - time.monotonic()) * SHARES[name] / wanted
        if seconds < LEAST_SECONDS:
            found[name] = {"state": "skipped", "reason": "no time was left."}
        else:
            if name != "build" and MACHINE not in found:
                found[MACHINE] = run_part(MACHINE, MACHINE_SECONDS, options.rehearse)
                facts |= (found[MACHINE].get("records") or [{}])[0]
            found[name] = run_part(name, seconds, options.rehearse)
        results.write_files(options.output, "On a GPU", facts, tables(found), found)
        state = f"{found[name]['state']} {found[name].get('reason', '')}"
        print(f"{name}: {state}".rstrip(), flush=True)
    return found


def tables(parts: dict[str, dict[str, Any]]) -> list[str]:
    """Parts and their records as Markdown tables; records with the same keys share one."""
    states = [
        [name, part["state"], f"{part.get('seconds', 0):.0f}", part.get("reason", "")]
        for name, part in parts.items()
    ]
    lines = results.table(["part", "state", "seconds", "reason"], states)
    for name, part in parts.items():
        alike: dict[tuple[str, ...], list[list[str]]] = {}
        for record in part.get("records", []) if name != MACHINE else []:
            alike.setdefault(tuple(record), []).append([_cell(v) for v in record.values()])
        for heads, rows in alike.items():
            lines += ["", f"## {name}", "", *results.table(heads, rows)]
    return lines


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")[:300]


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Options of the command line."""
    parser = common.parser("benchmarks.gpu", __doc__, "gpu")
    if os.environ.get("OUT"):
        parser.set_defaults(output=Path(os.environ["OUT"]) / "gpu.md")
    parser.add_argument("--parts", default=",".join(SHARES), help="names, with commas between")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in tiny sizes")
    options = common.parse(parser, arguments)
    options.parts = options.parts.split(",")
    unknown = sorted(set(options.parts) - set(SHARES))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}: choose from {', '.join(SHARES)}.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that are asked for.

    Raises:
        SystemExit: with 1, if one of them failed or was stopped.
    """
    options = parse(arguments)
    found = measure(options)
    print(options.output)
    if any(part["state"] in ("failed", "stopped") for part in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
