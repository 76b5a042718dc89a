"""AE-SSIM: an autoencoder that sees structure, compared with its input by structural similarity.

Source: Bergmann, Löwe, Fauser, Sattlegger and Steger, "Improving Unsupervised Defect Segmentation
by Applying Structural Similarity to Autoencoders", 2018: table 1 for the network, section 3 for
loss and residual map, section 4 for the training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pyramidflow.data import ImageSet, Pixels, Reading, resize_image, stack
from pyramidflow.detector.findings import Map
from pyramidflow.errors import InputError
from pyramidflow.evaluation.comparison.ssim import ssim_map

LATENT = 100
"""Numbers that an image is squeezed into."""

LEARNING_RATE = 2e-4
WEIGHT_DECAY = 1e-5
EPOCHS = 200

BATCH = 8
"""The paper trains on 128 of ten thousand patches; of whole images there are a few hundred."""

_SMALLEST = 16
_LAYERS = ((4, 2, 32), (4, 2, 32), (3, 1, 32), (4, 2, 64), (3, 1, 64), (4, 2, 128), (3, 1, 64))
"""Kernel, stride and channels of the encoder's layers before the last two."""


class Autoencoder(nn.Module):
    """Table 1 of the paper; the decoder is its mirror. Leaky ReLU, slope 0.2, but for both ends.

    Args:
        size: height and width, multiples of 16; 128 is the paper's.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        smallest = (size[0] // _SMALLEST, size[1] // _SMALLEST)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        inputs = 3
        for kernel, stride, channels in (*_LAYERS, (3, 1, 32)):
            down += [nn.Conv2d(inputs, channels, kernel, stride, 1), nn.LeakyReLU(0.2)]
            up = [nn.ConvTranspose2d(channels, inputs, kernel, stride, 1), nn.LeakyReLU(0.2), *up]
            inputs = channels
        self.encoder = nn.Sequential(*down, nn.Conv2d(inputs, LATENT, smallest))
        first = (nn.ConvTranspose2d(LATENT, inputs, smallest), nn.LeakyReLU(0.2))
        self.decoder = nn.Sequential(*first, *up[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, 3, H, W]``."""
        rebuilt: Tensor = self.decoder(self.encoder(image))
        return rebuilt


class AeSsim:
    """Whole images are rebuilt, not patches; every good image is trained on, none is augmented.

    Loss: ``1 − mean SSIM(x, x̂)``. Map: ``1 − SSIM(x, x̂)``, the mean over the colours.

    Args:
        reading: of the images; height and width multiples of 16.
        seed: of the first weights and of the order.
        device: to compute on.
        epochs: passes over the images.
        say: takes a line of progress.

    Raises:
        InputError: a side of the images is no multiple of 16.
    """

    name = "AE-SSIM"

    def __init__(
        self,
        reading: Reading,
        seed: int,
        device: torch.device,
        epochs: int = EPOCHS,
        say: Callable[[str], object] = lambda line: None,
    ) -> None:
        if any(side % _SMALLEST for side in reading.size):
            raise InputError(
                f"AE-SSIM is given images of {reading.size[0]}×{reading.size[1]}: it halves them "
                f"four times; give multiples of {_SMALLEST}."
            )
        self.settings = (
            f"{reading.size[0]}×{reading.size[1]}, {epochs} epochs of batches of {BATCH}"
        )
        self._reading, self._seed, self._device = reading, seed, device
        self._epochs, self._say = epochs, say
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = Autoencoder(reading.size)
        self._network.to(device)

    def fit(self, images: Sequence[Path]) -> None:
        """See :meth:`Method.fit`."""
        known = self._reading.images(images)
        optimizer = torch.optim.Adam(
            self._network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        self._network.train()
        for epoch in range(self._epochs):
            loss = self._epoch(known, epoch, optimizer)
            if (epoch + 1) % max(1, self._epochs // 10) == 0:
                self._say(f"{self.name}: epoch {epoch + 1}/{self._epochs}, loss {loss:.4f}")
        self._network.eval()

    def _epoch(self, images: ImageSet, epoch: int, optimizer: torch.optim.Optimizer) -> float:
        order = np.random.default_rng((self._seed, epoch)).permutation(len(images)).tolist()
        losses = []
        for batch in images.in_turn(order[i : i + BATCH] for i in range(0, len(order), BATCH)):
            x = self._input(batch)
            loss = 1 - ssim_map(x, self._network(x)).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """See :meth:`Method.maps`."""
        for image in images:
            x = self._input([resize_image(image, self._reading.size)])
            residual = 1 - ssim_map(x, self._network(x)).mean(1)  # [1, h, w]
            found: Map = residual[0].clamp_min(0).cpu().numpy()
            yield found

    def _input(self, images: Sequence[npt.NDArray[np.generic]]) -> Tensor:
        pixels = stack(images)  # [B, h, w, 3]
        white = torch.iinfo(pixels.dtype).max
        return pixels.permute(0, 3, 1, 2).to(self._device, torch.float32) / white
