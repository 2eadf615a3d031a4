"""Convolution of sequences and of volumes by the kernels for images.

A sequence (N, C, L) is an image of one row. Of a volume (N, C, D, H, W) each plane of the result is
an image: the KD planes that it sees are stacked as its channels, and one product of N · OD images
with KD · C channels has the whole sum. On the way back the planes of the stacks are added up where
they came from. So no sum is rounded but where the kernels round it, and there is one launch of them
a pass. Letters are explained in `common.windows`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...backend import Array, array_module, is_cuda
from ...backend.cpu_threads import by_parts
from ...backend.dtypes import through_single
from ..common.layout import lies_last, seen_last, seen_second
from ..common.windows import Geometry, Shape, Windows
from .epilogue import Epilogue

Body = Callable[..., Any]
ROW = Windows((1,), (1,), (0,), (1,))


# --- the kernels, for images, sequences and volumes ---------------------------------------------


def fprop(images: Body) -> Body:
    """``images`` is that for images."""

    @functools.wraps(images)
    def of_any(x: Array, w: Array, bias: Array | None, geometry: Geometry) -> Array:
        if x.ndim == 4:
            return images(x, w, bias, geometry)
        if x.ndim == 3:
            return images(_row(x), _row(w), bias, _of_rows(geometry))[:, :, 0]
        stack = _stack(geometry, x.shape, w.shape)
        return stack.volumes(images(stack.up(x), stack.weight(w), bias, stack.geometry))

    return of_any


def dgrad(images: Body) -> Body:
    """``images`` is that for images."""

    @functools.wraps(images)
    def of_any(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
        if g.ndim == 4:
            return images(g, w, geometry, x_shape)
        if g.ndim == 3:
            shape = (*x_shape[:2], 1, x_shape[2])
            return images(_row(g), _row(w), _of_rows(geometry), shape)[:, :, 0]
        return of_volumes(g, w, geometry, x_shape)

    @through_single  # a voxel's planes are added up
    def of_volumes(g: Array, w: Array, geometry: Geometry, x_shape: Shape) -> Array:
        stack = _stack(geometry, x_shape, w.shape, g.shape[2])
        planes = images(_planes(g), stack.weight(w), stack.geometry, stack.shape)
        return stack.down(planes)

    return of_any


def wgrad(images: Body) -> Body:
    """``images`` is that for images; so for the gradient by a bias beside it."""

    @functools.wraps(images)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Any:
        if x.ndim == 4:
            return images(x, g, geometry, w_shape)
        if x.ndim == 3:
            shape = (*w_shape[:2], 1, w_shape[2])
            found = images(_row(x), _row(g), _of_rows(geometry), shape)
            if isinstance(found, tuple):
                return found[0][:, :, 0], found[1]
            return found[:, :, 0]
        stack = _stack(geometry, x.shape, w_shape, g.shape[2])
        found = images(stack.up(x), _planes(g), stack.geometry, stack.weight_shape)
        if isinstance(found, tuple):
            return stack.weight_back(found[0]), found[1]
        return stack.weight_back(found)

    return of_any


def backward(images: Body) -> Body:
    """``images`` is that for images."""

    @functools.wraps(images)
    def of_any(g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool) -> Any:
        if g.ndim == 4:
            return images(g, x, w, geometry, by_bias)
        if g.ndim == 3:
            dx, dw, db = images(_row(g), _row(x), _row(w), _of_rows(geometry), by_bias)
            return dx[:, :, 0], dw[:, :, 0], db
        return of_volumes(g, x, w, geometry, by_bias)

    @through_single  # a voxel's planes are added up
    def of_volumes(g: Array, x: Array, w: Array, geometry: Geometry, by_bias: bool) -> Any:
        stack = _stack(geometry, x.shape, w.shape)
        dx, dw, db = images(_planes(g), stack.up(x), stack.weight(w), stack.geometry, by_bias)
        return stack.down(dx), stack.weight_back(dw), db

    return of_any


def wgrad_each(images: Body) -> Body:
    """``images`` is that for images."""

    @functools.wraps(images)
    def of_any(x: Array, g: Array, geometry: Geometry, w_shape: Shape) -> Array:
        if x.ndim == 5:
            return images(x, g, geometry, w_shape)
        if x.ndim == 4:
            shape = (*w_shape[:3], 1, w_shape[3])
            rows = (x[:, :, :, None], g[:, :, :, None])
            return images(*rows, _of_rows(geometry), shape)[:, :, :, 0]
        count = x.shape[0]
        together = count * x.shape[1]
        volumes = x.reshape(together, *x.shape[2:])
        stack = _stack(geometry, volumes.shape, w_shape[1:])
        planes = _planes(g.reshape(together, *g.shape[2:]))
        of_each = x.shape[1] * stack.out
        each = [a.reshape(count, of_each, *a.shape[1:]) for a in (stack.up(volumes), planes)]
        dw = images(*each, stack.geometry, (count, *stack.weight_shape))
        rows = dw.reshape(count * w_shape[1], *stack.weight_shape[1:])
        return stack.weight_back(rows).reshape(w_shape)

    return of_any


def prepare_backward(images: Body) -> Body:
    """``images`` is that for images."""

    @functools.wraps(images)
    def of_any(x: Array, w: Array, geometry: Geometry, epilogue: Epilogue) -> None:
        if x.ndim == 3:
            images(_row(x), _row(w), _of_rows(geometry), epilogue)
        elif x.ndim == 5 and x.size:
            stack = _stack(geometry, x.shape, w.shape)
            of_shape = array_module(x).broadcast_to(x[:1, :1, 0, :1, :1], stack.shape)
            images(of_shape, stack.weight(w), stack.geometry, epilogue)
        elif x.ndim == 4:
            images(x, w, geometry, epilogue)

    return of_any


# --- sequences ----------------------------------------------------------------------------------


def _row(x: Array) -> Array:
    """(N, C, L) → (N, C, 1, L)."""
    return x[:, :, None]


@functools.lru_cache(4096)
def _of_rows(geometry: Geometry) -> Geometry:
    return geometry._replace(windows=ROW.beside(geometry.windows))


# --- volumes ------------------------------------------------------------------------------------


class _Tap(NamedTuple):
    """Planes ``out`` of the result, and those of the input that they see by one tap."""

    number: int
    out: slice
    seen: slice


class _Stack:
    """The planes that a kernel sees, as channels (G, KD, C/G) of images (N · OD, KD · C, H, W).

    ``out`` is OD where there are fewer planes than would fit.
    """

    def __init__(self, geometry: Geometry, x_shape: Shape, w_shape: Shape, out: int = 0) -> None:
        windows, self.groups = geometry
        self.x_shape, self.w_shape = tuple(x_shape), tuple(w_shape)
        (n, c, self.depth, *size), (o, per_group, self.taps, *kernel) = x_shape, w_shape
        self.windows = windows.along(slice(1))
        self.geometry = Geometry(windows.along(slice(1, None)), self.groups)
        self.out = out or self.windows.output_size("conv3d", (self.depth,))[0]
        self.shape = (n * self.out, c * self.taps, *size)
        self.weight_shape = (o, per_group * self.taps, *kernel)
        self.each_tap = list(self._each_tap())

    def _each_tap(self) -> Iterator[_Tap]:
        (stride,), (padding,), (dilation,) = self.windows[1:4]
        for k in range(self.taps):
            first = k * dilation - padding  # the plane that plane 0 of the result sees
            low = min(max(0, -(first // stride)), self.out)
            high = max(low, min(self.out, (self.depth - 1 - first) // stride + 1))
            start = first + low * stride
            stop = start + (high - low - 1) * stride + 1 if high > low else start
            yield _Tap(k, slice(low, high), slice(start, stop, stride))

    def up(self, x: Array) -> Array:
        """x (N, C, D, H, W) → (N · OD, KD · C, H, W), zeros in the place of padding."""
        xp, (n, c, _, h, w) = array_module(x), self.x_shape
        sides = (self.groups, self.taps, c // self.groups)
        if is_cuda(x) or lies_last(x):
            memory = xp.empty((n, self.out, h, w, *sides), x.dtype)
            stacks = memory.transpose(0, 1, 4, 5, 6, 2, 3)
            images = seen_second(memory.reshape(n * self.out, h, w, c * self.taps))
        else:
            stacks = xp.empty((n, self.out, *sides, h, w), x.dtype)
            images = stacks.reshape(self.shape)
        planes = self._grouped(x)  # (N, D, G, C/G, H, W)

        def task(part: slice) -> None:
            for tap in self.each_tap:
                stacks[part, : tap.out.start, :, tap.number] = 0
                stacks[part, tap.out.stop :, :, tap.number] = 0
                stacks[part, tap.out, :, tap.number] = planes[part, tap.seen]

        _by_parts(xp, task, n, images)
        return images

    def down(self, images: Array) -> Array:
        """The adjoint of `up`: (N · OD, KD · C, H, W) → (N, C, D, H, W)."""
        xp, (n, c, d, h, w) = array_module(images), self.x_shape
        # (N, OD, G, KD, C/G, H, W)
        stacks = images.reshape(n, self.out, self.groups, self.taps, c // self.groups, h, w)
        if is_cuda(images) or lies_last(images):
            dx = seen_second(xp.empty((n, d, h, w, c), images.dtype))
        else:
            dx = xp.empty((n, d, c, h, w), images.dtype).transpose(0, 2, 1, 3, 4)
        planes = self._grouped(dx)

        def task(part: slice) -> None:
            planes[part] = 0
            for tap in self.each_tap:
                planes[part, tap.seen] += stacks[part, tap.out, :, tap.number]

        _by_parts(xp, task, n, dx)
        return dx

    def _grouped(self, x: Array) -> Array:
        """A view (N, D, G, C/G, H, W) of x (N, C, D, H, W)."""
        n, c, *size = x.shape
        split = x.reshape(n, self.groups, c // self.groups, *size)
        return split.transpose(0, 3, 1, 2, 4, 5)

    def volumes(self, images: Array) -> Array:
        """(N · OD, O, OH, OW) → (N, O, OD, OH, OW), a view."""
        by_plane = images.reshape(self.x_shape[0], self.out, *images.shape[1:])
        return by_plane.transpose(0, 2, 1, 3, 4)

    def weight(self, w: Array) -> Array:
        """w (O, C/G, KD, KH, KW) → (O, KD · C/G, KH, KW)."""
        return w.transpose(0, 2, 1, 3, 4).reshape(self.weight_shape)

    def weight_back(self, w: Array) -> Array:
        """The inverse of `weight`."""
        split = w.reshape(len(w), self.taps, self.w_shape[1], *w.shape[2:])
        return split.transpose(0, 2, 1, 3, 4)


_stack = functools.lru_cache(4096)(_Stack)
SMALL = 1 << 15  # elements that one thread has copied before others have begun


def _by_parts(xp: Any, task: Callable[[slice], None], n: int, array: Array) -> None:
    """``task`` on parts of n volumes, on several threads where there is enough to do."""
    if array.size < SMALL:
        task(slice(0, n))
    else:
        by_parts(xp, task, n)


def _planes(g: Array) -> Array:
    """g (N, O, OD, OH, OW) → (N · OD, O, OH, OW)."""
    if is_cuda(g):  # a copy, where one is, in the layout that the kernels read
        g = seen_second(array_module(g).ascontiguousarray(seen_last(g)))
    n, o, d, h, w = g.shape
    return g.transpose(0, 2, 1, 3, 4).reshape(n * d, o, h, w)
