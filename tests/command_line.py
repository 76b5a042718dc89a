"""The command line as tests call it."""

import signal
import subprocess
import sys


def assert_one_sentence(code, err, *words):
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    for word in words:
        assert str(word) in err


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pyramidflow", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
