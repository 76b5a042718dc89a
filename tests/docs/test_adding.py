"""The examples of ``docs/adding.md``, put where they say and found there."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch

from pyramidflow import PyramidFlow
from pyramidflow.data import dataset, open_dataset
from pyramidflow.line import registry
from pyramidflow.line.sinks.sink import Entry
from pyramidflow.model import encoders
from tests.support.tiny import write_image

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding.md"
EXAMPLES = {
    Path(file): text
    for file, text in re.findall(
        r"^```python\n# (\S+\.py)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
}


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """Put an example beside the files of its package, and give its module."""

    def place(name):
        [file] = [file for file in EXAMPLES if file.stem == name]
        package = import_module(".".join(file.parent.parts))
        (tmp_path / file.name).write_text(EXAMPLES[file])
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        return import_module(f"{package.__name__}.{name}")

    found = (
        encoders.all_encoders,
        dataset.layouts,
        registry.source_kinds,
        registry.sink_kinds,
    )
    for function in found:
        function.cache_clear()
    yield place
    monkeypatch.undo()
    for function in found:
        function.cache_clear()


def test_an_encoder_is_found(placed):
    placed("stem")
    network = PyramidFlow(encoder="stem", levels=2, stacks=1, kernel_size=3).eval()
    assert [tuple(z.shape) for z in network(torch.zeros(1, 3, 32, 32))] == [
        (1, 8, 16, 16),
        (1, 8, 8, 8),
    ]


def test_a_layout_is_found(placed, tmp_path):
    placed("prefixed")
    rng = np.random.default_rng(0)
    for name in ("ok_1", "ok_2", "ng_1"):
        write_image(tmp_path / "parts" / f"{name}.png", rng)
    found = open_dataset(tmp_path / "parts")
    assert found.layout == "prefixed"
    assert [path.name for path in found.train] == ["ok_1.png", "ok_2.png"]
    assert [sample.path.name for sample in found.test] == ["ng_1.png"]


def test_a_source_gives_frames(placed):
    module = placed("listed")
    assert registry.source_kinds()["listed"] is module.ListedSource
    settings = module.ListedSettings(files=("a.png", "b.png"))
    source = module.ListedSource(settings, "one", recorded=None)
    assert [frame.identity for frame in source.frames(Event())] == ["a.png", "b.png"]


def test_a_sink_takes_records(placed, tmp_path):
    module = placed("lamp")
    assert registry.sink_kinds()["lamp"] is module.LampSink
    sink = module.LampSink(module.LampSettings(file=tmp_path / "lamp"))
    sink.deliver([Entry({"verdict": "ok"}), Entry({"verdict": "ng"})])
    assert (tmp_path / "lamp").read_text() == "ng"


OPERATION = """
import pyramidflow.ops, sys
pyramidflow.ops.__path__.append(sys.argv[1])
import torch
from pyramidflow.ops import dispatch
from pyramidflow.ops.mirror import mirror
x = torch.arange(6.0).reshape(1, 1, 2, 3).requires_grad_()
y = mirror(x)
assert torch.equal(y, x.detach().flip(-1))
(y * torch.arange(6.0).reshape(1, 1, 2, 3)).sum().backward()
assert torch.equal(x.grad, torch.arange(6.0).reshape(1, 1, 2, 3).flip(-1))
assert dispatch.left_out(dispatch.load("cpu"))["mirror"] == "the reference"
torch.library.opcheck(torch.ops.pyramidflow.mirror.default, (x,))
"""


def test_an_operation_works_everywhere(tmp_path):
    # In a process of its own: a registration lasts as long as its process.
    files = [file for file in EXAMPLES if file.parent.name == "mirror"]
    for file in files:
        (tmp_path / "mirror").mkdir(exist_ok=True)
        (tmp_path / "mirror" / file.name).write_text(EXAMPLES[file])
    assert len(files) == 2
    command = [sys.executable, "-c", OPERATION, str(tmp_path)]
    done = subprocess.run(command, cwd=PAGE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_example_is_tried():
    tried = {"stem", "prefixed", "listed", "lamp", "__init__", "reference"}
    assert {file.stem for file in EXAMPLES} == tried
