"""Data sets on disk, image files, and the way from a file to pixels for the network."""

from pyramidflow.data.images import (
    IMAGE_SUFFIXES,
    list_images,
    read_image,
    read_mask,
    to_uint8,
)
from pyramidflow.data.imageset import ImageSet, stack
from pyramidflow.data.layouts import (
    Category,
    Sample,
    check_trainable,
    list_categories,
    open_dataset,
    split_validation,
)
from pyramidflow.data.pixels import Image, Pixels, as_pixels
from pyramidflow.data.preprocessing import network_input, picture_of
from pyramidflow.data.transforms import (
    TEXTURE_CATEGORIES,
    augment_texture,
    resize_image,
    resolve_augmentation,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "TEXTURE_CATEGORIES",
    "Category",
    "Image",
    "ImageSet",
    "Pixels",
    "Sample",
    "as_pixels",
    "augment_texture",
    "check_trainable",
    "list_categories",
    "list_images",
    "network_input",
    "open_dataset",
    "picture_of",
    "read_image",
    "read_mask",
    "resize_image",
    "resolve_augmentation",
    "split_validation",
    "stack",
    "to_uint8",
]
