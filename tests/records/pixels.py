"""Records of ops/pixels.py."""

from __future__ import annotations

from hypothesis import strategies as st

from support.sampling import FLOATS, MOVED, Case, Draw, Error, Sample, method, normal
from support.windows import image, sides
from tinygrad_cupy.ops import shape


def _shuffled(draw: Draw) -> Case:
    r, lead = draw(st.integers(1, 3)), draw(st.sampled_from([(), (2,), (2, 1)]))
    values = normal(draw, (*lead, draw(st.integers(1, 2)) * r**2, *draw(sides(1, 3))))
    return Case((values,), {"upscale_factor": r})


def _unshuffled(draw: Draw) -> Case:
    r, lead = draw(st.integers(1, 3)), draw(st.sampled_from([(), (2,), (2, 1)]))
    size = [n * r for n in draw(sides(1, 2))]
    values = normal(draw, (*lead, draw(st.integers(1, 2)), *size))
    return Case((values,), {"downscale_factor": r})


def _dealt(draw: Draw) -> Case:
    groups, size = draw(st.integers(1, 3)), draw(sides(1, 3))
    values = normal(draw, (2, groups * draw(st.integers(1, 3)), *size))
    return Case((values,), {"groups": groups})


SAMPLES = [
    Sample(
        "pixel_shuffle",
        method("pixel_shuffle"),
        _shuffled,
        lambda torch, x, upscale_factor: torch.nn.functional.pixel_shuffle(x, upscale_factor),
        (shape.Reshape, shape.Permute),
        ("pixel_shuffle",),
        MOVED,
        errors=(
            Error(
                lambda: image(1, 6, 2, 2).pixel_shuffle(2),
                ValueError,
                "[pixel_shuffle] expected channels divisible by 2² = 4, got shape (1, 6, 2, 2)",
            ),
            Error(
                lambda: image(4, 2).pixel_shuffle(2),
                ValueError,
                "[pixel_shuffle] expected an input of shape (…, C, H, W), got (4, 2)",
            ),
        ),
    ),
    Sample(
        "pixel_unshuffle",
        method("pixel_unshuffle"),
        _unshuffled,
        lambda torch, x, downscale_factor: torch.nn.functional.pixel_unshuffle(x, downscale_factor),
        (shape.Reshape, shape.Permute),
        ("pixel_unshuffle",),
        MOVED,
        errors=(
            Error(
                lambda: image(1, 1, 4, 3).pixel_unshuffle(2),
                ValueError,
                "[pixel_unshuffle] expected a height and a width divisible by 2, got shape "
                "(1, 1, 4, 3)",
            ),
        ),
    ),
    Sample(
        "channel_shuffle",
        method("channel_shuffle"),
        _dealt,
        lambda torch, x, groups: torch.nn.functional.channel_shuffle(x, groups),
        (shape.Reshape, shape.Permute),
        ("channel_shuffle",),
        FLOATS,
        errors=(
            Error(
                lambda: image(1, 5, 2, 2).channel_shuffle(2),
                ValueError,
                "[channel_shuffle] expected shape (N, C, …) with channels divisible by 2, got "
                "(1, 5, 2, 2)",
            ),
        ),
    ),
]
