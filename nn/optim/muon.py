"""Muon: momentum whose singular values are brought to about 1.

A parameter (O, ...) of more than two axes, such as a convolution's weight (O, C, KH, KW), is the
matrix (O, C*KH*KW): a row for each filter. That of a transposed convolution, (C, O, KH, KW), has a
row for each input channel.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.backend import Array, array_module, blas, on_device_of
from tinygrad_cupy.kernels.common import sums
from tinygrad_cupy.nn import checks

from .cuda import DeviceMemory, Launch, Row
from .groups import Parameters
from .optimizer import Optimizer
from .rule import Rule
from .state import State

NAMES = ("lr", "weight_decay", "momentum", "eps", "nesterov")
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of Jordan et al., which are steepest at 0

# The direction before it is made orthogonal, and the step along it afterwards.
GATHER = Rule(
    names=NAMES,
    slots=("momentum_buffer", "direction"),
    derive="rest = 1 - momentum",
    update="""
        momentum_buffer = momentum * momentum_buffer + rest * g
        direction = where(nesterov, momentum * momentum_buffer + rest * g, momentum_buffer)
    """,
    partial=True,
)
MOVE = Rule(
    names=NAMES,
    slots=(),
    derive="keep = 1 - lr * weight_decay",
    update="p = keep * p - lr * g",
)


def orthogonal(x: Array, settings: Settings, eps: Any) -> Array:
    """About U V^T of each matrix U S V^T of x (K, M, N), times the step's share of its shape.

    Newton and Schulz's iteration x = (a + b x x^T + c (x x^T)^2) x, from x / |x|. The polynomial is
    put together in the smaller matrices, as a + g (b + c g), g = x x^T: x takes part in products
    alone.
    """
    rows, columns = x.shape[1:]
    xp = array_module(x)
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    flipped = rows > columns
    y = xp.ascontiguousarray(wide.transpose(0, 2, 1)) if flipped else wide  # (K, M, N), M <= N
    # In float64: squares of float32 may be too large for it, and their root.
    norm = xp.sqrt(sums.total(xp.square(y, dtype=np.float64), (1, 2), keepdims=True))
    norm = xp.maximum(norm, xp.asarray(eps).astype(np.float64))
    y = xp.divide(y, norm, out=xp.empty_like(y), casting="same_kind")
    for iteration in range(settings.ns_steps):
        last = iteration == settings.ns_steps - 1
        scale = settings.scale(rows, columns) if last else 1.0
        a, b, c = (scale * number for number in settings.ns_coefficients)
        gram = blas.matmul(y, y.transpose(0, 2, 1))  # (K, M, M)
        factor = blas.matmul(gram, _plus_identity(c * gram, b))
        y = blas.matmul(_plus_identity(factor, a), y)
    found = y.transpose(0, 2, 1) if flipped else y
    return xp.ascontiguousarray(found.astype(x.dtype, copy=False))


def _plus_identity(x: Array, number: float) -> Array:
    """x (K, M, M) with a number added along the diagonals, in place."""
    x.reshape(len(x), -1)[:, :: x.shape[1] + 1] += x.dtype.type(number)
    return x


def matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of a parameter: a row for each element of its first axis."""
    return shape[0], math.prod(shape[1:])


class Settings:
    """What the iteration is told."""

    def __init__(
        self, ns_steps: int, ns_coefficients: tuple[float, ...], adjust_lr_fn: str | None
    ) -> None:
        self.ns_steps, self.ns_coefficients = ns_steps, ns_coefficients
        self.adjust_lr_fn = adjust_lr_fn

    def scale(self, rows: int, columns: int) -> float:
        """What the learning rate is taken times for a matrix of this shape."""
        if self.adjust_lr_fn == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))


