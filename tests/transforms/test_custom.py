"""Operations of users' own: right where they have a rule, an error where they have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import import_cupy

WAYS = r"jvp= or a reference=, .* or its backward in tensors \(tensor_backward=\)"


def cube_backward(grad: Any, y: Any, x: Any) -> Any:
    return 3 * x * x * grad


def cubes(**rules: Any) -> Any:
    return tg.custom_op(lambda x: x * x * x, name="cube", **rules)


def point(device: str) -> Tensor:
    return Tensor(np.array([2.0, -3.0, 0.5]), device=device, requires_grad=True)


def test_a_decorated_function_of_arrays(device: str) -> None:
    @tg.custom_op(backward=cube_backward)  # type: ignore[untyped-decorator]
    def cube(x: Any) -> Any:
        """x³"""
        return x * x * x

    x = point(device)
    y = cube(x)
    y.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 3 * x.numpy() ** 2)
    assert (cube.__name__, cube.__doc__) == ("cube", "x³")
    assert cube.gradcheck(x, order=1)
    np.testing.assert_allclose(cube(x.numpy()).numpy(), x.numpy() ** 3)


RULES: dict[str, dict[str, Any]] = {
    "jvp": {"backward": cube_backward, "jvp": lambda y, xs, ts: 3 * xs[0] * xs[0] * ts[0]},
    "reference": {"backward": cube_backward, "reference": lambda x: x**3},
    "tensor backward": {"tensor_backward": cube_backward},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_rule_gives_all_derivatives(rules: dict[str, Any], device: str) -> None:
    cube, x = cubes(**rules), point(device)
    assert cube.gradcheck(x)
    hessian = tg.hessian(lambda x: cube(x).sum())(x.detach())
    np.testing.assert_allclose(hessian.numpy(), np.diag(6 * x.numpy()))
    tg.autograd.batching._told.clear()
    with pytest.warns(UserWarning, match="cube has no batch method"):
        each = tg.vmap(tg.grad(tg.grad(lambda x: cube(x).sum())))(x.detach())
    np.testing.assert_allclose(each.numpy(), 6 * x.numpy())


def test_elementwise_needs_nothing_else(device: str) -> None:
    cube, x = cubes(backward=cube_backward, elementwise=True), point(device).detach()
    _, tangent = tg.jvp(cube, (x,), (x,))
    np.testing.assert_allclose(tangent.numpy(), 3 * x.numpy() ** 3)
    each = tg.vmap(tg.grad(lambda x: cube(x).sum()))(x)  # as one call
    np.testing.assert_allclose(each.numpy(), 3 * x.numpy() ** 2)


def twice(fn: Callable[..., Any], x: Tensor) -> Any:
    first = tg.grad(fn(x).sum(), x, create_graph=True)
    return tg.grad(first.sum(), x)


BEYOND: dict[str, Callable[[Any, Tensor], Any]] = {
    "twice": twice,
    "jvp": lambda cube, x: tg.jvp(cube, (x.detach(),), (x.detach(),)),
    "hessian": lambda cube, x: tg.hessian(lambda x: cube(x).sum())(x.detach()),
    "vmap(grad(grad))": lambda cube, x: tg.vmap(tg.grad(tg.grad(lambda x: cube(x).sum())))(
        x.detach()
    ),
    "vmap of jvp": lambda cube, x: tg.vmap(lambda x: tg.jvp(cube, (x,), (x,))[1])(x.detach()),
    "checkpoint": lambda cube, x: twice(lambda x: tg.checkpoint(cube, x), x),
    "jit": lambda cube, x: tg.jit(lambda: twice(cube, x))(),
}


@pytest.mark.filterwarnings("ignore:.vmap. cube")
@pytest.mark.parametrize("name", BEYOND)
def test_beyond_the_first_derivative_of_a_kernel_is_an_error(name: str, device: str) -> None:
    cube, x = cubes(backward=cube_backward), point(device)
    with pytest.raises(RuntimeError, match=rf"^\[cube\] its backward works on arrays, .*{WAYS}"):
        BEYOND[name](cube, x)


def test_without_any_backward(device: str) -> None:
    cube, x = cubes(), point(device)
    assert cube(x).shape == (3,)
    with pytest.raises(RuntimeError, match=rf"^\[cube\] has no backward: .*{WAYS}"):
        cube(x).sum().backward()


def test_kernels_get_arrays_in_one_piece_unless_they_take_strides(device: str) -> None:
    seen: list[bool] = []

    def forward(x: Any) -> Any:
        seen.append(bool(x.flags.c_contiguous))
        return x * 2

    x = Tensor(np.ones((2, 3)), device=device).transpose()
    tg.custom_op(forward)(x)
    tg.custom_op(forward, strides=True)(x)
    assert seen == [True, False]


def test_errors_say_what_was_expected(device: str) -> None:
    x = point(device)
    with pytest.raises(TypeError, match=r"^\[custom_op\] expected a function or a kernel, got int"):
        tg.custom_op(3)
    with pytest.raises(TypeError, match=r"^\[custom_op\] expected one backward"):
        tg.custom_op(lambda x: x, backward=cube_backward, tensor_backward=cube_backward)
    with pytest.raises(ValueError, match=r"^\[custom_op\] expected block from 1 to 1024, got 0"):
        tg.custom_op(lambda x: x, block=0)
    with pytest.raises(ValueError, match=r"expected forward to return a new array, got memory"):
        tg.custom_op(lambda x: x)(x)
    with pytest.raises(TypeError, match=r"expected forward to return an array, got str"):
        tg.custom_op(lambda x: "x")(x)
    with pytest.raises(TypeError, match=r"expected at least one tensor"):
        tg.custom_op(lambda x: x)(3)
    with pytest.raises(TypeError, match=r"expected tensors, arrays and numbers, got list"):
        tg.custom_op(lambda x: x)([1.0])
    with pytest.raises(RuntimeError, match=r"expected 1 gradients from backward, got 2"):
        cubes(backward=lambda grad, y, x: (grad, grad))(x).sum().backward()
    wrong = cubes(backward=cube_backward, jvp=lambda y, xs, ts: ts[0][:2])
    with pytest.raises(TypeError, match=r"expected jvp to give a tensor \(3,\), got \(2,\)"):
        tg.jvp(wrong, (x.detach(),), (x.detach(),))


SOURCE = r"""
extern "C" __global__ void cube(const double* x, double* y, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] * x[i] * x[i];
}
extern "C" __global__ void cube_backward(const double* grad, const double* y, const double* x,
                                         double* dx, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dx[i] = 3 * x[i] * x[i] * grad[i];
}
"""


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:cupyx.jit:FutureWarning")  # CuPy calls it experimental
@pytest.mark.parametrize("kind", ["raw", "elementwise", "jit"])
def test_kernels_of_cupy(kind: str) -> None:
    cupy = import_cupy()
    if kind == "raw":
        module = cupy.RawModule(code=SOURCE)
        cube = tg.custom_op(
            module.get_function("cube"), backward=module.get_function("cube_backward"), block=64
        )
    elif kind == "elementwise":
        cube = tg.custom_op(
            cupy.ElementwiseKernel("T x", "T y", "y = x * x * x", "cube"),
            backward=cupy.ElementwiseKernel(
                "T grad, T y, T x", "T dx", "dx = 3 * x * x * grad", "cube_backward"
            ),
        )
    else:
        from cupyx import jit  # noqa: TID251 - as users write it

        @jit.rawkernel()  # type: ignore[untyped-decorator]
        def forward(x: Any, y: Any, n: Any) -> Any:
            i = jit.blockIdx.x * jit.blockDim.x + jit.threadIdx.x
            if i < n:
                y[i] = x[i] * x[i] * x[i]

        @jit.rawkernel()  # type: ignore[untyped-decorator]
        def backward(grad: Any, y: Any, x: Any, dx: Any, n: Any) -> Any:
            i = jit.blockIdx.x * jit.blockDim.x + jit.threadIdx.x
            if i < n:
                dx[i] = 3 * x[i] * x[i] * grad[i]

        cube = tg.custom_op(forward, backward=backward)
    values = np.random.default_rng(0).standard_normal(1001)
    x = Tensor(values, device="cuda:0", requires_grad=True)
    assert cube.gradcheck(x, order=1)

    @tg.jit
    def step(x: Tensor) -> Tensor:
        y = cube(x)
        return tg.grad(y.sum(), x)  # type: ignore[no-any-return]

    for _ in range(4):
        np.testing.assert_allclose(step(x).numpy(), 3 * values**2, rtol=1e-12)
    with pytest.raises(RuntimeError, match="its backward works on arrays"):
        twice(cube, x)
