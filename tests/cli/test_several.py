"""Commands that torchrun runs in several processes: one of them speaks."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from pyramidflow import Detector
from pyramidflow.cli import together, train
from pyramidflow.errors import InputError
from pyramidflow.training.parallel import OneProcess
from tests.support.tiny import TINY


class Process(OneProcess):
    """One of two, that is told what the first one found."""

    def __init__(self, rank, answer="", is_first=True):
        self.rank, self.world = rank, 2
        self.answer, self.is_first = answer, is_first

    def told(self, find):
        if self.rank == 0:
            self.answer = find()
        return self.answer

    def fails_first(self):
        return self.is_first


def test_all_train_with_the_settings_that_the_first_one_chose(monkeypatch):
    given = Detector(16, device="cpu", **TINY)
    area = "polygon:0.1,0.1;0.9,0.1;0.5,0.9"
    chosen = given.changed(templates=3, region_of_interest=(area,), image_size=(32, 16))
    monkeypatch.setattr("pyramidflow.tuning.tune", lambda detector, data, **how: chosen)
    how = ((), Path("results"), False, {})
    first = Process(0)
    assert train._tuned(given, None, first, *how) is chosen
    other = train._tuned(given, None, Process(1, first.answer), *how)
    assert other.spec == chosen.spec != given.spec


@pytest.fixture
def process(monkeypatch):
    """Make this process one of two."""

    def become(rank, is_first=True):
        @contextmanager
        def processes(device):
            yield Process(rank, is_first=is_first)

        monkeypatch.setattr("pyramidflow.training.torchrun.processes", processes)

    return become


@pytest.mark.parametrize(("rank", "said"), [(0, ("result\n", "progress\n")), (1, ("", ""))])
def test_the_first_process_alone_prints(process, capsys, rank, said):
    process(rank)
    with together.together("cpu") as (parallel, device):
        assert (parallel.rank, device) == (rank, "cpu")
        typer.echo("result")
        typer.echo("progress", err=True)
    assert capsys.readouterr() == said


@pytest.mark.parametrize("rank", [0, 1])
def test_who_fails_first_says_why_and_the_others_end(process, rank):
    process(rank)
    with pytest.raises(InputError, match="no picture"), together.together("cpu"):
        raise InputError("part.png is no picture: give one.")
    process(rank, is_first=False)
    with pytest.raises(typer.Exit) as caught, together.together("cpu"):
        raise InputError("another process has ended: see what it said.")
    assert caught.value.exit_code == 2


def test_of_an_interruption_the_first_process_tells(process):
    process(0)
    with pytest.raises(KeyboardInterrupt), together.together("cpu"):
        raise KeyboardInterrupt
    for rank, is_first in ((1, True), (0, False)):
        process(rank, is_first)
        with pytest.raises(typer.Exit) as caught, together.together("cpu"):
            raise KeyboardInterrupt
        assert caught.value.exit_code == 130
