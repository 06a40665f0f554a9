"""Claims that hold of every learned codec: what it owes unfitted, what a fit gives, what its files hold."""

import json
import math
from functools import cache
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from fourm_codecs.base import TokenBatch
from fourm_codecs.class_tokenizer import ClassTokenizer
from fourm_codecs.code_network import Standard
from fourm_codecs.feature_tokenizer import FeatureTokenizer
from fourm_codecs.fit import FitRecipe, Fitted, fit
from fourm_codecs.fit_scores import cosines, mean_iou, structural_similarity
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.learned import LEARNED, learned_class
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_codecs.untrained import untrained
from fourm_codecs.vector_tokenizer import VectorTokenizer
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality
from fourm_schema.schema import Schema
from fourm_schema.select import LEARNED_CODECS

SCHEMA = Schema.model_validate(
    {
        "version": 1,
        "modalities": {
            "depth": {
                "kind": "image", "size": 4, "patch": 2, "vocab_size": 64,
                "cell": {"type": "continuous", "range": [0, 16]},
            },
            "land": {
                "kind": "image", "size": [8, 4], "patch": 4, "vocab_size": 64,
                "cell": {"type": "categorical", "classes": ["sea", "land", "cloud"], "ignore": "cloud"},
            },
            "clip": {
                "kind": "image", "size": 3, "patch": 1, "vocab_size": 64,
                "cell": {"type": "features", "channels": 12},
            },
            "dino": {"kind": "vector", "dim": 40, "tokens": 4, "vocab_size": 32},
            "pose": {"kind": "vector", "dim": 40, "ranges": [-1, 1], "tokens": 4, "vocab_size": 32},
        },
    }
)  # fmt: skip
ENTRIES = SCHEMA.modalities
RECIPE = FitRecipe(steps=40, batch_size=8, save_every=20, log_every=5, lr=4e-3)


CUT = attrs.evolve(RECIPE, steps=12, save_every=5)


@cache
def values_of(name: str, count: int = 100) -> NDArray[np.generic]:
    """Values with few degrees of freedom, so that few ids can keep them."""
    generator = np.random.default_rng(0)
    if name == "depth":
        return generator.integers(0, 17, (count, 1, 1)).repeat(4, 1).repeat(4, 2)
    if name == "land":
        return generator.integers(0, 3, (count, 2, 1)).repeat(4, 1).repeat(4, 2)
    if name == "clip":
        return (generator.normal(size=(4, 12)) + 3)[generator.integers(4, size=(count, 3, 3))]
    numbers = generator.normal(size=(count, 2)) @ generator.normal(size=(2, 40))
    return numbers if name == "dino" else np.tanh(numbers)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Fitted, Path]]:
    found = {}
    for name, entry in ENTRIES.items():
        folder = tmp_path_factory.mktemp(name)
        found[name] = fit(name, entry, values_of(name), folder, RECIPE), folder
    return found


def test_each_learned_codec_of_the_selection_table_can_be_built() -> None:
    assert set(LEARNED) == set(LEARNED_CODECS)
    for codec in LEARNED_CODECS:
        assert untrained("x", asking_for(codec)).name == codec


def value_name(codec: str) -> str:
    """A modality whose values a codec can serve."""
    return {"vit": "depth", "vit-class": "land", "vit-feature": "clip", "mlp": "dino"}[
        codec.rpartition("-")[0]
    ]


def asking_for(codec: str) -> Modality:
    return ENTRIES[value_name(codec)].model_copy(update={"codec": codec, "vocab_size": 64})


@pytest.mark.parametrize("codec", LEARNED_CODECS)
def test_the_law_holds_whatever_the_weights_and_the_quantizer(codec: str, tmp_path: Path) -> None:
    """And what is saved of a codec is all that its ids need."""
    built, values = untrained("x", asking_for(codec), seed=3), list(values_of(value_name(codec))[:6])

    assert violations(built, values) == []
    assert built.vocab_size == 64
    assert built.law.describe().startswith("nobody has fitted it")
    save_codec(built, tmp_path)
    loaded = load_codec(tmp_path)
    assert codec_hash(loaded) == codec_hash(built) and loaded.law == built.law
    assert loaded.encode(values).same(built.encode(values))


def test_the_quantizer_is_part_of_what_ids_mean(tmp_path: Path) -> None:
    """A file whose entry names another codec is no file of this one."""
    save_codec(untrained("x", asking_for("vit-fsq")), tmp_path)
    manifest = tmp_path / "codec.json"
    manifest.write_text(manifest.read_text().replace('"codec": "vit-fsq"', '"codec": "vit-lfq"', 1))

    with pytest.raises(CodecError):
        load_codec(tmp_path)


