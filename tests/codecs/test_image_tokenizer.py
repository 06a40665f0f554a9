"""Claims about `vit-fsq`: what fitting promises, what the codec keeps, what its files hold."""

import json
import os
import pickle  # noqa: TID251  (to prove that a pickle in place of a file is not run)
import signal
from pathlib import Path

import attrs
import numpy as np
import pytest
from PIL import Image as Picture

from fourm_codecs.base import Parts, TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.fit import Fitted, fit
from fourm_codecs.fit_report import round_trip
from fourm_codecs.image_tokenizer import ImageTokenizer, build_network, natural
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_schema.errors import CodecError
from fourm_schema.schema import Schema
from tests.codecs.drawn_images import (
    ENTRY,
    KINDS,
    RECIPE,
    drawn,
    entry_of,
    fit_until_killed,
    images,
    untrained,
)
from tests.forks import fork


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    folder = tmp_path_factory.mktemp("fitted")
    return fit("x", ENTRY, images(60), folder, RECIPE), folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_holds_whatever_the_weights(kind: str) -> None:
    """Ids in range, of the grid's shape, the same alone and in a batch; values of the right shape."""
    codec = untrained(KINDS[kind])

    assert violations(codec, drawn(KINDS[kind], 12)) == []
    assert codec.token_shape == KINDS[kind].grid
    assert codec.vocab_size == 40


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_of_ids_decodes_to_a_value_that_the_modality_can_hold(kind: str) -> None:
    """A model may predict any ids: what comes of them is in range, on the levels, of length one."""
    entry, codec = KINDS[kind], untrained(KINDS[kind])
    length = int(np.prod(codec.token_shape))
    ids = np.random.default_rng(1).integers(0, 40, (20, length))

    values = np.stack([np.asarray(value) for value in codec.decode(TokenBatch.of_grid(ids, 40))])

    codec.encode(list(values))
    if kind == "levels":
        assert set(np.unique(values)) <= set(range(17))
    elif kind == "direction":
        np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1, rtol=1e-5)
    assert values.shape[1:3] == entry.size


def test_a_vector_without_a_direction_becomes_one_that_has() -> None:
    zero = np.zeros((1, 4, 12), np.float32)

    assert np.array_equal(natural("x", KINDS["direction"], zero)[0], np.tile([0.0, 0.0, 1.0], (4, 4, 1)))


def test_no_values_have_no_ids_and_no_ids_no_values() -> None:
    """A dataset may have a batch in which every sample lacks the modality."""
    codec = untrained(ENTRY)

    assert len(codec.encode([])) == 0
    assert codec.decode(codec.encode([])) == []


def test_fitting_lowers_the_loss_and_says_what_it_kept(fitted: tuple[Fitted, Path]) -> None:
    """The report is what a user decides by; its numbers must be those of the codec that was returned."""
    found, folder = fitted
    lines = [json.loads(line) for line in (folder / "fit" / "metrics.jsonl").read_text("utf-8").splitlines()]
    report = json.loads((folder / "fit" / "report.json").read_text("utf-8"))
    kept = found.report.held_out

    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25, 30]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    assert kept == round_trip(found.codec, list(images(60)[9::10]), 0.95)
    assert kept.values == 6
    assert kept.used_ids + kept.dead_ids == kept.ids == 40
    assert 1 <= kept.perplexity <= kept.used_ids
    assert report["held_out"]["codebook_use"] == kept.codebook_use == kept.used_ids / 40
    assert report["loss"] == found.report.loss
    with Picture.open(folder / "fit" / "round_trip.png") as picture:
        assert picture.size == (6 * 68, 2 * 68)


def test_the_law_is_what_was_measured(fitted: tuple[Fitted, Path]) -> None:
    found, _ = fitted
    bound = found.report.held_out.error_quantile

    assert found.codec.law.error == bound
    assert found.codec.law.describe() == (
        f"95% of the values held out at fitting had a root mean square error of at most {bound:.3g} grey"
    )


def test_more_steps_keep_more(fitted: tuple[Fitted, Path]) -> None:
    """Fitted weights, not the decoder's clipping, are what brings images back."""
    held_out = list(images(60)[9::10])

    assert fitted[0].report.held_out.error < 0.5 * round_trip(untrained(ENTRY), held_out, 0.95).error


def test_a_loaded_tokenizer_is_the_saved_one(fitted: tuple[Fitted, Path], tmp_path: Path) -> None:
    codec = fitted[0].codec
    save_codec(codec, tmp_path)

    loaded = load_codec(tmp_path)

    assert isinstance(loaded, ImageTokenizer)
    assert codec_hash(loaded) == codec_hash(codec)
    assert (loaded.entry, loaded.law, loaded.size) == (codec.entry, codec.law, codec.size)
    tokens = codec.encode(drawn(ENTRY, 9))
    assert loaded.encode(drawn(ENTRY, 9)).same(tokens)
    for ours, theirs in zip(loaded.decode(tokens), codec.decode(tokens), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_hash_follows_the_weights_and_what_gives_them_meaning() -> None:
    """Stored ids are stale if a weight, the range or the levels differ; names and clipping change no id."""
    wider = entry_of(cell={"type": "continuous", "range": [0, 32], "levels": 17})
    finer = entry_of(cell={"type": "continuous", "range": [0, 16], "levels": 33})
    base = untrained(ENTRY)
    others = [untrained(ENTRY, seed=1), untrained(wider), untrained(finer)]

    assert len({codec_hash(codec) for codec in (base, *others)}) == 4
    assert codec_hash(attrs.evolve(untrained(entry_of(out_of_range="clip")), modality="y")) == codec_hash(
        base
    )


@attrs.frozen
class Payload:
    """Unpickling it creates a file."""

    victim: Path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.victim),)


