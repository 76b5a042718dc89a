"""What a detector starts from: the seed's network, or one that was trained elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.interest import masks_of
from pyramidflow.errors import InputError, shown
from pyramidflow.model import Codebook, PyramidFlow
from pyramidflow.spec import PLAIN_CONTRAST, Spec


def initial_network(spec: Spec, encoder: nn.Module | None) -> PyramidFlow:
    """The network before a training: its weights follow from the seed.

    Args:
        spec: with architecture and seed.
        encoder: the module, for an encoder of one's own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.recipe.seed)
        return PyramidFlow.from_architecture(spec.network, encoder)


def around(
    network: PyramidFlow,
    template: Sequence[Tensor],
    settings: Mapping[str, Any],
    inverse_spread: Sequence[Tensor] | None,
    codebook: Codebook | None,
) -> Artifact:
    """The artifact of a network that was trained elsewhere.

    Args:
        network: on the device to inspect on; it is put into evaluation mode.
        template: mean latents, levels ``[K, C, h_d, w_d]``, finest first.
        settings: those that the network does not fix.
        inverse_spread: where the settings ask for a ``spread``.
        codebook: where the settings ask for one.

    Raises:
        InputError: as :meth:`pyramidflow.Detector.from_network`.
    """
    if not isinstance(network, PyramidFlow):
        raise InputError(f"the network is a {type(network).__name__}: give a PyramidFlow.")
    if not isinstance(template, Sequence) or not all(isinstance(z, Tensor) for z in template):
        raise InputError(f"the template is {shown(template)}: give a tensor for each level.")
    spread = None if inverse_spread is None else tuple(w.detach() for w in inverse_spread)
    as_given = {**PLAIN_CONTRAST.as_dict(), **settings}
    spec = Spec.of(as_given | network.architecture.as_dict())
    device = next(network.parameters()).device
    artifact = Artifact(
        spec,
        network.eval(),
        tuple(z.detach() for z in template),
        inverse_spread=spread,
        codebook=codebook,
        masks=tuple(mask.to(device) for mask in masks_of(spec.rule, {})),
    )
    artifact.check()
    return artifact