@pytest.mark.parametrize("name", ENTRIES)
def test_any_ids_decode_to_what_the_modality_can_hold(name: str) -> None:
    """A model may predict any ids; what comes of them can be encoded again."""
    codec = untrained(name, ENTRIES[name], seed=1)
    length = math.prod(codec.token_shape or ())
    ids = np.random.default_rng(1).integers(0, codec.vocab_size, (20, length))

    back = codec.decode(TokenBatch.of_grid(ids, codec.vocab_size))

    assert np.asarray(back[0]).shape == values_of(name)[0].shape
    codec.encode(list(back))
    if name == "land":
        assert np.stack([np.asarray(value) for value in back]).dtype == np.int64
    assert codec.decode(codec.encode([])) == []


@pytest.mark.parametrize("name", ["clip", "dino"])
def test_numbers_far_from_any_that_were_measured_have_ids_too(name: str) -> None:
    """Features have no range: a network shown infinity would give no id at all."""
    codec = untrained(name, ENTRIES[name])
    huge = [np.full(values_of(name)[0].shape, number) for number in (1e30, -3e38)]

    assert violations(codec, huge) == []


@pytest.mark.parametrize("name", ENTRIES)
def test_a_fit_lowers_the_loss_and_keeps_more_than_no_fit(
    fitted: dict[str, tuple[Fitted, Path]], name: str
) -> None:
    found, folder = fitted[name]
    kept = found.report.held_out
    lines = [json.loads(line) for line in (folder / "fit" / "metrics.jsonl").read_text().splitlines()]
    codec = learned_class(name, ENTRIES[name]).drawn(name, ENTRIES[name], "tiny", _generator())
    values = list(values_of(name)[9::10])
    before = codec.errors(values, codec.decode(codec.encode(values))).mean()

    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert kept.error < 0.6 * before
    assert kept.error_quantile == found.codec.law.error
    assert violations(found.codec, values) == []
    with Picture.open(folder / "fit" / "round_trip.png") as picture:
        assert picture.size[0] % kept.values == 0 and picture.size[1] % 2 == 0, "a column for each value"


def test_each_type_has_its_scores(fitted: dict[str, tuple[Fitted, Path]]) -> None:
    scores = {name: set(found.report.held_out.scores) for name, (found, _) in fitted.items()}

    assert scores == {
        "depth": {"PSNR in dB", "SSIM"},
        "land": {"mean IoU"},
        "clip": {"cosine similarity", "mean absolute error"},
        "dino": {"cosine similarity", "mean absolute error"},
        "pose": {"cosine similarity", "mean absolute error"},
    }


@pytest.mark.parametrize("name", ENTRIES)
def test_a_loaded_codec_is_the_saved_one(
    fitted: dict[str, tuple[Fitted, Path]], name: str, tmp_path: Path
) -> None:
    codec = fitted[name][0].codec
    save_codec(codec, tmp_path)

    loaded = load_codec(tmp_path)

    assert type(loaded) is type(codec) and codec_hash(loaded) == codec_hash(codec)
    assert loaded.law == codec.law
    tokens = codec.encode(list(values_of(name)[:5]))
    assert loaded.encode(list(values_of(name)[:5])).same(tokens)
    assert all(
        np.array_equal(np.asarray(ours), np.asarray(theirs))
        for ours, theirs in zip(loaded.decode(tokens), codec.decode(tokens), strict=True)
    )


