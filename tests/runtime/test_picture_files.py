"""Colour modes of pictures: what is stored is what the file says, or the file is refused."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pictures

from fourm_runtime.data.importing.sources.picture_files import decode_picture
from fourm_schema.errors import DataError
from fourm_schema.modality import Image

Array = NDArray[Any]

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 6), np.uint8)
COLOURS = RNG.integers(0, 256, (4, 6, 3), np.uint8)
OPAQUE = np.full((4, 6, 1), 255, np.uint8)
DEEP = RNG.integers(0, 65536, (4, 6)).astype(np.uint16)


def entry(channels: int, high: float = 255) -> Image:
    cell = {"type": "continuous", "channels": channels, "range": [0, high]}
    return Image.model_validate({"kind": "image", "size": [4, 6], "patch": 1, "cell": cell, "vocab_size": 64})


def classes() -> Image:
    cell = {"type": "categorical", "classes": 256}
    return Image.model_validate({"kind": "image", "size": [4, 6], "patch": 1, "cell": cell})


def read(picture: Pictures.Image, modality: Image, ending: str = "png") -> Array:
    file = io.BytesIO()
    picture.save(file, {"png": "PNG", "tiff": "TIFF"}[ending])
    return np.asarray(decode_picture(file.getvalue(), f"a.{ending}", modality, "a"))


def of_palette(colours: Array) -> Pictures.Image:
    """A picture whose cells are numbers of 256 colours."""
    picture = Pictures.fromarray(GREY, "P")
    picture.putpalette(colours.astype(np.uint8).tobytes())
    return picture


GREYS = np.repeat(np.arange(255, -1, -1), 3)
MANY = RNG.integers(0, 256, (256, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "found"),
    [
        (Pictures.fromarray(COLOURS), COLOURS),
        (Pictures.fromarray(np.concatenate([COLOURS, OPAQUE], axis=2)), COLOURS),
        (Pictures.fromarray(GREY), np.repeat(GREY[..., None], 3, axis=2)),
        (
            Pictures.fromarray(np.stack([GREY, OPAQUE[..., 0]], axis=2), "LA"),
            np.repeat(GREY[..., None], 3, axis=2),
        ),
        (of_palette(MANY), MANY[GREY]),
    ],
)
def test_modes_of_eight_bits_become_colours(picture: Pictures.Image, found: Array) -> None:
    assert np.array_equal(read(picture, entry(3)), found)


def test_one_channel_has_the_numbers_of_the_file_at_any_depth() -> None:
    """Those of a palette are no numbers: they stand for greys, here 255 less each."""
    assert np.array_equal(read(Pictures.fromarray(GREY), entry(1)), GREY)
    assert np.array_equal(read(Pictures.fromarray(DEEP), entry(1, 65535)), DEEP)
    assert np.array_equal(read(of_palette(GREYS), entry(1)), 255 - GREY)


def test_classes_are_the_numbers_of_a_palette() -> None:
    """As in the class maps of Pascal VOC: the colours are for people to look at."""
    assert np.array_equal(read(of_palette(MANY), classes()), GREY)


@pytest.mark.parametrize(
    ("picture", "modality", "message"),
    [
        (
            Pictures.fromarray(DEEP), entry(3),
            r"a: a\.png has one channel of more than 8 bits, which are no colours; got mode I;16; declare",
        ),
        (
            Pictures.fromarray(RNG.random((4, 6)).astype(np.float32)), entry(3),
            r"a: a\.tiff has one channel of more than 8 bits, which are no colours; got mode F",
        ),
        (
            Pictures.fromarray(np.concatenate([COLOURS, OPAQUE - 1], axis=2)), entry(3),
            r"a\.png is transparent in places, .*; got mode RGBA; put it on a background",
        ),
        (of_palette(MANY), entry(1), r"has colours, and the modality one channel; got mode P; write greys"),
    ],
)  # fmt: skip
def test_what_a_mode_does_not_say_is_refused(picture: Pictures.Image, modality: Image, message: str) -> None:
    """Pillow would cut numbers off at 255, show what transparency hides, and give a palette's numbers."""
    with pytest.raises(DataError, match=message):
        read(picture, modality, "tiff" if picture.mode == "F" else "png")


def test_sixteen_bits_of_each_colour_are_refused_where_the_range_has_room_for_them() -> None:
    """Pillow reads eight of them, which is right only where eight are asked for."""
    width, height = 6, 4
    lines = b"".join(b"\x00" + bytes(6 * width) for _ in range(height))

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    file = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )

    assert np.array_equal(decode_picture(file, "a.png", entry(3), "a"), np.zeros((4, 6, 3)))
    with pytest.raises(DataError, match=r"a\.png has 16 bits of each colour, of which 8 would be read"):
        decode_picture(file, "a.png", entry(3, 65535), "a")
