"""Tensors with a JSON header: files without pickle, refused with a reason when damaged.

Detectors and checkpoints are ``.safetensors`` files whose metadata hold one JSON document under
``pyramidflow``: format version, kind, a digest over header and tensors, and what the writer adds.
A file is read once, into the process's own memory: what happens to it later changes nothing.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.io.files import write_atomically

FORMAT_VERSION = 2
"""Written by this version. In version 1 the digest is over the tensors alone."""

READABLE = (1, 2)

METADATA_KEY = "pyramidflow"

LARGEST_HEADER = 64 << 20
"""Bytes of a file's header, names and shapes of its tensors included."""


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
    stored = _apart({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    document = {**header, "format_version": FORMAT_VERSION, "kind": kind}
    document["digest"] = digest(document, stored)
    data = save(stored, metadata={METADATA_KEY: json.dumps(document, allow_nan=False)})
    write_atomically(path, lambda file: file.write(data))


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where they share memory, as tied weights do: the format has no ties."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return apart


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that :func:`save_tensors` wrote.

    Args:
        path: the file.
        kind: what it has to be.

    Returns:
        Header and tensors (on the CPU).

    Raises:
        InputError: the file is missing, damaged, foreign, of another kind or of a newer format.
    """
    data = _content(path, kind)
    document = _document(data, path, kind)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _not_whole(path, str(error)) from error
    found = _digest_of_version(document, tensors)
    if found is None or document.get("digest") != found:
        raise InputError(
            f"{path} is damaged: its content is not what was written; copy or make it again."
        )
    return document, tensors


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """Read the JSON header of a file that :func:`save_tensors` wrote.

    The whole file is read, so that a damaged one is refused here, too.

    Raises:
        InputError: as :func:`load_tensors`.
    """
    return load_tensors(path, kind)[0]


def tensors_below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with a prefix, by the rest of their name."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def digest(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the header, but for its own ``digest``, and the tensors.

    Args:
        document: the header.
        tensors: on the CPU, contiguous, by name.
    """
    rest = {key: value for key, value in document.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(f"{text}\n{tensor_digest(tensors)}".encode()).hexdigest()


def _digest_of_version(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    try:
        if document["format_version"] == 1:
            return tensor_digest(tensors)
        return digest(document, tensors)
    except (RuntimeError, TypeError, ValueError):  # types and nestings that nothing here writes
        return None


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values: the whole digest of the oldest files."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _content(path: Path, kind: str) -> bytes:
    """The bytes of a file; a pipe or a device, which might never end, is none."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: give the {kind}'s .safetensors file.")
        if not path.exists():
            raise InputError(f"there is no file {path}: give the {kind}'s .safetensors file.")
        if not path.is_file():
            raise InputError(f"{path} is no ordinary file: give the {kind}'s .safetensors file.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read ({reason}): give a {kind}'s file.") from error
    if not data:
        raise InputError(f"{path} is empty: copy or make it again.")
    return data


def _document(data: bytes, path: Path, kind: str) -> dict[str, Any]:
    metadata = _metadata(data, path)
    if METADATA_KEY not in metadata:
        raise InputError(
            f"{path} is a .safetensors file, but PyramidFlow did not write it: give a {kind}'s "
            "file."
        )
    damaged = f"the PyramidFlow header of {path} is damaged: make it again."
    try:
        document = json.loads(metadata[METADATA_KEY], parse_constant=_no_constant)
        version, found = document["format_version"], document["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(damaged) from error
    if not isinstance(document, dict) or type(version) is not int or not isinstance(found, str):
        raise InputError(damaged)
    if version not in READABLE:
        raise InputError(
            f"{path} has format version {version}, this version reads {READABLE[0]} to "
            f"{READABLE[-1]}: update pyramidflow."
        )
    if found != kind:
        raise InputError(
            f"{path} is a PyramidFlow {found[:40]}: a {kind} is expected; give a {kind}'s file."
        )
    return document


def _metadata(data: bytes, path: Path) -> Mapping[str, Any]:
    """The metadata of a safetensors file: eight bytes of length, then a JSON header."""
    if len(data) < 8:
        raise _not_whole(path, "it is too short")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, LARGEST_HEADER):
        raise _not_whole(path, "its header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _not_whole(path, "its header is no JSON") from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise _not_whole(path, "its header is no object")
    return metadata


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _not_whole(path: Path, reason: str) -> InputError:
    text = (reason.strip() or "no reason given").splitlines()[0][:120]
    return InputError(
        f"{path} is not a whole .safetensors file ({text}): it is damaged or of another format, "
        "copy or make it again."
    )
