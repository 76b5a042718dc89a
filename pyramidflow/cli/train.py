"""``pyramidflow train``."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pyramidflow.cli.options import Device


class Encoder(str, Enum):
    """Choices of ``--encoder``."""

    none = "none"
    resnet18 = "resnet18"
    resnet34 = "resnet34"


class VolumeNorm(str, Enum):
    """Choices of ``--volume-norm``."""

    cvn = "cvn"
    svn = "svn"


class Augment(str, Enum):
    """Choices of ``--augment``."""

    texture = "texture"
    none = "none"


class Ablation(str, Enum):
    """Choices of ``--without``."""

    volume_norm = "volume-norm"
    template = "template"
    pyramid_difference = "pyramid-difference"
    fourier_loss = "fourier-loss"


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of good images, or a data set in MVTec AD, BTAD or VisA layout.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", help="Detector file to write (.safetensors).", show_default=False),
    ],
    category: Annotated[
        str | None, typer.Option(help="Category, where the data set has several.")
    ] = None,
    encoder: Annotated[
        Encoder, typer.Option(help="none is the baseline; a ResNet brings ImageNet features.")
    ] = Encoder.none,
    encoder_weights: Annotated[
        Path | None,
        typer.Option(help="File with the ResNet's weights, where they cannot be downloaded."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the square that images are resized to, in pixels.",
            show_default="256, 1024 with a ResNet",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(help="Channels of the feature map.", show_default="16, 64 with a ResNet"),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option(
            help="Levels of the pyramid.",
            show_default="4; as published for MVTec AD's metal_nut, carpet, transistor, screw",
        ),
    ] = None,
    stacks: Annotated[int, typer.Option(help="Stacks of coupling blocks.")] = 4,
    kernel_size: Annotated[int, typer.Option(help="Kernel of the coupling convolutions.")] = 7,
    volume_norm: Annotated[
        VolumeNorm | None,
        typer.Option(
            help="Mean over channels (cvn, for aligned parts) or over pixels (svn, for parts that "
            "move).",
            show_default="cvn; svn for MVTec AD's carpet, grid, bottle, transistor",
        ),
    ] = None,
    augment: Annotated[
        Augment,
        typer.Option(help="texture flips and turns images, for parts without an upright side."),
    ] = Augment.none,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 15,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 2,
    validation_share: Annotated[
        float,
        typer.Option(
            help="Share of the good images that is held out to watch the training and to set the "
            "threshold."
        ),
    ] = 0.1,
    region_of_interest: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            help="Left, top, right, bottom as fractions of the image; defects outside are ignored.",
            show_default="the whole image",
        ),
    ] = None,
    without: Annotated[
        list[Ablation] | None,
        typer.Option(help="Ablation: leave a part of the method out. May be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, held-out share and data order.")] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Use only operations that repeat to the bit.")
    ] = False,
    device: Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside the output.")
    ] = False,
) -> None:
    """Train a detector from good images, and calibrate it on a held-out share of them.

    A checkpoint is written beside the output after each epoch and on Ctrl-C; --resume goes on from
    it, with more --epochs if wanted. Test images are never looked at.
    """
    from pyramidflow.cli.summary import print_training
    from pyramidflow.data import open_dataset
    from pyramidflow.detector import Detector
    from pyramidflow.errors import InputError
    from pyramidflow.io.files import exclusive
    from pyramidflow.training import published_settings

    if output.suffix != ".safetensors":
        raise InputError(f"the output is {output}: name a .safetensors file.")
    dataset = open_dataset(data, category)
    published = published_settings(dataset.name)
    detector = Detector(
        image_size,
        channels=channels,
        levels=levels or published.levels,
        stacks=stacks,
        kernel_size=kernel_size,
        volume_norm=volume_norm.value if volume_norm else published.volume_norm,
        encoder=encoder.value,
        encoder_weights=encoder_weights,
        without=tuple(ablation.value for ablation in without or ()),
        region_of_interest=region_of_interest,
        seed=seed,
        device=device,
    )
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    with exclusive(output):
        detector.fit(
            dataset,
            epochs=epochs,
            batch_size=batch_size,
            augment=augment.value,
            validation_share=validation_share,
            deterministic=deterministic,
            checkpoint=checkpoint,
            resume=resume,
        )
        detector.save(output)
    print_training(detector, output, checkpoint)
