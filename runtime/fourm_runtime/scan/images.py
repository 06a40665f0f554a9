"""Evidence on images -> an entry of kind image: size, patch, and what a cell holds."""

import itertools
import math
from typing import Final

from fourm_runtime.scan.pictures import Cells
from fourm_runtime.scan.proposal import Proposal
from fourm_runtime.scan.ranges import between, outward
from fourm_schema.errors import DataError
from fourm_schema.select import LEVELS_MOST, LEVELS_MOST_CELLS

MOST_TOKENS: Final = 1024
_TOKENS: Final = 196
"""Tokens that a patch is chosen for: 4M's 14 x 14."""

_PATCH_CELLS: Final = 16
"""Least cells of a patch: tokens for less cost more than the detail is worth."""

_SIDES: Final = (224, 192, 160, 128, 96, 64, 32, 16, 8, 4, 2, 1)
_LONGEST_SIDE: Final = 65_536
_CLASS_VALUES: Final = 64
_CLASS_ALIKE: Final = 0.7
"""Share of cells that equal their neighbour: over 0.97 in each class map of a sample of COCO, 0.3 in digits
of 8 x 8 cells and 17 grey levels, 0.04 in a grey photograph."""

_MOST_LEVELS: Final = 65_536
_MOST_CHANNELS: Final = 16

Cell = dict[str, object]


def propose_image(cells: Cells) -> Proposal:
    """Choose the entry for the images that were looked at.

    Raises:
        DataError: if no cell of them could be read.
    """
    if not cells.images or not math.isfinite(cells.low):
        raise DataError("the images", "hold no number")
    cell, notes = _cell(cells)
    levels = cell.get("levels") if cell.get("channels", 1) == 1 else None
    few = cell.get("classes", levels)
    is_few = isinstance(few, int) and few <= LEVELS_MOST
    size, patch, size_notes, before = _grid(cells, is_few)
    by_hand: list[str] = []
    entry: dict[str, object] = {"kind": "image", "size": size, "patch": patch, "cell": cell}
    if cell.get("channels") == 3 and cell["type"] == "continuous":
        entry["shown"] = ["pixels", "tokens"]
    if cells.first:
        by_hand.append("move the channels of the arrays last: (height, width, channels)")
    if len(cells.channels) > 1 and not _are_pictures(cells):
        counts = ", ".join(f"{count} with {channels}" for channels, count in cells.channels.most_common())
        by_hand.append(f"give all arrays the same channels ({counts})")
    if cells.holes:
        by_hand.append(f"fill in NaN and infinity, found in {cells.holes} of {cells.images}")
    if cells.images < sum(cells.sizes.values()):
        notes.append(f"Values are those of {cells.images} images.")
    return Proposal(entry, (*size_notes, *notes), tuple(before), tuple(by_hand))


def _are_pictures(cells: Cells) -> bool:
    """Whether a mix of channels is one that the importer turns into RGB."""
    return cells.is_byte and set(cells.channels) <= {1, 3}


def _cell(cells: Cells) -> tuple[Cell, list[str]]:
    """What a cell holds, and how that shows."""
    channels = cells.channels.most_common(1)[0][0]
    is_map = _is_class_map(cells)
    if (len(cells.channels) > 1 and _are_pictures(cells)) or (cells.palettes and not is_map):
        channels = 3
    seen = f"{cells.low:g} to {cells.high:g}"
    if channels > _MOST_CHANNELS:
        return {"type": "features", "channels": channels}, [f"Feature vectors: {channels} channels."]
    if channels == 1 and cells.is_whole:
        return _classes(cells) if is_map else _levels(cells)
    if channels == 3 and cells.units == cells.images:
        note = "Three numbers of length 1 per cell: taken for directions, e.g. surface normals."
        return {"type": "direction"}, [note]
    if cells.is_byte:
        notes = [f"{channels} channels of 8 bits."]
        if channels == 3 and cells.is_exact and cells.distinct <= _CLASS_VALUES:
            what = f"Few colours, at most {cells.distinct} in one image: if they stand for classes,"
            notes.append(f"{what} store class numbers in one channel and declare type: categorical.")
        return {"type": "continuous", "channels": channels, "range": [0, 255], "levels": 256}, notes
    low, high = outward(cells.low, cells.high)
    cell: Cell = {"type": "continuous", "channels": channels, "range": [low, high]}
    if cells.is_whole and high - low < _MOST_LEVELS:
        cell["levels"] = int(high - low) + 1
    return cell, [f"{channels} {'channel' if channels == 1 else 'channels'}, values {seen}."]


def _is_class_map(cells: Cells) -> bool:
    """Whether whole numbers look like classes: few in one image, and mostly the same as beside them."""
    return (
        set(cells.channels) == {1}
        and cells.is_whole
        and cells.is_exact
        and cells.values is not None
        and cells.low >= 0
        and cells.high < _LONGEST_SIDE
        and cells.distinct <= _CLASS_VALUES
        and (cells.alike / cells.images >= _CLASS_ALIKE or len(cells.values) <= 4)
        and not _is_coarse(sorted(cells.values))
    )


