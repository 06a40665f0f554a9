"""One codec for images of several sizes, and losses of others beside its own."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourm_codecs import perceptual
from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.fit_report import round_trip
from fourm_codecs.image_tokenizer import ImageTokenizer
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.learned import AnyLearned
from fourm_codecs.patches import at_size, images_of, patches_of
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_codecs.untrained import untrained
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality
from fourm_schema.schema import Schema

CELLS = {
    "number": {"type": "continuous", "range": [0, 16]},
    "direction": {"type": "direction"},
    "class": {"type": "categorical", "classes": 3},
    "features": {"type": "features", "channels": 5},
}
RECIPE = FitRecipe(steps=8, batch_size=6, save_every=4, log_every=4)


def entry_of(cell: str, size: int = 8, patch: int = 4) -> Modality:
    declared = {"kind": "image", "size": size, "patch": patch, "vocab_size": 64, "cell": CELLS[cell]}
    return Schema.model_validate({"version": 1, "modalities": {"x": declared}}).modalities["x"]


def values_of(cell: str, count: int, size: tuple[int, int]) -> list[NDArray[np.generic]]:
    generator = np.random.default_rng(0)
    if cell == "class":
        return list(generator.integers(0, 3, (count, *size)))
    if cell == "number":
        return list(generator.uniform(0, 16, (count, *size)))
    vectors = generator.normal(size=(count, *size, 3 if cell == "direction" else 5))
    return list(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) if cell == "direction" else vectors)


def drawn(cell: str) -> AnyLearned:
    codec = untrained("x", entry_of(cell))
    assert isinstance(codec, AnyLearned)
    return codec


@pytest.mark.parametrize("cell", CELLS)
def test_at_its_own_size_a_codec_stays_what_it_is(cell: str) -> None:
    """Also by way of another size: the grid of the fit is not forgotten."""
    codec, values = drawn(cell), values_of(cell, 5, (8, 8))
    there_and_back = codec.resized((4, 12)).resized((8, 8))

    for same in (codec.resized((8, 8)), there_and_back):
        assert same.encode(values).same(codec.encode(values))
        assert codec_hash(same) == codec_hash(codec) and same.law == codec.law
        assert same.name == codec.name


@pytest.mark.parametrize("cell", CELLS)
def test_another_size_has_as_many_ids_as_patches_and_the_same_law(cell: str, tmp_path: Path) -> None:
    """What a codec owes at one size it owes at each, and on disk too."""
    codec = drawn(cell).resized((12, 4))
    values = values_of(cell, 4, (12, 4))

    assert codec.token_shape == (3, 1) and codec.fitted_at == (8, 8)
    assert violations(codec, values) == []
    save_codec(codec, tmp_path)
    loaded = load_codec(tmp_path)
    assert isinstance(loaded, AnyLearned) and loaded.fitted_at == (8, 8)
    assert codec_hash(loaded) == codec_hash(codec) != codec_hash(drawn(cell))
    assert loaded.encode(values).same(codec.encode(values))


def test_the_law_of_another_size_says_where_it_was_measured(tmp_path: Path) -> None:
    """A number of one size is no promise for another."""
    fitted = drawn("number").calibrated(0.95, 1.5)
    other = fitted.resized((16, 16))
    save_codec(other, tmp_path)

    assert other.law.describe() == f"at 8x8 cells, {fitted.law.describe()}"
    assert load_codec(tmp_path).law == other.law
    assert other.resized((4, 4)).law == other.law and other.resized((8, 8)).law == fitted.law


def test_a_size_at_which_the_table_would_choose_an_exact_codec_keeps_the_learned_one() -> None:
    """32 x 32 cells of two levels are too many for exact tokens, 8 x 8 are not."""
    cell = {"type": "continuous", "range": [0, 1], "levels": 2}
    declared = {"kind": "image", "size": 32, "patch": 1, "vocab_size": 64, "cell": cell}
    entry = Schema.model_validate({"version": 1, "modalities": {"x": declared}}).modalities["x"]
    codec = untrained("x", entry)
    assert isinstance(codec, ImageTokenizer)

    assert codec.resized((8, 8)).name == codec.name == "vit-fsq"


def test_what_has_no_such_size_is_refused(tmp_path: Path) -> None:
    vector = Schema.model_validate({"version": 1, "modalities": {"x": {"kind": "vector", "dim": 40}}})
    embedding = untrained("x", vector.modalities["x"])
    assert isinstance(embedding, AnyLearned)

    with pytest.raises(CodecError, match=r"^x: what is resized is an image that .* tile; got 10x8 cells$"):
        drawn("number").resized((10, 8))
    with pytest.raises(CodecError, match=r"^x: what is resized is an image that .* tile; got vector$"):
        embedding.resized((8, 8))
    refuse = partial(fit, "x", values=values_of("number", 10, (8, 8)), out_dir=tmp_path)
    with pytest.raises(CodecError, match=r"^fit\.sizes: patches of 4x4 cells must tile each size; got 6x8$"):
        refuse(entry=entry_of("number"), recipe=attrs.evolve(RECIPE, sizes=((6, 8),)))
    with pytest.raises(CodecError, match=r"^fit\.sizes: a vector has no size; got 8x8; leave sizes out$"):
        refuse(entry=vector.modalities["x"], recipe=attrs.evolve(RECIPE, sizes=((8, 8),)))


def test_images_of_patches_are_those_that_were_cut() -> None:
    images = torch.arange(2 * 3 * 8 * 12.0).reshape(2, 3, 8, 12)

    patches = patches_of(images, (4, 3))

    assert patches.shape == (2, 8, 36)
    assert torch.equal(images_of(patches, (2, 4), (4, 3)), images)
    assert torch.equal(patches[0, 0].reshape(4, 3, 3), images[0, :, :4, :3].permute(1, 2, 0))


def test_cells_of_another_size_are_of_their_type() -> None:
    """A class between two others would be a third, and a mean of directions is none."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(1, 3, 8, 8, generator=generator)
    classes = torch.randint(0, 9, (1, 1, 8, 8), generator=generator, dtype=torch.int32)

    assert at_size(numbers, (8, 8), "smooth") is numbers
    assert float(at_size(numbers, (4, 4), "smooth").mean()) == pytest.approx(float(numbers.mean()), abs=0.05)
    assert at_size(numbers, (4, 6), "unit").norm(dim=1).sub(1).abs().max() < 1e-5
    picked = at_size(classes, (4, 12), "nearest")
    assert picked.dtype == torch.int32 and set(picked.flatten().tolist()) <= set(classes.flatten().tolist())
    assert torch.equal(at_size(classes.repeat_interleave(3, dim=2), (8, 8), "nearest"), classes)


