"""The CUDA backend: kernels of ``csrc/cuda`` behind a plain C interface, called by ctypes.

Each function brings its tensors into one memory format, allocates the results and the workspace,
and launches on the current stream of the tensors' device. Nothing waits for the device.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pyramidflow.ops import dispatch, library
from pyramidflow.ops.allocation import dense, empty, memory_format
from pyramidflow.ops.convolution import conv2d as conv2d
from pyramidflow.ops.convolution import conv2d_backward as conv2d_backward
from pyramidflow.ops.dispatch import Status
from pyramidflow.ops.registry import mean_shape

DEVICES = frozenset({"cuda"})
DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})

INTERFACE = 0xB2D4893EEB38DC8
"""Of ``csrc/cuda/pyramidflow_cuda.h``, as it is used here; see ``interface`` in ``setup.py``."""

_TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
_PIXEL_TYPES = {torch.uint8: 0, torch.uint16: 1}
_REDUCTIONS = {"nearest": 0, "max": 1}
_VOLUME_NORMS = {"cvn": 0, "svn": 1, "none": 2}
_STATISTICS = {"sample": 0, "batch": 1}


class _Coupling(ctypes.Structure):
    """``pyramidflow_coupling`` of the C interface."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                "batch",
                "channels",
                "height",
                "width",
                "params_height",
                "params_width",
                "mean_given",
                "mean_stride_sample",
                "mean_stride_channel",
                "mean_stride_pixel",
                "volume_norm",
                "statistics",
                "type",
                "channels_last",
            )
        ),
        ("clamp", ctypes.c_float),
    ]


