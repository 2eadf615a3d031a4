"""Pictures in the form that a model is given: size, channels, and what resizing does."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_cupy.datasets.picture_form import PictureForm, shaped, size_and_colour


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(height: int, width: int) -> np.ndarray:
    """Left red, right blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


def test_what_is_not_asked_for_stays() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    found = shaped(packed(Image.fromarray(pixels)), PictureForm())
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))
    assert found.flags.c_contiguous
    gray = shaped(packed(Image.fromarray(pixels[..., 0])), PictureForm())
    np.testing.assert_array_equal(gray, pixels[None, ..., 0])


def test_channels_as_asked() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = shaped(packed(Image.fromarray(gray)), PictureForm(channels=3))
    np.testing.assert_array_equal(found, np.stack([gray] * 3))
    # What is gray in three channels is as gray in one, to the bit.
    three = Image.fromarray(np.stack([gray] * 3, axis=-1))
    np.testing.assert_array_equal(shaped(packed(three), PictureForm(channels=1)), gray[None])
    red = packed(Image.new("RGB", (3, 2), (255, 0, 0)))
    assert (shaped(red, PictureForm(channels=1)) == 76).all()  # ITU-R 601


@pytest.mark.parametrize(("height", "width"), [(8, 16), (16, 8), (10, 10), (7, 31), (400, 3)])
@pytest.mark.parametrize("size", [(12, 12), (24, 40), (5, 90)])
def test_what_each_way_of_resizing_shows(height: int, width: int, size: tuple[int, int]) -> None:
    """Of a white picture: all of the frame, or for "fit" a rectangle of its proportions."""
    white = packed(Image.new("L", (width, height), 255))
    for how in ("crop", "stretch"):
        assert (shaped(white, PictureForm(size, 1, how)) == 255).all()
    (fit,) = shaped(white, PictureForm(size, 1, "fit"))
    rows, columns = np.flatnonzero(fit.any(axis=1)), np.flatnonzero(fit.any(axis=0))
    scale = min(size[0] / height, size[1] / width)
    assert abs(len(rows) - height * scale) <= 1
    assert abs(len(columns) - width * scale) <= 1
    assert len(rows) == size[0] or len(columns) == size[1]
    for lit, whole in ((rows, size[0]), (columns, size[1])):  # in the middle
        assert abs(lit[0] - (whole - 1 - lit[-1])) <= 1


def test_crop_keeps_the_middle_and_stretch_the_whole() -> None:
    pixels = np.zeros((20, 60), np.uint8)
    pixels[:, 20:40] = 200
    content = packed(Image.fromarray(pixels))
    (crop,) = shaped(content, PictureForm((10, 10), 1, "crop"))
    assert (crop[:, 1:-1] > 150).all()
    (stretch,) = shaped(content, PictureForm((10, 30), 1, "stretch"))
    np.testing.assert_allclose(stretch[:, [4, 15, 25]], [[0, 200, 0]] * 10, atol=2)
    red, _, blue = shaped(packed(Image.fromarray(halves(20, 60))), PictureForm((9, 9), 3, "crop"))
    assert (red[:, 0] > 200).all()
    assert (blue[:, -1] > 200).all()


COLOURS: dict[str, tuple[Image.Image, str, dict[str, Any], tuple[int, int, int], int]] = {
    "RGB": (Image.new("RGB", (4, 4), (10, 200, 30)), "PNG", {}, (10, 200, 30), 0),
    "JPEG": (
        Image.new("RGB", (16, 16), (10, 200, 30)), "JPEG", {"quality": 95}, (10, 200, 30), 3
    ),
    "palette": (
        Image.new("RGB", (4, 4), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE),
        "PNG", {}, (10, 200, 30), 0,
    ),
    "alpha": (Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG", {}, (255, 127, 127), 1),
    "clear": (Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "PNG", {}, (255, 255, 255), 0),
    "a colour that is clear": (
        Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", {"transparency": (1, 2, 3)},
        (255, 255, 255), 0,
    ),
    "CMYK": (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF", {}, (255, 0, 0), 1),
    "CMYK, JPEG": (
        Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", {"quality": 95}, (255, 0, 0), 3
    ),
    "GIF": (
        Image.new("RGB", (4, 4), (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE),
        "GIF", {}, (10, 200, 30), 0,
    ),
    "16 bits": (
        Image.fromarray(np.full((4, 4), 50 * 257, np.uint16)), "PNG", {}, (50, 50, 50), 0
    ),
    "floats": (
        Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF", {}, (128, 128, 128), 1
    ),
    "one bit": (Image.new("1", (4, 4), 1), "PNG", {}, (255, 255, 255), 0),
    "gray and alpha": (Image.new("LA", (4, 4), (7, 128)), "PNG", {}, (131, 131, 131), 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", COLOURS)
def test_every_kind_of_picture_in_colour(kind: str) -> None:
    image, form, options, expected, spare = COLOURS[kind]
    found = shaped(packed(image, form, **options), PictureForm((4, 4), 3))
    difference = found.astype(int) - np.array(expected)[:, None, None]
    assert abs(difference).max() <= spare


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_colour_is_turned_upright(turn: int) -> None:
    upright = halves(24, 40)
    seen = {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright), 8: np.rot90(upright, -1)}
    exif = Image.Exif()
    exif[0x0112] = turn
    content = packed(Image.fromarray(np.ascontiguousarray(seen[turn])), "JPEG", exif=exif)
    assert size_and_colour(content) == ((24, 40), True)
    found = shaped(content, PictureForm())
    assert found.shape == (3, 24, 40)
    assert found[0, :, :15].min() > 200
    assert found[2, :, 25:].min() > 200


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": (0, 5)}, "image_size: expected at least 1 x 1 and at most 33,554,432 pixels, "),
        ({"size": (9_000, 9_000)}, "image_size: expected at least 1 x 1 and at most 33,554,432"),
        ({"channels": 2}, "channels: expected 1 (gray) or 3 (colour), got 2"),
        ({"resize": "squash"}, "resize: expected one of fit, crop, stretch, got 'squash'"),
    ],
)
def test_forms_that_cannot_be(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        PictureForm(**arguments)
