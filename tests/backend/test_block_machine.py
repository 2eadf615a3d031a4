"""Programs of elementwise steps on a CPU against NumPy's own functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.autograd import programs
from tinygrad_cupy.backend import block_machine, c_source, strides_of
from tinygrad_cupy.backend.block_machine import Compiled
from tinygrad_cupy.backend.compiling import compiler
from tinygrad_cupy.backend.host_symbols import HostSymbol
from tinygrad_cupy.backend.symbols import NotElementwise, trace

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler")

SIZES = (0, 1, 7, 1023, 1025, 100003)
SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    math.inf,
    -math.inf,
    math.nan,
    1e-45,
    -1e-40,
    3e38,
    -3e38,
    88.8,
)

# Functions of NumPy's that are exact, or choose: theirs are the bits.
EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: 1 - (a - b),
    "multiply": lambda a, b: a * b * 0.5,
    "divide": lambda a, b: a / b,
    "maximum": np.maximum,
    "minimum": lambda a, b: np.minimum(a, np.minimum(b, 1.5)),
    "fmax": np.fmax,
    "fmin": np.fmin,
    "clip": lambda a, b: np.clip(a, -0.5, 2) + b.clip(None, 1) + b.clip(0),
    "compare": lambda a, b: (a < b) ^ (a <= 0.5) | ~(b > a) & (a >= b),
    "equal": lambda a, b: np.where((a == b) | (a != a), 1, np.where(b != b, a, -1)),
    "where": lambda a, b: np.where(a > b, a, b) + np.where(a > 0, 2.0, b) * np.where(b > 1, 3, a),
    "one": lambda a, b: -a + abs(b) - np.square(a) / np.reciprocal(b),
    "root": lambda a, b: np.sqrt(abs(a)) + b**2 + a**1,
    "sign": lambda a, b: np.sign(a) * b,
    "kinds": lambda a, b: np.isnan(a) | np.isinf(b) | np.isfinite(a * b),
    "bools": lambda a, b: (a > 0) * a + np.logical_and(a > 0, b > 0) * b,
    "in place": lambda a, b: _in_place(a, b),
}
# Exponentials and what is made of them: right to 0.54 units in the last place.
CLOSE: dict[str, Any] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": special.erf,
    "expit": special.expit,
}


def _in_place(a: Any, b: Any) -> Any:
    y = a * b
    y += 1
    y *= b
    y -= a
    y /= 3
    return y


def compiled(function: Callable[..., Any], *dtypes: Any) -> Compiled:
    return Compiled(trace(function, [np.dtype(d) for d in dtypes], kind=HostSymbol))


def values(rng: np.random.Generator, shape: Any, dtype: Any = np.float32) -> np.ndarray:
    """Random numbers, with special ones among them."""
    x = rng.standard_normal(shape).astype(dtype)
    at = rng.random(shape) < 0.2
    x[at] = rng.choice(SPECIAL, int(at.sum())).astype(dtype)
    return x  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written is seen."""
    empty = block_machine.empty

    def poisoned(shape: Any, dtype: Any, order: Any) -> np.ndarray:
        array: np.ndarray = empty(shape, dtype, order)
        array[...] = 77
        return array

    monkeypatch.setattr(block_machine, "empty", poisoned)


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs on small arrays, too."""
    monkeypatch.setattr(programs, "LEAST", 0)
    monkeypatch.setattr(block_machine, "WORTH", 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", EXACT)
def test_exact_functions_have_numpys_bits(
    name: str, threads: int, dtype: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_source, "thread_count", lambda: threads)
    monkeypatch.setattr(block_machine, "APART", 1)
    program = compiled(EXACT[name], dtype, dtype)
    for size in SIZES:
        a, b = values(rng, size, dtype), values(rng, size, dtype)
        with np.errstate(all="ignore"):
            expected = EXACT[name](a, b)
        (found,) = program.made([a, b])
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        if size and found.dtype != bool:
            number = ~np.isnan(found)
            if name in ("fmax", "fmin"):  # of two zeros NumPy gives either, by their place
                number &= (a != 0) | (b != 0)
            zeros = np.signbit(found)[number] == np.signbit(expected)[number]
            assert zeros.all()


def units_off(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """By how many units in the last place float32 errs; where it is no number it must be right."""
    with np.errstate(over="ignore"):
        near = exact.astype(np.float32)
    number = np.isfinite(near) & np.isfinite(found)
    np.testing.assert_array_equal(found[~number], near[~number])
    unit = np.spacing(np.abs(near[number])).astype(np.float64)
    off: np.ndarray = np.abs(found[number] - exact[number]) / unit
    return off


@pytest.mark.parametrize("name", CLOSE)
def test_exponentials_err_by_half_a_unit(name: str, rng: np.random.Generator) -> None:
    bits = rng.integers(0, 1 << 32, 100003, dtype=np.uint32).view(np.float32)
    near = rng.standard_normal(100003).astype(np.float32) * np.float32(4)
    x = np.concatenate([bits, near, np.array(SPECIAL, np.float32)])
    (found,) = compiled(CLOSE[name], np.float32).made([x])
    with np.errstate(all="ignore"):
        exact = CLOSE[name](x.astype(np.float64))
    assert units_off(found, exact).max() < 0.54


@pytest.mark.parametrize("name", ["power", "logaddexp"])
def test_exponentials_of_two(name: str, rng: np.random.Generator) -> None:
    function = getattr(np, name)
    a, b = values(rng, 100003), values(rng, 100003)
    a[::3] = np.abs(a[::3])
    b[::2] = np.rint(b[::2])
    (found,) = compiled(function, np.float32, np.float32).made([a, b])
    with np.errstate(all="ignore"):
        exact = function(a.astype(np.float64), b.astype(np.float64))
    if name == "logaddexp":  # but where the sum is 1: nothing of the digits is left there
        found = np.where(np.abs(exact) < 0.1, exact, found).astype(np.float32)
    assert units_off(found, exact).max() < 0.6
    if name == "power":
        for exponent in (3, -2, 0.5, -1, 1.5, -0.5, 0):
            (found,) = compiled(lambda x, n=exponent: x**n, np.float32).made([a])
            with np.errstate(all="ignore"):
                exact = a.astype(np.float64) ** exponent
            exact = np.where((a == -math.inf) & (exponent == 0.5), math.nan, exact)
            assert units_off(found, exact).max() < 0.6


# --- how arrays lie -------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda x: x,
    "last": lambda x: x.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1),
    "steps": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "backwards": lambda x: x[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "one": lambda x: x[:1, :1, :1, :1],
    "row": lambda x: x[0, 0, 0],
    "columns": lambda x: x[:, :, :, :1],
    "channels": lambda x: x[:1, :, :1, :1],
    "broadcast": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_arrays_may_lie_anyhow(first: str, second: str, rng: np.random.Generator) -> None:
    shape = (3, 5, 13, 37)
    a, b = LAYOUTS[first](values(rng, shape)), LAYOUTS[second](values(rng, shape))
    with np.errstate(all="ignore"):
        expected = a * b - a, a < b
    made = [compiled(f, "f4", "f4") for f in (lambda a, b: a * b - a, lambda a, b: a < b)]
    for program, wanted in zip(made, expected, strict=True):
        (found,) = program.made([a, b])
        np.testing.assert_array_equal(found, wanted)
        assert strides_of(found) == strides_of(wanted)
    mask = rng.random(shape) < 0.5
    (found,) = compiled(np.where, "?", "f4", "f4").made([LAYOUTS[first](mask), b, a])
    np.testing.assert_array_equal(found, np.where(LAYOUTS[first](mask), b, a))


def test_what_is_no_program_is_said() -> None:
    for function in (
        np.sum, np.sort, np.sin, np.round, special.erfc, np.asarray, len, bool,
        lambda x: x.astype(np.float16), lambda x: x * 1j, lambda x: x * 1e300, lambda x: x.copy(),
        lambda x: np.add(x, 1, out=np.empty(3, np.float32)), lambda x: np.multiply(x, 1, out=x),
        lambda x: x + np.float64(1), lambda x: x.reshape(-1), lambda x: np.add.reduce(x),
    ):  # fmt: skip
        with pytest.raises((NotElementwise, AttributeError, TypeError)):
            compiled(function, "f4")


# --- operations -----------------------------------------------------------------------------------

NAMES = (
    *("gelu", "tanh", "sigmoid", "silu", "softplus", "relu", "relu6", "exp", "log", "sqrt", "abs"),
    *("mish", "elu", "hardswish", "logsigmoid", "erf", "square"),
)


def with_gradient(call: Callable[..., Tensor], *arrays: np.ndarray) -> list[np.ndarray]:
    tensors = [Tensor(a, requires_grad=a.dtype != bool) for a in arrays]
    y = call(*tensors)
    weight = Tensor(np.linspace(-1, 1, y.size, dtype=y.dtype).reshape(y.shape))
    (y * weight).sum().backward()
    return [y.numpy(), *[x.grad.numpy() for x in tensors if x.grad is not None]]


CALLS: dict[str, Callable[..., Tensor]] = {
    **{name: lambda a, b, name=name: getattr(a, name)() for name in NAMES},
    "gelu tanh": lambda a, b: a.gelu("tanh"),
    "arithmetic": lambda a, b: (a + b) * a / (b * b + 1) - b,
    "powers": lambda a, b: a**3 + (b * b + 1) ** -0.5 + a**2,
    "clip": lambda a, b: a.clip(-0.5, 1).maximum(b),
    "where": lambda a, b: a.where(a > b, b.exp()),
    "chosen": lambda a, b: a.log().where(a > 0, 0) + (a - a).sqrt().where(a > 9, 0),
    "leaky": lambda a, b: a.leaky_relu() + b.hardtanh(),
}


@pytest.mark.parametrize("name", [name for name in CALLS if hasattr(Tensor, name) or " " in name])
@pytest.mark.parametrize("row", [False, True])
def test_operations_are_those_of_numpy(
    name: str, row: bool, everywhere: None, rng: np.random.Generator, monkeypatch: Any
) -> None:
    """Values and gradients, by programs and by NumPy."""
    a = rng.standard_normal((5, 211)).astype(np.float32)
    a = np.abs(a) + np.float32(0.1) if name in ("log", "sqrt") else a
    b = rng.standard_normal(211 if row else (5, 211)).astype(np.float32)
    with np.errstate(all="ignore"):
        found = with_gradient(CALLS[name], a, b)
        monkeypatch.setattr(programs, "LEAST", 1 << 60)
        expected = with_gradient(CALLS[name], a, b)
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=3e-6, atol=1e-6)


def test_a_rule_is_one_program(everywhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The derivative of GELU, of eleven operations, in one pass; and its own derivative."""
    ran: list[Any] = []
    made = Compiled.made

    def noted(self: Compiled, arrays: Any) -> Any:
        ran.append(self.program)
        return made(self, arrays)

    monkeypatch.setattr(Compiled, "made", noted)
    x = Tensor(np.linspace(-3, 3, 999, dtype=np.float32), requires_grad=True)
    y = x.gelu()
    grad = Tensor(np.ones(999, np.float32))
    del ran[:]
    (first,) = tg.grad(y, [x], grad)
    assert len(ran) == 1
    assert len(ran[0].steps) > 10
    (again,) = tg.grad(x.gelu(), [x], grad, create_graph=True)
    np.testing.assert_allclose(first.numpy(), again.numpy(), rtol=1e-6, atol=1e-7)
    (second,) = tg.grad(again.sum(), [x])
    z = x.numpy().astype(np.float64)
    exact = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (2 - z * z)
    np.testing.assert_allclose(second.numpy(), exact, atol=1e-6)


