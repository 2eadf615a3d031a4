"""Random numbers that are the same on the CPU and the GPU.

Counter-based Philox4x64-10 (Salmon et al. 2011). The key is seed + stream · 2⁶⁴, so that drawing
from one stream never shifts another; each stream has a counter per device, which a draw of n words
moves by ⌈n / 4⌉ blocks. On a GPU seed and counter live in device memory, where a captured program
finds and moves them. A uniform number is (word >> 40) · 2⁻²⁴: 24 bits, all that a float32 in [0, 1)
holds.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import Array, CudaSource, array_module, import_cupy, int64s, normalize_device
from ..backend.capture import keep, prepares
from ..backend.devices import copy
from ..backend.gpu import properties_of
from ..backend.ranks import ranks

STREAM_WEIGHTS, STREAM_SHUFFLES, STREAM_DROPOUT = 0, 1, 2
STREAM_DRAWS = 3  # of `tinygrad_cupy.numpy.random`
STREAM_AUGMENT = 4  # of `nn.augment`
Shape = tuple[int, ...]
STREAMS = (STREAM_WEIGHTS, STREAM_SHUFFLES, STREAM_DROPOUT, STREAM_DRAWS, STREAM_AUGMENT)

PHILOX = str(Path(__file__).with_name("philox.cuh"))  # in front of kernels that draw
RESIDENT = 6  # of their blocks, on a multiprocessor
kernels = CudaSource(__file__, PHILOX, "random.cu", defines=(f"RESIDENT={RESIDENT}",))


class Generator:
    """The seed, and the streams' counters: of the CPU as numbers, of a GPU in its memory.

    A state on a GPU is uint64 (3,): seed, counter, and the ticket by which a launch finds its last
    block. It is written in place for ever: captured programs hold its address.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.counters: dict[int, int] = {}  # by stream
        self.states: dict[tuple[int, str], Array] = {}  # by stream and GPU
        _generators.add(self)

    def restart(self, seed: int) -> None:
        """Start all streams anew from ``seed``."""
        self.seed, self.counters = seed, {}
        for state in self.states.values():
            _write(state, 0, seed)

    def state(self, stream: int, device: str) -> Array:
        """The state of a stream on the current GPU."""
        if (stream, device) not in self.states:
            self.states[stream, device] = state = import_cupy().zeros(3, np.uint64)
            _write(state, 0, self.seed)
        keep(self.states[stream, device])
        return self.states[stream, device]


_generators: weakref.WeakSet[Generator] = weakref.WeakSet()
generator = Generator()  # that of `manual_seed`


@prepares
def _make_states(device: int) -> None:
    with import_cupy().cuda.Device(device):
        for stream in STREAMS:
            generator.state(stream, f"cuda:{device}")


def _write(state: Array, counter: int, seed: int) -> None:
    with state.device:
        state[0] = np.uint64(seed)
        state[1] = np.uint64(counter)


def manual_seed(seed: int) -> None:
    """Start all random streams of all devices anew from ``seed``, 0 ≤ seed < 2⁶⁴.

    >>> tg.manual_seed(0)
    >>> first = Tensor.rand(3)
    >>> tg.manual_seed(0)
    >>> (Tensor.rand(3) == first).all().item()
    True
    """
    generator.restart(checked_seed("manual_seed", seed))


