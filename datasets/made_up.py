"""Small data that is made of a formula: for examples, and to see whether a net learns at all."""

from __future__ import annotations

import numpy as np

from .dataset import MADE_UP_KEY, ArrayDataset, DataError, seeded_words


def spiral(count: int = 300, classes: int = 3, noise: float = 0.2, seed: int = 0) -> ArrayDataset:
    """Points of a plane on intertwined spirals, one for each class; labels are which.

    inputs float32 (count, 2), targets int64 (count,). Point j of class c, of n, is at the radius
    r = (j + 1) / n and the angle 4 r + 2π c / classes + noise · z, z normal, in radians. The
    classes take turns: sample i is of class i mod classes. Raises DataError for less than one
    point of a class.

    >>> data = datasets.spiral(300, classes=3)
    >>> data.inputs.shape, data.targets[:5], data.classes
    ((300, 2), array([0, 1, 2, 0, 1]), ('0', '1', '2'))
    """
    if classes < 1 or count < classes:
        raise DataError(
            f"[spiral] expected a class or more and a point of each, got count={count}, "
            f"classes={classes}"
        )
    labels = np.arange(count) % classes
    each = np.bincount(labels)[labels]
    radius = (np.arange(count) // classes + 1) / each
    angle = 4 * radius + 2 * np.pi * labels / classes + noise * _normal(count, seed)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    names = tuple(str(number) for number in range(classes))
    return ArrayDataset(points.astype(np.float32), labels.astype(np.int64), names, "spiral")


def sine(count: int = 200, noise: float = 0.1, seed: int = 0) -> ArrayDataset:
    """A noisy sine to be fitted: x float32 (count, 1) from -1 to 1, evenly, y = sin(π x) + noise z.

    z is normal; targets are float32 (count, 1). Raises DataError for a count below 1.

    >>> data = datasets.sine(5, noise=0.0)
    >>> data.inputs[:, 0]
    array([-1. , -0.5,  0. ,  0.5,  1. ], dtype=float32)
    >>> np.abs(data.targets[:, 0]).round(3)
    array([0., 1., 0., 1., 0.], dtype=float32)
    """
    if count < 1:
        raise DataError(f"[sine] expected a count of at least 1, got {count}")
    x = np.linspace(-1, 1, count)[:, None]
    y = np.sin(np.pi * x) + noise * _normal(count, seed)[:, None]
    return ArrayDataset(x.astype(np.float32), y.astype(np.float32), name="sine")


def _normal(count: int, seed: int) -> np.ndarray:
    """Standard normal numbers (Box and Muller 1958), the same on every machine to rounding."""
    words = seeded_words(2 * count, seed, MADE_UP_KEY)
    u, v = ((words >> np.uint64(11)) * 2.0**-53).reshape(2, count)
    found: np.ndarray = np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v)
    return found