def test_saved_values_that_were_written_are_noticed(everywhere: None) -> None:
    x = Tensor(np.ones(99, np.float32), requires_grad=True)
    h = x * 2
    y = h.gelu()
    with tg.no_grad():
        h += 1
    with pytest.raises(RuntimeError, match=r"\[Gelu\] a value that its backward needs"):
        y.sum().backward()


def test_an_operation_of_a_users_runs_its_own_code(everywhere: None) -> None:
    seen: list[Any] = []

    class Doubled(tg.Elementwise):
        def forward(self, x: Any) -> Any:
            seen.append(type(x))
            return x * 2

        def backward(self, grad: Tensor) -> Tensor:
            seen.append(type(grad.data))
            return grad * 2

    x = Tensor(np.ones(9, np.float32), requires_grad=True)
    Doubled()(x).sum().backward()
    Doubled()(x).sum().backward()
    assert seen == [np.ndarray] * 4


def test_small_arrays_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compiled, "made", lambda *_: pytest.fail("a program ran"))
    x = Tensor(np.ones(programs.LEAST - 1, np.float32), requires_grad=True)
    x.gelu().sum().backward()


# --- in operations --------------------------------------------------------------------------------


def test_what_computes_a_power_does_not_depend_on_what_ran_before(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (Tensor(rng.random(n).astype(np.float32)) for n in (100_000, 1 << 19))
    monkeypatch.setattr(programs, "_costs", {})
    many**2  # a product, which pays for many elements alone
    made = []
    plain = Compiled.made

    def noted(program: Compiled, arrays: Any) -> Any:
        made.append(program)
        return plain(program, arrays)

    monkeypatch.setattr(Compiled, "made", noted)
    few**3
    assert len(made) == 1


def test_a_gradient_that_is_handed_on_is_watched(rng: np.random.Generator) -> None:
    a, b, g, w = (
        Tensor(rng.random(1 << 18).astype(np.float32), requires_grad=i != 2) for i in range(4)
    )
    y = (g * w).sum()
    handed, _ = tg.grad(a - b, [a, b], g)
    handed += 1
    with pytest.raises(RuntimeError, match="written in place"):
        y.backward()


def test_an_attribute_of_minus_zero_is_no_zero() -> None:
    x = Tensor(np.full(1 << 18, -1, np.float32))
    for limit in (0.0, -0.0):
        expected = np.signbit(np.clip(x.numpy(), limit, None))
        np.testing.assert_array_equal(np.signbit(x.clip(limit, None).numpy()), expected)


def test_a_program_that_has_no_room_is_none() -> None:
    def long(a: Any) -> Any:
        y = a
        for _ in range(200):
            y = y * 0.5 + a
        return y

    assert not block_machine.fits(trace(long, [np.dtype(np.float32)], kind=HostSymbol))
