"""Small images to fit a tokenizer to, entries that declare them, and tokenizers with random weights."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.image_tokenizer import ImageTokenizer, build_network, law_of
from fourm_schema.modality import Image
from fourm_schema.schema import Schema

RECIPE = FitRecipe(steps=30, batch_size=8, save_every=10, log_every=5)


def entry_of(**changed: object) -> Image:
    declared: dict[str, object] = {
        "kind": "image",
        "size": 4,
        "patch": 2,
        "cell": {"type": "continuous", "range": [0, 16], "levels": 17, "unit": "grey"},
        "vocab_size": 40,
    }
    schema = Schema.model_validate({"version": 1, "modalities": {"x": declared | changed}})
    entry = schema.modalities["x"]
    assert isinstance(entry, Image)
    return entry


ENTRY = entry_of()
KINDS = {
    "levels": ENTRY,
    "rgb": entry_of(cell={"type": "continuous", "channels": 3, "range": [0, 255]}, size=[4, 6]),
    "direction": entry_of(cell={"type": "direction"}),
}


def images(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Images with a bright and a dark half, at any of four places: something to learn."""
    generator = np.random.default_rng(seed)
    places = generator.integers(4, size=count)
    return np.stack(
        [np.rot90(np.repeat([[2.0], [2.0], [13.0], [13.0]], 4, axis=1), place) for place in places]
    )


def untrained(entry: Image, seed: int = 0) -> ImageTokenizer:
    network = build_network("x", entry, "tiny", torch.Generator().manual_seed(seed))
    return ImageTokenizer("x", entry, "tiny", network.eval().requires_grad_(False), law_of(entry, 0.95, 1.5))


def drawn(entry: Image, count: int) -> list[object]:
    """Values anywhere in the entry's range."""
    generator = np.random.default_rng(0)
    shape = (count, *entry.size) if entry.channels == 1 else (count, *entry.size, entry.channels)
    if entry.cell.type == "direction":
        vectors = generator.normal(size=shape)
        return list(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
    assert entry.cell.type == "continuous"
    return list(generator.integers(0, int(entry.cell.range[1]) + 1, shape).astype(np.float64))


def fit_until_killed(folder: Path) -> None:
    """Fit, and die when the images are read for the fifth time; for a process of its own."""
    torch.set_num_threads(1)
    reads = 0

    def chunks() -> Iterator[NDArray[np.float64]]:
        nonlocal reads
        reads += 1
        if reads == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from (images(60)[start : start + 16] for start in range(0, 60, 16))

    fit("x", ENTRY, chunks, folder, RECIPE)
