"""Files of a checkpoint: written so that a killed process leaves the old or the new whole, read so that a
stranger's file can be wrong but can never run code. Only JSON, text and safetensors; nothing is unpickled.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, cast

import cattrs
import torch
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_unstructure_fn, override
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fourm_schema.errors import CheckpointError
from fourm_schema.plan import Stream

T = TypeVar("T")

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
"""How files of `torch.save` begin: a zip archive now, a bare pickle before torch 1.6."""

_MEND = "restore the checkpoint, or use another one"


def _converter() -> Converter:
    """Records from and to plain values; a value of another type is a fault, never converted."""
    converter = cattrs.Converter(forbid_extra_keys=True)

    def exact(kind: type[T], *accepted: type) -> None:
        def structure(value: object, _: type[T]) -> T:
            if type(value) is kind or type(value) in accepted:
                return kind(value)  # type: ignore[call-arg]  # int, float, str and bool all take one value
            raise TypeError(f"expected {kind.__name__}, found {value!r}")

        converter.register_structure_hook(kind, structure)

    for kind, accepted in ((int, ()), (str, ()), (bool, ()), (float, (int,))):
        exact(kind, *accepted)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    # Records that later releases gave a field are written, and hashed, as before where it is left out.
    later = override(omit_if_default=True)
    write_stream = make_dict_unstructure_fn(
        Stream, converter, row_space=later, position_rows=later, target_positions=later, aliases=later
    )
    converter.register_unstructure_hook(Stream, write_stream)
    return converter


CONVERTER = _converter()


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """Fill a new directory and put it, complete and on disk, in the place of an old one.

    A process that is killed meanwhile leaves, at worst, a hidden directory beside it.

    Args:
        directory: what appears, or is replaced, when the block ends without an exception.

    Yields:
        the directory to fill.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh, stale = (directory.with_name(f".{directory.name}.{end}") for end in ("new", "old"))
    for left_over in (fresh, stale):
        shutil.rmtree(left_over, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        for folder, _, files in os.walk(fresh):
            for name in files:
                _sync(Path(folder, name))
            _sync(Path(folder))
        if directory.exists():
            directory.rename(stale)
        fresh.rename(directory)
        _sync(directory.parent)
    finally:
        for left_over in (fresh, stale):
            shutil.rmtree(left_over, ignore_errors=True)


def remove(directory: Path) -> None:
    """Take a directory away; from the first moment on it is not found under its name."""
    stale = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(stale, ignore_errors=True)
    directory.rename(stale)
    shutil.rmtree(stale, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole: under its name there is the old text or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    _sync(fresh)
    fresh.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def listed(mend: str, faults: Iterable[object]) -> str:
    """The `mend` of an error that has several faults, each on a line below it."""
    return "\n    ".join([f"{mend}:", *map(str, faults)])


def write_record(path: Path, record: object) -> None:
    """Write an attrs record as JSON, keys in the order of its fields."""
    path.write_text(json.dumps(CONVERTER.unstructure(record), indent=1) + "\n", encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        CheckpointError: if it is missing, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            str(path), "is missing or cannot be read", got=_reason(error), mend=_MEND
        ) from None
    except UnicodeDecodeError:
        raise CheckpointError(str(path), "is no text", got=_what(path), mend=_MEND) from None


def read_json(path: Path) -> object:
    """Read a JSON file as plain values.

    Raises:
        CheckpointError: if it is missing, or is no JSON.
    """
    try:
        found: object = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            str(path), "is damaged: it is no JSON", got=_reason(error), mend=_MEND
        ) from None
    return found


def read_record(path: Path, kind: type[T], value: object = None) -> T:
    """Read a JSON file as an attrs record.

    Args:
        path: the file; named in errors.
        kind: the record's class.
        value: what the file holds, if it was already read.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds something else; every fault is named.
    """
    found = read_json(path) if value is None else value
    try:
        return CONVERTER.structure(found, kind)
    except BaseValidationError as error:
        faults = transform_error(error, path="")
    except (TypeError, ValueError, AttributeError) as error:
        faults = [str(error)]
    raise CheckpointError(str(path), "does not hold what it should", mend=listed(_MEND, faults))


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write named tensors; each is copied to the CPU and made contiguous."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its header alone.

    Raises:
        CheckpointError: if the file is missing, truncated, or of another format.
    """
    with open_tensors(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a safetensors file to the CPU.

    Raises:
        CheckpointError: if the file is missing, truncated, or of another format.
    """
    with open_tensors(path) as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  (no mapping)


class _Slice(Protocol):
    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


class TensorFile(Protocol):
    """What is used of safetensors' `safe_open`, which is not typed."""

    def keys(self) -> list[str]: ...

    def metadata(self) -> dict[str, str] | None: ...

    def get_slice(self, name: str) -> _Slice: ...

    def get_tensor(self, name: str) -> torch.Tensor: ...


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a safetensors file to read it tensor by tensor.

    Raises:
        CheckpointError: if the file is missing, truncated, or of another format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            yield cast(TensorFile, file)
    except FileNotFoundError:
        raise CheckpointError(str(path), "is missing", mend=_MEND) from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            str(path), "is damaged or truncated", got=f"{_what(path)} ({_reason(error)})", mend=_MEND
        ) from None


def _what(path: Path) -> str:
    """What a file that is not what it should be looks like."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(9)
        # The length of a safetensors header may begin as a pickle does; the header's brace tells.
        if head.startswith(_ZIP) or (head.startswith(_PICKLE) and not head.endswith(b"{")):
            return "a pickle, which is never read here since unpickling runs code"
    size = path.stat().st_size if path.is_file() else 0
    return f"{size} bytes of something else"


def _reason(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0][:200] if text else type(error).__name__
