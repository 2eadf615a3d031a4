"""How large the images of a model may be: what `train` takes is what `predict` can read again.

metrics.json is not trusted: whatever it says, building the net that it describes takes at most
some gigabytes. The fully connected layers grow with the images, so those bound them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import CommandError

MAX_SIDE = 4096
MAX_PIXELS = 1 << 17  # H x W, 362 x 362
MAX_OUTPUTS = 1 << 25  # classes x H x W


def problem(image_shape: Sequence[int], classes: int) -> str | None:
    """What is too large of images (C, H, W), in words; None where nothing is."""
    _, height, width = image_shape
    pixels = height * width
    if max(height, width) > MAX_SIDE or pixels > MAX_PIXELS:
        return (
            f"images of at most {MAX_PIXELS:,} pixels and sides of at most {MAX_SIDE:,}, "
            f"got {height}×{width}"
        )
    if pixels * classes > MAX_OUTPUTS:
        return f"classes x pixels of at most {MAX_OUTPUTS:,}, got {classes * pixels:,}"
    return None


def check_images(image_shape: Sequence[int], classes: int) -> None:
    """Raise `CommandError` for images that a run could not be stored with."""
    if found := problem(image_shape, classes):
        raise CommandError(f"--image-size: expected {found}; choose a smaller --image-size")
