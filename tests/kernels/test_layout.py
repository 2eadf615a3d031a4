"""Images with the channels last in memory: views, new arrays, and what a kernel is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.disguises import junk_behind_one_element
from support.gpu_memory import on_gpu
from tinygrad_cupy.backend import import_cupy
from tinygrad_cupy.kernels import shape as joining
from tinygrad_cupy.kernels.common import layout

SHAPES = [(2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def images(channels_last: bool, shape: tuple[int, ...] = (2, 3, 4, 5)) -> np.ndarray:
    """x (N, C, H, W), each element another."""
    n, c, *size = shape
    count = np.arange(np.prod(shape), dtype=np.float32)
    if not channels_last:
        return count.reshape(shape)
    return np.moveaxis(count.reshape(n, *size, c), -1, 1)


@every_shape
def test_views_with_the_channels_last_and_second(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    seen = layout.seen_last(x)
    np.testing.assert_array_equal(seen, np.moveaxis(x, 1, -1))
    back = layout.seen_second(seen)
    np.testing.assert_array_equal(back, x)
    assert np.shares_memory(back, x)


@every_shape
def test_strides_with_the_channels_last(shape: tuple[int, ...]) -> None:
    n, c, *size = shape
    stored = layout.seen_second(np.empty((n, *size, c), np.float64))
    assert layout.strides_last(shape, 8) == stored.strides


def test_which_way_images_lie() -> None:
    rows = np.zeros((2, 4, 5, 3), np.float32)
    assert layout.lies_last(rows.transpose(0, 3, 1, 2))
    assert layout.lies_last(rows.transpose(0, 3, 1, 2)[..., ::-1])
    assert not layout.lies_last(rows)
    one_channel, one_pixel = rows[..., :1].transpose(0, 3, 1, 2), rows[:, :, :1, :1]
    for either in (one_channel, one_pixel, rows[:, :0]):
        assert not layout.lies_last(either)
        assert not layout.lies_last(junk_behind_one_element(either))


def test_which_images_are_stored_with_the_channels_last() -> None:
    x = images(True)
    assert layout.is_stored_last(x)
    assert layout.is_stored_last(junk_behind_one_element(images(True, (2, 3, 1, 5))))
    for other in (images(False), x[..., ::-1], x[:, :2], x[0], x[:, :, :2]):
        assert not layout.is_stored_last(other)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_new_array_lies_as_what_it_stands_beside(channels_last: bool) -> None:
    new = layout.empty_beside(images(channels_last), (7, 6), np.dtype(np.int32))
    assert (new.shape, new.dtype) == ((2, 3, 7, 6), np.int32)
    assert layout.is_stored_last(new) == channels_last
    assert new.flags.c_contiguous != channels_last


@pytest.mark.parametrize("channels_last", [False, True])
def test_scratch_is_a_copy_only_where_it_must_be(channels_last: bool) -> None:
    x = images(channels_last)
    rows = layout.scratch_last(x, "test")
    assert rows.flags.c_contiguous
    np.testing.assert_array_equal(rows, layout.seen_last(x))
    assert np.shares_memory(rows, x) == channels_last


# --- on a GPU -----------------------------------------------------------------------------------


def in_memory(x: Any, channels_last: bool) -> np.ndarray:
    """The elements of x (N, C, H, W) one after the other, as they ought to lie there."""
    host = x if isinstance(x, np.ndarray) else x.get()
    return np.ascontiguousarray(layout.seen_last(host) if channels_last else host).ravel()


def memory_of(x: Any) -> np.ndarray:
    """What a kernel reads that is given the address of x."""
    cupy = import_cupy()
    memory: np.ndarray = cupy.ndarray(x.size, x.dtype, x.data).get()
    return memory


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_array_that_lies_as_a_kernel_reads_it_is_passed_as_it_is(channels_last: bool) -> None:
    x = on_gpu(images(channels_last), channels_last)
    assert layout.arranged(x, channels_last) is x
    other = layout.arranged(x, not channels_last)
    assert other.data.ptr != x.data.ptr
    np.testing.assert_array_equal(memory_of(other), in_memory(x, not channels_last))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_has_gaps_is_copied(channels_last: bool) -> None:
    x = on_gpu(images(channels_last), channels_last)
    for part in (x[:, :2], x[..., ::-1], x[:, :, 1:]):
        arranged = layout.arranged(part, channels_last, alignment=1)
        np.testing.assert_array_equal(memory_of(arranged), in_memory(part, channels_last))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_what_is_not_aligned_is_copied(channels_last: bool) -> None:
    behind = on_gpu(np.arange(121, dtype=np.float32))[1:]
    x = layout.seen_second(behind.reshape(2, 4, 5, 3))
    x = x if channels_last else behind.reshape(2, 3, 4, 5)
    assert layout.arranged(x, channels_last, alignment=4) is x
    aligned = layout.arranged(x, channels_last)
    assert aligned.data.ptr % layout.ALIGNED == 0
    np.testing.assert_array_equal(memory_of(aligned), memory_of(x))


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (0, 3, 4, 5)], ids=str)
def test_a_new_array_on_a_gpu(shape: tuple[int, ...], channels_last: bool) -> None:
    new = layout.empty(shape, np.dtype(np.float32), channels_last)
    assert (new.shape, new.dtype) == (shape, np.float32)
    new[...] = import_cupy().asarray(images(False, shape))
    np.testing.assert_array_equal(memory_of(new), in_memory(new, channels_last))


@pytest.mark.gpu
def test_small_arrays_in_one_piece_of_memory() -> None:
    one, two = layout.empties(((3, 2), np.dtype(np.float32)), ((5,), np.dtype(np.float64)))
    assert (one.shape, two.shape) == ((3, 2), (5,))
    assert two.data.ptr - one.data.ptr == layout.APART


# --- on a GPU -----------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["float16", "float32", "float64", "uint8", "complex128"])
@pytest.mark.parametrize("shape", [(3, 16), (2, 5, 48), (1, 7), (), (0, 16), (3, 1)], ids=str)
def test_rows_are_copied_whole(shape: tuple[int, ...], name: str, rng: np.random.Generator) -> None:
    cupy, outer = import_cupy(), shape[:-1]
    values = rng.integers(0, 99, shape).astype(name)
    wide = (*[2 * n for n in outer], *[n + 16 for n in shape[-1:]])
    for start in (0, 1, 16):  # of a row in what it is a part of
        rows = slice(start, start + shape[-1]) if shape else ...
        part = (*[slice(None, None, 2)] * len(outer), rows)
        source, target = (cupy.full(wide, 7, name) for _ in "ab")
        source[part] = cupy.asarray(values)
        layout.copy_rows(source[part], target[part])
        expected = np.full(wide, 7, name)
        expected[part] = values
        np.testing.assert_array_equal(target.get(), expected)
        np.testing.assert_array_equal(layout.contiguous(source[part]).get(), values)


@pytest.mark.gpu
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("channels", [8, 3])
def test_joined_images_keep_their_channels_last(
    channels: int, axis: int, rng: np.random.Generator
) -> None:
    cupy = import_cupy()
    values = [rng.standard_normal((2, 4, 5, channels)).astype(np.float32) for _ in range(3)]
    last = [cupy.asarray(x).transpose(0, 3, 1, 2) for x in values]
    joined = joining.concat(last[0], last[1:], axis)
    assert layout.is_stored_last(joined)
    plain = np.concatenate([x.transpose(0, 3, 1, 2) for x in values], axis)
    np.testing.assert_array_equal(joined.get(), plain)
    mixed = joining.concat(last[0], [cupy.ascontiguousarray(x) for x in last[1:]], axis)
    np.testing.assert_array_equal(mixed.get(), plain)
