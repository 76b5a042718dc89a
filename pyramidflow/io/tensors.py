"""Tensors with a JSON header: files without pickle, refused with a reason when damaged.

Models and checkpoints are ``.safetensors`` files whose metadata hold one JSON document under
``pyramidflow``: format version, kind, a digest of the tensors, and what the writer adds.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically

FORMAT_VERSION = 1
METADATA_KEY = "pyramidflow"


def save_tensors(
    path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors with a JSON header, atomically.

    Args:
        path: a ``.safetensors`` file.
        kind: what the file is (``"detector"``, ``"checkpoint"``); readers ask for it.
        header: what to store besides; must be JSON.
        tensors: by name; stored contiguous, from any device.

    Raises:
        InputError: the file cannot be written.
    """
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    document = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "digest": _digest(stored),
        **header,
    }
    data = save(stored, metadata={METADATA_KEY: json.dumps(document, allow_nan=False)})
    write_atomically(path, lambda file: file.write(data))


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """Read the JSON header of a file that :func:`save_tensors` wrote, without its tensors.

    Args:
        path: the file.
        kind: what it has to be.

    Raises:
        InputError: the file is missing, damaged, foreign, of another kind or of a newer format.
    """
    _check_is_file(path, kind)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a whole .safetensors file ({error}): it is damaged or of another "
            "format, copy or make it again."
        ) from error
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} is a .safetensors file, but PyramidFlow did not write it.")
    try:
        document = json.loads(metadata[METADATA_KEY])
        version, found = document["format_version"], document["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the PyramidFlow header of {path} is damaged: make it again.") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, this library reads {FORMAT_VERSION}: "
            "update pyramidflow."
        )
    if found != kind:
        raise InputError(f"{path} is a PyramidFlow {found}, but a {kind} is needed here.")
    return dict(document)


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that :func:`save_tensors` wrote.

    Args:
        path: the file.
        kind: what it has to be.

    Returns:
        Header and tensors (on the CPU).

    Raises:
        InputError: as :func:`read_header`, and when a tensor's bytes are not those written.
    """
    header = read_header(path, kind)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _digest(tensors) != header.get("digest"):
        raise InputError(
            f"{path} is damaged: its tensors are not those that were written, copy or make it "
            "again."
        )
    return header, tensors


def tensors_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with a prefix, by the rest of their name."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_is_file(path: Path, kind: str) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the {kind}'s .safetensors file.")
    if not path.exists():
        raise InputError(f"there is no file {path}: give the {kind}'s .safetensors file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: copy or make it again.")


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
