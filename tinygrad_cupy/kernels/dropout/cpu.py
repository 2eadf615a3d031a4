"""Dropout on the CPU: chooses C or NumPy."""

from __future__ import annotations

import numpy as np

from ... import random
from ...backend import Array
from ...backend.cpu_memory import aligned_empty
from ...backend.cpu_threads import PARALLEL_SIZE, by_parts
from . import native, reference
from .reference import least_word, scale_of


def draw(x: Array, p: float, last: bool) -> tuple[Array, Array]:
    """`reference.draw` by parts of a batch: a counter may start anywhere in the stream."""
    least = least_word(p)
    if not x.ndim or not x.size or least >= 2**64:
        return reference.draw(x, p, apply)
    part = random.part_of(x.shape)
    if not part.is_of_blocks:
        return reference.draw(x, p, apply)
    counter = random.advance(part.total, random.STREAM_DROPOUT) + part.first // 4
    if native.suits(x):
        key = random.generator.seed, random.STREAM_DROPOUT
        return native.draw(x, scale_of(x, p), least, counter, key)
    each = x.size // len(x)  # elements of an image; a block has 4 words
    y, mask = aligned_empty(x.shape, x.dtype), aligned_empty(x.shape, np.bool_)

    def task(part: slice) -> None:
        count = (part.stop - part.start) * each
        raw = random.words_at(counter + part.start * each // 4, count, random.STREAM_DROPOUT)
        np.greater_equal(raw.reshape(mask[part].shape), np.uint64(least), out=mask[part])
        np.multiply(x[part], mask[part], out=y[part])
        y[part] *= scale_of(x, p)

    if each % 4 or x.size < PARALLEL_SIZE:
        task(slice(0, len(x)))
    else:
        by_parts(np, task, len(x))
    return y, mask


def apply(x: Array, mask: Array, p: float, last: bool) -> Array:
    """x · mask / (1 - p), in C order."""
    x = np.asarray(x, order="C")  # as the mask
    if native.suits(x):
        return native.keep(x, mask, scale_of(x, p))
    y: Array = np.multiply(x, mask)
    y *= scale_of(x, p)
    return y