def checked_seed(name: str, seed: Any) -> int:
    """``seed`` as an integer that a key has room for, or ``ValueError`` that names the function."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"[{name}] expected a whole number from 0 to 2**64 - 1, got {seed!r}")
    return int(seed)


def get_state() -> dict[str, Any]:
    """Seed and counters of all streams, to give to `set_state` later."""
    counters: dict[tuple[int, str], int] = {(s, "cpu"): n for s, n in generator.counters.items()}
    counters |= {key: int(state[1]) for key, state in generator.states.items() if state[1]}
    return {"seed": generator.seed, "counters": counters}


def set_state(state: dict[str, Any]) -> None:
    """Continue all streams from where `get_state` found them."""
    manual_seed(state["seed"])
    for (stream, device), count in state["counters"].items():
        if device == "cpu":
            generator.counters[stream] = count
            continue
        with import_cupy().cuda.Device(int(device.removeprefix("cuda:"))):
            _write(generator.state(stream, device), count, generator.seed)


def snapshot() -> list[tuple[Generator, int, dict[int, int], dict[tuple[int, str], Array]]]:
    """Where all streams stand, without looking: what a GPU has is copied on it; for `restore`."""
    return [
        (
            one,
            one.seed,
            dict(one.counters),
            {key: state.copy() for key, state in one.states.items()},
        )
        for one in _generators
    ]


def restore(
    found: list[tuple[Generator, int, dict[int, int], dict[tuple[int, str], Array]]],
) -> None:
    """Continue all streams from where `snapshot` found them."""
    for one, seed, counters, states in found:
        one.seed, one.counters = seed, dict(counters)
        for key, state in one.states.items():
            if key in states:
                copy(states[key], state)
            else:  # made since
                _write(state, 0, seed)


def words(count: int, stream: int, device: str, source: Generator = generator) -> Array:
    """The next ``count`` 64-bit words of a stream, as uint64."""
    return _words(Part(1, count, 0, count), stream, device, source)


def words_of(shape: Shape, stream: int, device: str, source: Generator = generator) -> Array:
    """Words of that shape: of a batch that is split among ranks, those of this rank's part."""
    return _words(part_of(shape), stream, device, source).reshape(shape)


def _words(part: Part, stream: int, device: str, source: Generator) -> Array:
    device = normalize_device(device)
    count = part.outer * part.wanted
    if device == "cpu":
        counter = advance(part.total, stream, source)
        rows = [words_at(counter, part.wanted, stream, source, first) for first in part.firsts()]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        out, state = cupy.empty(count, np.uint64), source.state(stream, device)
        if part.is_whole:
            arguments = (out, np.int64(count), state, np.uint64(stream))
            kernels.launch("philox_words", walking(out), arguments)
        else:
            sizes = (part.outer, part.wanted, part.first, part.each, part.total)
            arguments = (out, *int64s(*sizes), state, np.uint64(stream))
            kernels.launch("philox_words_of_part", walking(out), arguments)
        return out


class Part(NamedTuple):
    """What is drawn of ``total`` words: of each of ``outer`` rows of ``each`` words as many as
    ``wanted``, from the word ``first`` of the row on.
    """

    outer: int
    wanted: int
    first: int
    each: int

    @property
    def total(self) -> int:
        """By how many words the counter moves."""
        return self.outer * self.each

    @property
    def is_whole(self) -> bool:
        """Whether that is all of them."""
        return self.wanted == self.each

    @property
    def is_of_blocks(self) -> bool:
        """Whether it is words in a row, which begin where a block of four does."""
        return self.is_whole or (self.outer == 1 and self.first % 4 == 0)

    def firsts(self) -> range:
        """Where each row's words begin."""
        return range(self.first, self.first + self.outer * max(self.each, 1), max(self.each, 1))


def part_of(shape: Shape) -> Part:
    """Which words an array of that shape takes: all, unless a batch is split among ranks.

    Element i of the whole batch has word i whatever the number of ranks, and all ranks move their
    counters past all of it. ValueError where the batch's axis, 0 unless `along` says otherwise, is
    none of as many samples, or a multiple, as this rank has.
    """
    share, axis = ranks.split, _axis.get()
    size = math.prod(shape)
    if share is None or axis is None or not shape:
        return Part(1, size, 0, size)
    if not -len(shape) <= axis < len(shape) or shape[axis] % share.samples:
        raise ValueError(
            f"[random] expected axis {axis} of a draw of shape {tuple(shape)} to be this rank's "
            f"{share.samples} samples of a batch of {share.total}: say batch_axis= where they are "
            "along another one, or replicated=True for what is the same on all ranks"
        )
    axis %= len(shape)
    inner = shape[axis] // share.samples * math.prod(shape[axis + 1 :])  # words of a sample
    outer = math.prod(shape[:axis])
    return Part(outer, share.samples * inner, share.start * inner, share.total * inner)


