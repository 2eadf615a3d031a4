"""Elementwise operations of a captured step are launched together, with the bits of eager ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import generated, import_cupy

pytestmark = pytest.mark.gpu

SHAPES = [(1,), (7,), (33, 5), (4, 3, 6, 10), (1000, 129)]


class Launches:
    """What chains were launched: for each the numbers of loads, steps and stores."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[tuple[int, int, int]] = []
        plain = generated.Compiled.launch

        def launch(compiled: Any, arrays: Any, *form: Any) -> None:
            program = compiled.program
            self.found.append((len(arrays), len(program.steps), len(program.results)))
            plain(compiled, arrays, *form)

        monkeypatch.setattr(generated.Compiled, "launch", launch)


def drawn(rng: np.random.Generator, shape: tuple[int, ...], count: int, last: bool) -> list[Tensor]:
    """Tensors on the GPU; with their second axis last in memory if so."""
    found = []
    for _ in range(count):
        array = import_cupy().asarray(rng.standard_normal(shape).astype(np.float32))
        if last and array.ndim > 2:
            array = import_cupy().ascontiguousarray(import_cupy().moveaxis(array, 1, -1))
            array = import_cupy().moveaxis(array, -1, 1)
        found.append(Tensor(array))
    return found


def both(function: Callable[..., Any], *given: Tensor) -> tuple[Any, Any]:
    """What a function gives when it runs eagerly, and when it is replayed."""
    jitted = tg.jit(function)
    eager = [x.numpy() for x in _listed(function(*given))]
    for _ in range(3):
        found = [x.numpy() for x in _listed(jitted(*given))]
    return eager, found


