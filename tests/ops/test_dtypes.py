"""Which dtype comes out: scalars never widen, tensors promote as NumPy arrays do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest

import tinygrad_cupy as tg
from support.looped import looped
from tinygrad_cupy import Tensor, backend, nn

pytestmark = pytest.mark.usefixtures("device")

WIDE_SCALARS = [2, 2.0, np.float64(2), np.int64(2), True, np.True_, np.longdouble(2)]
WIDE_SCALARS += [np.float32(2), np.float16(2), ml_dtypes.bfloat16(2)]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
KEEPING: list[Callable[[Any, Any], Tensor]] = [
    lambda x, s: x + s,
    lambda x, s: s + x,
    lambda x, s: x - s,
    lambda x, s: s - x,
    lambda x, s: x * s,
    lambda x, s: x / s,
    lambda x, s: s / x,
    lambda x, s: x**s,
    lambda x, s: s**x,
    lambda x, s: x.maximum(s),
    lambda x, s: x.minimum(s),
    lambda x, s: x.where(x > 0, s),
    lambda x, s: tg.where(x > 0, s, x),
]


@pytest.mark.parametrize("dtype", FLOATS)
@looped("scalar", WIDE_SCALARS, ids=repr)
def test_a_scalar_never_widens(scalar: Any, dtype: str) -> None:
    x = Tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    for call in KEEPING:
        y = call(x, scalar)
        assert y.dtype == dtype
        assert tg.grad(y.sum(), x).dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_comparisons_take_a_scalar_as_the_tensor_would_hold_it(dtype: str) -> None:
    x = Tensor.full((2,), 0.1, dtype=dtype)
    for scalar in (0.1, np.float64(0.1)):
        assert (x == scalar).tolist() == (x >= scalar).tolist() == [True, True]
        swapped: Any = scalar == x
        assert swapped.tolist() == (scalar <= x).tolist() == [True, True]
    assert (x < 1e6).tolist() == (x > -1e6).tolist() == [True, True]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_scalar_is_not_rounded_to_16_bits_before_it_is_used(dtype: str) -> None:
    """70,000 and 1e-6 are no float16, and yet the results are: everything is rounded once."""
    exact = np.array([30080.0, 45056.0])
    x = Tensor(exact, dtype, tg.default_device(), requires_grad=True)
    calls: list[Callable[[Any], Any]] = [
        lambda x: x / 1e6,
        lambda x: x * 1e-6,
        lambda x: 70000 / x,
        lambda x: 70000 - x,
        lambda x: x - 70000,
        lambda x: 0.1 + x,
        lambda x: x ** (1 / 3),
    ]
    rounding = 2.0**-11 if dtype == "float16" else 2.0**-8
    for call in calls:
        y = call(x)
        assert y.dtype == x.dtype
        np.testing.assert_allclose(y.numpy().astype(float), call(exact), rtol=1.01 * rounding)
        slope = (call(exact + 1) - call(exact - 1)) / 2
        (found,) = tg.grad([y], [x], [Tensor.full((2,), 1024.0, dtype=dtype)])
        np.testing.assert_allclose(found.numpy().astype(float) / 1024, slope, rtol=3 * rounding)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_limit_that_16_bits_cannot_hold_is_infinite(dtype: str) -> None:
    x = Tensor([-2.0, 3.0], dtype=dtype)
    for y in (x.clip(-1e39, 1e39), x.maximum(-1e39), x.minimum(1e39), x.where(x == x, 1e39)):
        assert (y.dtype, y.numpy().astype(float).tolist()) == (x.dtype, [-2.0, 3.0])
    assert x.where(x < 0, 1e39).numpy().astype(float).tolist() == [-2.0, np.inf]


# float16: the square, the cube or the quotient on the way is more than 65,504, or less than 6e-8
WITHIN: list[tuple[Callable[[Any], Any], list[float]]] = [
    (lambda x: x.gelu("tanh"), [200.0, -200.0]),
    (lambda x: x.gelu(), [300.0, -300.0]),
    (lambda x: x.silu(), [300.0, -300.0]),
    (lambda x: x.elu(), [3000.0, -3000.0]),
    (lambda x: x.softplus(), [3000.0, -3000.0]),
    (lambda x: x.sigmoid(), [30.0, -8.0]),
    (lambda x: x.tanh(), [3.0, 5.0]),
    (lambda x: x.erf(), [2.0, 300.0]),
    (lambda x: x.expm1(), [-8.0, 1e-4]),
    (lambda x: x.std(), [1000.0, -1000.0]),
    (lambda x: x.mean(), [60000.0, 60000.0]),
    (lambda x: x.logsumexp(), [60000.0, 60000.0]),
    (lambda x: x.softmax(), [60000.0, -60000.0]),
    (lambda x: x.layer_norm(2), [3000.0, -1000.0]),
    (lambda x: nn.MSELoss()(x, x * 0), [200.0, 201.0]),
    (lambda x: x / (x * 0 + 1000), [1e-3, 6e4]),
    (lambda x: x**3, [30.0, 40.0]),
    (lambda x: 1 / x, [0.01, 200.0]),
]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@looped("case", range(len(WITHIN)))
def test_only_a_result_that_is_too_large_overflows(case: int, dtype: str) -> None:
    call, values = WITHIN[case]
    x = Tensor(values, dtype=dtype, requires_grad=True)
    wide = x.detach().astype("float32").requires_grad_()
    found, expected = call(x), call(wide)
    weights = Tensor(np.linspace(1, 2, found.size).reshape(found.shape), "float32", x.device)
    pairs = [(found, expected)]
    by_x, by_wide = (
        tg.grad([y], [v], [weights.astype(y.dtype)]) for y, v in ((found, x), (expected, wide))
    )
    pairs += [(by_x[0], by_wide[0])]
    for mine, exact in pairs:
        assert mine.dtype == x.dtype
        rounding = 2.0**-11 if dtype == "float16" else 2.0**-8
        np.testing.assert_allclose(
            mine.numpy().astype(float), exact.numpy(), rtol=4 * rounding, atol=2.0**-24
        )


def test_a_gradient_of_a_stretched_input_is_rounded_after_its_sum() -> None:
    """Products of +70,000 and -70,000 add up to 0, though float16 holds neither."""
    x = Tensor([[350.0], [-350.0]], dtype="float16")
    scale = Tensor([1.0], dtype="float16", requires_grad=True)
    (found,) = tg.grad([x * scale], [scale], [Tensor.full((2, 1), 200.0, dtype="float16")])
    assert found.tolist() == [0.0]
    rows = Tensor(np.full((2, 1, 1), 350.0) * [[[1]], [[-1]]], "float16", tg.default_device())
    column = Tensor([[1.0]], dtype="float16", requires_grad=True)
    (found,) = tg.grad([rows @ column], [column], [Tensor.full((2, 1, 1), 200.0, dtype="float16")])
    assert found.tolist() == [[0.0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_scalars_of_more_than_64_bits(dtype: str) -> None:
    x = Tensor([-2.0, 3.0], device=tg.default_device()).astype(dtype)
    low, high = (cast(float, np.longdouble(limit)) for limit in (0, 1))
    for limited in (x.clip(low, high), x.clip(high=high)):
        assert limited.dtype == (np.float32 if dtype == "int64" else x.dtype)
        assert limited.numpy().max() == 1
    if dtype != "int64":
        assert (x < 10**20).numpy().all()
        assert (x > -(10**400)).numpy().all()
    if dtype in ("float32", "float64"):
        assert (x * 10**20).dtype == (x - 10**20).dtype == x.dtype
        assert x.maximum(10**20).dtype == x.dtype


def test_the_sign_of_booleans() -> None:
    x = Tensor([True, False], device=tg.default_device())
    assert x.sign().dtype == bool
    assert x.sign().tolist() == [True, False]


SEVERAL_STEPS: dict[str, Callable[..., Any]] = {
    "layer_norm": lambda x, a, b: x.layer_norm(6, a, b),
    "conv_transpose2d": lambda x, a, b: x.reshape(2, 2, 1, 6).conv_transpose2d(
        a.reshape(2, 3, 1, 1), b[:3]
    ),
    "linear": lambda x, a, b: x.linear(x, b[:4]),
    "mse": lambda x, a, b: nn.MSELoss("none")(x + 10, x * 0 + b),
    "pow": lambda x, a, b: x.abs() ** a,
}


@pytest.mark.parametrize("name", SEVERAL_STEPS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_takes_several_steps_is_rounded_at_its_end(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape) for shape in ((4, 6), (6,), (6,))]
    given = [Tensor(v, dtype=dtype, device=tg.default_device()) for v in values]
    found = SEVERAL_STEPS[name](*given)
    if name == "mse":  # of a target and an output that are rounded already
        output, target = given[0] + 10, given[0] * 0 + given[2]
        exact = (output.astype("float64") - target.astype("float64")) ** 2
    else:
        exact = SEVERAL_STEPS[name](*[x.astype("float64") for x in given])
    assert found.dtype == given[0].dtype
    rounding = 2.0**-11 if dtype == "float16" else 2.0**-8
    np.testing.assert_allclose(
        found.numpy().astype(float), exact.numpy(), rtol=1.02 * rounding, atol=2.0**-24
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_gradient_of_a_stretched_exponent_is_rounded_after_its_sum(dtype: str) -> None:
    base = Tensor(np.linspace(1, 3, 1000), dtype=dtype, device=tg.default_device())
    exponent = Tensor([1.37], dtype=dtype, device=base.device).requires_grad_()
    found = tg.grad((base**exponent).sum(), exponent)
    wide = base.numpy().astype(float)
    expected = (wide ** float(exponent.numpy()[0]) * np.log(wide)).sum()
    rounding = 2.0**-11 if dtype == "float16" else 2.0**-8
    np.testing.assert_allclose(found.numpy().astype(float), expected, rtol=1.02 * rounding)


def test_bfloat16_promotes_as_float16_does() -> None:
    x = Tensor([1.0, 2.0], dtype="bfloat16", requires_grad=True)
    for other, expected in (
        *(("float16", "float32"), ("float32", "float32"), ("float64", "float64")),
        *(("bool", "bfloat16"), ("int8", "bfloat16"), ("uint8", "bfloat16")),
        *(("int16", "float32"), ("int32", "float64"), ("int64", "float64")),
    ):
        y = Tensor([1, 1], dtype=other)
        keep = Tensor([True, False])
        for z in (
            *(x * y, y * x, x + y, x - y, x.maximum(y), y.minimum(x)),
            *(x.where(keep, y), y.where(keep, x), tg.concat([x, y]), tg.stack([y, x])),
        ):
            assert z.dtype.name == expected
            assert tg.grad(z.sum(), x).dtype == x.dtype
        assert (x < y).dtype == bool
    weight = Tensor([[1.0, 2.0]], dtype="float16", requires_grad=True)
    for z in (x.reshape(1, 2).linear(weight), x @ weight.T):
        assert z.dtype == np.float32
        assert [g.dtype.name for g in tg.grad(z.sum(), [x, weight])] == ["bfloat16", "float16"]


def test_an_array_without_axes_is_an_array() -> None:
    """It widens, as NumPy's does; only scalars do not."""
    array = backend.to_device(np.array(2.0), tg.default_device())
    assert (Tensor([1.0]) * array).dtype == np.float64


