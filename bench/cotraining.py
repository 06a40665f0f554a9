"""What co-training with a text corpus costs a model of images, and what it gains.

    python bench/cotraining.py --data FOLDER [--steps 400] [--seeds 1] [--images 4000] [--json]

FOLDER holds `fashion-mnist/` (the four IDX files, gzipped) and `text/tinyshakespeare/input.txt`; default is
the environment's FOURM_DATA. Images are brought to 7 x 7 cells of 16 levels and have their class as a text;
the corpus is cut into passages of some thirty words, every tenth of them held out. Two models of width 64:

    images     32 images a step
    mixture    32 images and 32 passages a step: {images: 0.5, passages: 0.5}

Seed, steps and the learning rate are the same, and so are the images of every step and their masks: the first
dataset of a mixture has the order that it has alone. So both see equally many image tokens.

Promises: the held-out loss of the passages falls from each of four evaluations to the next; the held-out loss
of the images is at most 2 % above that of the model of images alone (mean of the seeds). Exit status 1 where
one is broken.
"""

import argparse
import gzip
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "codecs", "runtime")]

from fourm_codecs.base import StoredCodec  # noqa: E402 - path set above
from fourm_codecs.build import build_codec  # noqa: E402 - path set above
from fourm_codecs.vocabulary import WordVocabulary  # noqa: E402 - path set above
from fourm_runtime.data.dataset import Dataset  # noqa: E402 - path set above
from fourm_runtime.training.evaluate import evaluate_checkpoint  # noqa: E402 - path set above
from fourm_runtime.training.loop import EVALUATION  # noqa: E402 - path set above
from fourm_runtime.training.recipe import Recipe  # noqa: E402 - path set above
from fourm_runtime.training.trainer import train  # noqa: E402 - path set above
from fourm_schema.load import parse_schema  # noqa: E402 - path set above
from fourm_schema.resolve import resolve  # noqa: E402 - path set above
from fourm_schema.schema import Schema  # noqa: E402 - path set above

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
WORDS = "vocabularies: {words: {kind: wordpiece, size: 1024, sentinels: 64}}\n"
IMAGE = "  clothes: {kind: image, size: 7, patch: 1, cell: {type: continuous, range: [0, 15], levels: 16}}\n"
LABEL = "  label: {kind: text, vocabulary: words, max_tokens: 8}\n"
PASSAGE = "  passage: {kind: text, vocabulary: words, max_tokens: 96}\n"
PASSAGE_LETTERS, HELD_OUT, ALLOWED = 160, 512, 0.02

Row = dict[str, object]


@attrs.frozen
class Found:
    """Held-out losses in nats a token.

    Attributes:
        images_alone, images_mixed: of the images, by seed.
        passages: of the passages in the mixture's run, by seed, one evaluation after the other.
    """

    images_alone: tuple[float, ...]
    images_mixed: tuple[float, ...]
    passages: tuple[tuple[float, ...], ...]

    @property
    def ratio(self) -> float:
        """Image loss of the mixture over that of images alone."""
        return statistics.mean(self.images_mixed) / statistics.mean(self.images_alone)

    @property
    def falls(self) -> bool:
        """Whether the loss of the passages falls from each evaluation to the next."""
        return all(later < earlier for run in self.passages for earlier, later in itertools.pairwise(run))


def _schema(*modalities: str) -> Schema:
    return parse_schema(f"version: 1\n{WORDS}modalities:\n{''.join(modalities)}")


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def clothes(folder: Path, part: str, count: int) -> Iterator[Row]:
    """Images of 7 x 7 cells, each the mean of 4 x 4 pixels in 16 levels, and their class."""
    pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 7, 4, 7, 4)
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", 8)
    for image, label in zip(pixels[:count], labels[:count], strict=True):
        yield {"clothes": np.rint(image.mean(axis=(1, 3)) / 17).astype(np.uint8), "label": CLASSES[label]}


def passages(text: str) -> tuple[list[str], list[str]]:
    """Stretches of a text that end between words: to train on, and every tenth, held out."""
    found, line = [], ""
    for word in text.split():
        line = f"{line} {word}".strip()
        if len(line) >= PASSAGE_LETTERS:
            found.append(line)
            line = ""
    return [line for place, line in enumerate(found) if place % 10], found[::10]


