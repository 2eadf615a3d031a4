"""Recurrent networks on arrays for tests of kernels: random inputs, and both passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy.kernels.recurrent import reference


class Net(NamedTuple):
    """A kind of network: its functions' name, gates, whether it has cells or a bias, ReLU."""

    name: str
    gates: int
    relu: tuple[bool, ...] = ()

    def inputs(self, sizes: tuple[int, int, int], padded: bool, dtype: Any) -> list[Any]:
        """Gates, states, weight, a bias and `seen`, new ones in every run."""
        rng, (steps, rows, size) = np.random.default_rng(), sizes

        def normal(*shape: int) -> Any:
            return rng.standard_normal(shape).astype(dtype)

        found = [normal(steps, rows, self.gates * size), normal(rows, size)]
        found += [normal(rows, size)] if self.name == "lstm" else []
        found.append((normal(self.gates * size, size) / np.sqrt(size)).astype(dtype))
        if self.name == "gru":
            found.append(normal(self.gates * size) if rows != 2 else None)
        seen = rng.random((steps, rows, 1)) < 0.6 if padded else None
        return [*found, seen]

    def passes(
        self, module: Any, given: list[Any], grad: Any, reverse: bool, y: Any = None
    ) -> list[Any]:
        """The states, and then the gradients by the inputs; of ``y`` in place of the states."""
        how = (*self.relu, reverse)
        made = getattr(module, self.name)(*given, *how)
        states, kept = (made, ()) if self.name == "rnn" else (made[0], (made[1],))
        saved = [*given, states if y is None else y]
        by = getattr(module, f"{self.name}_backward")(grad, saved, *kept, *how, True)
        return [states, *(x for x in by if x is not None)]


NETS = {
    "tanh": Net("rnn", 1, (False,)),
    "relu": Net("rnn", 1, (True,)),
    "lstm": Net("lstm", 4),
    "gru": Net("gru", 3),
}


def check(
    module: Any,
    net: Net,
    sizes: tuple[int, int, int],
    padded: bool,
    reverse: bool,
    dtype: Any,
    place: Callable[[Any], Any],
    back: Callable[[Any], Any],
    most: float | None = None,
) -> None:
    """Both passes twice, the same bits, and as the reference has it in float64, up to ``most``."""
    given = net.inputs(sizes, padded, dtype)
    steps, rows, size = sizes
    shape = (*((2,) if net.name == "lstm" else ()), steps, rows, size)
    grad = np.random.default_rng().standard_normal(shape).astype(dtype)
    runs = []
    for _ in range(2):
        moved = [None if x is None else place(x) for x in given]
        runs.append([back(x) for x in net.passes(module, moved, place(grad), reverse)])
    wide = [x if x is None or x.dtype == bool else x.astype(np.float64) for x in given]
    # Where a state is 0 or not, the rounding says, too.
    y = runs[0][0].astype(np.float64) if any(net.relu) else None
    expected = net.passes(reference, wide, grad.astype(np.float64), reverse, y)
    for one, other, exact in zip(*runs, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == dtype
        error, norm = (float(np.linalg.norm(x)) for x in (one - exact, exact))
        rounding = 1e-12 if dtype == np.float64 else 2e-5
        assert error <= (most or rounding) * max(norm, 1e-3 if most is None else 1)