def one() -> Tensor:
    return Tensor.ones(1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_scalar_argument_never_widens(dtype: str) -> None:
    wide: Any = np.float64(0.5)
    x = Tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    image = Tensor.ones(1, 1, 2, 2, dtype=dtype, requires_grad=True)
    ones: Any = [one().astype(dtype).detach() for _ in range(4)]
    for y in (
        x.leaky_relu(wide),
        x.elu(wide),
        x.pad(((1, 1),), wide),
        x.dropout(wide),
        x.pow(wide),
        x.clip(wide, np.float64(1.5)),
        x.layer_norm(2, eps=wide),
        x.reshape(1, 2).cross_entropy([1], label_smoothing=wide),
        image.batch_norm(ones[0], ones[1], ones[2], ones[3], momentum=wide, eps=wide),
    ):
        assert y.dtype == x.dtype
        y.sum().backward()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_an_integer_tensor_meets_a_float(dtype: str) -> None:
    x = Tensor([1, 2], dtype=dtype)
    for y in (x * 2.0, x + 0.5, x / 2, 1 / x, x.maximum(1.5), x.mean(), x.exp(), x.softmax()):
        assert y.dtype == np.float32
    assert x.clip(0.5).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_stay_integers(dtype: str) -> None:
    x = Tensor([1, 2], dtype=dtype)
    for y in (x + 1, x * 2, x**2, x.abs(), x.maximum(2), x[0], x.reshape(2, 1), x.max()):
        assert y.dtype == dtype
    for y in (x - 1, 3 - x, x - x, -x, x.minimum(2), x.minimum(x), x.clip(0, 1)):
        assert y.dtype == dtype
    assert (3 - x).tolist() == [2, 1]
    assert x.minimum(1).tolist() == [1, 1]


def test_an_unsigned_negative_wraps_as_in_numpy() -> None:
    x = Tensor([1, 2], dtype="uint8")
    assert (-x).tolist() == [255, 254]
    assert (x - 2).tolist() == [255, 0]


def test_an_integer_that_the_dtype_cannot_hold_is_named() -> None:
    x = Tensor([1, 2], dtype="int8")
    keep = Tensor([True, False])
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: x * 300, "Mul"),
        (lambda: 300 - x, "Sub"),
        (lambda: x.maximum(300), "maximum"),
        (lambda: x.where(keep, 300), "where"),
        (lambda: x.clip(300, 400), "clip"),
    ]
    for call, name in calls:
        with pytest.raises(OverflowError) as raised:
            call()
        assert str(raised.value) == (
            f"[{name}] expected a number from -128 to 127, which int8 holds, got 300; use "
            ".astype() first"
        )
    assert (x < 300).tolist() == [True, True]
    assert x.clip(0, 300).tolist() == x.clip(-300, 2).tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_integers_have_no_negative_powers(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"^\[Pow\]") as raised:
        Tensor([1, 2], dtype=dtype) ** -1
    assert str(raised.value) == (
        f"[Pow] expected an exponent ≥ 0 for a tensor of dtype {dtype}, got -1"
    )
    assert (Tensor([1, 2], dtype=dtype) ** -1.0).dtype == np.float32