def halves(count: int, size: int) -> NDArray[np.float64]:
    """Images with a bright and a dark half, at any of four places."""
    places = np.random.default_rng(1).integers(4, size=count)
    half = np.repeat([2.0, 13.0], size // 2)[:, None].repeat(size, axis=1)
    return np.stack([np.rot90(half, place) for place in places])


def blocks(count: int, size: int) -> NDArray[np.float64]:
    """Images of 4 x 4 blocks, each dark or bright."""
    dark = np.random.default_rng(2).integers(2, size=(count, 4, 4))
    return np.where(dark, 2.0, 13.0).repeat(size // 4, axis=1).repeat(size // 4, axis=2)


def test_a_codec_trained_at_two_sizes_keeps_more_of_the_other_one(tmp_path: Path) -> None:
    """A patch of 4 x 4 cells holds one block at the size of the fit, and four at half of it."""
    recipe = FitRecipe(steps=70, batch_size=8)
    kept = []
    for sizes in ((), ((16, 16), (8, 8))):
        asked = attrs.evolve(recipe, sizes=sizes)
        codec = fit("x", entry_of("number", 16), blocks(80, 16), tmp_path, asked).codec
        kept.append(round_trip(codec.resized((8, 8)), list(blocks(20, 8)), 0.95).error)
        assert codec.token_shape == (4, 4), "the size that was declared is that of the codec"

    assert kept[1] < 0.8 * kept[0]


def differences(back: Tensor, given: Tensor) -> Tensor:
    """How far apart the steps from cell to cell are."""
    return sum(((back.diff(dim=axis) - given.diff(dim=axis)) ** 2).mean() for axis in (2, 3))  # type: ignore[return-value]  # the sum of two tensors


def test_a_perceptual_loss_sees_pictures_and_moves_the_weights(tmp_path: Path) -> None:
    """It is called with whole images in [-1, 1], what came back first."""
    seen = list[tuple[Tensor, Tensor]]()
    images, entry = halves(20, 8), entry_of("number")

    def noted(back: Tensor, given: Tensor) -> Tensor:
        seen.append((back.detach(), given))
        return differences(back, given)

    asked: Callable[..., str] = lambda **more: codec_hash(  # noqa: E731  (the calls differ by keywords alone)
        fit("x", entry, images, tmp_path, attrs.evolve(RECIPE, **more.pop("recipe", {})), **more).codec
    )
    plain, added = asked(), asked(perceptual=noted)
    at_sizes = asked(perceptual=noted, recipe={"sizes": ((4, 4), (8, 12))})

    known = {tuple(np.round(image.ravel() / 8 - 1, 5)) for image in images}
    assert [len(back) for back, _ in seen[:8]] == [6] * 8 and seen[0][0].shape == (6, 1, 8, 8)
    assert all(tuple(np.round(one.numpy().ravel().astype(float), 5)) in known for one in seen[0][1])
    assert {back.shape[2:] for back, _ in seen[8:]} == {(4, 4), (8, 12)}
    assert len({plain, added, at_sizes}) == 3
    assert asked(perceptual=noted, recipe={"perceptual_weight": 0.0}) == plain


def test_a_perceptual_loss_is_added_at_its_weight(tmp_path: Path) -> None:
    found = list[float]()

    def noted(back: Tensor, given: Tensor) -> Tensor:
        added = differences(back, given)
        found.append(float(added.detach()))
        return added

    losses = []
    for weight in (0.0, 2.5):
        recipe = attrs.evolve(RECIPE, steps=1, perceptual_weight=weight)
        fit("x", entry_of("number"), halves(20, 8), tmp_path, recipe, perceptual=noted)
        losses.append(json.loads((tmp_path / "fit" / "metrics.jsonl").read_text())["loss"])

    assert found[0] == found[1] > 0
    assert losses[1] == pytest.approx(losses[0] + 2.5 * found[1], rel=1e-6)


def test_a_fit_goes_on_with_the_loss_that_it_began_with(tmp_path: Path) -> None:
    images, entry = halves(20, 8), entry_of("number")
    fit("x", entry, images, tmp_path, RECIPE, perceptual=differences)

    with pytest.raises(CodecError, match=r"is the state of a fit with another recipe; got .*differences"):
        fit("x", entry, images, tmp_path, RECIPE, resume=True)
    with pytest.raises(CodecError, match=r"^fit\.perceptual_weight: must be 0 or more; got -1$"):
        FitRecipe(perceptual_weight=-1)


def test_a_perceptual_loss_is_for_images_of_numbers(tmp_path: Path) -> None:
    values = values_of("class", 10, (8, 8))
    with pytest.raises(
        CodecError, match=r"^x: a perceptual loss is for images of numbers; got vit-class-fsq$"
    ):
        fit("x", entry_of("class"), values, tmp_path, RECIPE, perceptual=differences)


@attrs.frozen
class Installed:
    """Entry points as a package declares them."""

    losses: dict[str, object]

    @property
    def names(self) -> set[str]:
        return set(self.losses)

    def __getitem__(self, name: str) -> "Installed":
        return Installed({"": self.losses[name]})

    def load(self) -> object:
        return self.losses[""]


def test_losses_are_found_by_their_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name leads to what is installed, and never to an import path."""
    with pytest.raises(CodecError, match=r"no loss 'edges' among .*'fourm\.perceptual'; none is installed$"):
        perceptual.perceptual_loss("edges")
    there = Installed({"edges": differences, "broken": 3})
    monkeypatch.setattr(perceptual, "entry_points", lambda group: there)

    assert perceptual.perceptual_loss("edges") is differences
    with pytest.raises(CodecError, match=r"no loss 'edgs' .*did you mean 'edges'\?"):
        perceptual.perceptual_loss("edgs")
    with pytest.raises(CodecError, match=r"what is behind 'broken' is no function; got 3; its entry point"):
        perceptual.perceptual_loss("broken")