class MuonLaunch(Launch):
    """Two launches for all matrices, and between them the iteration for those of one shape."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(MOVE.source, MOVE.name, NAMES)
        self.settings = settings

    def step(self, memory: DeviceMemory, rows: Sequence[Row]) -> None:
        xp = backend.import_cupy()
        alike: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            array = row.arrays[0]
            alike.setdefault((array.dtype, matrix(array.shape), row.group), []).append(row)
        stacks = [
            (group, xp.empty((len(listed), *shape), dtype), listed)
            for (dtype, shape, group), listed in alike.items()
        ]
        gathered = [
            row._replace(arrays=(*row.arrays, direction))
            for _, stack, listed in stacks
            for row, direction in zip(listed, stack, strict=True)
        ]
        GATHER.step(memory, gathered)
        moved = []
        for group, stack, listed in stacks:
            eps = memory.numbers[group, NAMES.index("eps")]
            for row, direction in zip(listed, orthogonal(stack, self.settings, eps), strict=True):
                moved.append(row._replace(arrays=(row.arrays[0], direction)))
        MOVE.step(memory, moved)


@functools.cache
def _launch(ns_steps: int, ns_coefficients: tuple[float, ...], adjust: str | None) -> MuonLaunch:
    return MuonLaunch(Settings(ns_steps, ns_coefficients, adjust))


class Muon(Optimizer):
    """Momentum made orthogonal, for the weights of hidden layers (Jordan et al., "Muon", 2024).

    b = momentum * b + (1 - momentum) * grad; d = momentum * b + (1 - momentum) * grad with
    `nesterov`, else b; o = about U V^T of d = U S V^T, by `ns_steps` of Newton and Schulz's
    iteration with `ns_coefficients`, which leaves singular values between 0.7 and 1.2;
    p -= lr * weight_decay * p + lr * s * o with s = sqrt(max(1, rows / columns)), or with
    adjust_lr_fn="match_rms_adamw" 0.2 * sqrt(max(rows, columns)), for AdamW's learning rates.

    A parameter (O, ...) of more axes than two, as convolutions have them, is stepped as the matrix
    (O, C*KH*KW), a transposed one's (C, O, KH, KW) as (C, O*KH*KW). One of fewer is a ValueError
    that names it: give biases, embeddings and the last layer to another optimizer. The iteration is
    computed in the parameter's dtype (float32 for 16-bit ones, with products as `set_precision`
    says); PyTorch's is in bfloat16, about 1e-2 away, and takes matrices alone.

    >>> p = nn.Parameter([[2.0, 0.0], [0.0, 1.0]])
    >>> optimizer = nn.optim.Muon([p], lr=0.1, weight_decay=0.0)
    >>> (p**2).sum().backward()
    >>> optimizer.step()
    >>> p.detach().round(1)  # both directions move by about lr
    Tensor([[1.9, 0. ],
            [0. , 0.9]])
    """

    hyperparameters = ("lr", "weight_decay", "momentum", "eps")
    flags = ("nesterov", "maximize")
    nesterov = True
    structure = ("slots", "ns_steps", "ns_coefficients", "adjust_lr_fn")
    slots = ("momentum_buffer",)
    torch_counts = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        maximize: bool = False,
    ) -> None:
        given: Any = ns_coefficients
        if not isinstance(given, Sequence) or len(given) != 3:
            raise ValueError(f"[Muon] ns_coefficients must be three numbers, got {given!r}")
        least = -sys.float_info.max
        a, b, c = (checks.number(self, "each of ns_coefficients", x, least) for x in given)
        self.ns_coefficients = a, b, c
        self.ns_steps = checks.integer(self, "ns_steps", ns_steps)
        self.adjust_lr_fn = adjust_lr_fn
        if adjust_lr_fn is not None:
            checks.choice(self, "adjust_lr_fn", adjust_lr_fn, ("original", "match_rms_adamw"))
        super().__init__(params, lr)
        self.weight_decay, self.momentum, self.eps = weight_decay, momentum, eps
        self.nesterov, self.maximize = nesterov, maximize

    def _check_params(self, first: int) -> None:
        super()._check_params(first)
        for position, param in enumerate(self.params[first:], start=first):
            if param.ndim < 2 or param.dtype.kind == "c" or not param.size:
                raise ValueError(
                    f"[Muon] parameter {position}: expected real numbers of two axes or more, got "
                    f"shape {param.shape} of {param.dtype}: give others to another optimizer"
                )

    def check(self, name: str, value: Any) -> Any:
        return (
            super().check(name, value)
            if name in self.flags
            else checks.number(self, name, value, 0, 1 if name == "momentum" else math.inf)
        )

    @property
    def kernel(self) -> MuonLaunch:  # type: ignore[override]
        return _launch(self.ns_steps, self.ns_coefficients, self.adjust_lr_fn)

    def coefficients(self, step: int) -> tuple[float, ...]:
        """The hyperparameters, in the order of NAMES."""
        return tuple([float(getattr(self, name)) for name in NAMES])

    def update(self, param: Any, grad: Any, state: State, coefficients: tuple[float, ...]) -> None:
        values = dict(zip(NAMES, coefficients, strict=True))
        settings = Settings(self.ns_steps, self.ns_coefficients, self.adjust_lr_fn)
        with on_device_of(param):
            direction = array_module(param).empty(param.shape, param.dtype)
            numbers = GATHER.coefficients(values, 1)
            GATHER.update(numbers, grad, param, state["momentum_buffer"], direction)
            stack = direction.reshape(1, *matrix(param.shape))
            direction = orthogonal(stack, settings, values["eps"]).reshape(param.shape)
            MOVE.update(MOVE.coefficients(values, 1), direction, param)

    def torch_options(self) -> dict[str, Any]:
        names = ("ns_coefficients", "ns_steps", "adjust_lr_fn")
        return {name: getattr(self, name) for name in names}
