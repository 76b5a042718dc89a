"""What ``POST /inspect`` keeps of the session's own throughput, and how long an answer takes.

``python -m benchmarks.service.throughput`` writes ``benchmarks/results/service_throughput.md`` and
``.json``.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import options as common
from benchmarks.harness import results
from benchmarks.harness.process import call
from benchmarks.line.parts import write_detector, write_pictures
from benchmarks.service.load import median, percentile
from benchmarks.service.running import TOKEN, service

METHOD = """\
Session: decoded pictures by `session.inspect_pixels`, which takes several at once where that is
faster; from files: the same, with each file's bytes decoded before, in the same thread. Service:
`pyramidflow serve` on the same threads, with the pictures sent by a client in a process of its own,
on the same processors, over {connections} connections that stay open; every answer comes once the
record is durable. Share: the service's pictures a second over the session's, the median of the
rounds, which alternate. CPU: processor time of the service for a picture over the session's: what
the way adds, whatever else the machine does. Latency: of the answers, in milliseconds, at full load
and with pictures that come at 70% of it. Memory: resident, of the service, after a tenth of the
pictures and at the end, in MB of 10⁶ bytes.
"""

CASES = {f"{size}×{size}, {kind}": (size, kind) for size in (256, 1024) for kind in ("PNG", "JPEG")}
SMALL = {"32×32, PNG": (32, "PNG")}
FEWEST = 24
"""Pictures of a round; larger ones are fewer, as their pixels are more."""

CONNECTIONS = 8
LOAD = 0.7


def session_seconds(folder: str, count: int, threads: int, decoded: bool) -> dict[str, float]:
    """Seconds and processor seconds for a picture by the session alone."""
    import torch

    from pyramidflow import Detector
    from pyramidflow.data import read_encoded

    torch.set_num_threads(threads)
    session = Detector.load(f"{folder}/part.safetensors", device="cpu").prepare(threads=threads)
    files = [path.read_bytes() for path in sorted(Path(folder, "in").iterdir())[:20]]
    pictures = [read_encoded(data, "picture", session.decoding) for data in files]

    def pixels(number: int) -> Any:
        if decoded:
            return pictures[number % len(pictures)]
        return read_encoded(files[number % len(files)], "picture", session.decoding)

    for _ in session.inspect_pixels(pictures):  # allocates and plans
        pass
    started, used = time.perf_counter(), time.process_time()
    for first in range(0, count, session.at_once):
        waiting = range(first, min(first + session.at_once, count))
        for _ in session.inspect_pixels([pixels(number) for number in waiting]):
            pass
    return {
        "seconds": (time.perf_counter() - started) / count,
        "processor_seconds": (time.process_time() - used) / count,
    }


def loaded(folder: str, count: int, threads: int, every: float = 0.0) -> dict[str, Any]:
    """The service under load: what the client says, and the service's processor time and memory."""

    def send(number: int, between: float) -> dict[str, Any]:
        given = (found.port, TOKEN, f"{folder}/in", number, CONNECTIONS, between)
        answer: dict[str, Any] = call("benchmarks.service.load:sent", *given, threads=1)
        return answer

    with service(folder, threads) as found:
        send(max(count // 10, CONNECTIONS), 0.0)
        first, used = found.memory, found.processor_seconds
        said = send(count, every)
        said["service_processor_seconds"] = found.processor_seconds - used
        said["memory"] = [first, found.memory]
    return said


def compare(size: int, kind: str, count: int, threads: int, rounds: int) -> dict[str, Any]:
    """The session and the service, alternating; then the latency below full load."""
    own: list[dict[str, float]] = []
    files: list[dict[str, float]] = []
    under: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_detector(Path(folder, "part.safetensors"), size)
        write_pictures(Path(folder, "in"), size, kind, 20)
        for _ in range(rounds):
            for decoded, found in ((True, own), (False, files)):
                name = "benchmarks.service.throughput:session_seconds"
                found.append(call(name, folder, count, threads, decoded, threads=threads))
            under.append(loaded(folder, count, threads))
        between = median([each["seconds"] / each["answers"] for each in under]) / LOAD
        paced = loaded(folder, count, threads, between)
    return {
        "session_ms": 1e3 * median([each["seconds"] for each in own]),
        "files_ms": 1e3 * median([each["seconds"] for each in files]),
        "service_ms": 1e3 * median([each["seconds"] / each["answers"] for each in under]),
        "share": median(_shares(own, under)),
        "share_of_files": median(_shares(files, under)),
        "processor": median(
            [
                each["service_processor_seconds"]
                / (each["answers"] + 1)
                / alone["processor_seconds"]
                for each, alone in zip(under, own, strict=True)
            ]
        ),
        "client_ms": 1e3 * median([e["processor_seconds"] / (e["answers"] + 1) for e in under]),
        "full": _latency([value for each in under for value in each["milliseconds"]]),
        "paced": _latency(paced["milliseconds"]),
        "memory": [each["memory"] for each in (*under, paced)],
        "statuses": [each["statuses"] for each in (*under, paced)],
        "rounds": {"session": own, "files": files, "service": [_bare(each) for each in under]},
    }


def _shares(alone: Sequence[dict[str, float]], under: Sequence[dict[str, Any]]) -> list[float]:
    pairs = zip(alone, under, strict=True)
    return [one["seconds"] / (each["seconds"] / each["answers"]) for one, each in pairs]


def _latency(milliseconds: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: percentile(milliseconds, share) for name, share in shares.items()}


def _bare(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "milliseconds"}


def _row(name: str, found: dict[str, Any]) -> list[str]:
    first, last = found["memory"][0]
    failed = sum(
        number
        for statuses in found["statuses"]
        for status, number in statuses.items()
        if status >= "500"
    )
    return [
        name,
        f"{found['session_ms']:.2f}",
        f"{found['files_ms']:.2f}",
        f"{found['service_ms']:.2f}",
        f"{found['share']:.1%}",
        f"{found['share_of_files']:.1%}",
        f"{found['processor']:.2f}×",
        f"{found['client_ms']:.2f}",
        *(f"{found[load][at]:.1f}" for load in ("full", "paced") for at in ("p50", "p99")),
        f"{first:.0f} → {last:.0f}",
        str(failed),
    ]


def _count(options: Namespace, size: int) -> int:
    if options.small:
        return 40
    return max(FEWEST, options.count * 256**2 // size**2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the two files."""
    parser = common.parser(
        "benchmarks.service.throughput", __doc__, "service_throughput", rounds=5, small=True
    )
    parser.add_argument(
        "--count", type=int, default=300, help=f"pictures of a round at 256×256; at least {FEWEST}"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    options = common.parse(parser, arguments)
    chosen = SMALL if options.small else {name: CASES[name] for name in options.cases}
    counts = {name: _count(options, size) for name, (size, _) in chosen.items()}
    cases = {
        name: compare(*case, counts[name], options.threads, options.rounds)
        for name, case in chosen.items()
    }
    heads = ["", "session ms", "from files ms", "service ms", "share", "share of from files", "CPU"]
    heads += ["client CPU ms", "p50 ms", "p99 ms", "p50 at 70%", "p99 at 70%", "memory MB", "5xx"]
    text = [*METHOD.format(connections=CONNECTIONS).splitlines(), ""]
    text += results.table(heads, [_row(name, found) for name, found in cases.items()])
    facts = {"rounds": options.rounds, "pictures": counts}
    results.write(options, "POST /inspect beside the session", text, cases, facts)


if __name__ == "__main__":
    main()
