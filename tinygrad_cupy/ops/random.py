"""Random numbers that are the same on the CPU and the GPU, and dropout.

Counter-based Philox4x64-10 (Salmon et al. 2011). The key is seed + stream · 2⁶⁴, so that drawing
from one stream never shifts another; each stream has a counter per device, which a draw of n words
moves by ⌈n / 4⌉ blocks. On a GPU the counter lives in device memory, where a captured program can
move it. A uniform number is (word >> 40) · 2⁻²⁴: 24 bits, all a float32 in [0, 1) holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import (
    Array,
    CudaFile,
    array_module,
    device_of,
    full,
    import_cupy,
    normalize_device,
)
from .elementwise import as_float

if TYPE_CHECKING:
    from ..tensor import Tensor

STREAM_WEIGHTS, STREAM_SHUFFLES, STREAM_DROPOUT = 0, 1, 2

_philox = CudaFile(__file__, "philox.cu")


class _Generator:
    """The key's seed, and the counters by (stream, device): an int, or an array on its GPU."""

    def __init__(self) -> None:
        self.seed = 0
        self.counters: dict[tuple[int, str], Any] = {}


_generator = _Generator()


def manual_seed(seed: int) -> None:
    """Start all random streams of all devices anew from ``seed``, 0 ≤ seed < 2⁶⁴."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"[manual_seed] expected a whole number from 0 to 2**64 - 1, got {seed!r}")
    _generator.seed, _generator.counters = int(seed), {}


def get_state() -> dict[str, Any]:
    """Seed and counters of all streams, to give to `set_state` later."""
    counters = {key: int(value) for key, value in _generator.counters.items()}
    return {"seed": _generator.seed, "counters": counters}


def set_state(state: dict[str, Any]) -> None:
    """Continue all streams from where `get_state` found them."""
    manual_seed(state["seed"])
    for (stream, device), count in state["counters"].items():
        on_gpu = device != "cpu"
        _generator.counters[stream, device] = (
            full((), count, np.uint64, device) if on_gpu else count
        )


def words(count: int, stream: int, device: str) -> Array:
    """The next ``count`` 64-bit words of a stream, as uint64."""
    device = normalize_device(device)
    blocks = -(-count // 4)
    if device == "cpu":
        counter = _generator.counters.get((stream, device), 0)
        _generator.counters[stream, device] = counter + blocks
        key = _generator.seed + (stream << 64)
        return np.random.Philox(key=key, counter=counter).random_raw(count)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        counter = _generator.counters.get((stream, device))
        if counter is None:
            counter = _generator.counters[stream, device] = cupy.zeros((), np.uint64)
        out = cupy.empty(count, np.uint64)
        key0, key1 = np.uint64(_generator.seed), np.uint64(stream)
        _philox.launch(
            "philox_words", _philox.blocks(blocks), (out, np.int64(count), key0, key1, counter)
        )
        counter += np.uint64(blocks)  # in place, behind the draw in the same stream
        return out


def uniform(shape: tuple[int, ...], stream: int, device: str) -> Array:
    """float32 numbers in [0, 1): (word >> 40) · 2⁻²⁴, in C order of ``shape``."""
    raw = words(math.prod(shape), stream, device)
    raw >>= np.uint64(40)
    out = raw.astype(np.float32)
    out *= np.float32(2**-24)
    return out.reshape(shape)


def normal(shape: tuple[int, ...], stream: int, device: str) -> Array:
    """float32 standard normal numbers (Box & Muller 1958), from two uniform ones each."""
    pair = uniform((2, *shape), stream, device)
    xp = array_module(pair)
    radius = xp.sqrt(-2 * xp.log(1 - pair[0]))  # 1 - u is in (0, 1]
    return radius * xp.cos(np.float32(2 * math.pi) * pair[1])


def permutation(count: int, device: str) -> Array:
    """A random order of 0 … count - 1 (int64): a stable argsort of words of the shuffle stream."""
    raw = words(count, STREAM_SHUFFLES, device)
    return raw.argsort(kind="stable").astype(np.int64, copy=False)


def _kept(shape: tuple[int, ...], p: float, device: str) -> Array:
    """Where the next uniform numbers of the dropout stream are ≥ p, told from the words alone."""
    raw = words(math.prod(shape), STREAM_DROPOUT, device)
    least = math.ceil(p * 2**24) << 40  # u ≥ p  ⟺  word >> 40 ≥ p · 2²⁴  ⟺  word ≥ least
    kept = raw >= np.uint64(least) if least < 2**64 else raw != raw  # p = 1 keeps nothing
    return kept.reshape(shape)


class Dropout(Op):
    """x · mask / (1 - p), the mask drawn once: linear in x, so it is its own backward."""

    def __init__(self, p: float, mask: Array | None = None) -> None:
        self.p, self.mask = p, mask

    def forward(self, x: Array) -> Array:
        if self.mask is None:
            self.mask = _kept(tuple(x.shape), self.p, device_of(x))
        y = self.xp.multiply(self.xp.asarray(x, order="C"), self.mask)  # C order, as the mask
        y *= x.dtype.type(1 / (1 - self.p)) if self.p < 1 else x.dtype.type(0)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Dropout(self.p, self.mask)(grad)


class RandomMixin(TensorBase):
    """Random operations as methods."""

    __slots__ = ()

    def dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """Each element zeroed with probability p, the others divided by 1 - p (Srivastava 2014).

        The identity when not ``training``. Element i in C order is kept where the i-th uniform
        number of the dropout stream is ≥ p, so a seed gives one mask on every device.
        """
        if not 0 <= p <= 1:
            raise ValueError(f"[dropout] expected a probability p from 0 to 1, got {p}")
        if not training or p == 0:
            return self  # type: ignore[return-value]
        return Dropout(p)(as_float(self))
