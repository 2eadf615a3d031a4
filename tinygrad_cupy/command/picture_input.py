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
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..datasets.files import read_file
from ..datasets.picture import MAX_BYTES, read_gray
from ..datasets.picture_form import PictureForm, shaped
from .errors import CommandError
from .ink import PAPER, centre_of_mass, ink_and_background, ink_box, is_blank, is_several

FRAMED, SCALED = "framed", "scaled"  # what metrics.json says of a run's pictures
MOST_PIXELS = 1 << 23  # larger pictures are made smaller before their ink is looked for
SAMPLE = 500  # training images that are looked at
BLANK, SEVERAL = "blank", "several digits"  # what is said of pictures


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
            ink, background = ink_and_background(image)
            top, left, bottom, right = ink_box(ink)
            middle = np.subtract(image.shape, 1) / 2
            sides.append(max(bottom - top, right - left))
            light.append(background < 0.5)
            plain.append((ink < PAPER).mean())
            mass_off.append(np.abs(centre_of_mass(ink) - middle).max())
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


class Seen(NamedTuple):
    """A picture as a net is shown it, (C, H, W) like the training images from 0 to 1.

    `inverted` says that dark and light were exchanged, `note` why an answer to it means little,
    None where there is no reason: that it is blank, or holds several digits.
    """

    picture: np.ndarray
    inverted: bool
    note: str | None


def read_picture(path: Path, framing: Framing | None, form: PictureForm) -> tuple[np.ndarray, bool]:
    """`look` without the note."""
    picture, inverted, _ = look(path, framing, form)
    return picture, inverted


def look(path: Path, framing: Framing | None, form: PictureForm, digits: bool = False) -> Seen:
    """A picture file as a net of this framing and form is shown it.

    Without a framing it is read as `image_folder` does. Raises `CommandError` naming the file when
    it is missing or is no picture. `form` has its size and channels; framed are gray squares.
    digits: whether it is to be one digit
    """
    try:
        content = read_file(path, MAX_BYTES)
        if framing is None:
            shown = np.divide(shaped(content, form), np.float32(255))
            return Seen(shown, False, BLANK if is_blank(shown.mean(axis=0)) else None)
        image = _on_paper(*read_gray(content))
    except FileNotFoundError:
        raise CommandError(f"there is no picture {str(path)!r}") from None
    except OSError as error:
        raise CommandError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except ValueError as error:  # a PictureError, or a path that no system has
        raise CommandError(f"cannot read {str(path)!r} as a picture: {error}") from error
    size, _ = form.size or (0, 0)
    framed, inverted, note = _framed(image, framing, size, digits)
    return Seen(framed[None], inverted, note)


def _framed(
    image: np.ndarray, framing: Framing, size: int, digits: bool
) -> tuple[np.ndarray, bool, str | None]:
    note = BLANK if is_blank(image) else None
    if not framing.drawn:
        return _resize(image, size, size), False, note
    ink, background = ink_and_background(image)
    if digits and note is None and is_several(ink):
        note = SEVERAL
    inverted = (background < 0.5) != framing.light_ink
    if image.shape != (size, size):
        light = _frame(ink, size, framing)
        return (light if framing.light_ink else 1 - light), inverted, note
    return (1 - image if inverted else image), inverted, note


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


def _frame(ink: np.ndarray, size: int, framing: Framing) -> np.ndarray:
    """Light ink on black, as large and in the same place as in the training images."""
    top, left, bottom, right = ink_box(ink)
    cut = np.clip((ink[top:bottom, left:right] - PAPER) / (1 - 2 * PAPER), 0, 1)
    scale = framing.box / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    small = _resize(cut, height, width)
    small /= max(float(small.max()), 1e-6)  # thin strokes pale when made small
    centre = centre_of_mass(small) if framing.by_mass else np.subtract(small.shape, 1) / 2
    room = np.subtract(size, small.shape)
    y, x = np.clip(np.round((size - 1) / 2 - centre).astype(int), 0, room)
    framed = np.zeros((size, size), np.float32)
    framed[y : y + height, x : x + width] = small
    return framed


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