_axis: ContextVar[int | None] = ContextVar("batch axis of draws", default=0)


@contextmanager
def along(axis: int | None) -> Iterator[None]:
    """Draw as if the batch lay along that axis; None: the same on all ranks."""
    before = _axis.set(axis)
    try:
        yield
    finally:
        _axis.reset(before)


def walking(array: Array) -> int:
    """How many blocks take the elements of ``array`` four by four: as many as run at once."""
    return min(kernels.blocks(-(-array.size // 4)), RESIDENT * properties_of(array).processors)


def walking_images(x: Array) -> tuple[int, int]:
    """The same for images x (N, C, H, W): blocks that go from image to image, and those of one."""
    most = RESIDENT * properties_of(x).processors
    tiles = min(kernels.blocks(math.prod(x.shape[1:]) // 4), most)
    return min(len(x), most // tiles), tiles


def advance(count: int, stream: int, source: Generator = generator) -> int:
    """Move the CPU's counter of a stream past ``count`` words; where it stood."""
    counter = source.counters.get(stream, 0)
    source.counters[stream] = counter + -(-count // 4)
    return counter


def words_at(
    counter: int, count: int, stream: int, source: Generator = generator, first: int = 0
) -> np.ndarray:
    """``count`` words of a stream on the CPU, ``first`` words from a counter on, which stays."""
    key, (blocks, before) = source.seed + (stream << 64), divmod(first, 4)
    words = np.random.Philox(key=key, counter=counter + blocks).random_raw(count + before)
    return words[before:]


def uniform(
    shape: tuple[int, ...], stream: int, device: str, source: Generator = generator
) -> Array:
    """float32 numbers in [0, 1): (word >> 40) · 2⁻²⁴, in C order of ``shape``."""
    raw = words_of(shape, stream, device, source)
    raw >>= np.uint64(40)
    out = raw.astype(np.float32)
    out *= np.float32(2**-24)
    return out


def uniform_double(
    shape: tuple[int, ...], stream: int, device: str, source: Generator = generator
) -> Array:
    """float64 numbers in [0, 1): (word >> 11) · 2⁻⁵³, as NumPy's generators make them of words."""
    raw = words_of(shape, stream, device, source)
    raw >>= np.uint64(11)
    found: Array = raw.astype(np.float64) * 2.0**-53
    return found


def normal(
    shape: tuple[int, ...], stream: int, device: str, source: Generator = generator
) -> Array:
    """float32 standard normal numbers, from two uniform ones each."""
    with _pairs():
        return _box_muller(uniform((2, *shape), stream, device, source))


def normal_double(
    shape: tuple[int, ...], stream: int, device: str, source: Generator = generator
) -> Array:
    """float64 standard normal numbers, from two uniform ones each."""
    with _pairs():
        return _box_muller(uniform_double((2, *shape), stream, device, source))


def _pairs() -> Any:
    """Of two numbers for each of a shape, an axis in front of it."""
    axis = _axis.get()
    return along(axis if axis is None or axis < 0 else axis + 1)


def _box_muller(pair: Array) -> Array:
    """Box & Muller 1958: normal numbers of uniform ones (2, …)."""
    xp = array_module(pair)
    radius = xp.sqrt(-2 * xp.log(1 - pair[0]))  # 1 - u is in (0, 1]
    return radius * xp.cos(pair.dtype.type(2 * math.pi) * pair[1])


def permutation(
    count: int, device: str, stream: int = STREAM_SHUFFLES, source: Generator = generator
) -> Array:
    """A random order of 0 … count - 1 (int64): a stable argsort of words of the stream."""
    raw = words(count, stream, device, source)
    return raw.argsort(kind="stable").astype(np.int64, copy=False)
