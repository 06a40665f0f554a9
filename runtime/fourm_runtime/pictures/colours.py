"""Colours that mean something: a ramp for quantities, one colour for each class.

Both are laid out in Oklab, where equal steps look equally large
(Ottosson 2020, https://bottosson.github.io/posts/oklab/).
"""

import functools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bytes = NDArray[np.uint8]
Float64 = NDArray[np.float64]

GOLDEN_ANGLE = 180 * (3 - 5**0.5)
"""Degrees between the hues of two neighbouring classes: the first few differ most, however many there are."""

NEUTRAL = (128, 128, 128)
"""What counts for nothing: an ignored class."""

# Oklab -> cube roots of cone responses, and cone responses -> linear sRGB; constants of the source.
_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def srgb(lightness: ArrayLike, chroma: ArrayLike, hue: ArrayLike) -> Bytes:
    """Colours of the screen.

    Args:
        lightness: 0 (black) to 1 (white).
        chroma: 0 (grey) to about 0.3.
        hue: degrees.

    Returns:
        (..., 3) bytes; what no screen shows is moved to the nearest end of each channel.
    """
    turn = np.deg2rad(np.asarray(hue, np.float64))
    parts = np.broadcast_arrays(
        np.asarray(lightness, np.float64), chroma * np.cos(turn), chroma * np.sin(turn)
    )
    linear = np.clip((np.stack(parts, axis=-1) @ _CONES.T) ** 3 @ _LINEAR.T, 0.0, 1.0)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels: Bytes = np.rint(255 * curved).astype(np.uint8)
    return pixels


@functools.cache
def ramp() -> Bytes:
    """(256, 3) colours from the lowest to the highest quantity: dark blue to light yellow, ever lighter."""
    share = np.linspace(0.0, 1.0, 256)
    colours = srgb(0.25 + 0.68 * share, 0.11 + 0.03 * np.sin(np.pi * share), 285 - 180 * share)
    colours.setflags(write=False)
    return colours


def class_colours(numbers: ArrayLike) -> Bytes:
    """(..., 3) the colours of class numbers; a class has the same colour in every picture."""
    number = np.asarray(numbers, np.int64)
    lightness = np.array([0.68, 0.84, 0.52])[number % 3]
    return srgb(lightness, 0.13, (25.0 + GOLDEN_ANGLE * number) % 360)


def series_colour(number: int) -> str:
    """The colour of a curve or bar: as readable on white as on black."""
    return hex_colour(srgb(0.62, 0.14, (250.0 + GOLDEN_ANGLE * number) % 360))


def hex_colour(colour: ArrayLike) -> str:
    """A colour as style sheets write it.

    >>> hex_colour([255, 0, 16])
    '#ff0010'
    """
    red, green, blue = np.asarray(colour).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"
