import shutil
import subprocess
import sys

import pytest

from pyramidflow.line.configuration import read_configuration
from tests.support.places import ROOT

FOLDER = ROOT / "examples" / "line"


def test_the_configuration_of_the_example_is_in_order():
    settings = read_configuration(FOLDER / "line.toml")
    assert [sink.kind for sink in settings.sinks] == ["database", "mqtt", "pictures"]
    assert settings.limits.history_days == 90


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "pyramidflow.service"
    text = (FOLDER / "pyramidflow.service").read_text()
    unit.write_text(text.replace("/opt/pyramidflow/bin/pyramidflow", sys.executable))
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