def test_what_is_cast_to_integers_leaves_the_graph() -> None:
    x = Tensor([1.5, 2.5], requires_grad=True)
    for dtype in ("int64", "uint8", "bool"):
        assert not x.astype(dtype).requires_grad
    found = tg.grad((x * x.astype("int64").astype("float32")).sum(), x)
    assert found.tolist() == [1.0, 2.0]  # the slope of a step is 0


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "bool"])
def test_sums_and_positions_are_int64(dtype: str) -> None:
    x = Tensor([1, 0], dtype=dtype)
    assert x.sum().dtype == np.int64
    assert x.argmax().dtype == np.int64
    assert x.argmin(0, keepdims=True).dtype == np.int64


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("float32", "float64"),
        ("float16", "float32"),
        ("float64", "int64"),
        ("int32", "int64"),
        ("uint8", "int64"),
        ("bool", "float32"),
    ],
)
def test_tensors_promote_as_arrays_do(a: str, b: str) -> None:
    x, y = Tensor([1, 1], dtype=a), Tensor([1, 1], dtype=b)
    expected = np.result_type(np.dtype(a), np.dtype(b))
    assert (x + y).dtype == (y + x).dtype == (x * y).dtype == x.maximum(y).dtype == expected
    assert tg.concat([x, y]).dtype == x.where(x == y, y).dtype == expected