def test_a_pickle_in_place_of_weights_is_refused_and_not_run(tmp_path: Path) -> None:
    """Weights are what strangers share; torch's own format would run what they hold."""
    folder, victim = tmp_path / "codec", tmp_path / "victim"
    save_codec(untrained(ENTRY), folder)
    for path in folder.iterdir():
        saved = path.read_bytes()
        path.write_bytes(pickle.dumps(Payload(victim)))
        with pytest.raises(CodecError):
            load_codec(folder)
        path.write_bytes(saved)

    assert not victim.exists()
    assert load_codec(folder).name == "vit-fsq"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"size": "tiny"',
            '"size": "huge"',
            "there is no size 'huge' of 'vit-fsq'; known: base, small, tiny",
        ),
        ('"size": "tiny"', '"size": 3', "its settings lack size, quantile or error"),
        ('"patch": [\n   2', '"patch": [\n   4', "its weights are not those of the network"),
        ('"size": "tiny"', '"size": "small"', "its weights are not those of the network"),
        ('"levels": 17', '"levels": 9', "its entry gives another codec than the one that was saved"),
    ],
)
def test_a_manifest_that_does_not_fit_the_weights_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    save_codec(untrained(ENTRY), tmp_path)
    text = (tmp_path / "codec.json").read_text("utf-8")
    assert old in text
    (tmp_path / "codec.json").write_text(text.replace(old, new, 1), "utf-8")

    with pytest.raises(CodecError, match=message):
        load_codec(tmp_path)


def test_weights_that_are_not_finite_are_refused() -> None:
    """Every id would come of NaN without an error to say so."""
    parts = untrained(ENTRY).parts
    broken = {**parts.tensors, "to_code.bias": np.full(2, np.nan, np.float32)}

    with pytest.raises(CodecError, match=r"got to_code\.bias holds other than finite float32 numbers"):
        ImageTokenizer.from_entry("x", ENTRY, attrs.evolve(parts, tensors=broken))


def test_an_untrained_codec_says_how_to_train_it() -> None:
    schema = Schema.model_validate({"version": 1, "modalities": {"x": ENTRY.model_dump(exclude_none=True)}})

    with pytest.raises(CodecError) as caught:
        build_codec(schema, "x")

    assert str(caught.value) == (
        "x: its codec 'vit-fsq' is not trained yet; "
        "train it: fourm codec train x --data FILE.lance --to codecs/"
    )


def test_an_entry_that_it_cannot_serve_is_refused() -> None:
    classes = entry_of(cell={"type": "categorical", "classes": 3})
    with pytest.raises(
        CodecError, match=r"^x: codecs vit-\.\.\. are for images of numbers or directions; got image"
    ):
        ImageTokenizer.from_entry("x", classes, Parts())

    no_codebook = ENTRY.model_copy(update={"vocab_size": 50})
    with pytest.raises(
        CodecError, match=r"^x\.vocab_size: .* 'vit-fsq'; got 50; the nearest is 40; there are"
    ):
        build_network("x", no_codebook, "tiny")


def test_a_fit_that_was_killed_goes_on_as_if_it_had_not_been(
    fitted: tuple[Fitted, Path], tmp_path: Path
) -> None:
    """Bit for bit: the order of images, the moments of the optimizer and the learning rate all come back."""
    killed = fork(fit_until_killed, tmp_path)
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    left = json.loads((tmp_path / "fit" / "fit.json").read_text("utf-8"))["step"]
    assert 0 < left < RECIPE.steps, "killed between two saved states"

    resumed = fit("x", ENTRY, images(60), tmp_path, RECIPE, resume=True)

    assert codec_hash(resumed.codec) == codec_hash(fitted[0].codec)
    assert resumed.report == fitted[0].report
    metrics = [(folder / "fit" / "metrics.jsonl").read_text("utf-8") for folder in (tmp_path, fitted[1])]
    assert metrics[0] == metrics[1]
    assert len(list((tmp_path / "fit").glob("state-*"))) == 1


def test_a_finished_fit_resumes_to_the_same_codec(fitted: tuple[Fitted, Path]) -> None:
    """Asking twice does not train twice."""
    again = fit("x", ENTRY, images(60), fitted[1], RECIPE, resume=True)

    assert codec_hash(again.codec) == codec_hash(fitted[0].codec)
    assert again.report == fitted[0].report


def test_a_fit_of_another_recipe_is_not_gone_on_with(fitted: tuple[Fitted, Path]) -> None:
    """Half of the steps with each of two learning rates is no fit that anyone could repeat."""
    with pytest.raises(
        CodecError, match=r"fit\.json: is the state of a fit with another recipe; got .*ask for the"
    ):
        fit("x", ENTRY, images(60), fitted[1], attrs.evolve(RECIPE, lr=1e-3), resume=True)
    with pytest.raises(CodecError, match=r"fit\.json: is the state of a fit with another entry"):
        fit("x", entry_of(vocab_size=64), images(60), fitted[1], RECIPE, resume=True)
    with pytest.raises(CodecError, match=r"fit\.json: is the state of a fit with another dataset"):
        fit("x", ENTRY, images(60, seed=1), fitted[1], RECIPE, resume=True)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    recipe = attrs.evolve(RECIPE, steps=1)
    fit("x", ENTRY, images(20), tmp_path, recipe)
    state = next((tmp_path / "fit").glob("state-*"))
    state.write_bytes(state.read_bytes()[:-1])

    with pytest.raises(CodecError, match=r"is not the file that fit\.json names; it is damaged; fit without"):
        fit("x", ENTRY, images(20), tmp_path, recipe, resume=True)
    assert fit("x", ENTRY, images(20), tmp_path, recipe).report.steps == 1
