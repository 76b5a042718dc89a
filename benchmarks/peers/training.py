"""Training of one network in a process of its own, for :mod:`benchmarks.peers`.

See :mod:`benchmarks.peers.process` for what it answers. ``run`` is one step of the recipe on a
batch that is in memory, and the errors are those of the first step's loss and gradients.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import pyramidflow
from benchmarks.harness.subjects import images, optimised, randomise, recipe_step
from benchmarks.peers.models import (
    make_detector,
    make_released,
    read_case,
    relative_error,
    released_version,
    resized_means,
)
from benchmarks.peers.process import Peer, Setting, answer_lines
from pyramidflow import PyramidFlow, ops
from pyramidflow.data.preprocessing import network_input
from pyramidflow.model import Architecture
from pyramidflow.model.released import convert_released
from pyramidflow.spec import Preprocessing
from pyramidflow.training import ContrastLoss, Recipe


class Released(NamedTuple):
    """The released network with the loss of its training script."""

    network: Any
    contrast: nn.Module

    def loss(self, batch: Tensor) -> Tensor:
        """Mean of the composed differences' spectrum."""
        differences = self.contrast(self.network(batch))
        composed = self.network.pyramid.compose_pyramid(differences).mean(1)
        mean: Tensor = torch.fft.fft2(composed).abs().mean()
        return mean


def released(setting: Setting, saves_memory: bool) -> Released:
    """The released network, in training mode."""
    network = make_released(setting, saves_memory).train()
    import util  # the checkout's, which the network's module has made importable

    return Released(network, util.BatchDiffLoss(Recipe().batch_size, p=2))


def normalised_batch(setting: Setting) -> Tensor:
    """``[B, 3, H, W]``, float32."""
    pixels = images(Recipe().batch_size, setting.size)
    return network_input(
        [p.numpy() for p in pixels], Preprocessing(setting.size), torch.device("cpu")
    )


def prepare(setting: Setting) -> None:
    """Write the weights and, where there is the released code, its first loss and gradients."""
    torch.manual_seed(0)
    network = make_detector(setting).model
    case: dict[str, Any] = {}
    if setting.released is None:
        randomise(list(network.flow.blocks))
    else:
        theirs = released(setting, saves_memory=True)
        randomise(list(theirs.network.nf.moduleslst))
        batch = normalised_batch(setting)
        with torch.no_grad():
            theirs.network(batch)  # leaves running means of the image's size behind
        case["state"] = {k: v.clone() for k, v in theirs.network.state_dict().items()}
        network = PyramidFlow.from_released(case["state"])
        loss = theirs.loss(batch)
        torch.autograd.backward(loss)
        parameters = theirs.network.named_parameters()
        found = {name: p.grad for name, p in parameters if p.grad is not None}
        _, gradients = convert_released(case["state"] | found)
        trained = {n for n, p in network.named_parameters() if p.requires_grad}
        case["loss"] = loss.detach()
        case["gradients"] = {n: g for n, g in gradients.items() if n in trained}
    case["architecture"] = asdict(network.architecture)
    case["weights"] = network.state_dict()
    torch.save(case, setting.case_file)


def our_network(case: dict[str, Any]) -> PyramidFlow:
    """Ours with the weights that all start from."""
    network = PyramidFlow.from_architecture(Architecture(**case["architecture"]))
    network.load_state_dict(case["weights"])
    return network.train()


def _build_released(setting: Setting, saves_memory: bool) -> Peer:
    theirs = released(setting, saves_memory)
    state = read_case(setting)["state"]
    theirs.network.load_state_dict(resized_means(theirs.network, state))
    batch = normalised_batch(setting)
    version, path = released_version(setting)
    note = "inverts to save memory, its default" if saves_memory else "keeps all for the gradients"
    return Peer(optimised(theirs.network, lambda: theirs.loss(batch)), version, path, note)


def build_released(setting: Setting) -> Peer:
    """The released code as its training script runs it."""
    return _build_released(setting, saves_memory=True)


def build_released_keeping(setting: Setting) -> Peer:
    """The released code with its memory saving switched off."""
    return _build_released(setting, saves_memory=False)


def build_reference(setting: Setting) -> Peer:
    """Ours in plain PyTorch."""
    return _ours(setting, "reference")


def build_default(setting: Setting) -> Peer:
    """Ours as users run it."""
    return _ours(setting, ops.active_backend("cpu"))


def _ours(setting: Setting, backend: str) -> Peer:
    case, batch = read_case(setting), normalised_batch(setting)
    step = recipe_step(our_network(case), batch)

    def run() -> None:
        with ops.use_backend(backend):
            step()

    def errors() -> dict[str, float]:
        if "loss" not in case:
            return {}
        fresh = our_network(case)
        with ops.use_backend(backend):
            loss = ContrastLoss()(fresh, batch)
            torch.autograd.backward(loss)
        found = dict(fresh.named_parameters())
        return {
            "loss": relative_error(loss.detach(), case["loss"]),
            "gradients": max(
                relative_error(found[name].grad, expected)
                for name, expected in case["gradients"].items()
            ),
        }

    return Peer(
        run=run,
        version=f"{pyramidflow.__version__}, backend {backend}",
        path=pyramidflow.__path__[0],
        errors=errors,
    )


BUILDERS: dict[str, Callable[[Setting], Peer]] = {
    "released": build_released,
    "released-keeping": build_released_keeping,
    "reference": build_reference,
    "default": build_default,
}


if __name__ == "__main__":
    answer_lines(BUILDERS, prepare)