def test_gradients_come_back_in_their_own_dtype() -> None:
    x = Tensor([1.0, 2.0], dtype="float32", requires_grad=True)
    y = Tensor([3.0, 4.0], dtype="float64", requires_grad=True)
    for z in (x * y, x + y, x / y, x**y, x.maximum(y), tg.concat([x, y]), x @ y):
        assert z.dtype == np.float64
        by_x, by_y = tg.grad(z.sum(), [x, y])
        assert (by_x.dtype, by_y.dtype) == (np.float32, np.float64)


def test_products_of_mixed_dtypes() -> None:
    x = Tensor.ones(2, 3, requires_grad=True)
    weight = Tensor.ones(4, 3, dtype="float64", requires_grad=True)
    bias = Tensor.ones(4, requires_grad=True)
    y = x.linear(weight, bias)
    assert y.dtype == np.float64
    assert [g.dtype.name for g in tg.grad(y.sum(), [x, weight, bias])] == [
        "float32",
        "float64",
        "float32",
    ]
    images = Tensor.ones(1, 1, 3, 3, requires_grad=True)
    kernel = Tensor.ones(1, 1, 2, 2, dtype="float64", requires_grad=True)
    for z in (images.conv2d(kernel), images.conv_transpose2d(kernel)):
        assert z.dtype == np.float64
        assert [g.dtype.name for g in tg.grad(z.sum(), [images, kernel])] == ["float32", "float64"]


def test_norms_of_mixed_dtypes() -> None:
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((4, 2)).astype("float32"), device=tg.default_device())
    x.requires_grad_()
    weight, bias = Tensor.ones(2, dtype="float64"), Tensor.zeros(2, dtype="float64")
    inputs = [x, weight.requires_grad_(), bias.requires_grad_()]
    y = x.batch_norm(weight, bias, Tensor.zeros(2), Tensor.ones(2))
    assert y.dtype == np.float64
    for create_graph in (False, True):
        found = tg.grad((y * y * y).sum(), inputs, create_graph=create_graph, retain_graph=True)
        assert [g.dtype.name for g in found] == ["float32", "float64", "float64"]
    integers = Tensor([[1, 2], [3, 5]])
    ones, zeros = Tensor.ones(2), Tensor.zeros(2)
    assert integers.batch_norm(ones, zeros, zeros.clone(), ones.clone()).dtype == np.float32
    assert integers.layer_norm(2).dtype == np.float32


def test_comparisons_are_boolean() -> None:
    x = Tensor([1.0, 2.0])
    for y in (x == 1, x != 1, x < 1, x <= np.float64(1), x > x, x >= x):
        assert y.dtype == bool
