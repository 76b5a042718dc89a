"""Any network of the package timm that gives feature maps, as ``timm:NAME``.

Stages are numbered as timm numbers them, from 0. The network is timm's own code, so the package is
needed to load a detector too; the weights are in its file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyramidflow.errors import InputError
from pyramidflow.model.encoder import Encoder, Stages, stages_text

if TYPE_CHECKING:
    from torch import Tensor

    from pyramidflow.model.frozen import FrozenEncoder

PREFIX = "timm:"

NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
"""A model and its tag; no address of a hub or a folder, which timm would take too."""


@dataclass(frozen=True)
class TimmEncoder(Encoder):
    """A network of timm; features are standardised."""

    def named(self, name: str) -> Encoder | None:
        """See :meth:`Encoder.named`."""
        is_mine = name.startswith(PREFIX) and NAME.fullmatch(name.removeprefix(PREFIX))
        return replace(self, name=name) if is_mine else None

    def settings(self, stages: Stages) -> dict[str, Any]:
        """See :meth:`Encoder.settings`; the network says its channels and its normalisation."""
        network = _described(self.name, stages)
        return {
            **super().settings(stages),
            "channels": sum(network.feature_info.channels()),
            "mean": network.pretrained_cfg["mean"],
            "std": network.pretrained_cfg["std"],
        }

    def build(self, channels: int, stages: Stages) -> "FrozenEncoder":
        """See :meth:`Encoder.build`."""
        from pyramidflow.model.encoders.timm_network.joined import JoinedFeatures
        from pyramidflow.model.frozen import CustomEncoder, Standardised

        network = _network(self.name, stages)
        if network.pretrained_cfg["fixed_input_size"]:
            raise InputError(
                f"the encoder {self.name} works at one image size alone: choose a network that "
                "takes any, such as timm:resnet18."
            )
        own = sum(network.feature_info.channels())
        if channels != own:
            raise InputError(
                f"channels is {channels}, but {self.name} gives {own}: leave channels out or give "
                f"{own}."
            )
        return Standardised(CustomEncoder(JoinedFeatures(network)), channels)

    def load_weights(self, encoder: "FrozenEncoder", file: Path | None) -> None:
        """See :meth:`Encoder.load_weights`; without a file timm downloads them."""
        from pyramidflow.model.encoder_weights import read_state
        from pyramidflow.model.encoders.timm_network.joined import JoinedFeatures
        from pyramidflow.model.frozen import CustomEncoder, inner

        module = inner(encoder)
        assert isinstance(module, CustomEncoder)
        assert isinstance(module.module, JoinedFeatures)
        network: Any = module.module.network
        stages = tuple(network.feature_info.out_indices)
        if file is None:
            trained = self._downloaded(stages)
        else:
            state = read_state(file)
            self._check(state, file)
            trained = _network(
                self.name, stages, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
            )
        network.load_state_dict(trained.state_dict())

    def _downloaded(self, stages: Stages) -> Any:
        try:
            return _network(self.name, stages, pretrained=True)
        except InputError:
            raise
        except Exception as error:  # of whatever the hub's client and the network may raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"the weights of {self.name} could not be downloaded ({reason}): fetch them on a "
                "machine with a network and give the file with --encoder-weights."
            ) from error

    def _check(self, state: "Mapping[str, Tensor]", file: Path) -> None:
        """Refuse weights that timm would leave out without a word."""
        import torch

        with torch.device("meta"):
            whole = _timm().create_model(self.name.removeprefix(PREFIX))
        classifiers = whole.pretrained_cfg.get("classifier") or ()
        heads = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
        for key, value in whole.state_dict().items():
            if key.startswith(heads) or key.endswith("num_batches_tracked"):
                continue
            if key not in state or state[key].shape != value.shape:
                found = "is missing" if key not in state else "has another shape"
                raise InputError(
                    f"{file} does not hold the weights of {self.name} ({key} {found}): give the "
                    "state dictionary of timm's network."
                )


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise InputError(
            "the encoders timm:NAME need the package timm, which is not installed: run pip "
            "install 'pyramidflow[timm]'."
        ) from error
    return timm


def _network(name: str, stages: Stages, **weights: Any) -> Any:
    """The network that returns the feature maps of some stages.

    Raises:
        InputError: timm is missing, or has no such network, or the network no such stages.
    """
    timm, model = _timm(), name.removeprefix(PREFIX)
    try:
        return timm.create_model(model, features_only=True, out_indices=stages, **weights)
    except (IndexError, AssertionError, AttributeError, ValueError) as error:
        raise InputError(
            f"encoder_stages is {stages_text(stages)}: timm gives no such feature maps of "
            f"{model}; choose other stages, counted from 0, or another network."
        ) from error
    except RuntimeError as error:
        if "Unknown model" not in str(error) and "Invalid pretrained tag" not in str(error):
            raise
        raise InputError(
            f"encoder is {name!r}: timm {timm.__version__} has no such network; see "
            "timm.list_models()."
        ) from error


@lru_cache
def _described(name: str, stages: Stages) -> Any:
    """The network without memory for weights."""
    import torch

    with torch.device("meta"):
        return _network(name, stages)


ENCODERS = (TimmEncoder("timm:NAME", image_size=512, default_stages=(1,)),)
