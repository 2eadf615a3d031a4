"""The form in which a model is given pictures, and the bytes of a file brought into it.

Training and `predict` go through `shaped` alone: what a model was trained on is what it is asked.
Letters in shapes: C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from .picture import (
    MAX_PIXELS,
    MAX_SIDE,
    colour_and_opacity,
    gray_and_opacity,
    is_gray,
    opened,
    turn_of,
)

RESIZES = ("fit", "crop", "stretch")
CHANNELS = (1, 3)


@dataclass(frozen=True)
class PictureForm:
    """What pictures are made into; None leaves that as a file has it.

    size: (H, W)
    channels: 1 (gray, ITU-R 601) or 3 (red, green, blue)
    resize: what becomes of a picture of other proportions. "fit": the whole picture in the middle,
        black around it; "crop": the middle of the picture fills the frame, the rest is cut off;
        "stretch": the whole picture fills the frame, its proportions changed.

    Raises ValueError, whose text begins with the argument's name, for other values.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    resize: str = "fit"

    def __post_init__(self) -> None:
        if self.size is not None:
            height, width = self.size
            if min(self.size) < 1 or max(self.size) > MAX_SIDE or height * width > MAX_PIXELS:
                raise ValueError(
                    f"image_size: expected at least 1 x 1 and at most {MAX_PIXELS:,} pixels, "
                    f"got {height:,} x {width:,}"
                )
        if self.channels is not None and self.channels not in CHANNELS:
            raise ValueError(f"channels: expected 1 (gray) or 3 (colour), got {self.channels}")
        if self.resize not in RESIZES:
            raise ValueError(f"resize: expected one of {', '.join(RESIZES)}, got {self.resize!r}")

    def filled(self, shape: tuple[int, int, int]) -> PictureForm:
        """The form with nothing left open, of pictures that came out as (C, H, W)."""
        return replace(self, size=shape[1:], channels=shape[0])


def shaped(content: bytes, form: PictureForm) -> npt.NDArray[np.uint8]:
    """The picture in a file's bytes as (C, H, W), 0 to 255.

    Upright, on white where it is transparent, then resized (bicubic). Without `form.channels`
    C is 3 where the file's mode has room for colour, else 1. Raises PictureError.
    """
    with opened(content) as image:
        image.load()
        turn = turn_of(image)
        if form.channels == 1 or is_gray(image):
            picture, alpha = gray_and_opacity(image)
        else:
            picture, alpha = colour_and_opacity(image)
        image.close()
        if picture.mode == "F":
            picture = Image.fromarray(np.rint(np.asarray(picture) * 255).astype(np.uint8))
        if alpha is not None:
            paper = Image.new(picture.mode, picture.size, "white")
            paper.paste(picture, mask=alpha)
            picture = paper
        if turn is not None:
            picture = picture.transpose(turn)
        pixels = np.asarray(resized(picture, form))
    if pixels.ndim == 3:
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return np.repeat(pixels[None], form.channels or 1, axis=0)


def size_and_colour(content: bytes) -> tuple[tuple[int, int], bool]:
    """(H, W) of the upright picture in a file's bytes, and whether its mode has room for colour.

    Nothing is decoded. Raises PictureError.
    """
    with opened(content) as image:
        width, height = image.size
        # Of a TIFF file pillow says the upright size. In a PNG file the orientation may stand
        # behind the pixels, which is rare.
        known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        turn = turn_of(image) if known else None
        if turn is not None and turn.name in ("TRANSPOSE", "TRANSVERSE", "ROTATE_90", "ROTATE_270"):
            width, height = height, width
        return (height, width), not is_gray(image)


def resized(picture: Image.Image, form: PictureForm) -> Image.Image:
    """A picture of mode "L" or "RGB" in the form's size (bicubic), see `PictureForm`."""
    if form.size is None or picture.size == form.size[::-1]:
        return picture
    (height, width), (wide, high) = form.size, picture.size
    if form.resize == "stretch":
        return picture.resize((width, height), Image.Resampling.BICUBIC)
    across, down = width / wide, height / high
    if form.resize == "crop":
        scale = max(across, down)
        kept = min(width / scale, wide), min(height / scale, high)
        left, top = (wide - kept[0]) / 2, (high - kept[1]) / 2
        box = left, top, min(left + kept[0], wide), min(top + kept[1], high)
        return picture.resize((width, height), Image.Resampling.BICUBIC, box)
    scale = min(across, down)
    inner = (
        min(max(1, round(wide * scale)), width),
        min(max(1, round(high * scale)), height),
    )
    frame = Image.new(picture.mode, (width, height))
    whole = picture.resize(inner, Image.Resampling.BICUBIC)
    frame.paste(whole, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return frame
