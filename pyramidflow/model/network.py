"""The whole network: image → encoder → pyramid → flow → latents, and back."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pyramidflow import ops
from pyramidflow.errors import InputError
from pyramidflow.model.architecture import Architecture
from pyramidflow.model.comparison import Comparison
from pyramidflow.model.coupling import Pyramid
from pyramidflow.model.encoder import Stages
from pyramidflow.model.encoders import encoder_of, settings_of_encoder
from pyramidflow.model.flow import Flow
from pyramidflow.model.frozen import CustomEncoder, FrozenEncoder
from pyramidflow.model.pyramid import InvertiblePyramid
from pyramidflow.model.state import TensorKind

FlowMap = Callable[[Pyramid], tuple[Pyramid, Tensor]]
"""From a pyramid to its latents and their log-determinant ``[B]``."""


class PyramidFlow(nn.Module):
    """Volume-preserving normalizing flow on the Laplacian pyramid of an image.

    ``I → encoder → x → decompose → x_0 … x_{L-1} → flow → z_0 … z_{L-1}``; the anomaly map is the
    composed contrast of the latents with a template, in the feature map's full resolution.

    Args:
        channels: ``C``; 16 by default, with an encoder as many as it gives.
        levels: ``L`` of the pyramid.
        stacks: ``D`` of the flow.
        kernel_size: odd ``k`` of the coupling convolutions.
        volume_norm: ``"cvn"``, ``"svn"``, or ``"none"`` (ablation I).
        encoder: name of one of :mod:`pyramidflow.model.encoders` (``"lift"`` is the image itself),
            with random weights, or a module that maps ``[B, 3, H, W]`` to ``[B, C, h, w]``.
        statistics: ``"sample"`` (Algorithm 2) or ``"batch"`` means (the released code).
        reduction: ``"nearest"`` (the supplement) or ``"max"`` (the released code).
        pyramid_difference: ``False`` composes before the contrast (ablation III).
        encoder_stages: that give the feature map; empty takes the encoder's own choice.

    Raises:
        InputError: an argument is out of range.

    Source: Lei et al., CVPR 2023, figure 3, with the supplement's section 1.
    """

    def __init__(
        self,
        channels: int | None = None,
        levels: int = 4,
        stacks: int = 4,
        kernel_size: int = 7,
        volume_norm: ops.VolumeNormKind = "cvn",
        encoder: str | nn.Module = "lift",
        statistics: ops.Statistics = "sample",
        reduction: ops.Reduction = "max",
        pyramid_difference: bool = True,
        encoder_stages: Stages = (),
    ) -> None:
        super().__init__()
        name = "custom" if isinstance(encoder, nn.Module) else encoder
        if channels is None:
            following = settings_of_encoder(name, encoder_stages)
            channels = following.get("channels", Architecture.channels)
        self.architecture = Architecture(
            encoder=name,
            encoder_stages=encoder_stages,
            channels=channels,
            levels=levels,
            stacks=stacks,
            kernel_size=kernel_size,
            volume_norm=volume_norm,
            statistics=statistics,
            reduction=reduction,
            pyramid_difference=pyramid_difference,
        )
        self.encoder: FrozenEncoder
        if isinstance(encoder, nn.Module):
            self.encoder = CustomEncoder(encoder)
        else:
            stages = self.architecture.encoder_stages
            self.encoder = encoder_of(encoder).build(channels, stages)
        self.pyramid = InvertiblePyramid(levels, reduction)
        self.flow = Flow(levels, stacks, channels, kernel_size, volume_norm, statistics)

    @classmethod
    def from_architecture(
        cls, architecture: Architecture, encoder: nn.Module | None = None
    ) -> "PyramidFlow":
        """Build a network from a stored architecture.

        Args:
            architecture: as stored.
            encoder: the module, where the architecture's encoder is ``"custom"``.

        Raises:
            InputError: a custom encoder is needed and not given, or given and not needed.
        """
        if (architecture.encoder == "custom") != (encoder is not None):
            raise InputError(
                "this model was made with an encoder of its own: pass that module as encoder=…."
                if encoder is None
                else f"this model brings its encoder ({architecture.encoder}): leave encoder out."
            )
        arguments = architecture.as_dict()
        if encoder is not None:
            arguments["encoder"] = encoder
        return cls(**arguments)

    @classmethod
    def from_released(cls, state_dict: Mapping[str, Tensor]) -> "PyramidFlow":
        """Read weights of the authors' released code.

        The configuration is inferred from the shapes; the network uses what that code does: batch
        statistics in volume normalisation and the max reduction in the pyramid.

        Args:
            state_dict: tensors (or arrays) by the released code's names, ``nf.moduleslst.…`` and
                ``inconv.…``.

        Returns:
            The network, in evaluation mode.

        Raises:
            InputError: a name is missing or unknown, or the shapes fit no configuration.
        """
        from pyramidflow.model.released import convert_released

        architecture, converted = convert_released(state_dict)
        model = cls.from_architecture(architecture)
        try:
            model.load_state_dict(converted)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise InputError(
                f"the released weights are incomplete or misshapen ({reason}): give the "
                "state dictionary of the released PyramidFlow."
            ) from error
        return model.eval()

    def state_kinds(self, size: tuple[int, int]) -> dict[str, TensorKind]:
        """Shapes and types that the tensors of ``state_dict()`` have once the network is trained.

        Args:
            size: ``(h, w)`` of the finest level.
        """
        encoder, flow = self.encoder.state_kinds(), self.flow.state_kinds(size)
        kinds = {f"encoder.{name}": kind for name, kind in encoder.items()}
        return kinds | {f"flow.{name}": kind for name, kind in flow.items()}

    def level_size(self, image: Tensor) -> tuple[int, int]:
        """``(h, w)`` of the finest level of an image ``[B, 3, H, W]``, padding included."""
        return self.pyramid.padded_size(self.features(image).shape[-2:])

    def feature_size(self, height: int, width: int) -> tuple[int, int]:
        """``(h, w)`` of the feature map of an image, in pixels."""
        stride = self.architecture.stride
        if stride is not None:
            return -(-height // stride), -(-width // stride)
        device = next(self.parameters()).device
        with torch.inference_mode():
            features = self.features(torch.zeros(1, 3, height, width, device=device))
        return features.shape[-2], features.shape[-1]

    def latent_shapes(
        self, batch: int, features: tuple[int, int]
    ) -> list[tuple[int, int, int, int]]:
        """``(B, C, h_d, w_d)`` of each level of the latents of feature maps of a size."""
        channels, (height, width) = self.architecture.channels, self.pyramid.padded_size(features)
        levels = range(self.architecture.levels)
        return [(batch, channels, height >> d, width >> d) for d in levels]

    def features(self, image: Tensor) -> Tensor:
        """Encode an image, without gradients.

        Args:
            image: normalised, ``[B, 3, H, W]``.

        Returns:
            ``[B, C, h, w]``.

        Raises:
            InputError: the image or the encoder's feature map has another shape.
        """
        if image.dim() != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise InputError(
                f"the image has shape {list(image.shape)} and type {image.dtype}: "
                "give a floating [B, 3, H, W] tensor, see pyramidflow.ops.normalize_image."
            )
        with torch.no_grad():
            features: Tensor = self.encoder(image)
        if features.dim() != 4 or features.shape[1] != self.architecture.channels:
            raise InputError(
                f"the encoder returned shape {list(features.shape)}: [B, "
                f"{self.architecture.channels}, h, w] was announced by channels=…."
            )
        return features

    def decompose(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode an image and split its feature map into the pyramid that enters the flow.

        Args:
            image: normalised, ``[B, 3, H, W]``.

        Returns:
            Levels ``[B, C, h/2^d, w/2^d]``, finest first; padded where ``2^(L-1)`` does not divide.
        """
        return self.pyramid.decompose(self.features(image))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Latent pyramid of an image.

        Args:
            image: normalised, ``[B, 3, H, W]``.

        Returns:
            Latents ``z_d [B, C, h/2^d, w/2^d]``, finest first; padded where ``2^(L-1)`` does not
            divide ``h`` and ``w``.

        Raises:
            InputError: the image has another shape or type.
        """
        return self._latents(self.decompose(image))

    def forward_with_log_det(
        self, image: Tensor, flow: FlowMap | None = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Latent pyramid and the log-determinant of the map from image to latents.

        The sum of the blocks' log-determinants over the (padded) pyramid, plus the lift's constant
        ``½ logdet WᵀW`` per pixel. Encoders that are not invertible count as part of the data: the
        log-determinant then is the flow's alone.

        Args:
            image: normalised, ``[B, 3, H, W]``.
            flow: computes what the network's own flow does, but keeps something else for the
                gradients.

        Returns:
            Latents as :meth:`forward`, and ``[B]``.
        """
        latents, log_det = (flow or self.flow.forward_with_log_det)(self.decompose(image))
        of_encoder = self.encoder.log_det(image)
        if of_encoder is not None:
            log_det = log_det + of_encoder
        return latents, log_det

    def inverse(self, latents: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Feature map of a latent pyramid: the inverse of flow and decomposition.

        Args:
            latents: levels ``[B, C, h_d, w_d]``, finest first.
            size: ``(h, w)`` to crop padding away; ``None`` keeps it.

        Returns:
            ``[B, C, h, w]``.
        """
        return _crop(self.pyramid.compose(self.flow.inverse(tuple(latents))), size)

    def anomaly_map(self, image: Tensor, comparison: Comparison) -> Tensor:
        """Anomaly map of an image in the resolution of its feature map.

        Args:
            image: normalised, ``[B, 3, H, W]``.
            comparison: with what is normal.

        Returns:
            ``[B, h, w]``, padding cropped away.
        """
        features = self.features(image)
        latents = self._latents(self.pyramid.decompose(features))
        return _crop(comparison.map_of(latents), features.shape[-2:])

    def image_template(
        self, template: Sequence[Tensor], size: tuple[int, int] | None = None
    ) -> Tensor:
        """Picture of the normal part: the image whose latents are the template.

        The flow is inverted at ``z̄``, the pyramid composed, and ``W I = x`` solved by least
        squares.

        Args:
            template: mean latents, levels ``[1, C, h_d, w_d]``, finest first.
            size: ``(h, w)`` to crop padding away; ``None`` keeps it.

        Returns:
            ``[1, 3, h, w]``, still normalised.

        Raises:
            InputError: the encoder has no inverse: only the lift has one.

        Source: paper section 3.4 (image template).
        """
        with torch.no_grad():
            image = self.encoder.inverse(self.inverse(template, size))
        if image is None:
            raise InputError(
                f"the encoder {self.architecture.encoder} has no inverse, so this model has no "
                "image template: train with encoder lift to get one."
            )
        return image

    def _latents(self, pyramid: Pyramid) -> Pyramid:
        latents: Pyramid = self.flow(pyramid)
        return latents


def _crop(x: Tensor, size: Sequence[int] | None) -> Tensor:
    return x if size is None else x[..., : size[0], : size[1]]
