"""Random numbers that are the same on the CPU and the GPU, and dropout.

Counter-based Philox4x64-10 (Salmon et al. 2011). The key is seed + stream · 2⁶⁴, so that drawing
from one stream never shifts another; each stream has a counter per device, which a draw of n words
moves by ⌈n / 4⌉ blocks. On a GPU seed and counter live in device memory, where a captured program
finds and moves them. A uniform number is (word >> 40) · 2⁻²⁴: 24 bits, all that a float32 in [0, 1)
holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Op, TensorBase
from ..backend import (
    Array,
    CudaFile,
    Elementwise,
    Kernel,
    array_module,
    device_of,
    import_cupy,
    normalize_device,
)
from ..parallel import by_parts
from ..tracing import keep
from .elementwise import as_float
from .relu_kernels import PARALLEL_SIZE

if TYPE_CHECKING:
    from ..tensor import Tensor

STREAM_WEIGHTS, STREAM_SHUFFLES, STREAM_DROPOUT = 0, 1, 2

_kernels = CudaFile(__file__, "random.cu")


class _Generator:
    """The seed, and the streams' counters: of the CPU as numbers, of a GPU in its memory.

    A state on a GPU is uint64 (3,): seed, counter, and the ticket by which a launch finds its last
    block. It is written in place for ever: captured programs hold its address.
    """

    def __init__(self) -> None:
        self.seed = 0
        self.counters: dict[int, int] = {}  # by stream
        self.states: dict[tuple[int, str], Array] = {}  # by stream and GPU

    def state(self, stream: int, device: str) -> Array:
        """The state of a stream on the current GPU."""
        if (stream, device) not in self.states:
            self.states[stream, device] = state = import_cupy().zeros(3, np.uint64)
            _write(state, 0, self.seed)
        keep(self.states[stream, device])
        return self.states[stream, device]


_generator = _Generator()


def _write(state: Array, counter: int, seed: int) -> None:
    with state.device:
        state[0] = np.uint64(seed)
        state[1] = np.uint64(counter)


def manual_seed(seed: int) -> None:
    """Start all random streams of all devices anew from ``seed``, 0 ≤ seed < 2⁶⁴."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"[manual_seed] expected a whole number from 0 to 2**64 - 1, got {seed!r}")
    _generator.seed, _generator.counters = int(seed), {}
    for state in _generator.states.values():
        _write(state, 0, int(seed))


def get_state() -> dict[str, Any]:
    """Seed and counters of all streams, to give to `set_state` later."""
    counters: dict[tuple[int, str], int] = {(s, "cpu"): n for s, n in _generator.counters.items()}
    counters |= {key: int(state[1]) for key, state in _generator.states.items() if state[1]}
    return {"seed": _generator.seed, "counters": counters}


def set_state(state: dict[str, Any]) -> None:
    """Continue all streams from where `get_state` found them."""
    manual_seed(state["seed"])
    for (stream, device), count in state["counters"].items():
        if device == "cpu":
            _generator.counters[stream] = count
            continue
        with import_cupy().cuda.Device(int(device.removeprefix("cuda:"))):
            _write(_generator.state(stream, device), count, _generator.seed)


