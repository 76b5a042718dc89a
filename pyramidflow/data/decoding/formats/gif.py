"""GIF, by Pillow."""

from typing import BinaryIO

from PIL import GifImagePlugin

from pyramidflow.data.decoding.common import Decoded, Family, check_pixels, several_pages
from pyramidflow.data.decoding.pillow import decode_image


def _decode_gif(file: BinaryIO, max_pixels: int) -> Decoded:
    with GifImagePlugin.GifImageFile(file) as image:
        check_pixels(image.width, image.height, max_pixels)
        if image.is_animated:
            raise several_pages()
        return decode_image(image, max_pixels)


GIF = Family("GIF", (".gif",), lambda head: head.startswith((b"GIF87a", b"GIF89a")), _decode_gif)
