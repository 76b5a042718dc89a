"""Runs the probes in processes of their own, and gathers what they found."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyramidflow.diagnosis.finding import Finding, broken_by
from pyramidflow.diagnosis.probes import PROBES

TIMEOUT = 300.0
"""Seconds for a process of probes: Triton may compile all of its kernels for the first time."""

PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pyramidflow.diagnosis import probes
probes.main(sys.argv[2:])
"""
"""A child imports what its parent imports, whatever folder it runs in."""


@dataclass(frozen=True)
class Diagnosis:
    """What an installation has, and what of it works.

    Attributes:
        version: of this package.
        findings: by the names of the probes.
    """

    version: str
    findings: dict[str, Finding]

    @property
    def broken(self) -> list[str]:
        """Names of the probes that found something which should work and does not."""
        return [name for name, found in self.findings.items() if found.state == "broken"]

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis as a JSON object, with the same keys on every machine."""
        return {
            "pyramidflow": self.version,
            "broken": self.broken,
            "findings": {name: asdict(found) for name, found in self.findings.items()},
        }


def diagnose(names: Sequence[str] = tuple(PROBES), timeout: float = TIMEOUT) -> Diagnosis:
    """Look at every part of this installation, and try what can be tried.

    It takes some seconds and never raises for what is wrong: that is a finding.

    Args:
        names: of the probes.
        timeout: seconds after which a process of probes is stopped.
    """
    from pyramidflow import __version__

    findings: dict[str, Finding] = {}
    while left := list(names)[len(findings) :]:
        answers, fate = _run(left, timeout)
        findings |= zip(left, answers, strict=False)
        if len(answers) < len(left):  # the probe in hand took the process with it
            findings[left[len(answers)]] = fate
    return Diagnosis(__version__, findings)


def _run(names: Sequence[str], timeout: float) -> tuple[list[Finding], Finding]:
    """Findings of the probes that answered, and what became of the next one."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(sys.path), *names]
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
                fate = Finding("broken", _end(process.returncode, errors))
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
                fate = Finding("broken", f"did not end within {timeout:.0f} s.")
            except BaseException:
                process.kill()
                raise
    except OSError as error:
        return [], broken_by(error)
    return [Finding(**json.loads(line)) for line in output.splitlines()], fate


def _end(code: int, errors: bytes) -> str:
    """How a process ended that did not finish its probes."""
    if code < 0:
        try:
            return f"crashes the process ({signal.Signals(-code).name})."
        except ValueError:
            return f"crashes the process (signal {-code})."
    last = errors.decode(errors="replace").strip().splitlines()[-1:]
    return f"ends the process with exit code {code}: {' '.join(last) or 'no message'}"
