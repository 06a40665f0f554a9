"""A codec of photos: 16 x 16 pixels become one id, learned from a folder of photos on one core.

Run it from the root of the repository: `python examples/photo_codec/train.py photos/ --to runs/photo_codec`.
Every fifth photo is held out. The codec is fitted on random crops of the others, and compared on crops of
those held out with the mean colour of each patch, unrounded: what a codec of averages would keep if its ids
cost nothing. `side_by_side.jpg` shows originals, mean colours and what came back.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fourm_codecs.fit import QUANTILE, FitRecipe, Fitted, fit
from fourm_codecs.fit_report import RoundTrip, round_trip
from fourm_schema.load import parse_schema

SIDE, PATCH = 64, 16
PICTURE = "side_by_side.jpg"
SCHEMA = f"""
version: 1
modalities:
  photo:
    kind: image
    size: {SIDE}
    patch: {PATCH}
    cell: {{type: continuous, channels: 3, range: [0, 255]}}
    codec: %s
    vocab_size: %d
"""
CROPS_PER_PHOTO = 64
HELD_OUT_EVERY = 5
HELD_OUT_CROPS = 32
SHOWN = 10
QUALITY = 85
SCALES = (0.25, 0.5)
"""A crop is taken of the photo at a size between these: larger ones show little but a single surface."""

Crops = NDArray[np.uint8]


def read_photos(folder: Path) -> list[Image.Image]:
    """The photos of a folder, by name."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [Image.open(path).convert("RGB") for path in paths]


def crops_of(photos: list[Image.Image], each: int, generator: np.random.Generator) -> Crops:
    """Random crops (N, SIDE, SIDE, 3), half of them mirrored, the photos in turn."""
    found = []
    for _ in range(each):
        for photo in photos:
            scale = max(generator.uniform(*SCALES), SIDE / min(photo.size))
            width, height = (max(SIDE, round(side * scale)) for side in photo.size)
            left, top = generator.integers(width - SIDE + 1), generator.integers(height - SIDE + 1)
            # In pixels of the photo: only what is shown is resized.
            right = min((float(left) + SIDE) / scale, photo.width)
            lower = min((float(top) + SIDE) / scale, photo.height)
            box = (float(left) / scale, float(top) / scale, right, lower)
            crop = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
            found.append(crop[:, ::-1] if generator.random() < 0.5 else crop)
    return np.stack(found)


def mean_colour(crops: Crops) -> NDArray[np.float64]:
    """Each patch as its mean."""
    grid = SIDE // PATCH
    patches = crops.reshape(-1, grid, PATCH, grid, PATCH, 3).astype(np.float64)
    means = patches.mean(axis=(2, 4), keepdims=True)
    return np.broadcast_to(means, patches.shape).reshape(crops.shape)


def psnr(crops: Crops, back: NDArray[np.float64]) -> float:
    """Peak signal-to-noise ratio in dB over all crops."""
    return 10 * math.log10(255**2 / float(np.square(crops - back).mean()))


def train(
    photos: list[Image.Image],
    to: Path,
    recipe: FitRecipe,
    codec: str,
    vocab_size: int,
    each: int = CROPS_PER_PHOTO,
) -> tuple[Fitted, Crops]:
    """Fit a codec to `each` crops of four photos in five; give it back with crops of the others."""
    entry = parse_schema(SCHEMA % (codec, vocab_size)).modalities["photo"]
    last = HELD_OUT_EVERY - 1
    train_on = [photo for number, photo in enumerate(photos) if number % HELD_OUT_EVERY != last]
    held_out = photos[last::HELD_OUT_EVERY]

    def chunks() -> Iterator[Crops]:
        # The same crops at each reading, as a fit asks for.
        for number in range(0, len(train_on), 8):
            some = train_on[number : number + 8]
            yield crops_of(some, each, np.random.default_rng([recipe.seed, number]))

    fitted = fit("photo", entry, chunks, to, recipe)
    return fitted, crops_of(held_out, HELD_OUT_CROPS, np.random.default_rng(1))


def compare(fitted: Fitted, crops: Crops) -> tuple[RoundTrip, float, float]:
    """What the codec keeps of crops, its PSNR, and that of the mean colour."""
    kept = round_trip(fitted.codec, list(crops), QUANTILE)
    found = kept.scores["PSNR in dB"]
    assert found is not None, "no codec of a few bits keeps all of a photo"
    return kept, found, psnr(crops, mean_colour(crops))


def side_by_side(fitted: Fitted, crops: Crops) -> Image.Image:
    """One crop of each of the first photos in a column: as it is, in mean colours, as it came back."""
    shown = crops[:SHOWN]
    back = np.stack([np.asarray(value) for value in fitted.codec.decode(fitted.codec.encode(list(shown)))])
    rows = [np.concatenate(list(row), axis=1) for row in (shown, mean_colour(shown), back)]
    return Image.fromarray(np.rint(np.concatenate(rows)).clip(0, 255).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of JPEG or PNG files, ten or more")
    parser.add_argument("--to", type=Path, help="folder for metrics and pictures (default: a temporary one)")
    parser.add_argument("--steps", type=int, default=3_000, help="steps of the fit (default 3000)")
    parser.add_argument("--batch-size", type=int, default=64, help="crops per step (default 64)")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate (default 2e-3)")
    parser.add_argument("--codec", default="vit-vq", help="vit-fsq, vit-lfq or vit-vq (default vit-vq)")
    parser.add_argument("--vocab-size", type=int, default=1_024, help="ids (default 1024)")
    parser.add_argument("--seed", type=int, default=0, help="of the crops and the fit (default 0)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    recipe = FitRecipe(steps=asked.steps, batch_size=asked.batch_size, lr=asked.lr, seed=asked.seed, ema=0.99)
    with tempfile.TemporaryDirectory() as temporary:
        folder, start = asked.to or Path(temporary), time.process_time()
        fitted, crops = train(read_photos(asked.photos), folder, recipe, asked.codec, asked.vocab_size)
        seconds = time.process_time() - start
        kept, ours, theirs = compare(fitted, crops)
        side_by_side(fitted, crops).save(folder / PICTURE, quality=QUALITY)
    print(f"fit            {seconds:.0f} s of one core, {recipe.steps} steps of {recipe.batch_size} crops")
    print(f"tokens         {SIDE // PATCH} x {SIDE // PATCH} of {math.log2(kept.ids):.1f} bits")
    print(f"PSNR           {ours:.2f} dB on {kept.values} crops of photos held out")
    print(f"SSIM           {kept.scores['SSIM']:.3f}")
    print(f"mean colour    {theirs:.2f} dB; the codec is {ours - theirs:+.2f} dB above it")
    print(f"codebook use   {kept.codebook_use:.1%} of {kept.ids:,} ids, perplexity {kept.perplexity:,.0f}")
    if asked.to:
        print(f"picture        {asked.to / PICTURE}")


if __name__ == "__main__":
    main()
