"""A released model on disk: a safetensors file with its configuration in the header, or a folder of the two.

Only safetensors and JSON are read; what training wrote with `torch.save` is refused by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import torch

from fourm_runtime.checkpoints.files import TensorFile, open_tensors, read_json, read_text
from fourm_runtime.released.config import parse_value
from fourm_schema.errors import CheckpointError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


@attrs.frozen
class ReleasedFile:
    """What is known of a file before a number is read.

    Attributes:
        path: of the weights.
        config: plain values of the configuration.
        metadata: of the header, as it stands there.
        config_text: of `config.json`, where there is one.
        shapes, dtypes: of each tensor.
    """

    path: Path
    config: dict[str, object]
    metadata: dict[str, str]
    config_text: str | None
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]

    @contextmanager
    def tensors(self) -> Iterator[TensorFile]:
        """Open it to read tensors one by one."""
        with open_tensors(self.path) as file:
            yield file


def open_released(path: Path | str) -> ReleasedFile:
    """Read header and configuration.

    Args:
        path: a safetensors file, or a folder with one and a `config.json`.

    Raises:
        CheckpointError: if there is none, or it is damaged or of another format.
    """
    weights, beside = _find(Path(path))
    with open_tensors(weights) as file:
        metadata = dict(file.metadata() or {})
        # A safetensors file is no mapping: it has keys, but cannot be iterated.
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
        dtypes = {name: part.get_dtype() for name, part in slices.items()}
    config: dict[str, object] = {key: parse_value(value) for key, value in metadata.items()}
    if beside is not None:
        config = {**config, **_read_config(beside)}
    text = None if beside is None else read_text(beside)
    return ReleasedFile(weights, config, metadata, text, shapes, dtypes)


def is_released(path: Path) -> bool:
    """Whether a place is a released model, not a checkpoint of ours: a file, or a folder without a plan."""
    if path.is_file():
        return True
    if not (path / WEIGHTS).is_file() or not (path / CONFIG).is_file():
        return (path / WEIGHTS).is_file()
    found = read_json(path / CONFIG)
    return isinstance(found, dict) and "format" not in found and "plan" not in found


def _find(path: Path) -> tuple[Path, Path | None]:
    if path.is_dir():
        config = path / CONFIG
        found = sorted(path.glob("*.safetensors"))
        weights = path / WEIGHTS if (path / WEIGHTS) in found or len(found) != 1 else found[0]
        if not weights.exists():
            got = ", ".join(sorted(entry.name for entry in path.iterdir())[:6]) or "an empty folder"
            mend = f"give a folder with {WEIGHTS} and {CONFIG}, or the safetensors file itself"
            raise CheckpointError(str(path), f"holds no {WEIGHTS}", got=got, mend=mend)
        return weights, config if config.exists() else None
    if not path.exists():
        raise CheckpointError(str(path), "does not exist", mend="give a safetensors file, or its folder")
    return path, None


def _read_config(path: Path) -> dict[str, object]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise CheckpointError(str(path), "is no configuration", got=type(found).__name__)
    # Newer hub libraries wrap the one argument of the model's class.
    inner = found.get("config")
    return dict(inner) if isinstance(inner, dict) and "domains_in" not in found else dict(found)
