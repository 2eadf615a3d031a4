"""Geometry that convolution and pooling share: windows sliding over the last one to three axes.

Letters, here and in `conv` and `pool`: N images, C input channels, H × W input size, O output
channels, KH × KW kernel, OH × OW output size, G groups. Sequences (N, C, L) have one such axis,
volumes (N, C, D, H, W) three.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from ...backend import Array, array_module, expect_memory, is_cuda, strides_of

Pair = tuple[int, int]
Shape = tuple[int, ...]
Sizes = int | Shape  # a number for each axis, or one for all of them
AXES = ("", "L", "H, W", "D, H, W")  # that windows slide over, by how many they are
MOST = 2**31 - 1  # of a size or a stride: kernels on a GPU count them in ints
_WHOLE = (int, np.integer)


def whole(value: Any, op: str, name: str, least: int) -> int:
    """``value``, from ``least`` to `MOST`, or a ``ValueError`` naming operation and argument."""
    if is_whole(value, least, MOST):
        return int(value)
    raise ValueError(f"[{op}] {name}: expected an integer from {least} to {MOST}, got {value!r}")


def sizes(value: Any, op: str, name: str, least: int, ndim: int = 2) -> Shape:
    """``value`` as ``ndim`` numbers, an integer standing for all of them, each as in `whole`."""
    if type(value) is int and least <= value <= MOST:
        return (value,) * ndim
    each: Any = value if isinstance(value, (tuple, list)) else (value,) * ndim
    if ndim == 2 == len(each):
        a, b = each
        if type(a) is int is type(b) and least <= a <= MOST and least <= b <= MOST:
            return a, b
    if (numbers := as_sizes(each, least, MOST, ndim)) is not None:
        return numbers
    several = ("", "", " or two of them", " or three of them")[ndim]
    raise ValueError(
        f"[{op}] {name}: expected an integer from {least} to {MOST}{several}, got {value!r}"
    )


def as_sizes(value: Any, least: int, most: float, ndim: int) -> Shape | None:
    """An integer, or ``ndim`` of them, as ``ndim`` ints; None unless from ``least`` to ``most``."""
    each: Any = value if isinstance(value, (tuple, list)) else (value,) * ndim
    if len(each) != ndim or not all(is_whole(one, least, most) for one in each):
        return None
    return tuple([int(one) for one in each])


def is_whole(value: Any, least: int, most: float) -> TypeGuard[int]:
    """Whether ``value`` is an integer, Python's or NumPy's, from ``least`` to ``most``."""
    if not isinstance(value, _WHOLE) or type(value) is bool:
        return False
    return bool(least <= value <= most)


def expect_images(op: str, x: Any, ndim: int = 2) -> None:
    """Raise ``ValueError`` naming ``op`` unless x is (N, C, H, W), or what ``ndim`` axes make."""
    if len(x.shape) != ndim + 2:
        raise ValueError(f"[{op}] expected an input of shape (N, C, {AXES[ndim]}), got {x.shape}")


class Windows(NamedTuple):
    """Size, step and spacing of the windows, and the padding around the input, in pixels.

    ``behind`` is what is padded at the end of each axis beyond ``padding``: none where it is empty.
    """

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    behind: Shape = ()

    @classmethod
    def parse(
        cls, op: str, kernel: Any, stride: Any, padding: Any, dilation: Any, ndim: int = 2
    ) -> Windows:
        """From integers or one for each axis; an error names the operation and the argument."""
        return cls(
            sizes(kernel, op, "kernel_size", 1, ndim),
            sizes(stride, op, "stride", 1, ndim),
            sizes(padding, op, "padding", 0, ndim),
            sizes(dilation, op, "dilation", 1, ndim),
        )

    def fitted(self, op: str, shape: tuple[int, ...], array: Array, outputs: int) -> Windows:
        """The same windows of images of this shape (N, C, H, W), no number beyond H and W padded.

        A stride that leads outside may be any that does, and the dilation of one tap is any: so
        whatever kernels multiply is the size of an array that fits in memory, that of a padded
        image or that of a result (N, ``outputs``, OH, OW), of ``array``'s dtype. Raises
        ``ValueError`` where the kernel does not fit in the images, ``MemoryError`` where such an
        array is too large.
        """
        return self._fitted(op, shape, outputs, array.itemsize, is_cuda(array))

    @functools.lru_cache(4096)  # noqa: B019 - a few numbers each
    def _fitted(
        self, op: str, shape: tuple[int, ...], outputs: int, itemsize: int, on_gpu: bool
    ) -> Windows:
        n, channels, *size = shape
        out = self.output_size(op, tuple(size))
        padded = self.padded_size(tuple(size))
        if max(padded) > MOST:
            raise ValueError(
                f"[{op}] expected at most {MOST} rows and columns with their padding, got an input "
                f"of {tuple(size)} padded by {self.padding}"
            )
        for images in ((1, channels, *padded), (max(n, 1), outputs, *out)):
            expect_memory(op, images, itemsize, on_gpu)
        dilation = [1 if k == 1 else d for k, d in zip(self.kernel, self.dilation, strict=True)]
        stride = [min(s, side) for s, side in zip(self.stride, padded, strict=True)]
        return self._replace(stride=tuple(stride), dilation=tuple(dilation))

    def along(self, axes: slice) -> Windows:
        """The same windows along some of the axes."""
        return Windows(*[values[axes] for values in self])

    def beside(self, other: Windows) -> Windows:
        """These windows along axes before those of ``other``."""
        kernel, stride, padding, dilation = (
            mine + theirs for mine, theirs in zip(self[:4], other[:4], strict=True)
        )
        return Windows(kernel, stride, padding, dilation, self.all_behind + other.all_behind)

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def are_disjoint(self) -> bool:
        """Whether no two windows reach across each other: then no pixel lies in two."""
        steps = zip(self.stride, self.dilation, self.kernel, strict=True)
        return all(s >= d * (k - 1) + 1 for s, d, k in steps)

    @property
    def mirrored(self) -> Windows:
        """Of stride 1: the windows of the output that meet an input pixel, kernel turned by 180°.

        Their padding is negative where this one is wider than the kernel's reach.
        """
        return _mirrored(self)

    @functools.lru_cache(4096)  # noqa: B019 - a few numbers each
    def output_size(self, op: str, size: Shape) -> Shape:
        """OH × OW for an input of H × W: ⌊(H + 2 pad - dilation (K - 1) - 1) / stride⌋ + 1."""
        padded = self.padded_size(size)
        steps = zip(padded, self.kernel, self.stride, self.dilation, strict=True)
        out = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in steps)
        if min(out) < 1:
            raise ValueError(
                f"[{op}] a kernel of {self.kernel} with dilation {self.dilation} does not fit in "
                f"an input of {tuple(size)} padded by {self.padding}"
            )
        return out

    def padded_size(self, size: Shape) -> Shape:
        """Input size with the padding on both sides."""
        around = zip(size, self.padding, self.all_behind, strict=True)
        return tuple([n + 2 * p + b for n, p, b in around])

    def inside(self, size: Shape) -> tuple[slice, ...]:
        """Where the input of H × W lies in its padded version."""
        return tuple([slice(p, p + n) for p, n in zip(self.padding, size, strict=True)])

    @property
    def around(self) -> tuple[Pair, ...]:
        """What is padded before and behind each axis of images (N, C, H, W)."""
        pads = [(p, p + b) for p, b in zip(self.padding, self.all_behind, strict=True)]
        return ((0, 0), (0, 0), *pads)

    @property
    def all_behind(self) -> Shape:
        """``behind``, as a number for each axis."""
        return self.behind or (0,) * len(self.padding)

    @property
    def is_padded(self) -> bool:
        return any(self.padding) or any(self.behind)

    def each_tap(self, out: Shape) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Number k of each kernel position, and the padded input's pixels that it meets."""
        for k, tap in enumerate(itertools.product(*map(range, self.kernel))):
            places = zip(tap, self.dilation, self.stride, out, strict=True)
            yield k, tuple([slice(i * d, i * d + (o - 1) * s + 1, s) for i, d, s, o in places])

    def view(self, x: Array, out: Shape) -> Array:
        """All windows of x (N, H, W, C), padded already: (N, OH, OW, KH, KW, C), not a copy."""
        n, *by_pixel, c = strides_of(x)
        return array_module(x).lib.stride_tricks.as_strided(
            x,
            (x.shape[0], *out, *self.kernel, x.shape[-1]),
            (
                n,
                *[step * s for step, s in zip(by_pixel, self.stride, strict=True)],
                *[step * d for step, d in zip(by_pixel, self.dilation, strict=True)],
                c,
            ),
        )


@functools.lru_cache(4096)
def _mirrored(windows: Windows) -> Windows:
    reach = zip(windows.kernel, windows.padding, windows.dilation, strict=True)
    return windows._replace(padding=tuple([d * (k - 1) - p for k, p, d in reach]))


class Geometry(NamedTuple):
    """The windows of a convolution, and into how many groups its channels fall."""

    windows: Windows
    groups: int
