"""autograd's interface, done by this library: a plugin of pytest for autograd's own tests.

`autograd.numpy` is `tinygrad_cupy.numpy`; its `random`, which makes the tests' arrays, is NumPy's.
Complex numbers, which are not here yet, are left out where a test goes through many arguments.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import numpy as np
from tinygrad_cupy import pytree

Function = Callable[..., Any]


def arrays(x: Any) -> Any:
    """x with arrays of ours for numbers and NumPy's arrays, in lists, tuples and dicts too."""
    if isinstance(x, dict):
        return {key: arrays(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)([arrays(value) for value in x])
    if isinstance(x, int | float) and not isinstance(x, bool):
        x = float(x)
    return np.asarray(x) if isinstance(x, float | numpy.ndarray | numpy.generic) else x


def nary(transform: Function) -> Function:
    """``transform(fun, argnum, …)(*arguments)`` of a ``transform(fun of one argument, x, …)``."""

    @functools.wraps(transform)
    def of_function(fun: Function, argnum: Any = 0, *more: Any, **options: Any) -> Function:
        def of_arguments(*given: Any, **keywords: Any) -> Any:
            places = [argnum] if isinstance(argnum, int) else list(argnum)

            def unary(x: Any) -> Any:
                changed = dict(zip(places, [x] if isinstance(argnum, int) else x, strict=True))
                return fun(*[changed.get(i, y) for i, y in enumerate(given)], **keywords)

            parts = tuple(arrays(given[i]) for i in places)
            x = parts[0] if isinstance(argnum, int) else parts
            return transform(unary, x, *more, **options)

        return of_arguments

    return of_function


def scalar(fun: Function) -> Function:
    """``fun`` with its result of one element as an array."""
    return lambda x: arrays(fun(x))


# --- derivatives --------------------------------------------------------------------------------


@nary
def grad(fun: Function, x: Any) -> Any:
    return tg.grad(scalar(fun))(x)


@nary
def value_and_grad(fun: Function, x: Any) -> Any:
    return tg.value_and_grad(scalar(fun))(x)


@nary
def grad_and_aux(fun: Function, x: Any) -> Any:
    return tg.grad(fun, has_aux=True)(x)


@nary
def elementwise_grad(fun: Function, x: Any) -> Any:
    return tg.grad(lambda x: fun(x).sum())(x)


@nary
def jacobian(fun: Function, x: Any) -> Any:
    return tg.jacobian(fun)(x)


@nary
def hessian(fun: Function, x: Any) -> Any:
    return tg.hessian(fun)(x)


@nary
def make_vjp(fun: Function, x: Any) -> Any:
    value, pull = tg.vjp(scalar(fun), x)
    return (lambda g: pull(arrays(g).astype(value.dtype))[0]), value


@nary
def make_jvp(fun: Function, x: Any) -> Any:
    return lambda v: tg.jvp(scalar(fun), (x,), (arrays(v),))


@nary
def deriv(fun: Function, x: Any) -> Any:
    return tg.jvp(scalar(fun), (x,), (np.ones_like(x),))[1]


@nary
def make_hvp(fun: Function, x: Any) -> Any:
    return (lambda v: tg.hvp(fun, (x,), (arrays(v),))), None


def hessian_tensor_product(fun: Function, argnum: int = 0) -> Function:
    return lambda *given: tg.hvp(fun, tuple(arrays(given[:-1])), (arrays(given[-1]),))


def tensor_jacobian_product(fun: Function, argnum: int = 0) -> Function:
    def product(x: Any, v: Any) -> Any:
        return np.tensordot(arrays(v), tg.jacobian(fun)(arrays(x)), axes=np.ndim(v))

    return product


# --- checks -------------------------------------------------------------------------------------


def has_complex(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(map(has_complex, x))
    return isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c"


@nary
def check_grads(fun: Function, x: Any, modes: Any = ("fwd", "rev"), order: int = 2) -> None:
    """autograd's check of derivatives is `gradcheck`, made after it."""
    leaves: list[Any] = []
    structure = pytree.flatten(x, leaves, once=False)
    if has_complex(x):
        pytest.skip("complex numbers")
    inputs = [np.array(leaf, "float64", requires_grad=True) for leaf in leaves]

    def flat(*values: Any) -> list[Any]:
        found: list[Any] = []
        pytree.flatten(arrays(fun(pytree.rebuild(structure, values))), found, once=False)
        return [y for y in found if y.dtype.kind == "f"]

    assert tg.gradcheck(flat, inputs, order, forward_mode="fwd" in modes, batched=False)


def combo_check(fun: Function, *how: Any, **options: Any) -> Function:
    """Check ``fun`` with each combination of arguments."""

    def check(*choices: Any, **keywords: Any) -> None:
        named = [[(key, value) for value in values] for key, values in keywords.items()]
        for arguments in itertools.product(*choices):
            for pairs in itertools.product(*named):
                if not has_complex(arguments):
                    check_grads(fun, *how, **options)(*arguments, **dict(pairs))

    return check


def check_equivalent(a: Any, b: Any) -> None:
    ours: list[Any] = []
    theirs: list[Any] = []
    assert pytree.flatten(arrays(a), ours, False) == pytree.flatten(arrays(b), theirs, False)
    for x, y in zip(ours, theirs, strict=True):
        assert x.shape == y.shape
        numpy.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), 1e-6, 1e-6)


def scalar_close(a: Any, b: Any) -> bool:
    return bool(abs(a - b) < 1e-6 or abs(a - b) / abs(a + b) < 1e-6)


# --- modules ------------------------------------------------------------------------------------


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    sys.modules[name] = made
    return made


def install() -> None:
    """Put these under the names that autograd has."""
    arrays_module = module("autograd.numpy", random=numpy.random)
    vars(arrays_module)["__getattr__"] = lambda name: getattr(np, name)
    sys.modules["autograd.numpy.random"] = numpy.random
    transforms = {name: value for name, value in globals().items() if name in _TRANSFORMS}
    module("autograd", numpy=arrays_module, checkpoint=tg.checkpoint, **transforms).__path__ = []
    module("autograd.builtins", isinstance=isinstance, list=list, tuple=tuple, dict=dict)
    vars(sys.modules["autograd"]).update(vars(sys.modules["autograd.builtins"]))
    checks = (check_grads, check_equivalent, combo_check, scalar_close)
    module("autograd.test_util", **{f.__name__: f for f in checks})
    module("autograd.tracer", isbox=lambda x: False)
    module("autograd.wrap_util", unary_to_nary=nary)
    module(
        "autograd.core",
        make_vjp=lambda fun, x: make_vjp(fun)(x),
        make_jvp=lambda fun, x: make_jvp(fun)(x),
    )


_TRANSFORMS = (
    *("deriv", "elementwise_grad", "grad", "grad_and_aux", "hessian", "hessian_tensor_product"),
    *("jacobian", "make_hvp", "make_jvp", "make_vjp", "tensor_jacobian_product", "value_and_grad"),
)

install()


@pytest.fixture(autouse=True)
def _float64() -> None:
    tg.set_default_device("cpu")