@pytest.mark.parametrize(
    ("codec", "recipe"),
    [
        ("vit-feature-vq", attrs.evolve(CUT, ema=0.9)),
        ("vit-class-lfq", attrs.evolve(CUT, sizes=((8, 4), (4, 4)))),
        ("mlp-pq", CUT),
        ("mlp-rvq", attrs.evolve(CUT, ema=0.5)),
    ],
)
def test_a_fit_that_was_cut_off_ends_with_the_same_weights(
    tmp_path: Path, codec: str, recipe: FitRecipe
) -> None:
    """Averages, measured means, tables of codes, the draws for dead ones and those of sizes come back too."""
    name, entry = value_name(codec), asking_for(codec)
    whole = fit(name, entry, values_of(name), tmp_path / "whole", recipe)

    def stop(_: str, done: int, __: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(name, entry, values_of(name), tmp_path / "cut", recipe, progress=stop)
    resumed = fit(name, entry, values_of(name), tmp_path / "cut", recipe, resume=True)

    assert codec_hash(resumed.codec) == codec_hash(whole.codec)
    assert resumed.report == whole.report


def test_the_average_of_the_weights_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    recipe = attrs.evolve(RECIPE, steps=5)
    hashes = {
        codec_hash(fit("dino", ENTRIES["dino"], values_of("dino"), tmp_path, asked).codec)
        for asked in (recipe, attrs.evolve(recipe, ema=0.5), attrs.evolve(recipe, ema=1e-9))
    }

    assert len(hashes) == 2, "an average that keeps nothing of the past is the last weights"
    with pytest.raises(CodecError, match=r"^fit\.ema: must be 0 or more and below 1; got 1\.0$"):
        FitRecipe(ema=1.0)


def test_cells_of_the_ignored_class_do_not_count() -> None:
    """What is under a cloud is nobody's mistake."""
    codec = untrained("land", ENTRIES["land"])
    assert isinstance(codec, ClassTokenizer)
    truth, back = np.zeros((2, 8, 4), np.int64), np.zeros((2, 8, 4), np.int64)
    truth[0, :4], back[0, :6] = 2, 1

    errors = codec.errors(list(truth), list(back))
    scores = codec.scores(codec.tally(list(truth), list(back)))

    assert errors.tolist() == [0.5, 0.0]
    assert scores["share of wrong cells"] == pytest.approx(8 / 48)
    assert scores["mean IoU"] == pytest.approx((40 / 48 + 0) / 2)


def test_pictures_show_classes_in_colours_features_by_components_and_vectors_as_squares(
    fitted: dict[str, tuple[Fitted, Path]],
) -> None:
    with Picture.open(fitted["land"][1] / "fit" / "round_trip.png") as picture:
        colours = picture.convert("RGB").getcolors()
    assert colours is not None and len(colours) <= 4, "three classes and the frame"
    codec = fitted["clip"][0].codec
    assert isinstance(codec, FeatureTokenizer)
    shown = np.stack(list(codec.coloured(list(values_of("clip")[:4]))))
    assert shown.shape == (4, 3, 3, 3) and shown.min() == 0 and shown.max() == 255
    vectors = fitted["dino"][0].codec
    assert isinstance(vectors, VectorTokenizer)
    scale = vectors.network.scale
    assert isinstance(scale, Standard)
    mean, high = scale.mean.numpy(), (scale.mean + 9 * scale.deviation).numpy()
    white, red = vectors.coloured([mean, high])
    assert white.shape == (7, 7, 3) and (white == 255).all()
    assert (red.reshape(-1, 3)[:40] == [255, 0, 0]).all() and (red.reshape(-1, 3)[40:] == 255).all()


def test_what_a_codec_cannot_serve_is_refused() -> None:
    def refused(kind: type[ClassTokenizer | FeatureTokenizer | VectorTokenizer], entry: Modality) -> str:
        with pytest.raises(CodecError) as caught:
            kind.drawn("x", entry, "tiny", _generator())
        return str(caught.value)

    steps = ENTRIES["dino"].model_copy(update={"max_length": 4})
    assert refused(ClassTokenizer, ENTRIES["clip"]) == (
        "x: codecs vit-class-... are for images of classes; got image of features cells"
    )
    assert refused(FeatureTokenizer, ENTRIES["dino"]) == (
        "x: codecs vit-feature-... are for images of features; got vector"
    )
    assert (
        refused(VectorTokenizer, ENTRIES["land"])
        == "x: codecs mlp-... are for vectors; got image of categorical cells"
    )
    assert refused(VectorTokenizer, steps) == (
        "x: codecs mlp-... are for single vectors, not for sequences of them; got max_length"
    )
    with pytest.raises(CodecError, match=r"^x: its codec 'bins' is not learned; build it with build_codec$"):
        untrained("x", Schema.model_validate(
            {"version": 1, "modalities": {"x": {"kind": "vector", "dim": 2, "ranges": [0, 1]}}}
        ).modalities["x"])  # fmt: skip


def test_scores_are_those_of_their_definitions() -> None:
    """Reports are what codecs are chosen by."""
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 1, (2, 12, 12, 1))
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is in the extra `derive`")
    noisy = np.clip(images + generator.normal(0, 0.1, images.shape), 0, 1)

    ours = structural_similarity(images, noisy, 1.0)

    assert structural_similarity(images, images, 1.0) == pytest.approx([1, 1])
    for number in range(2):
        theirs = skimage.structural_similarity(
            images[number, ..., 0], noisy[number, ..., 0], data_range=1.0, win_size=7
        )
        assert ours[number] == pytest.approx(theirs, rel=1e-9)
    assert mean_iou(np.zeros((2, 2))) is None
    assert cosines(np.array([[1.0], [0.0]]), np.array([[-2.0], [1.0]])).tolist() == [-1, 0]


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
