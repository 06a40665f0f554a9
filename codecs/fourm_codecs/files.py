"""Files of plain data: JSON and tensors, written whole or not at all, read without running anything."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from fourm_codecs.base import Array, Json
from fourm_schema.errors import CodecError


def write_file(path: Path, content: bytes) -> None:
    """Put a file in place in one step: after a crash the old one is there, or the new one, never half of it.

    Raises:
        CodecError: if the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise CodecError(str(path), "cannot be written", got=str(fault.strerror)) from None


def read_file(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        CodecError: if it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CodecError(str(path), "there is no such file", mend="save the codec again") from None
    except OSError as fault:
        raise CodecError(str(path), "cannot be read", got=str(fault.strerror)) from None


def to_bytes(content: Json, sort_keys: bool = True) -> bytes:
    """JSON as people read it; the same content gives the same bytes.

    Args:
        content: what to write.
        sort_keys: False where the order of keys means something, as that of a record's fields does.
    """
    return (json.dumps(content, indent=1, sort_keys=sort_keys, ensure_ascii=False) + "\n").encode("utf-8")


def from_bytes(content: bytes, where: str) -> dict[str, Json]:
    """Read a JSON object.

    Raises:
        CodecError: if the bytes are no JSON object, whatever else they are.
    """
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise CodecError(
            where, "is no JSON", got=_glimpse(content), mend="it is damaged or not ours; save it again"
        ) from None
    if not isinstance(found, dict):
        raise CodecError(where, "is no JSON object", got=type(found).__name__)
    return found


def tensors_to_bytes(tensors: Mapping[str, Array]) -> bytes:
    """Arrays as a safetensors file."""
    return safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})


def tensors_from_bytes(content: bytes, where: str) -> dict[str, Array]:
    """Read a safetensors file.

    Raises:
        CodecError: if the bytes are none.
    """
    try:
        return dict(safetensors.numpy.load(content))
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise CodecError(
            where,
            "is no safetensors file",
            got=_glimpse(content),
            mend="it is damaged or not ours; save it again",
        ) from None


def _glimpse(content: bytes) -> str:
    return f"{len(content)} bytes that start with {content[:16]!r}"
