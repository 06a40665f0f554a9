"""Files of a folder that nobody has declared yet, and what `fourm init` says of them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

from fourm_runtime.scan.draft import Draft, init
from fourm_schema.load import parse_schema

_RNG = np.random.default_rng(0)
NOISE = _RNG.integers(0, 256, (16, 64, 64), dtype=np.uint8)
BLOCKS = _RNG.integers(0, 7, (16, 8, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
UNIT = _RNG.normal(size=(4, 16, 16, 3))
UNIT /= np.linalg.norm(UNIT, axis=-1, keepdims=True)


def save(folder: Path, values: object, ending: str = ".npy") -> None:
    """One file per value, named by number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, value in enumerate(values):  # type: ignore[arg-type, var-annotated]  # each test knows its values
        file = folder / f"{number:04d}{ending}"
        if ending == ".npy":
            np.save(file, value)
        elif ending == ".txt":
            file.write_text(value)
        elif ending == ".json":
            file.write_text(json.dumps(value))
        else:
            Pictures.fromarray(value).save(file)


def lines(folder: Path, rows: list[object], name: str = "samples.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def entry(folder: Path, name: str) -> dict[str, object]:
    """An entry of the draft, as its file has it."""
    schema = parse_schema(init(folder).yaml)
    return schema.modalities[name].model_dump(mode="json", by_alias=True, exclude_unset=True)


def said(draft: Draft, name: str) -> str:
    """All that is said of a modality."""
    found = next(found for found in draft.found if found.name == name)
    return " | ".join((found.seen, *found.notes, *found.before_import, *found.written, found.before_training))


def cell(**keys: object) -> dict[str, object]:
    return {"type": "continuous", **keys}


CLASSES = {"type": "categorical", "classes": 7}
BYTES = cell(channels=3, range=[0, 255], levels=256)
