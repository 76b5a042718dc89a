"""Data sets on disk, image files, and the way from a file to pixels for the network."""

from pyramidflow.data.dataset import list_categories, open_dataset
from pyramidflow.data.decoding import IMAGE_SUFFIXES, Decoding
from pyramidflow.data.images import (
    Image,
    Pixels,
    as_pixels,
    each_of,
    is_batch,
    read_encoded,
    read_image,
    to_uint8,
)
from pyramidflow.data.imageset import CACHE_BYTES, ImageSet, check_readable, content_digest, stack
from pyramidflow.data.layouts.common import Category, Sample
from pyramidflow.data.listing import LeftOut, Listing, find_images, list_images
from pyramidflow.data.masks import read_mask, read_picture_mask
from pyramidflow.data.preprocessing import batch_of, network_input, normalised, picture_of
from pyramidflow.data.reading import Reading
from pyramidflow.data.split import check_trainable, split_validation
from pyramidflow.data.transforms import augment_texture, mean_level, resize_image, to_mean_level

__all__ = [
    "CACHE_BYTES",
    "IMAGE_SUFFIXES",
    "Category",
    "Decoding",
    "Image",
    "ImageSet",
    "LeftOut",
    "Listing",
    "Pixels",
    "Reading",
    "Sample",
    "as_pixels",
    "augment_texture",
    "batch_of",
    "check_readable",
    "check_trainable",
    "content_digest",
    "each_of",
    "find_images",
    "is_batch",
    "list_categories",
    "list_images",
    "mean_level",
    "network_input",
    "normalised",
    "open_dataset",
    "picture_of",
    "read_encoded",
    "read_image",
    "read_mask",
    "read_picture_mask",
    "resize_image",
    "split_validation",
    "stack",
    "to_mean_level",
    "to_uint8",
]
