"""Scores of what came back, value by value or as sums that add up over chunks of values.

Shapes: N values, H rows, W columns, K channels (or numbers, or classes).
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

WINDOW = 7
"""Side of the windows of SSIM; that of the image where it is smaller."""

K1, K2 = 0.01, 0.03


def angles(given: Float64, back: Float64) -> Float64:
    """Degrees between unit vectors along the last axis.

    >>> angles(np.array([[0.0, 0.0, 1.0]]), np.array([[0.0, 1.0, 0.0]])).round(9).tolist()
    [90.0]
    """
    # Not the arc cosine of the product, which is flat where the angle is small.
    apart = np.linalg.norm(given - back, axis=-1)
    degrees: Float64 = np.degrees(2 * np.arcsin(np.clip(apart / 2, 0, 1)))
    return degrees


def cosines(given: Float64, back: Float64) -> Float64:
    """Cosine similarity along the last axis: 1 of two zero vectors, 0 where only one is zero.

    >>> cosines(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 0.0]])).tolist()
    [0.96, 1.0]
    """
    lengths = [np.linalg.norm(side, axis=-1) for side in (given, back)]
    both = np.maximum(*lengths) == 0
    product = lengths[0] * lengths[1]
    similar: Float64 = (given * back).sum(axis=-1) / np.where(product > 0, product, 1)
    return np.where(both, 1.0, similar)


def confusion(given: NDArray[np.int64], back: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How often class k (row) came back as class j (column): (K, K), over cells of any shape."""
    pairs = given.reshape(-1) * classes + back.reshape(-1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(counts_KK: Float64, ignore: int | None = None) -> float | None:
    """Mean intersection over union of the classes that occur; None where none does.

    >>> mean_iou(np.array([[2.0, 1.0], [0.0, 1.0]]))
    0.5833333333333333
    """
    counts = counts_KK.copy()
    if ignore is not None:
        counts[ignore] = 0
    hit = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hit
    counted = union > 0
    if ignore is not None:
        counted[ignore] = False
    return float((hit[counted] / union[counted]).mean()) if counted.any() else None


def structural_similarity(given: Float64, back: Float64, span: float) -> Float64:
    """SSIM of images (N, H, W, K), their channels apart and averaged: (N,).

    Source: Wang et al. 2004, equation 13, with a uniform window and sample covariances in its place of a
    Gaussian one.

    Args:
        given, back: the images.
        span: length of the range of their numbers.
    """
    side = min(WINDOW, *given.shape[1:3])
    area = side * side
    sample = area / max(1, area - 1)
    x, y = (torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) for images in (given, back))
    mean_x, mean_y = (F.avg_pool2d(images, side, stride=1) for images in (x, y))
    var_x = sample * (F.avg_pool2d(x * x, side, stride=1) - mean_x**2)
    var_y = sample * (F.avg_pool2d(y * y, side, stride=1) - mean_y**2)
    both = sample * (F.avg_pool2d(x * y, side, stride=1) - mean_x * mean_y)
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * both + c2) / (var_x + var_y + c2)
    similar: Float64 = (luminance * structure).mean(dim=(1, 2, 3)).numpy()
    return similar
