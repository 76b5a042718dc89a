"""Data sets on disk, image files, and the way from a file to pixels for the network."""

from pyramidflow.data.decoding import IMAGE_SUFFIXES, Decoding
from pyramidflow.data.images import Image, Pixels, as_pixels, read_image, to_uint8
from pyramidflow.data.imageset import CACHE_BYTES, ImageSet, check_readable, stack
from pyramidflow.data.layouts import Category, Sample, list_categories, open_dataset
from pyramidflow.data.listing import LeftOut, Listing, find_images, list_images
from pyramidflow.data.masks import read_mask
from pyramidflow.data.preprocessing import Preprocessing
from pyramidflow.data.split import check_trainable, split_validation
from pyramidflow.data.transforms import (
    TEXTURE_CATEGORIES,
    augment_texture,
    resize_image,
    resolve_augmentation,
)

__all__ = [
    "CACHE_BYTES",
    "IMAGE_SUFFIXES",
    "TEXTURE_CATEGORIES",
    "Category",
    "Decoding",
    "Image",
    "ImageSet",
    "LeftOut",
    "Listing",
    "Pixels",
    "Preprocessing",
    "Sample",
    "as_pixels",
    "augment_texture",
    "check_readable",
    "check_trainable",
    "find_images",
    "list_categories",
    "list_images",
    "open_dataset",
    "read_image",
    "read_mask",
    "resize_image",
    "resolve_augmentation",
    "split_validation",
    "stack",
    "to_uint8",
]
