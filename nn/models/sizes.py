"""What the models are told of images, and what they refuse."""

from __future__ import annotations

from tinygrad_cupy.kernels.common.windows import Shape
from tinygrad_cupy.nn import checks

STEMS = ("small", "imagenet")
SMALL = 64  # pixels of the longer side up to which a stem is small by default


def image_shape(name: str, image_size: int | tuple[int, int]) -> Shape:
    """(height, width) of one number, for a square, or of the two."""
    if isinstance(image_size, tuple | list):
        return checks.sizes(name, "image_size", tuple(image_size), 2)
    side = checks.integer(name, "image_size", image_size)
    return side, side


def stem_of(name: str, stem: str | None, image_size: Shape) -> str:
    """The stem that was asked for, or the one for images of that size."""
    if stem is None:
        return "small" if max(image_size) <= SMALL else "imagenet"
    return checks.choice(name, "stem", stem, STEMS)


def expect_at_least(name: str, image_size: Shape, least: Shape) -> None:
    """ValueError that says how large images must be, where one side is too short."""
    if image_size[0] < least[0] or image_size[1] < least[1]:
        raise ValueError(
            f"[{name}] images of {image_size[0]}x{image_size[1]} pixels are too small, expected at "
            f"least {least[0]}x{least[1]}"
        )
