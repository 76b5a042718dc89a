"""How long a newcomer waits from the first command to the first verdict over MQTT.

``python -m benchmarks.line.newcomer GOOD`` writes ``benchmarks/results/line_newcomer.md`` and
``.json``. GOOD is a folder of pictures of good parts. A broker runs at ``--broker``.
"""

import json
import os
import queue
import re
import shutil
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
from benchmarks.line.running import is_empty, wait_until

PAGE = ROOT / "docs" / "line" / "first_line.md"

METHOD = """\
The commands and the configuration of the page "First line in ten minutes", one after the other,
without what a person needs to read and to type. Install: into a new environment, from the package
index that pip is set up for. Train: with the defaults. Ready: from the start of the line to a
station that can inspect. Verdict: from a picture that is put into the folder to its record at a
subscriber of the broker.
"""

SMALL = ["--image-size", "32", "--epochs", "1"]
NOT_COPIED = (".git", "*.so", "build", "*.egg-info", "__pycache__", "site")
STATION, TOPIC = "lid", "pyramidflow/lid/record"
MOST_SECONDS = 600.0


def configuration(broker: str) -> str:
    """The page's configuration, its sink for MQTT included."""
    whole, sink = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[:2]
    host, _, port = broker.partition(":")
    changed = sink.replace('"localhost"', f'"{host}"') + (f"port = {port}\n" if port else "")
    return f"{whole}\n{changed}"


def walk(good: Path, options: Namespace) -> dict[str, float]:
    """Seconds of each step.

    Args:
        good: pictures of good parts.
        options: of the command line.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, steps = Path(name), {}
        pictures = [path for path in sorted(good.iterdir()) if path.is_file()]
        (folder / "good").mkdir()
        for path in pictures[: options.pictures]:
            shutil.copy(path, folder / "good")
        program = [sys.executable, "-m", "pyramidflow"]
        if not options.installed:
            started = time.perf_counter()
            program = [str(install(folder))]
            steps["install"] = time.perf_counter() - started
        (folder / "line.toml").write_text(configuration(options.broker), "utf-8")
        training = ["train", "good", "--output", "part.safetensors"]
        training += SMALL if options.small else []
        checking = ["run", "line.toml", "--check"]
        for step, arguments in {"train": training, "check": checking}.items():
            started = time.perf_counter()
            call([*program, *arguments], folder)
            steps[step] = time.perf_counter() - started
        return steps | run(program, folder, pictures[options.pictures - 1], options.broker)


def install(folder: Path) -> Path:
    """Install the package as the page says; returns its program."""
    call([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    bin_ = folder / "venv" / "bin"
    # A copy: a build leaves nothing in the checkout.
    shutil.copytree(ROOT, folder / "checkout", ignore=shutil.ignore_patterns(*NOT_COPIED))
    call([str(bin_ / "pip"), "install", "--quiet", ".[line]"], folder / "checkout")
    return bin_ / "pyramidflow"


def call(command: Sequence[str], folder: Path) -> None:
    """Run a command that has to succeed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if command[0] == sys.executable:
        environment["PYTHONPATH"] = str(ROOT)
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def run(program: Sequence[str], folder: Path, picture: Path, broker: str) -> dict[str, float]:
    """Start the line, put one picture in, and wait for its verdict."""
    records = subscribe(broker)
    environment = os.environ | {"PYTHONPATH": str(ROOT) if len(program) > 1 else ""}
    with (folder / "line.log").open("wb") as log:
        started = time.perf_counter()
        line = subprocess.Popen(
            [*program, "run", "line.toml"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            text = f"{STATION}: ready to inspect"
            wait_until(lambda: text in (folder / "line.log").read_text("utf-8"), MOST_SECONDS)
            ready = time.perf_counter() - started
            started = time.perf_counter()
            shutil.copy(picture, folder / "incoming" / f"first{picture.suffix}")
            record = json.loads(records.get(timeout=MOST_SECONDS))
            verdict = time.perf_counter() - started
            if record["verdict"] not in ("ok", "review", "ng"):
                raise RuntimeError(f"the record has no verdict: {record}")
            wait_until(lambda: is_empty(folder), 60)
        finally:
            line.terminate()
            line.wait(60)
    return {"ready": ready, "verdict": verdict}


def subscribe(broker: str) -> "queue.Queue[bytes]":
    """What comes over the topic of the station's records from now on."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    host, _, port = broker.partition(":")
    found: queue.Queue[bytes] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _, __, message: found.put(message.payload)
    client.connect(host, int(port or 1883))
    client.subscribe(TOPIC, qos=1)
    client.loop_start()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Walk the page, and write the two files."""
    parser = common.parser("benchmarks.line.newcomer", __doc__, "line_newcomer", small=True)
    parser.add_argument("good", type=Path, help="pictures of good parts")
    parser.add_argument("--pictures", type=int, default=60, help="of them, to train on")
    parser.add_argument("--broker", default="localhost", help="HOST or HOST:PORT")
    parser.add_argument("--installed", action="store_true", help="take this environment")
    options = common.parse(parser, arguments)
    steps = walk(options.good, options)
    total = sum(steps.values())
    rows = [[name, f"{seconds:.1f}"] for name, seconds in {**steps, "in all": total}.items()]
    text = [*METHOD.splitlines(), "", *results.table(["step", "seconds"], rows)]
    facts: dict[str, Any] = {"pictures": options.pictures}
    results.write(options, "From nothing to a verdict over MQTT", text, {"steps": steps}, facts)
    if total > MOST_SECONDS:
        sys.exit(f"missed: {total:.0f} s, goal {MOST_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
