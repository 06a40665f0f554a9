"""The values a fit is trained on, and those it is measured on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fourm_codecs import fit_values
from fourm_codecs.fit import FitRecipe, fit
from fourm_codecs.fit_values import FitValues
from fourm_codecs.image_tokenizer import view_of
from fourm_schema.errors import CodecError
from tests.codecs.drawn_images import ENTRY, RECIPE, images


def test_a_fit_draws_from_no_global_generator(tmp_path: Path) -> None:
    before, of_numpy = torch.get_rng_state(), np.random.get_state(legacy=False)
    fit("x", ENTRY, images(20), tmp_path, attrs.evolve(RECIPE, steps=1))

    assert torch.equal(torch.get_rng_state(), before)
    assert str(np.random.get_state(legacy=False)) == str(of_numpy)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FitRecipe(steps=0), r"^fit\.steps: must be 1 or more; got 0$"),
        (lambda: FitRecipe(seed=-1), r"^fit\.seed: must be 0 or more; got -1$"),
        (lambda: FitRecipe(lr=0.0), r"^fit\.lr: must be above 0; got 0\.0$"),
    ],
)
def test_a_recipe_that_trains_nothing_is_refused(make: Callable[[], FitRecipe], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        make()


def test_too_few_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=r"^x: a fit needs 10 values or more; got 9; one in ten is held out"):
        fit("x", ENTRY, images(9), tmp_path, RECIPE)


def test_each_pass_takes_each_value_once_and_none_that_is_held_out() -> None:
    """Also where the values do not fit into the buffer, and whatever their chunks are."""
    numbered = [np.full((4, 4), float(number)) for number in range(16)]
    view = view_of("x", ENTRY)

    def chunks() -> Iterator[list[NDArray[np.float64]]]:
        yield numbered[:3]
        yield numbered[3:]

    for room in (4, 1000):
        data = FitValues("x", chunks, view, buffer_bytes=room * 4 * 16)
        stream = data.batches(5, seed=1)
        passes = [np.concatenate([next(stream) for _ in range(3)])[:, 0, 0] for _ in range(3)]
        expected = sorted(set(range(16)) - {9})
        for order in passes:
            assert sorted(np.rint(np.asarray(order, np.float64) * 8 + 8).astype(int).tolist()) == expected
        assert not np.array_equal(passes[0], passes[1])
        later = data.batches(5, seed=1, skip=4)
        assert np.array_equal(next(later)[:, 0, 0], passes[1][5:10])


def test_what_is_held_out_is_bounded_and_the_rest_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a large dataset would not fit into memory, and to train on none of it would be a waste."""
    numbered = [np.full((4, 4), number / 4) for number in range(40)]
    monkeypatch.setattr(fit_values, "HELD_OUT_BYTES", 2 * 4 * 16)
    monkeypatch.setattr(fit_values, "CHUNK", 7)
    data = FitValues("x", numbered, view_of("x", ENTRY))

    held_out = data.held_out()
    trained = np.rint(np.asarray(next(data.batches(38, seed=0))[:, 0, 0], np.float64) * 32 + 32).astype(int)

    assert [int(np.asarray(value)[0, 0] * 4) for value in held_out] == [9, 19]
    assert sorted(trained.tolist()) == sorted(set(range(40)) - {9, 19})