def _is_coarse(values: list[float]) -> bool:
    """Whether values are evenly spaced with numbers left out between them: 0 and 255 are black and white."""
    steps = {after - before for before, after in itertools.pairwise(values)}
    return len(steps) == 1 and steps != {1.0} and values[0] == 0


def _classes(cells: Cells) -> tuple[Cell, list[str]]:
    values = sorted(int(value) for value in cells.values or ())
    count = max(values[-1] + 1, 2)
    cell: Cell = {"type": "categorical", "classes": count}
    notes = [
        f"Whole numbers, {len(values)} different ones up to {values[-1]}, at most {cells.distinct} in one "
        "image: taken for classes. Write their names as a list in place of their number; if the numbers "
        "measure something, write cell: {type: continuous, range: [...]}."
    ]
    if values[-1] == 255 and len(values) > 2 and values[-2] < 254:
        cell["ignore"] = 255
        notes.append(f"255 seems to mark cells of no class; renumbered to {values[-2] + 1} it needs fewer.")
    return cell, notes


def _levels(cells: Cells) -> tuple[Cell, list[str]]:
    values = sorted(cells.values) if cells.values is not None else []
    if 2 <= len(values) <= LEVELS_MOST and _is_coarse(values):
        cell: Cell = {"type": "continuous", "range": [0, int(values[-1])], "levels": len(values)}
        return cell, [f"Only {len(values)} values, evenly spaced from 0 to {values[-1]:g}."]
    seen = f"Whole numbers from {cells.low:g} to {cells.high:g}."
    if cells.is_byte and cells.high > 127:
        return {"type": "continuous", "range": [0, 255], "levels": 256}, [seen]
    low, high = _whole_range(cells)
    cell = {"type": "continuous", "range": [low, high]}
    if high - low < _MOST_LEVELS:
        cell["levels"] = int(high - low) + 1
    return cell, [f"{seen} Add the unit, e.g. unit: millimetre; if they are classes, declare them so."]


def _whole_range(cells: Cells) -> tuple[float, float]:
    """As seen where the values are few, so that each keeps a token of its own; else rounded outward."""
    if cells.low >= 0 and 1 <= cells.high < LEVELS_MOST:
        return 0, int(cells.high)
    return outward(cells.low, cells.high)


def _grid(cells: Cells, is_few: bool) -> tuple[object, object, list[str], list[str]]:
    """(size, patch, notes, what to do before the import)."""
    total = sum(cells.sizes.values())
    (height, width), common = cells.sizes.most_common(1)[0]
    if common == total and max(height, width) <= _LONGEST_SIDE:
        patch = (1, 1) if is_few and height * width <= LEVELS_MOST_CELLS else _patch(height, width)
        if height // patch[0] * (width // patch[1]) <= MOST_TOKENS:
            return _pair(height, width), _pair(*patch), [f"All are {height} x {width} cells."], []
        note = f"All are {height} x {width} cells: no patch cuts that into few tokens."
    else:
        heights, widths = [size[0] for size in cells.sizes], [size[1] for size in cells.sizes]
        note = (
            f"{len(cells.sizes)} sizes, {between(min(heights), max(heights))} high and "
            f"{between(min(widths), max(widths))} wide; {common} of {total} are {height} x {width}."
        )
    shorter = sorted(min(size) for size, count in cells.sizes.items() for _ in range(count))
    # One thumbnail among photographs should not decide.
    side = next(side for side in _SIDES if side <= shorter[total // 10])
    patch = (1, 1) if is_few and side * side <= LEVELS_MOST_CELLS else _patch(side, side)
    before = [f"resize all to {side} x {side}, or to another size that you declare"]
    return side, _pair(*patch), [note], before


def _patch(height: int, width: int) -> tuple[int, int]:
    """A patch that cuts the image into about as many tokens as 4M's; a power of two if that costs little."""
    sides = [side for side in range(2, 33) if height % side == 0 and width % side == 0]
    if not sides:
        return _divisor(height), _divisor(width)
    wanted = min(_TOKENS, max(height * width / _PATCH_CELLS, 1))

    def cost(side: int) -> float:
        tokens = height // side * (width // side)
        return abs(math.log(tokens / wanted)) - 0.25 * (side.bit_count() == 1)

    best = min(sides, key=cost)
    return best, best


def _divisor(side: int) -> int:
    """The divisor that leaves about 14 patches."""
    return min((d for d in range(1, 33) if side % d == 0), key=lambda d: abs(math.log(side / d / 14)))


def _pair(height: int, width: int) -> object:
    return height if height == width else [height, width]
