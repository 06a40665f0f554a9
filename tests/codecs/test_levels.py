"""Exact levels: what is taken, what is refused, and what the refusal says."""

import numpy as np
import pytest
from PIL import Image as Picture

from fourm_codecs.base import Array, TokenBatch
from fourm_codecs.levels import LevelsCodec
from fourm_schema.errors import CodecError
from fourm_schema.modality import Image


class Tensor:
    """As a tensor on a GPU: it refuses to become an array."""

    def __array__(self) -> Array:
        raise TypeError("copy it to the host first")


DIGIT = LevelsCodec.of_range(2, 2, 0, 16, 17, modality="digit")
PARTS = LevelsCodec.of_classes(2, 2, ["background", "contour", "ink"], modality="parts")


def test_ids_are_the_numbers_of_the_levels_row_by_row() -> None:
    tokens = DIGIT.encode([[[0, 16], [7, 1]], [[1, 1], [2, 2]]])

    assert [row.tolist() for row in tokens.rows()] == [[0, 16, 7, 1], [1, 1, 2, 2]]
    assert tokens.ids.dtype == np.uint8
    assert DIGIT.token_shape == (2, 2)


@pytest.mark.parametrize(
    "image",
    [
        np.array([[0, 16], [7, 1]], np.uint8),
        np.array([[0, 16], [7, 1]], np.float32)[..., None],
        Picture.fromarray(np.array([[0, 16], [7, 1]], np.uint8)),
        [[0, 16], [7, 1]],
    ],
    ids=["integers", "channel axis", "picture", "lists"],
)
def test_an_image_is_taken_however_it_is_held(image: object) -> None:
    """Users have arrays, pictures and JSON; a channel axis of one is the same image."""
    assert DIGIT.encode([image]).ids.tolist() == [0, 16, 7, 1]


def test_a_stacked_batch_is_the_same_batch() -> None:
    images = np.arange(12).reshape(3, 2, 2)

    assert DIGIT.encode(images).same(DIGIT.encode(list(images)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            [[0, 16.5], [7, 1]],
            "digit, value 0 at [0, 1]: values lie in [0, 16]; got 16.5; "
            "rescale it, or set `out_of_range: clip` to bound it",
        ),
        (
            [[0, 16], [7.3, 1]],
            "digit, value 0 at [1, 0]: values lie on 17 levels of [0, 16]; got 7.3; "
            "the nearest level is 7; round it, or set `out_of_range: clip` to snap it",
        ),
        (
            [[0, 16], [7, float("nan")]],
            "digit, value 0 at [1, 1]: NaN stands for no value; got nan; "
            "give None for an absent value, or fill it in",
        ),
        (
            np.zeros((2, 3)),
            "digit, value 0: a value has shape 2x2; got 2x3; resize it, or change `size` in the schema",
        ),
        ([[0, 1], [2]], "digit, value 0: a value is numbers of shape 2x2; got lists of unequal lengths"),
        ("seven", "digit, value 0: a value is numbers of shape 2x2; got str of <U5"),
        (None, "digit, value 0: an absent value has no tokens; leave it out of the batch"),
        (3, "digit, value 0: a value has shape 2x2; got a single number"),
        (
            [3, 4],
            "digit, value 0: a value has shape 2x2; got 2; "
            "encode takes a batch: put a single value in a list",
        ),
        (Tensor(), "digit, value 0: a value is numbers of shape 2x2; got copy it to the host first"),
    ],
)
def test_a_value_that_is_none_is_refused_by_name_place_and_mend(image: object, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        DIGIT.encode([image])

    assert str(caught.value) == message


def test_the_message_names_which_value_of_the_batch() -> None:
    with pytest.raises(CodecError, match=r"digit, value 2 at \[0, 0\]"):
        DIGIT.encode([np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), -1)])


def test_clip_snaps_to_the_nearest_level_and_bounds_to_the_range() -> None:
    clipping = LevelsCodec.of_range(2, 2, 0, 16, 17, out_of_range="clip")

    assert clipping.encode([[[7.3, 7.6], [-4, np.inf]]]).ids.tolist() == [7, 8, 0, 16]


def test_clip_does_not_make_a_value_of_nan() -> None:
    """NaN has no nearest level; a hole in a depth map must not become its lowest depth."""
    with pytest.raises(CodecError, match="NaN stands for no value"):
        LevelsCodec.of_range(1, 1, 0, 16, 17, out_of_range="clip").encode([[[float("nan")]]])


def test_a_class_has_no_nearest_class() -> None:
    with pytest.raises(CodecError) as caught:
        PARTS.encode([[[0, 1], [3, 2]]])

    assert str(caught.value) == (
        "parts, value 0 at [1, 0]: there is no such class; got 3; known: 0 background, 1 contour, 2 ink"
    )


def test_clip_does_not_invent_a_class_either() -> None:
    entry = Image.model_validate(
        {
            "kind": "image",
            "size": 1,
            "patch": 1,
            "cell": {"type": "categorical", "classes": 3},
            "out_of_range": "clip",
        }
    )

    with pytest.raises(CodecError, match="there is no such class; got 3; it has 3 classes"):
        LevelsCodec.from_entry("parts", entry).encode([[[3]]])


def test_class_maps_come_back_as_integers_and_levels_as_floats() -> None:
    """Class numbers index; levels are measurements (and unsigned ones would wrap around when subtracted)."""
    classes: Array = PARTS.decode(TokenBatch.of([[0, 1, 2, 0]], 3))[0]
    levels: Array = DIGIT.decode(TokenBatch.of([[0, 1, 2, 16]], 17))[0]

    assert [str(classes.dtype), str(levels.dtype)] == ["int64", "float32"]
    assert levels.tolist() == [[0, 1], [2, 16]]


def test_levels_that_floats_cannot_hold_still_come_back() -> None:
    """0.3 is 0.30000001 as a float32 and 0.30000000000000004 as 3 * 0.1: each is the same level."""
    codec = LevelsCodec.of_range(1, 3, 0, 1, 11)

    assert codec.encode([np.array([[0.3, 3 * 0.1, np.float32(0.3)]])]).ids.tolist() == [3, 3, 3]


def test_levels_too_close_for_a_float32_are_refused_when_built() -> None:
    with pytest.raises(CodecError, match="its levels are too close for a float32 to tell them apart"):
        LevelsCodec.of_range(1, 1, 1e6, 1e6 + 1, 200)


def test_ids_of_another_codec_are_refused() -> None:
    with pytest.raises(CodecError, match=r"digit, row 0: one value has exactly 4 ids; got 3"):
        DIGIT.decode(TokenBatch.of([[1, 2, 3]], 17))
    with pytest.raises(
        CodecError, match=r"digit, row 1, place 3: an id of this codec is in \[0, 17\); got 17"
    ):
        DIGIT.decode(TokenBatch.of([[1, 2, 3, 4], [0, 0, 0, 17]], 256))
