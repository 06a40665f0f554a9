"""Patches as a network is given them <-> whole images, and the same images at another size.

Shapes: N images, L patches (row by row), C = ph * pw * K numbers of a patch, K channels, H rows, W columns.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Resampling = Literal["smooth", "unit", "nearest"]
"""How cells of another size come about: by averages, by averages brought to length one, or by picking one."""


def images_of(patches_NLC: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Images (N, K, H, W) of their patches."""
    (rows, columns), (high, wide) = grid, patch
    cells = patches_NLC.reshape(len(patches_NLC), rows, columns, high, wide, -1)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(len(cells), -1, rows * high, columns * wide)


def patches_of(images_NKHW: Tensor, patch: tuple[int, int]) -> Tensor:
    """Patches (N, L, C) of images.

    >>> image = torch.arange(24.0).reshape(1, 1, 4, 6)
    >>> torch.equal(images_of(patches_of(image, (2, 3)), (2, 2), (2, 3)), image)
    True
    """
    count, channels, height, width = images_NKHW.shape
    high, wide = patch
    cells = images_NKHW.reshape(count, channels, height // high, high, width // wide, wide)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, high * wide * channels)


def at_size(images_NKHW: Tensor, size: tuple[int, int], by: Resampling) -> Tensor:
    """Images of another size, of the type they came in; at their own they stay as they are.

    >>> at_size(torch.tensor([[[[1, 2], [3, 4]]]]), (1, 2), "nearest").tolist()
    [[[[3, 4]]]]
    """
    if images_NKHW.shape[2:] == size:
        return images_NKHW
    if by == "nearest":
        rows, columns = (_picked(*pair) for pair in zip(images_NKHW.shape[2:], size, strict=True))
        return images_NKHW[:, :, rows][:, :, :, columns]
    found = F.interpolate(images_NKHW, size, mode="bilinear", antialias=True)
    return F.normalize(found, dim=1) if by == "unit" else found


def _picked(there: int, wanted: int) -> Tensor:
    """The cell under the centre of each of `wanted` cells."""
    return ((torch.arange(wanted) + 0.5) * (there / wanted)).long()
