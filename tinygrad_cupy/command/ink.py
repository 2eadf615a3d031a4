"""Ink on paper: how much of it each pixel has, where it is, and whether it is one drawing.

Arrays are float32 from 0 to 1, (H, W).
"""

from __future__ import annotations

import math

import numpy as np

INK = 0.3  # of the full contrast: this far from the background is ink
PAPER = 0.15  # of the full contrast: this near to the background is background
STROKE = 0.3  # of the range from black to white: a line, however thin, stands out that much
FAINT = 0.08  # the same of a shade, of the means in COARSE parts of a side, which grain is not in
COARSE = 64
TALL = 0.45  # of the tallest part's height: parts that may be digits by themselves
HEAVY = 0.25  # of the heaviest part's ink
WIDE = 1.8  # of the height: digits are narrower, several side by side are not


def ink_and_background(image: np.ndarray) -> tuple[np.ndarray, float]:
    """How much ink each pixel has, 0 to 1, and the gray value of the background.

    The background is the median of the picture's edge, scaled so that 0.5 lies halfway between the
    darkest and the lightest part.
    """
    low, high = np.percentile(image, [0.5, 99.5])
    if high - low < 1e-3:  # a few bright pixels on a large page
        low, high = float(image.min()), float(image.max())
    contrast = max(float(high - low), 1e-6)
    scaled = np.clip((image - low) / contrast, 0, 1)
    edge = max(1, min(image.shape) // 50)
    inside = scaled[edge:-edge, edge:-edge]
    frame = np.ones(image.shape, dtype=bool)
    frame[edge:-edge, edge:-edge] = False
    background = float(np.median(scaled[frame] if inside.size else scaled))
    if background < 0.5:
        ink = (scaled - background) / (1 - background)
    else:
        ink = (background - scaled) / background
    return np.clip(ink, 0, 1).astype(np.float32), background


def ink_box(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the ink (bottom and right excluded); all of it without ink."""
    rows, columns = np.flatnonzero((ink > INK).any(1)), np.flatnonzero((ink > INK).any(0))
    if rows.size == 0:
        return 0, 0, *ink.shape
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def centre_of_mass(ink: np.ndarray) -> np.ndarray:
    """Row and column; the middle when there is no ink."""
    total = float(ink.sum())
    if total == 0:
        return np.subtract(ink.shape, 1) / 2
    sums = [ink.sum(axis=1, dtype=np.float64), ink.sum(axis=0, dtype=np.float64)]
    return np.array([one @ np.arange(len(one)) for one in sums]) / total


def is_blank(image: np.ndarray) -> bool:
    """Whether hardly anything stands out in a gray picture: no stroke, and no shade but grain."""
    if image.max() - image.min() >= STROKE:
        return False
    step = math.ceil(max(image.shape) / COARSE)
    means = np.add.reduceat(image, range(0, image.shape[0], step), axis=0, dtype=np.float64)
    means = np.add.reduceat(means, range(0, image.shape[1], step), axis=1)
    sides = (np.diff([*range(0, side, step), side]) for side in image.shape)
    means /= np.multiply.outer(*sides)
    return bool(means.max() - means.min() < FAINT)


def is_several(ink: np.ndarray) -> bool:
    """Whether the ink is more than one digit: parts as tall and as heavy, or wider than any is."""
    from scipy import ndimage

    top, left, bottom, right = ink_box(ink)
    if right - left > WIDE * (bottom - top):
        return True
    parts, count = ndimage.label(ink > INK, np.ones((3, 3)))
    if count < 2:
        return False
    heights = np.array([rows.stop - rows.start for rows, _ in ndimage.find_objects(parts)])
    masses = ndimage.sum_labels(ink, parts, np.arange(1, count + 1))
    large = (heights >= TALL * heights.max()) & (masses >= HEAVY * masses.max())
    return bool(large.sum() > 1)