def _listed(found: Any) -> list[Tensor]:
    return list(found) if isinstance(found, tuple | list) else [found]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_a_chain_has_the_bits_of_its_operations(
    shape: tuple[int, ...], last: bool, rng: np.random.Generator
) -> None:
    a, b, c = drawn(rng, shape, 3, last)

    def function(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y = (a * b + 1.5).tanh()
        y = y.where(c > 0, c) * a.sigmoid() - b / (c.abs() + 1)
        return (y.exp() + y.gelu()) ** 2

    eager, found = both(function, a, b, c)
    np.testing.assert_array_equal(found[0], eager[0])
    assert function(a, b, c).data.strides == a.data.strides or 1 in shape


def test_what_only_the_chain_reads_is_not_stored(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = drawn(rng, (64, 32), 2, False)
    jitted = tg.jit(lambda a, b: ((a + b) * a).tanh() - b)
    jitted(a, b)
    launches = Launches(monkeypatch)
    jitted(a, b)
    assert launches.found == [(2, 4, 1)]


def test_gradients_of_chains(rng: np.random.Generator) -> None:
    given = drawn(rng, (40, 17), 3, False)

    def loss(a: Tensor, b: Tensor, c: Tensor) -> Any:
        return tg.value_and_grad(
            lambda a, b, c: ((a * b).tanh() * c.exp() + (a - c).gelu() / 2).sum(), (0, 1, 2)
        )(a, b, c)

    def flat(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
        value, grads = loss(a, b, c)
        return [value, *grads]

    eager, found = both(flat, *given)
    for x, y in zip(found, eager, strict=True):
        np.testing.assert_array_equal(x, y)


def test_memory_that_waits_to_be_read_is_not_written_before(rng: np.random.Generator) -> None:
    x, y = drawn(rng, (30, 20), 2, False)

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        z = x.clone()
        doubled = z * 2  # waits, and reads z
        z += y
        z[3:5] = 7.0
        tripled = z * 3
        with tg.no_grad():
            z.assign_(0.0)
        return doubled, tripled

    eager, found = both(function, x, y)
    for ours, theirs in zip(found, eager, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_whoever_takes_data_finds_it_filled(rng: np.random.Generator) -> None:
    x, y = drawn(rng, (30, 20), 2, False)

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        z = x * y + 1
        raw = z.data
        w = Tensor(raw + import_cupy().float32(1)) * 2
        v = (w - z).exp()
        total = import_cupy().concatenate([v.data, z.data])
        return z, w, v, Tensor(total), (z * w).sum(axis=1), z.T + 1

    eager, found = both(function, x, y)
    for ours, theirs in zip(found, eager, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_optimizer_finds_gradients_and_old_weights(rng: np.random.Generator) -> None:
    def trained(jit: bool) -> np.ndarray:
        weight = Tensor(import_cupy().asarray(np.linspace(-1, 1, 600, dtype=np.float32)))
        weight = weight.reshape(30, 20).detach().clone().requires_grad_()
        optimizer = tg.nn.optim.SGD([weight], lr=0.1, momentum=0.9)
        (x,) = drawn(np.random.default_rng(0), (30, 20), 1, False)

        def step(x: Tensor) -> tuple[Tensor, Tensor]:
            optimizer.zero_grad()
            before = weight.detach() * 2  # waits until the step
            ((weight * x).tanh() * weight).sum().backward()
            optimizer.step()
            return before, weight.detach() * 3

        run = tg.jit(step) if jit else step
        for _ in range(5):
            before, after = run(x)
        return np.concatenate([before.numpy(), after.numpy(), weight.numpy()])

    np.testing.assert_array_equal(trained(True), trained(False))


def test_many_operands_and_many_results(rng: np.random.Generator) -> None:
    given = drawn(rng, (50, 3), 12, False)

    def function(*given: Tensor) -> list[Tensor]:
        total = given[0]
        kept = []
        for x in given[1:]:
            total = total * 0.5 + x
            kept.append(total.tanh())
        return [*kept, total]

    eager, found = both(function, *given)
    for ours, theirs in zip(found, eager, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_shapes_that_broadcast_and_other_layouts(rng: np.random.Generator) -> None:
    x = drawn(rng, (8, 5, 6, 7), 1, True)[0]
    row, column = drawn(rng, (7,), 1, False)[0], drawn(rng, (5, 1, 1), 1, False)[0]
    other = drawn(rng, (8, 5, 6, 7), 1, False)[0]

    def function(x: Tensor, row: Tensor, column: Tensor, other: Tensor) -> list[Tensor]:
        scaled = (column * 2).exp()
        y = x * scaled + row
        z = (y - other).tanh()
        return [scaled, y, z, (z.transpose(0, 2, 3, 1) + 1) * row[:5], x[:, 1:4] * 2 - 1]

    eager, found = both(function, x, row, column, other)
    for ours, theirs in zip(found, eager, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert function(x, row, column, other)[1].data.strides == x.data.strides


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32", "complex64"])
def test_other_dtypes(dtype: str, rng: np.random.Generator) -> None:
    x = Tensor(import_cupy().asarray(rng.standard_normal((31, 9)) * 4)).astype(dtype)

    def function(x: Tensor) -> list[Tensor]:
        y = x * 2 + 1
        z = y * y - x / 3
        return [y, z, (x + 0.25).abs(), x.astype("float32" if dtype != "complex64" else dtype) + 1]

    eager, found = both(function, x)
    for ours, theirs in zip(found, eager, strict=True):
        np.testing.assert_array_equal(ours.view(np.uint8), theirs.view(np.uint8))


def test_a_rule_that_takes_values_finds_them_computed(rng: np.random.Generator) -> None:
    """The gradient of a power chooses by comparisons of its operands, which may wait."""
    base, exponent = (
        Tensor(import_cupy().asarray(rng.integers(0, 3, (64, 33)).astype(np.float32)))
        for _ in range(2)
    )

    def both_gradients(a: Tensor, b: Tensor) -> list[Tensor]:
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        return list(tg.grad(((a + 0.0) ** (b * 1.0)).sum(), [a, b]))

    eager, found = both(both_gradients, base, exponent)
    for x, y in zip(eager, found, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_kernel_that_reads_its_own_result_finds_it_computed(rng: np.random.Generator) -> None:
    """|z| waits in a chain, and its gradient is a kernel's, which reads it."""
    a, b, weight = drawn(rng, (70, 33), 3, False)

    def gradients(a: Tensor, b: Tensor, weight: Tensor) -> Any:
        z = a + 1j * b
        return tg.grad(z.abs() * 2, [a, b], weight)

    eager, found = both(gradients, a, b, weight)
    for one, other in zip(eager, found, strict=True):
        np.testing.assert_array_equal(one, other)
