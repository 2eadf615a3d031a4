"""Any picture file as the kind of image that a model was trained on.

A model of a folder of pictures is given what the folder's reader makes of them. The digit sets were
framed by their authors, and so is what their models are asked. How, is measured on the training
images: whether they are drawings (one plain background), light or dark
ink, how large and where the ink stands in the frame. A picture of another size is cropped to its
ink, scaled to that size and put in that place; for MNIST this is what its authors did: 20 pixels,
the centre of mass in the middle.

Arrays here are float32 in [0, 1], (H, W) or (C, H, W): C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.files import read_file
from ..datasets.picture import MAX_BYTES, read_gray
from ..datasets.picture_form import PictureForm, shaped
from .errors import CommandError

FRAMED, SCALED = "framed", "scaled"  # what metrics.json says of a run's pictures
MOST_PIXELS = 1 << 23  # larger pictures are made smaller before their ink is looked for
SAMPLE = 500  # training images that are looked at
INK = 0.3  # of the full contrast: this far from the background is ink
PAPER = 0.15  # of the full contrast: this near to the background is background


@dataclass(frozen=True)
class Framing:
    """How training images are drawn.

    `box` is the longer side of the ink in pixels (median). `by_mass` says that the ink's mass
    stands in the middle (as in MNIST), else the middle of its box does.
    """

    drawn: bool
    light_ink: bool
    box: int
    by_mass: bool

    @classmethod
    def of(cls, images: np.ndarray) -> Framing:
        """Measure uint8 images (N, C, H, W)."""
        every = max(1, len(images) // SAMPLE)
        sides, light, plain, mass_off, box_off = [], [], [], [], []
        for image in images[::every].mean(axis=1, dtype=np.float32) / 255:
            ink, background = _ink_and_background(image)
            top, left, bottom, right = _ink_box(ink)
            middle = np.subtract(image.shape, 1) / 2
            sides.append(max(bottom - top, right - left))
            light.append(background < 0.5)
            plain.append((ink < PAPER).mean())
            mass_off.append(np.abs(_centre_of_mass(ink) - middle).max())
            box_off.append(np.abs([(top + bottom - 1) / 2, (left + right - 1) / 2] - middle).max())
        return cls(
            drawn=bool(np.median(plain) > 0.3 and abs(np.mean(light) - 0.5) > 0.4),
            light_ink=bool(np.mean(light) > 0.5),
            box=round(float(np.median(sides))),
            by_mass=bool(np.mean(mass_off) < np.mean(box_off)),
        )

    def as_dict(self) -> dict[str, Any]:
        """As metrics.json holds it."""
        return asdict(self)


def read_picture(path: Path, framing: Framing | None, form: PictureForm) -> tuple[np.ndarray, bool]:
    """The picture as (C, H, W), like the training images, and whether it was inverted.

    Without a framing it is read as `image_folder` does. Raises `CommandError` naming the file when
    it is missing or is no picture. `form` has its size and channels; framed are gray squares.
    """
    try:
        content = read_file(path, MAX_BYTES)
        if framing is None:
            return np.divide(shaped(content, form), np.float32(255)), False
        image = _on_paper(*read_gray(content))
    except FileNotFoundError:
        raise CommandError(f"there is no picture {str(path)!r}") from None
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:  # a PictureError, or a path that no system has
        raise CommandError(f"cannot read {str(path)!r} as a picture: {error}") from error
    size, _ = form.size or (0, 0)
    framed, inverted = _framed(image, framing, size)
    return framed[None], inverted


def _framed(image: np.ndarray, framing: Framing, size: int) -> tuple[np.ndarray, bool]:
    if not framing.drawn:
        return _resize(image, size, size), False
    ink, background = _ink_and_background(image)
    inverted = (background < 0.5) != framing.light_ink
    if image.shape != (size, size):
        light = _frame(ink, size, framing)
        return (light if framing.light_ink else 1 - light), inverted
    return (1 - image if inverted else image), inverted


def _on_paper(gray: Image.Image, opacity: Image.Image | None) -> np.ndarray:
    """Gray values of a picture of any mode; transparent parts become the paper."""
    factor = math.ceil(math.sqrt(gray.width * gray.height / MOST_PIXELS))
    values = _unit(gray.reduce(factor))
    if opacity is None:
        return values
    alpha = _unit(opacity.reduce(factor))
    # Light ink on nothing was drawn for a dark page, dark ink for a light one.
    ink = np.average(values, weights=alpha) if alpha.any() else 0.0
    paper = np.float32(ink < 0.5)
    composed: np.ndarray = values * alpha + paper * (1 - alpha)
    return composed


def _unit(image: Image.Image) -> np.ndarray:
    """(H, W) from 0 to 1 of a picture of mode "L" (to 255) or "F" (to 1)."""
    values = np.asarray(image, dtype=np.float32)
    return values / 255 if image.mode == "L" else values


def _ink_and_background(image: np.ndarray) -> tuple[np.ndarray, float]:
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


def _ink_box(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the ink (bottom and right excluded); all of it without ink."""
    rows, columns = np.flatnonzero((ink > INK).any(1)), np.flatnonzero((ink > INK).any(0))
    if rows.size == 0:
        return 0, 0, *ink.shape
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _centre_of_mass(ink: np.ndarray) -> np.ndarray:
    """Row and column; the middle when there is no ink."""
    total = float(ink.sum())
    if total == 0:
        return np.subtract(ink.shape, 1) / 2
    sums = [ink.sum(axis=1, dtype=np.float64), ink.sum(axis=0, dtype=np.float64)]
    return np.array([one @ np.arange(len(one)) for one in sums]) / total


def _frame(ink: np.ndarray, size: int, framing: Framing) -> np.ndarray:
    """Light ink on black, as large and in the same place as in the training images."""
    top, left, bottom, right = _ink_box(ink)
    cut = np.clip((ink[top:bottom, left:right] - PAPER) / (1 - 2 * PAPER), 0, 1)
    scale = framing.box / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    small = _resize(cut, height, width)
    small /= max(float(small.max()), 1e-6)  # thin strokes pale when made small
    centre = _centre_of_mass(small) if framing.by_mass else np.subtract(small.shape, 1) / 2
    room = np.subtract(size, small.shape)
    y, x = np.clip(np.round((size - 1) / 2 - centre).astype(int), 0, room)
    framed = np.zeros((size, size), np.float32)
    framed[y : y + height, x : x + width] = small
    return framed


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