def status() -> Status:
    """Whether the kernels are built and a device is there to run them."""
    try:
        _library()
    except library.LibraryError as error:
        return Status(False, str(error))
    if not torch.cuda.is_available():
        build = "PyTorch finds no CUDA device" if torch.version.cuda else "PyTorch is a CPU build"
        return Status(False, f"{build}: check `nvidia-smi` and the PyTorch wheel.", _details())
    return Status(True, f"{torch.cuda.get_device_name()}.", _details())


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    half = (*x.shape[:2], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
    y = empty(half, like=x)
    index = empty(half if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    _call("pyramid_down", x, y, index, *x.shape, _REDUCTIONS[reduction], *_kind(x))
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``, or ``Gᵀ`` of the gradients at the places of their maxima."""
    grad_y = dense(grad_y, like=grad_y)
    if reduction == "max":
        index = dense(index, like=grad_y)
    grad_x = empty((*grad_y.shape[:2], height, width), like=grad_y)
    reduction_code = _REDUCTIONS[reduction]
    _call(
        "pyramid_down_backward",
        grad_y,
        index,
        grad_x,
        *grad_x.shape,
        reduction_code,
        *_kind(grad_y),
    )
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = empty(fine.shape, like=fine)
    _call("pyramid_residual", fine, dense(coarse, like=fine), out, *fine.shape, *_kind(fine))
    return out


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    out = empty(residual.shape, like=residual)
    coarse = dense(coarse, like=residual)
    _call("pyramid_merge", coarse, residual, out, *residual.shape, *_kind(residual))
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    grad_coarse = empty(half, like=grad)
    _call("pyramid_up_backward", grad, grad_coarse, *grad.shape, *_kind(grad))
    return grad_coarse


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _couple("affine_coupling", x, params, mean, volume_norm, statistics, clamp)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    return _couple("affine_coupling_inverse", y, params, mean, volume_norm, statistics, clamp)


def affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""
    return _couple_backward(
        "affine_coupling_backward",
        grad_y,
        grad_log_det,
        x,
        params,
        mean_used,
        mean_given,
        volume_norm,
        statistics,
        clamp,
    )


def affine_coupling_inverse_backward(
    grad_x: Tensor,
    grad_log_det: Tensor,
    y: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _couple_backward(
        "affine_coupling_inverse_backward",
        grad_x,
        grad_log_det,
        y,
        params,
        mean_used,
        mean_given,
        volume_norm,
        statistics,
        clamp,
    )


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    return _mix_channels(y, weight.t())


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    y = dense(y, like=y)
    grad_z = dense(grad_z, like=y)
    batch, channels, height, width = y.shape
    sizes = (batch, channels, height * width)
    workspace = _workspace(y, _run("invertible_conv1x1_backward_workspace", *sizes))
    grad_weight = empty(weight.shape, like=weight, dtype=torch.float32)
    _call("invertible_conv1x1_backward", grad_z, y, grad_weight, workspace, *sizes, *_kind(y))
    return _mix_channels(grad_z, weight), grad_weight.to(weight.dtype)


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``."""
    if x.shape[1] > _run("coupling_conv1x1_channels"):
        y, mean_used, log_det = affine_coupling(x, params, mean, volume_norm, statistics, clamp)
        return invertible_conv1x1(y, weight), mean_used, log_det
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, mean_written = _means(x, params, mean, volume_norm, statistics, clamp)
    workspace = _workspace(x, _run("affine_coupling_workspace", ctypes.byref(coupling)))
    z = empty(x.shape, like=x)
    log_det = empty((x.shape[0],), like=x, dtype=torch.float32)
    _call(
        "coupling_conv1x1",
        x,
        ready,
        mean_read if mean_written is None else mean_written,
        weight.t().float().contiguous(),
        None,
        z,
        log_det,
        workspace,
        ctypes.byref(coupling),
    )
    return z, _mean_result(params, mean_written), log_det


def coupling_conv1x1_backward(
    grad_z: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``coupling_conv1x1``; the coupling's result is computed again."""
    y, _, _ = affine_coupling(x, params, mean_used, volume_norm, statistics, clamp)
    grad_y, grad_weight = invertible_conv1x1_backward(grad_z, y, weight)
    grad_x, grad_params = affine_coupling_backward(
        grad_y, grad_log_det, x, params, mean_used, mean_given, volume_norm, statistics, clamp
    )
    return grad_x, grad_params, grad_weight


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    """Triton's kernel, which keeps the parameters in registers; without it, in two steps."""
    if dispatch.status("triton").available:
        arguments = (x, hidden, kernel, mean, weight, resample, clamp)
        fused: Tensor = dispatch.load("triton").conv_coupling_conv1x1(*arguments)
        return fused
    params = conv2d(hidden, kernel, resample, -1)
    z, _, _ = coupling_conv1x1(x, params, mean, weight, "none", "sample", clamp)
    return z


def anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> Tensor:
    """Composition of the channel means of ``|z_d − z̄_d|``, coarsest level first."""
    coarse: Tensor | None = None
    for level in reversed(range(len(latents))):
        z = dense(latents[level], like=latents[level])
        mean = dense(template[level], like=z)
        batch, channels, height, width = z.shape
        out_dtype = z.dtype if level == 0 else torch.float32
        out = empty((batch, height, width), like=z, dtype=out_dtype)
        type_code, layout = _kind(z)
        _call(
            "anomaly_map",
            z,
            mean,
            coarse,
            out,
            batch,
            mean.shape[0],
            channels,
            height,
            width,
            type_code,
            _TYPES[out_dtype],
            layout,
        )
        coarse = out
    return out


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grad = grad_map.float().unsqueeze(1).contiguous()  # [B, 1, h, w]
    gradients = []
    for level, latent in enumerate(latents):
        if level > 0:
            grad = pyramid_up_backward(grad)
        z = dense(latent, like=latent)
        mean = dense(template[level], like=z)
        out = empty(z.shape, like=z)
        batch = (z.shape[0], mean.shape[0])
        _call("anomaly_map_backward", grad, z, mean, out, *batch, *z.shape[1:], *_kind(z))
        gradients.append(out)
    return gradients


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = empty((batch, channels, height, width), like=image, dtype=dtype)
    _call(
        "normalize_image",
        image,
        mean.float().contiguous(),
        std.float().contiguous(),
        out,
        batch,
        height * width,
        _PIXEL_TYPES[image.dtype],
        _TYPES[dtype],
    )
    return out


def _couple(
    name: str,
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, mean_written = _means(x, params, mean, volume_norm, statistics, clamp)
    workspace = _workspace(x, _run("affine_coupling_workspace", ctypes.byref(coupling)))
    y = empty(x.shape, like=x)
    log_det = empty((x.shape[0],), like=x, dtype=torch.float32)
    _call(
        name,
        x,
        ready,
        mean_read if mean_written is None else mean_written,
        y,
        log_det,
        workspace,
        ctypes.byref(coupling),
    )
    return y, _mean_result(params, mean_written), log_det


def _couple_backward(
    name: str,
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, _ = _means(x, params, mean_used, volume_norm, statistics, clamp)
    coupling.mean_given = mean_given
    workspace = _workspace(x, _run("affine_coupling_workspace", ctypes.byref(coupling)))
    grad_x = empty(x.shape, like=x)
    grad_params = empty(ready.shape, like=ready)
    _call(
        name,
        dense(grad, like=x),
        grad_log_det.float().contiguous(),
        x,
        ready,
        mean_read,
        grad_x,
        grad_params,
        workspace,
        ctypes.byref(coupling),
    )
    return grad_x, dense(grad_params, like=params)


def _means(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[_Coupling, Tensor | None, Tensor | None]:
    """What to tell the kernels, the mean they read, and the mean they write or need not touch."""
    batch, channels, height, width = x.shape
    type_code, layout = _kind(x)
    coupling = _Coupling(
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        params_height=params.shape[2],
        params_width=params.shape[3],
        mean_given=mean is not None,
        volume_norm=_VOLUME_NORMS[volume_norm],
        statistics=_STATISTICS[statistics],
        type=type_code,
        channels_last=layout,
        clamp=clamp,
    )
    if mean is None:
        shape = mean_shape(params, volume_norm, statistics)
        written = empty(shape, like=params, dtype=torch.float32)
        if volume_norm == "none":
            written.zero_()
        elif 0 in x.shape:
            written.fill_(torch.nan)  # as the mean of nothing is
        return coupling, None, written
    full = (batch, channels, *params.shape[2:])
    read = _with_flat_pixels(mean.float().expand(full))
    coupling.mean_stride_sample, coupling.mean_stride_channel = read.stride()[:2]
    coupling.mean_stride_pixel = _pixel_stride(read)
    return coupling, read, None


def _pixel_stride(x: Tensor) -> int:
    return x.stride(2) if x.shape[3] == 1 else x.stride(3)


def _with_flat_pixels(x: Tensor) -> Tensor:
    # The kernels count pixels in one dimension: rows must follow each other in memory.
    if 1 in x.shape[2:] or x.stride(2) == x.shape[3] * x.stride(3):
        return x
    return x.contiguous()


def _mean_result(params: Tensor, written: Tensor | None) -> Tensor:
    if written is None:
        return empty((0,), like=params)
    if written.dtype == params.dtype:
        return written
    return empty(written.shape, like=params).copy_(written)


def _mix_channels(y: Tensor, transposed: Tensor) -> Tensor:
    y = dense(y, like=y)
    z = empty(y.shape, like=y)
    batch, channels, height, width = y.shape
    weight = transposed.float().contiguous()
    _call("invertible_conv1x1", y, weight, z, batch, channels, height * width, *_kind(y))
    return z


def _kind(x: Tensor) -> tuple[int, int]:
    return _TYPES[x.dtype], int(memory_format(x) == torch.channels_last)


def _workspace(like: Tensor, floats: int) -> Tensor:
    return empty((floats,), like=like, dtype=torch.float32)


def _details() -> dict[str, str]:
    numbers = {"runtime": _run("runtime_version"), "driver": _run("driver_version")}
    versions = {
        name: f"{number // 1000}.{number % 1000 // 10}" if number else "none"
        for name, number in numbers.items()
    }
    return {
        "compiler": _text("compiler"),
        "architectures": ", ".join(
            f"{int(tenths) / 100:.1f}" for tenths in _text("architectures").split(",") if tenths
        ),
        **versions,
    }


def _library() -> ctypes.CDLL:
    return library.load("cuda", INTERFACE)


def _run(name: str, *arguments: object) -> int:
    function = getattr(_library(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_int64
    return int(function(*map(_as_c, arguments)))


def _text(name: str, *arguments: object) -> str:
    function = getattr(_library(), f"pyramidflow_cuda_{name}")
    function.restype = ctypes.c_char_p
    text: bytes = function(*map(_as_c, arguments))
    return text.decode()


def _call(name: str, *arguments: object) -> None:
    """Launch on the current stream of the first tensor's device; its error has CUDA's name."""
    first = next(x for x in arguments if isinstance(x, Tensor))
    with _current(first) as stream:
        error = _run(name, *arguments, ctypes.c_void_p(stream))
    if error != 0:
        reason = _text("error_name", error)
        raise RuntimeError(f"the CUDA kernel of {name} did not launch: {reason}.")


def _as_c(argument: object) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return argument if argument is not None else ctypes.c_void_p(None)


@contextmanager
def _current(x: Tensor) -> Iterator[int]:
    if not x.is_cuda:
        yield 0  # the kernels compiled for the host
        return
    with torch.cuda.device(x.device):
        _run("set_device", x.device.index)
        yield torch.cuda.current_stream(x.device).cuda_stream
