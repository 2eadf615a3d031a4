"""Geometry that convolution and pooling share: windows sliding over the two last axes.

Letters, here and in `conv` and `pool`: N images, C input channels, H × W input size, O output
channels, KH × KW kernel, OH × OW output size, G groups.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from ...backend import Array, array_module, expect_memory, is_cuda, strides_of

Pair = tuple[int, int]
MOST = 2**31 - 1  # of a size or a stride: kernels on a GPU count them in ints
_WHOLE = (int, np.integer)


def whole(value: Any, op: str, name: str, least: int) -> int:
    """``value``, from ``least`` to `MOST`, or a ``ValueError`` naming operation and argument."""
    if is_whole(value, least, MOST):
        return int(value)
    raise ValueError(f"[{op}] {name}: expected an integer from {least} to {MOST}, got {value!r}")


def pair(value: Any, op: str, name: str, least: int) -> Pair:
    """``value`` as (vertical, horizontal), an integer standing for both, each as in `whole`."""
    both: Any = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) == 2:
        a, b = both
        if type(a) is int is type(b) and least <= a <= MOST and least <= b <= MOST:
            return a, b
        if (numbers := as_pair(both, least, MOST)) is not None:
            return numbers
    raise ValueError(
        f"[{op}] {name}: expected an integer from {least} to {MOST} or two of them, got {value!r}"
    )


def as_pair(value: Any, least: int, most: float) -> Pair | None:
    """An integer, or two of them, as two ints; None unless from ``least`` to ``most``."""
    both: Any = value if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(is_whole(one, least, most) for one in both):
        return None
    return int(both[0]), int(both[1])


def is_whole(value: Any, least: int, most: float) -> TypeGuard[int]:
    """Whether ``value`` is an integer, Python's or NumPy's, from ``least`` to ``most``."""
    if not isinstance(value, _WHOLE) or type(value) is bool:
        return False
    return bool(least <= value <= most)


def expect_images(op: str, x: Any) -> None:
    """Raise ``ValueError`` naming ``op`` unless x is (N, C, H, W)."""
    if len(x.shape) != 4:
        raise ValueError(f"[{op}] expected an input of shape (N, C, H, W), got {x.shape}")


class Windows(NamedTuple):
    """Size, step and spacing of the windows, and the padding around the input, in pixels."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @classmethod
    def parse(cls, op: str, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Windows:
        """From integers or pairs; an error names the operation and the argument."""
        return cls(
            pair(kernel, op, "kernel_size", 1),
            pair(stride, op, "stride", 1),
            pair(padding, op, "padding", 0),
            pair(dilation, op, "dilation", 1),
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
        padded = self.padded_size((size[0], size[1]))
        if max(padded) > MOST:
            raise ValueError(
                f"[{op}] expected at most {MOST} rows and columns with their padding, got an input "
                f"of {tuple(size)} padded by {self.padding}"
            )
        for images in ((1, channels, *padded), (max(n, 1), outputs, *out)):
            expect_memory(op, images, itemsize, on_gpu)
        dilation = [1 if k == 1 else d for k, d in zip(self.kernel, self.dilation, strict=True)]
        stride = [min(s, side) for s, side in zip(self.stride, padded, strict=True)]
        return self._replace(stride=(stride[0], stride[1]), dilation=(dilation[0], dilation[1]))

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def mirrored(self) -> Windows:
        """Of stride 1: the windows of the output that meet an input pixel, kernel turned by 180°.

        Their padding is negative where this one is wider than the kernel's reach.
        """
        (kh, kw), (dh, dw), (ph, pw) = self.kernel, self.dilation, self.padding
        padding = (dh * (kh - 1) - ph, dw * (kw - 1) - pw)
        return Windows(self.kernel, self.stride, padding, self.dilation)

    @functools.lru_cache(4096)  # noqa: B019 - a few numbers each
    def output_size(self, op: str, size: tuple[int, ...]) -> Pair:
        """OH × OW for an input of H × W: ⌊(H + 2 pad - dilation (K - 1) - 1) / stride⌋ + 1."""
        out = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        if min(out) < 1:
            raise ValueError(
                f"[{op}] a kernel of {self.kernel} with dilation {self.dilation} does not fit in "
                f"an input of {tuple(size)} padded by {self.padding}"
            )
        return out[0], out[1]

    def padded_size(self, size: tuple[int, ...]) -> Pair:
        """Input size with the padding on both sides."""
        return size[0] + 2 * self.padding[0], size[1] + 2 * self.padding[1]

    def inside(self, size: tuple[int, ...]) -> tuple[slice, slice]:
        """Where the input of H × W lies in its padded version."""
        (ph, pw), (h, w) = self.padding, size
        return slice(ph, ph + h), slice(pw, pw + w)

    def each_tap(self, out: Pair) -> Iterator[tuple[int, slice, slice]]:
        """Number k of each kernel position, and the padded input's pixels that it meets."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        for k in range(self.taps):
            top, left = k // self.kernel[1] * dh, k % self.kernel[1] * dw
            yield (
                k,
                slice(top, top + (out[0] - 1) * sh + 1, sh),
                slice(left, left + (out[1] - 1) * sw + 1, sw),
            )

    def view(self, x: Array, out: Pair) -> Array:
        """All windows of x (N, H, W, C), padded already: (N, OH, OW, KH, KW, C), not a copy."""
        n, h, w, c = strides_of(x)
        (sh, sw), (dh, dw) = self.stride, self.dilation
        return array_module(x).lib.stride_tricks.as_strided(
            x,
            (x.shape[0], *out, *self.kernel, x.shape[3]),
            (n, h * sh, w * sw, h * dh, w * dw, c),
        )


Shape = tuple[int, ...]


class Geometry(NamedTuple):
    """The windows of a convolution, and into how many groups its channels fall."""

    windows: Windows
    groups: int
