"""Every kind of bad value by every kind of modality: one clear error, or what the schema says instead."""

import numpy as np
import pytest
from PIL import Image as Pictures

from fourm_codecs.base import Codec
from fourm_codecs.lawbook.subjects import prepare
from fourm_schema.errors import CodecError
from fourm_schema.load import parse_schema

SCHEMA = parse_schema("""\
version: 1
vocabularies:
  words: {kind: wordpiece, size: 200}
modalities:
  photo:
    {kind: image, size: 4, patch: 2, cell: {type: continuous, channels: 3, range: [0, 255]}, vocab_size: 64}
  grey: {kind: image, size: 2, patch: 1, cell: {type: continuous, range: [0, 8], levels: 9}}
  normals: {kind: image, size: 4, patch: 2, cell: {type: direction}, vocab_size: 64}
  land: {kind: image, size: 2, patch: 1, cell: {type: categorical, classes: [sea, wood]}}
  clip: {kind: image, size: 2, patch: 1, cell: {type: features, channels: 8}, vocab_size: 64}
  wind: {kind: vector, dim: 2, ranges: [-40, 40], names: [east, north]}
  mood: {kind: vector, dim: 40, tokens: 4, vocab_size: 64}
  kept: {kind: vector, dim: 2, ranges: [0, 1], bins: 4, out_of_range: clip}
  signs:
    kind: set
    max_items: 2
    fields:
      box: {type: box}
      label: {type: category, classes: [stop, go]}
      at: {type: number, range: [0, 1]}
  few: {kind: set, max_items: 1, out_of_range: clip, fields: {at: {type: number, range: [0, 1], bins: 4}}}
  caption: {kind: text, vocabulary: words, max_tokens: 4}
  title: {kind: text, vocabulary: words, max_tokens: 4, out_of_range: clip}
""")
CODECS: dict[str, Codec] = {each.tested.name: each.tested.code() for each in prepare(SCHEMA)}
NAN, INF = float("nan"), float("inf")


def filled(shape: tuple[int, ...], number: float, usual: float = 0.5) -> object:
    """An array that holds one other number, at its end."""
    array = np.full(shape, usual, np.float64)
    array.flat[-1] = number
    return array


def sign(**changed: object) -> list[dict[str, object]]:
    return [{"box": [0.1, 0.1, 0.2, 0.2], "label": "go", "at": 0.5, **changed}]


def picture(mode: str, size: tuple[int, int] = (4, 4)) -> object:
    return Pictures.new(mode, size)