def words(count: int, stream: int, device: str) -> Array:
    """The next ``count`` 64-bit words of a stream, as uint64."""
    device = normalize_device(device)
    if device == "cpu":
        return _words_at(_advance(count, stream), count, stream)
    cupy = import_cupy()
    with cupy.cuda.Device(int(device.removeprefix("cuda:"))):
        out = cupy.empty(count, np.uint64)
        arguments = (out, np.int64(count), _generator.state(stream, device), np.uint64(stream))
        _kernels.launch("philox_words", _kernels.blocks(-(-count // 4)), arguments)
        return out


def _advance(count: int, stream: int) -> int:
    """Move the CPU's counter of a stream past ``count`` words; where it stood."""
    counter = _generator.counters.get(stream, 0)
    _generator.counters[stream] = counter + -(-count // 4)
    return counter


def _words_at(counter: int, count: int, stream: int) -> np.ndarray:
    """``count`` words of a stream on the CPU from a counter on, which stays."""
    key = _generator.seed + (stream << 64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


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


# --- dropout ------------------------------------------------------------------------------------


def _least(p: float) -> int:
    """The smallest word of an element that is kept: u ≥ p ⟺ word >> 40 ≥ p · 2²⁴."""
    return math.ceil(p * 2**24) << 40


def _scale(x: Array, p: float) -> Any:
    return x.dtype.type(1 / (1 - p)) if p < 1 else x.dtype.type(0)


def _drop(x: Array, p: float) -> tuple[Array, Array]:
    """x · mask / (1 - p) and the mask, both in C order, told from the words alone."""
    raw, least = words(x.size, STREAM_DROPOUT, device_of(x)), _least(p)
    mask = raw >= np.uint64(least) if least < 2**64 else raw != raw  # p = 1 keeps nothing
    mask = mask.reshape(x.shape)
    return _keep(x, mask, p, False), mask


def _drop_cpu(x: Array, p: float) -> tuple[Array, Array]:
    """`_drop` by parts of a batch: a counter may start anywhere in the stream."""
    least = _least(p)
    if not x.ndim or not x.size or least >= 2**64:
        return _drop(x, p)
    counter = _advance(x.size, STREAM_DROPOUT)
    each = x.size // len(x)  # elements of an image; a block has 4 words
    y, mask = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)

    def task(part: slice) -> None:
        count = (part.stop - part.start) * each
        raw = _words_at(counter + part.start * each // 4, count, STREAM_DROPOUT)
        np.greater_equal(raw.reshape(mask[part].shape), np.uint64(least), out=mask[part])
        np.multiply(x[part], mask[part], out=y[part])
        y[part] *= _scale(x, p)

    if each % 4 or x.size < PARALLEL_SIZE:
        task(slice(0, len(x)))
    else:
        by_parts(np, task, len(x))
    return y, mask


def _keep_cpu(x: Array, mask: Array, p: float, last: bool) -> Array:
    y: Array = np.multiply(np.asarray(x, order="C"), mask)  # C order, as the mask
    y *= _scale(x, p)
    return y


def _drop_cuda(x: Array, p: float) -> tuple[Array, Array]:
    """`_drop` in one launch, also of images stored N, H, W, C."""
    least, last = _least(p), _channels_last(x)
    if x.dtype != np.float32 or x.size == 0 or least >= 2**64:
        return _drop(x, p)
    source = x.transpose(0, 2, 3, 1) if last else _contiguous(x)
    cupy = import_cupy()
    y, mask = cupy.empty(x.shape, x.dtype), cupy.empty(x.shape, np.bool_)
    sizes = (np.int32(x.shape[1]), np.int32(x.shape[2] * x.shape[3])) if last else ()
    state = _generator.state(STREAM_DROPOUT, device_of(x))
    random = (np.uint64(least), state, np.uint64(STREAM_DROPOUT))
    arguments = (source, y, mask, np.int64(x.size), *sizes, _scale(x, p), *random)
    name = "drop_channels_last" if last else "drop"
    _kernels.launch(name, _kernels.blocks(-(-x.size // 4)), arguments)
    return y, mask


def _keep_cuda(x: Array, mask: Array, p: float, last: bool) -> Array:
    """x · mask / (1 - p), with ``last`` stored N, H, W, C."""
    if not last or x.dtype != np.float32 or x.size == 0 or x.shape[2] * x.shape[3] % 4:
        return _multiply(x, mask, _scale(x, p))
    n, channels, height, width = x.shape
    y = import_cupy().empty((n, height, width, channels), x.dtype)
    sizes = (np.int64(x.size), np.int32(channels), np.int32(height * width))
    arguments = (_contiguous(x), mask, y, *sizes, _scale(x, p))
    _kernels.launch("keep_channels_last", _kernels.blocks(-(-x.size // 4)), arguments)
    return y.transpose(0, 3, 1, 2)


def _contiguous(x: Array) -> Array:
    """x in C order, its memory at a multiple of 16 bytes."""
    return x if x.flags.c_contiguous and x.data.ptr % 16 == 0 else x.copy(order="C")


def _channels_last(x: Array) -> bool:
    """Whether x is images stored N, H, W, C that `random.cu` takes four pixels at a time."""
    return bool(
        x.ndim == 4
        and not x.flags.c_contiguous
        and x.shape[2] * x.shape[3] % 4 == 0
        and x.transpose(0, 2, 3, 1).flags.c_contiguous
    )


_multiply = Elementwise("T x, bool mask, T scale", "T y", "y = x * T(mask) * scale", "dropout_keep")
_draw = Kernel(cpu=_drop_cpu, cuda=_drop_cuda)
_keep = Kernel(cpu=_keep_cpu, cuda=_keep_cuda)


class Dropout(Op):
    """x · mask / (1 - p), the mask drawn once: linear in x, so it is its own backward.

    ``last``: give the result stored N, H, W, C (on a GPU), as the input of the forward was.
    """

    def __init__(self, p: float, mask: Array | None = None, last: bool = False) -> None:
        self.p, self.mask, self.last = p, mask, last

    def forward(self, x: Array) -> Array:
        if self.mask is not None:
            return _keep(x, self.mask, self.p, self.last)
        self.last = _channels_last(x)
        y, self.mask = _draw(x, self.p)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return Dropout(self.p, self.mask, self.last)(grad)


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
