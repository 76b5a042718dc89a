import re
import shutil
import subprocess
import sys
from pathlib import PurePosixPath

import pytest
import yaml

from pyramidflow.line.configuration import read_configuration
from tests.support.places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


def test_the_compose_file_and_the_configuration_fit_together():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    settings = read_configuration(FOLDER / "line.toml")
    line = compose["services"]["line"]
    mounted = {}
    for volume in line["volumes"]:
        source, target, *options = volume.split(":")
        mounted[PurePosixPath(target)] = "ro" in options
        is_own = source.startswith("./")
        assert is_own or source in compose["volumes"]
        if is_own and source not in ("./incoming", "./part.safetensors"):  # the user's
            assert (FOLDER / source).is_file()
    assert PurePosixPath(line["command"][1]) in mounted
    detector = PurePosixPath("/etc/line") / settings.stations[0].detector.name
    assert detector in mounted
    written = [settings.store, settings.stations[0].source.path]
    written += [settings.stations[0].source.archive, settings.sinks[2].folder]
    for path in map(PurePosixPath, written):
        place = next(place for place in mounted if place == path or place in path.parents)
        assert not mounted[place], f"{path} lies in a volume that cannot be written"
    assert settings.sinks[0].url_env in line["environment"]
    assert line["environment"]["HISTORY_URL"].split("@")[1].split("/")[0] in compose["services"]
    assert settings.sinks[1].host in compose["services"]
    assert float(line["stop_grace_period"].rstrip("s")) > settings.stop_seconds + 10
    assert (
        ROOT / "examples" / "line" / line["build"]["context"] / line["build"]["dockerfile"]
    ).is_file()


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_dockerfile_installs_what_is_there(name):
    text = (FOLDER / f"{name}.Dockerfile").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [extras] = re.findall(r"pyramidflow-\*\.whl\)\[([\w,]+)\]", text)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    [command] = re.findall(r'ENTRYPOINT \["(\w+)"\]', text)
    assert command in project["scripts"]
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.M)
    assert re.findall(r"--from=(\w+)", text) == stages
    [made], [used] = re.findall(r"--uid (\d+)", text), re.findall(r"^USER (\d+)$", text, re.M)
    assert made == used
    assert made in (FOLDER / "compose.yaml").read_text()
    home = PurePosixPath(re.findall(r"--home-dir (\S+)", text)[0])
    assert re.findall(r"^(?:WORKDIR|VOLUME) (\S+)$", text, re.M)[-2:] == [str(home)] * 2
