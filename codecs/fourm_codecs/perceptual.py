"""Losses of others that compare pictures: what a fit adds to its own, where it is given one.

A package brings one by an entry point in the group `fourm.perceptual`: a function of two batches of images
that gives one number with a gradient. None come with this package, and no weights of any.

Shapes: N images, K channels, H rows, W columns.
"""

from collections.abc import Callable
from importlib.metadata import entry_points

from torch import Tensor

from fourm_schema.errors import CodecError, nearest

PerceptualLoss = Callable[[Tensor, Tensor], Tensor]
"""(what came back, what was given), each (N, K, H, W) in [-1, 1] -> a number."""

ENTRY_POINT_GROUP = "fourm.perceptual"


def perceptual_loss(name: str) -> PerceptualLoss:
    """The installed loss of a name.

    Raises:
        CodecError: if nothing installed has that name, or what has is no function.
    """
    known = entry_points(group=ENTRY_POINT_GROUP)
    if name not in known.names:
        there = nearest(name, sorted(known.names)) if known.names else "none is installed"
        what = f"there is no loss {name!r} among the entry points {ENTRY_POINT_GROUP!r}"
        raise CodecError("fit.perceptual", what, mend=there)
    found: PerceptualLoss = known[name].load()
    if not callable(found):
        mend = "its entry point must name a function of two batches of images"
        raise CodecError("fit.perceptual", f"what is behind {name!r} is no function", repr(found), mend)
    return found
