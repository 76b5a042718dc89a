"""The functions of the compiled CPU library, declared for ``ctypes``.

``csrc/cpu/api.h`` says what each one does and what the numbers of a structure are.
"""

import ctypes
from functools import cache

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops import library

INTERFACE = 0x651C9E17E5A51FB
"""Of ``csrc/cpu/api.h``, as it is declared here; see ``interface`` in ``setup.py``."""

POINTER, SIZE = ctypes.c_void_p, ctypes.c_int64


class Image(ctypes.Structure):
    """Sizes and memory format of a tensor."""

    _fields_ = [(name, SIZE) for name in ("batch", "channels", "height", "width", "channels_last")]


class Coupling(ctypes.Structure):
    """Sizes, mean and direction of an affine coupling."""

    _fields_ = [
        *(
            (name, SIZE)
            for name in (
                "batch",
                "channels",
                "height",
                "width",
                "params_height",
                "params_width",
                "channels_last",
                "inverse",
                "mean_kind",
                "mean_batch",
            )
        ),
        ("clamp", ctypes.c_float),
    ]


class Source(ctypes.Structure):
    """An image that a convolution reads, nearest-resized on the way."""

    _fields_ = [
        ("data", POINTER),
        *((name, SIZE) for name in ("channels", "height", "width", "resize")),
    ]


class Spectral(ctypes.Structure):
    """A convolution in the frequency domain."""

    _fields_ = [
        (name, SIZE)
        for name in (
            "batch",
            "height",
            "width",
            "channels0",
            "channels1",
            "out_channels",
            "kernel",
            "tile",
            "block",
            "independent",
            "layout",
            "bfloat16",
        )
    ]


class Epilogue(ctypes.Structure):
    """What happens to a convolution's result before it is stored."""

    _fields_ = [("bias", POINTER), ("added", POINTER), ("slope", ctypes.c_float)]


_ARGUMENTS = {
    "pyramid_down": [POINTER] * 2 + [Image, SIZE],
    "pyramid_down_backward": [POINTER] * 2 + [Image, SIZE],
    "pyramid_down_max": [POINTER] * 3 + [Image, SIZE],
    "pyramid_down_max_backward": [POINTER] * 3 + [Image, SIZE],
    "pyramid_residual": [POINTER] * 3 + [Image, SIZE],
    "pyramid_merge": [POINTER] * 3 + [Image, SIZE],
    "pyramid_up_backward": [POINTER] * 2 + [Image, SIZE],
    "coupling_mean_pixel": [POINTER] * 2 + [Coupling, SIZE],
    "coupling_mean_channel": [POINTER] * 2 + [Coupling, SIZE],
    "coupling": [POINTER] * 6 + [Coupling, SIZE],
    "coupling_pixel_mean": [POINTER] * 6 + [Coupling, SIZE],
    "coupling_backward": [POINTER] * 9 + [Coupling, SIZE, SIZE],
    "conv1x1": [POINTER] * 3 + [Image, SIZE],
    "conv1x1_backward": [POINTER] * 5 + [Image, SIZE],
    "anomaly_level": [POINTER] * 5 + [Image, SIZE, SIZE],
    "anomaly_level_tolerant": [POINTER] * 5 + [Image, SIZE, SIZE, SIZE],
    "pixel_means": [POINTER] * 2 + [Image, SIZE],
    "anomaly_level_backward": [POINTER] * 4 + [Image, SIZE, SIZE],
    "normalize_uint8": [POINTER] * 4 + [SIZE] * 3,
    "normalize_uint16": [POINTER] * 4 + [SIZE] * 3,
    "spectral_sizes": [Spectral] + [POINTER] * 3 + [SIZE],
    "spectral_weights": [POINTER] * 2 + [Spectral, SIZE],
    "spectral_conv": [POINTER] * 4 + [Spectral, Epilogue, SIZE],
    "spectral_coupling": [POINTER] * 8 + [Spectral, ctypes.c_float, SIZE],
    "spectral_grad_weight": [POINTER] * 3 + [Spectral, SIZE],
    "lift_uint8": [POINTER] * 5 + [SIZE] * 3,
    "lift_uint16": [POINTER] * 5 + [SIZE] * 3,
    "resnet_stem_uint8": [POINTER] * 6 + [SIZE] * 5,
    "resnet_stem_uint16": [POINTER] * 6 + [SIZE] * 5,
    "exp": [POINTER] * 2 + [SIZE] * 2,
    "atan": [POINTER] * 2 + [SIZE] * 2,
    "copy": [POINTER] * 2 + [SIZE] * 2,
}


@cache
def compiled() -> ctypes.CDLL:
    """The compiled library, its functions' arguments declared.

    Raises:
        LibraryError: it was not built, does not load, or was built for other declarations.
    """
    loaded = library.load("cpu", INTERFACE)
    for name, arguments in _ARGUMENTS.items():
        function = getattr(loaded, f"pyramidflow_cpu_{name}")
        function.argtypes, function.restype = arguments, ctypes.c_int
    for name in ("level", "compiler"):
        getattr(loaded, f"pyramidflow_cpu_{name}").restype = ctypes.c_char_p
    return loaded


def has_bfloat16() -> bool:
    """Whether this processor has products of bfloat16 (AVX-512 BF16), and the library uses them."""
    return bool(compiled().pyramidflow_cpu_has_bfloat16())


def call(name: str, *arguments: object, threads: int | None = None) -> None:
    """Run one function of the library.

    Tensors are passed as pointers, ``None`` as a null pointer.

    Args:
        name: of the function.
        arguments: all but the last one.
        threads: the last one; ``None`` is PyTorch's number.

    Raises:
        InputError: less than one thread.
        MemoryError: the kernel could not get its scratch memory.
    """
    if threads is None:
        threads = torch.get_num_threads()
    elif threads < 1:
        raise InputError(f"threads is {threads}: give one at least, or None for PyTorch's number.")
    pointers = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    function = getattr(compiled(), f"pyramidflow_cpu_{name}")
    if function(*pointers, threads) != 0:
        raise MemoryError(f"no memory for the scratch buffers of {name}.")
