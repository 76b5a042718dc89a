"""What a detector starts from: the seed's network, or one that was trained elsewhere."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.counted_area import masks_of
from pyramidflow.errors import InputError, shown
from pyramidflow.model import Codebook, PyramidFlow
from pyramidflow.model.encoders import encoder_of
from pyramidflow.model.frozen import CustomEncoder
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


def drawn_anew(network: PyramidFlow, spec: Spec) -> PyramidFlow:
    """A network before a training by another spec; weights that no seed draws stay the encoder's.

    Args:
        network: with the encoder.
        spec: with the same encoder.
    """
    encoder = network.encoder
    module = copy.deepcopy(encoder.module) if isinstance(encoder, CustomEncoder) else None
    drawn = initial_network(spec, module)
    if not encoder_of(spec.network.encoder).is_drawn:
        drawn.encoder.load_state_dict(encoder.state_dict())
    return drawn.eval().to(next(network.parameters()).device)


def network_to_train(artifact: Artifact, spec: Spec) -> PyramidFlow:
    """What a training by a spec begins with: a trained network is trained further.

    Args:
        artifact: a detector's; where it is not trained, the spec's seed draws the network.
        spec: of the training.

    Raises:
        InputError: the network is trained, and the spec's has another shape.
    """
    before = artifact.spec
    if not artifact.template:
        is_same = (spec.network, spec.recipe.seed) == (before.network, before.recipe.seed)
        return artifact.network if is_same else drawn_anew(artifact.network, spec)
    if spec.network != before.network:
        raise InputError(
            f"without is {', '.join(spec.recipe.without) or 'empty'}: the detector is trained, and "
            "its network has another shape; give without to Detector(…), and train that."
        )
    return artifact.network


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
