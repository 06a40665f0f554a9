"""Claims about the example that fits a codec to photos."""

from pathlib import Path

import numpy as np

from examples.photo_codec.train import (
    SIDE,
    compare,
    crops_of,
    mean_colour,
    psnr,
    read_photos,
    side_by_side,
    train,
)
from fourm_codecs.fit import FitRecipe


def test_coco_crops_are_drawn_by_their_generator_alone(coco: Path) -> None:
    """A fit reads its values many times and asks for the same ones."""
    photos = read_photos(coco / "images")[:3]
    first, again, other = (crops_of(photos, 2, np.random.default_rng(seed)) for seed in (0, 0, 1))

    assert first.shape == (6, SIDE, SIDE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert (first.std(axis=(1, 2, 3)) > 5).all(), "a crop shows something"


def test_coco_a_fit_on_photos_is_compared_with_their_mean_colours(coco: Path, tmp_path: Path) -> None:
    """A few steps beat one grey for all; the mean colour of each patch takes minutes to beat."""
    photos = read_photos(coco / "images")[:10]
    recipe = FitRecipe(steps=8, batch_size=8, lr=2e-3)
    fitted, crops = train(photos, tmp_path, recipe, "vit-vq", 64, each=4)

    kept, ours, theirs = compare(fitted, crops)

    assert theirs == psnr(crops, mean_colour(crops))
    assert 5 < ours < theirs + 5
    assert kept.ids == 64 and fitted.codec.name == "vit-vq"
    assert side_by_side(fitted, crops).size == (10 * SIDE, 3 * SIDE)
    assert np.allclose(mean_colour(crops).mean(axis=(1, 2)), crops.mean(axis=(1, 2)))