REFUSED: dict[str, tuple[str, object, str]] = {
    "NaN in a photo": (
        "photo",
        filled((4, 4, 3), NAN),
        r"value 0 at \[3, 3, 2\]: NaN stands for no value; got nan; "
        r"give None",
    ),
    "NaN in a class map": ("land", filled((2, 2), NAN, 0), r"at \[1, 1\]: NaN stands for no value"),
    "NaN in features": ("clip", filled((2, 2, 8), NAN), r"at \[1, 1, 7\]: NaN stands for no value"),
    "NaN in a vector": ("wind", [0, NAN], r"'north': NaN stands for no value"),
    "NaN in a long vector": ("mood", filled((40,), NAN), r"NaN stands for no value"),
    "NaN where numbers are clipped": ("kept", [0, NAN], r"NaN stands for no value"),
    "NaN in a record": ("signs", sign(at=NAN), r"item 0, field 'at': .*got nan"),
    "infinity in a photo": ("photo", filled((4, 4, 3), INF), r"lies in \[0, 255\]; got inf; rescale it"),
    "infinity in features": ("clip", filled((2, 2, 8), -INF), r"finite; got -inf"),
    "infinity in a vector": ("wind", [INF, 0], r"'east': lies in \[-40, 40\]; got inf"),
    "infinity in a long vector": ("mood", filled((40,), INF), r"finite; got inf"),
    "infinity in a record": ("signs", sign(at=INF), r"item 0, field 'at': .*got inf"),
    "a text for a photo": ("photo", "photo.png", r"a value is numbers of shape 4x4x3; got str"),
    "a text for a vector": ("wind", "north", r"a value is numbers of shape 2; got str"),
    "complex numbers": ("wind", np.array([1j, 0]), r"numbers of shape 2; got ndarray of complex128"),
    "a number for a text": ("caption", 5, r"a value is a string; got int"),
    "a text for a set": ("signs", "stop", r"is a list of records .*; got str"),
    "a record without its list": (
        "signs",
        sign()[0],
        r"is a list of records .*; got dict; encode takes a batch",
    ),
    "another size": (
        "photo",
        np.zeros((8, 8, 3)),
        r"has shape 4x4x3; got 8x8x3; resize it, or change `size`",
    ),
    "channels first": ("photo", np.zeros((3, 4, 4)), r"got 3x4x4; put the channels last"),
    "a vector too long": ("wind", [0, 0, 0], r"has shape 2; got 3"),
    "lists of unequal lengths": ("grey", [[1, 2], [3]], r"got lists of unequal lengths"),
    "above its range": (
        "photo",
        filled((4, 4, 3), 256),
        r"at \[3, 3, 2\]: lies in \[0, 255\]; got 256; rescale",
    ),
    "between levels": ("grey", filled((2, 2), 0.5, 1), r"value 0 at \[1, 1\]: .*got 0\.5"),
    "no unit vector": ("normals", filled((4, 4, 3), 3), r"at \[3, 3, 2\]: .*; got 3"),
    "below its range, by name": ("wind", [-41, 0], r"'east': lies in \[-40, 40\]; got -41"),
    "a field out of its range": ("signs", sign(at=1.5), r"item 0, field 'at': .*got 1\.5"),
    "an unknown class by number": ("land", filled((2, 2), 2, 0), r"at \[1, 1\]: .*got 2"),
    "half a class": ("land", filled((2, 2), 0.5, 0), r"at \[1, 1\]: .*got 0\.5"),
    "an unknown class by name": (
        "signs",
        sign(label="stpo"),
        r"field 'label': .*'stpo'.*did you mean 'stop'",
    ),
    "too many items": ("signs", sign() * 3, r"at most 2 items; got 3"),
    "too long a text": ("caption", "a a a a", r"at most 4 tokens, its end included; got 5 tokens: 'a a a a'"),
    "a grey picture for a photo": ("photo", picture("L"), r"has shape 4x4x3; got 4x4"),
    "a picture with alpha": ("photo", picture("RGBA"), r"has shape 4x4x3; got 4x4x4"),
    "a colour picture for a class map": ("land", picture("RGB", (2, 2)), r"has shape 2x2; got 2x2x3"),
    "an absent value": ("photo", None, r"an absent value has no tokens; leave it out of the batch"),
    "an absent text": ("caption", None, r"an absent value has no tokens; leave it out of the batch"),
    "an absent set": ("signs", None, r"an absent .*; .*leave it out of the batch"),
}


@pytest.mark.parametrize(("name", "value", "said"), REFUSED.values(), ids=REFUSED)
def test_a_bad_value_is_refused_with_its_place(name: str, value: object, said: str) -> None:
    """One error of one sentence: where, what a value is, what was found, and how to mend it."""
    with pytest.raises(CodecError, match=said) as caught:
        CODECS[name].encode([value])

    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("name", "value", "as_if"),
    [
        ("kept", [-3, INF], [0, 1]),
        ("few", [{"at": 7.0}], [{"at": 1.0}]),
        ("few", [{"at": 0.1}, {"at": 0.9}], [{"at": 0.1}]),
        ("title", "a b c d e", "a b c"),
    ],
)
def test_where_the_schema_says_clip_the_nearest_value_is_taken(
    name: str, value: object, as_if: object
) -> None:
    """Numbers move to the nearer end, records and words beyond the last that fits are left out."""
    codec = CODECS[name]

    assert codec.encode([value]).same(codec.encode([as_if]))
