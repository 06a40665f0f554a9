"""Dense tokens: the order within a patch, the scale, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fourm_codecs.dense import DenseView
from fourm_schema.errors import CodecError
from fourm_schema.strategies import values
from tests.codecs.declared import SCHEMA


def test_patches_go_row_by_row_and_within_one_rows_columns_channels() -> None:
    """(ph, pw, c) with channels fastest is what a released patch projection expects."""
    view = DenseView.of_image((4, 6), (2, 3), None, channels=2)
    image_HWK = np.arange(48).reshape(4, 6, 2)

    patches_NLC = view.patches(image_HWK[None])

    assert patches_NLC.shape == (1, 4, 12)
    assert patches_NLC[0, 1].tolist() == image_HWK[0:2, 3:6].reshape(-1).tolist()
    assert patches_NLC[0, 2].tolist() == image_HWK[2:4, 0:3].reshape(-1).tolist()


@given(
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    patch=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.integers(1, 3),
    count=st.integers(0, 2),
)
def test_assembling_undoes_cutting(
    rows: int, columns: int, patch: tuple[int, int], channels: int, count: int
) -> None:
    size = (rows * patch[0], columns * patch[1])
    view = DenseView.of_image(size, patch, None, channels)
    images = np.arange(count * rows * columns * patch[0] * patch[1] * channels).reshape(
        count, *size, channels
    )

    assert np.array_equal(view.assemble(view.patches(images)), images)


def test_a_range_becomes_minus_one_to_one() -> None:
    view = DenseView.of_image((1, 3), (1, 3), (0, 255))

    assert view.encode([[[0, 127.5, 255]]]).tolist() == [[[-1, 0, 1]]]


def test_a_vector_is_one_token_and_is_standardised_where_the_schema_says_how() -> None:
    view = DenseView.of_vector(2, mean=(10, 0), std=(2, 0.5))

    assert view.encode([[12, -1]]).tolist() == [[[1, -2]]]
    assert (view.token_count, view.token_dim) == (1, 2)


@pytest.mark.parametrize("name", ["digit", "weather"])
@given(data=st.data())
def test_what_is_shown_can_be_read_back(name: str, data: st.DataObject) -> None:
    entry = SCHEMA.modalities[name]
    view = DenseView.from_entry(name, entry)
    batch = data.draw(st.lists(values(entry), min_size=1, max_size=3))

    tokens_NLC = view.encode(batch)

    assert np.abs(tokens_NLC).max() <= 1 + 1e-6
    for value, back in zip(batch, view.decode(tokens_NLC), strict=True):
        assert np.allclose(np.asarray(value, np.float64), back, rtol=0, atol=2e-5)


def test_the_view_of_an_entry_follows_its_pixel_patch() -> None:
    view = DenseView.from_entry("digit", SCHEMA.modalities["digit"])

    assert (view.token_count, view.token_dim) == (16, 4)


@given(batch=arrays(np.float64, (3, 2, 2), elements=st.floats(0, 1)))
def test_a_value_is_shown_alike_alone_and_in_a_batch(
    batch: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> None:
    view = DenseView.of_image((2, 2), (1, 2), (0, 1))

    alone = np.concatenate([view.encode([value]) for value in batch])

    assert np.array_equal(view.encode(batch), alone)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [[0, 11]],
            "depth, value 0 at [0, 1]: lies in [0, 10]; got 11; "
            "rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            [[np.nan, 0]],
            "depth, value 0 at [0, 0]: NaN stands for no value; got nan; "
            "give None for an absent value, or fill it in",
        ),
        (
            np.zeros((2, 1)),
            "depth, value 0: a value has shape 1x2; got 2x1; resize it, or change `size` in the schema",
        ),
        (
            np.zeros((4, 4, 1)),
            "depth, value 0: a value has shape 1x2; got 4x4x1; resize it, or change `size` in the schema",
        ),
    ],
)
def test_a_value_that_cannot_be_shown_is_refused(value: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        DenseView.of_image((1, 2), (1, 1), (0, 10), modality="depth").encode([value])

    assert str(caught.value) == message


def test_channels_first_is_told_apart() -> None:
    with pytest.raises(CodecError, match="got 3x4x4; put the channels last"):
        DenseView.of_image((4, 4), (2, 2), (0, 1), channels=3).encode([np.zeros((3, 4, 4))])


def test_infinity_is_refused_even_where_there_is_no_range() -> None:
    with pytest.raises(CodecError, match="sensor, value 0 'b': a value is finite; got inf"):
        DenseView.of_vector(2, names=("a", "b"), modality="sensor").encode([[0, np.inf]])


def test_clip_bounds_a_dense_value() -> None:
    view = DenseView.of_vector(2, ((0, 1), (0, 2)), out_of_range="clip")

    assert view.encode([[-5, np.inf]]).tolist() == [[[-1, 1]]]


def test_texts_and_class_maps_are_not_shown_dense() -> None:
    """Class 2 is not twice class 1: as numbers, class maps would say so."""
    with pytest.raises(CodecError, match="parts: a class map cannot be shown dense; show it as tokens"):
        DenseView.from_entry("parts", SCHEMA.modalities["parts"])
    with pytest.raises(CodecError, match="caption: a text cannot be shown dense"):
        DenseView.from_entry("caption", SCHEMA.modalities["caption"])


def test_tokens_of_another_shape_are_refused() -> None:
    with pytest.raises(CodecError, match=r"dense tokens have shape \(N, 2, 1\); got \(1, 1, 2\)"):
        DenseView.of_image((1, 2), (1, 1), None).decode(np.zeros((1, 1, 2), np.float32))