def store(data: Path, work: Path, images: int) -> dict[str, StoredCodec]:
    """Write and encode the four datasets; both kinds share one word vocabulary."""
    pictures, texts = _schema(IMAGE, LABEL), _schema(PASSAGE)
    both = _schema(IMAGE, LABEL, PASSAGE)
    seen, unseen = passages((data / "text/tinyshakespeare/input.txt").read_text(encoding="utf-8"))
    special = resolve(both).vocabularies[0].special
    words = WordVocabulary.train([*seen, *CLASSES], "words", 1024, special)
    codecs = {name: build_codec(both, name, {"words": words}) for name in both.modalities}
    fashion = data / "fashion-mnist"
    for name, schema, rows in (
        ("images", pictures, clothes(fashion, "train", images)),
        ("images-held-out", pictures, clothes(fashion, "t10k", HELD_OUT)),
        ("passages", texts, ({"passage": line} for line in seen)),
        ("passages-held-out", texts, ({"passage": line} for line in unseen[:HELD_OUT])),
    ):
        dataset = Dataset.create(work / f"{name}.lance", schema, rows)
        dataset.encode({modality: codecs[modality] for modality in schema.modalities})
    return codecs


def recipe(steps: int, samples: int, seed: int) -> Recipe:
    """The same run but for the samples of a step."""
    return Recipe.model_validate(
        {
            "budget": {"input": 32, "target": 32},
            "masks": [{"preset": "all_to_all", "alpha": [0.1, 1.0, 10.0]}],
            "model": {"size": "nano", "dim": 64, "heads": 4, "encoder_depth": 2, "decoder_depth": 2},
            "steps": {"total": steps, "samples_per_step": samples, "warmup": max(1, steps // 20)},
            "optimizer": {"lr": 2e-3},
            "evaluate_every": max(1, steps // 4),
            "seed": seed,
        }
    )


def measure(data: Path, work: Path, steps: int, seeds: int, images: int, quiet: bool = True) -> Found:
    """Train both models for each seed and score them on the same held-out samples."""
    codecs = store(data, work, images)
    alone: list[float] = []
    mixed: list[float] = []
    falling: list[tuple[float, ...]] = []
    pictures, texts = str(work / "images.lance"), str(work / "passages.lance")
    held = {kind: work / f"{kind}-held-out.lance" for kind in ("images", "passages")}
    for seed in range(seeds):
        first, second = work / f"alone-{seed}", work / f"mixed-{seed}"
        own = {name: codecs[name] for name in ("clothes", "label")}
        train(recipe(steps, 32, seed), None, pictures, first, codecs=own, quiet=quiet)
        both = {pictures: 0.5, texts: 0.5}
        train(
            recipe(steps, 64, seed), None, both, second,
            codecs=codecs, held_out=held["passages"], quiet=quiet,
        )  # fmt: skip
        for run, losses in ((first, alone), (second, mixed)):
            losses.append(evaluate_checkpoint(run, held["images"]).streams["clothes.tokens"].loss)
        lines = (second / EVALUATION).read_text().splitlines()
        falling.append(tuple(_passage_loss(json.loads(line)) for line in lines))
    return Found(tuple(alone), tuple(mixed), tuple(falling))


def _passage_loss(line: dict[str, dict[str, dict[str, float]]]) -> float:
    return line["streams"]["passage.tokens"]["loss"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("FOURM_DATA"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    if told.data is None or not (Path(told.data) / "fashion-mnist").is_dir():
        print("no Fashion-MNIST and no text here: give --data FOLDER, or set FOURM_DATA", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as work:
        found = measure(Path(told.data), Path(work), told.steps, told.seeds, told.images, quiet=told.json)
    if told.json:
        print(json.dumps(attrs.asdict(found)))
    else:
        for seed, run in enumerate(found.passages):
            print(f"seed {seed}: held-out passages {' > '.join(f'{loss:.3f}' for loss in run)} nats a token")
            both = found.images_alone[seed], found.images_mixed[seed]
            print(f"        held-out images alone {both[0]:.4f}, in the mixture {both[1]:.4f} nats a token")
        print(f"images in the mixture over images alone: {found.ratio:.4f}")
    kept = found.falls and found.ratio <= 1 + ALLOWED
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
