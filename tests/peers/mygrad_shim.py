"""MyGrad's interface, done by this library: a plugin of pytest for MyGrad's own tests.

A function of MyGrad's is NumPy's of that name in `tinygrad_cupy.numpy`, or a method of tensors; its
`constant=` detaches. MyGrad's factories of tests also ask for its locks on memory and its record of
views. Those here draw the same inputs, and compare values with NumPy's and gradients with the
difference quotients of MyGrad's own tests.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import ContextDecorator, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

import tinygrad_cupy as tg
from peers.opinfo import resolve
from tinygrad_cupy import numpy as np

CHECKOUT = Path(os.environ["TINYGRAD_CUPY_MYGRAD"])
Function = Callable[..., Any]

# Under other names here, or methods.
NAMES = {
    "amax": "max",
    "amin": "min",
    "multi_matmul": "linalg.multi_dot",
    "norm": "linalg.norm",
    "logsoftmax": "log_softmax",
}
METHODS = ("elu", "leaky_relu", "logsoftmax", "logsumexp", "relu", "sigmoid", "softmax")
OWN = {
    "add_sequence": lambda *terms: functools.reduce(np.add, terms),
    "multiply_sequence": lambda *factors: functools.reduce(np.multiply, factors),
}


class Tensor(np.ndarray):
    """A tensor that wants a gradient, unless it is constant or of integers."""

    def __init__(
        self,
        x: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool | None = None,
        *,
        constant: Any = None,
        copy: bool = True,
        ndmin: int = 0,
    ) -> None:
        values = x.data if isinstance(x, tg.Tensor) else x
        values = numpy.array(values, dtype, copy=copy or None, ndmin=ndmin)
        wanted = not constant if requires_grad is None else requires_grad
        super().__init__(values, requires_grad=wanted and values.dtype.kind == "f")

    @property
    def constant(self) -> bool:
        return not self.requires_grad

    @property
    def _constant(self) -> bool:
        return not self.requires_grad

    @_constant.setter
    def _constant(self, constant: bool) -> None:
        """MyGrad's tests note what they expect."""

    def copy(self, order: str = "C", **options: Any) -> Any:
        return Tensor(self.data, constant=not self.requires_grad)

    def backward(self, grad: Any = None, *options: Any, **more: Any) -> None:
        """The gradient of the sum of all elements, where nothing is said."""
        if self.requires_grad:
            grad = numpy.ones(self.shape) if grad is None else numpy.asarray(grad)
            whole = numpy.broadcast_to(grad.astype(self.dtype), self.shape)
            super().backward(whole.copy(), *options, **more)

    def __array__(self, dtype: Any = None, copy: Any = None) -> numpy.ndarray:
        return numpy.array(self.data, dtype, copy=copy)

    def null_grad(self) -> Tensor:
        self.grad = None
        return self


def without_constant(method: Function) -> Function:
    """The method, for calls with ``constant=``."""

    def call(self: Any, *args: Any, constant: Any = None, **options: Any) -> Any:
        result = method(self, *args, **options)
        return result.detach() if constant else result

    return call


Tensor._plain = Tensor
for _name in (
    *("clip", "cumprod", "cumsum", "flatten", "matmul", "max", "mean", "min", "prod", "ravel"),
    *("repeat", "reshape", "squeeze", "std", "sum", "swapaxes", "transpose", "var"),
):
    if (_method := resolve(f"Tensor.{_name}")) is not None:
        setattr(Tensor, _name, without_constant(_method))


class no_autodiff(ContextDecorator):
    """Without a graph, as a context or of a function, whose result may be wanted as an array."""

    def __enter__(self) -> None:
        self.context = tg.no_grad()
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def __call__(self, function: Function, to_numpy: bool = False) -> Function:  # type: ignore[override]
        def call(*args: Any, **options: Any) -> Any:
            with tg.no_grad():
                result = function(*args, **options)
            return result.data if to_numpy and isinstance(result, tg.Tensor) else result

        return call


_PHASES = (Phase.explicit, Phase.generate)  # a failure is not made smaller
settings.register_profile("peers", deadline=None, max_examples=25, database=None, phases=_PHASES)
settings.load_profile("peers")


def found(name: str) -> Any:
    """What has that name of MyGrad's here, or AttributeError."""
    if name in OWN:
        return OWN[name]
    path = NAMES.get(name, name)
    there = resolve(f"Tensor.{path}" if name in METHODS else path)
    return getattr(np, path) if there is None else there


class Wrapped:
    """A function or ufunc of ours that takes ``constant=``.

    One that is not there raises when it is called: a test file imports all of its functions at
    once.
    """

    def __init__(self, name: str, function: Any, missing: str) -> None:
        self.__name__, self.function, self.missing = name, function, missing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)

    def __call__(self, *args: Any, constant: Any = None, **options: Any) -> Any:
        if self.function is None:
            raise AttributeError(self.missing)
        if self.__name__ in METHODS and not isinstance(args[0], tg.Tensor):
            args = (Tensor(args[0], constant=True), *args[1:])
        result = self.function(*args, **options)
        if not isinstance(result, tg.Tensor) or (result.requires_grad and not constant):
            return result
        made_of = any(isinstance(x, tg.Tensor) for x in (*args, *options.values()))
        return Tensor(result.data, constant=made_of if constant is None else constant)


@functools.cache
def ours(name: str) -> Any:
    """MyGrad's function, or constant, of that name."""
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        function, missing = found(name), ""
    except AttributeError as error:
        function, missing = None, str(error)
    return Wrapped(name, function, missing) if function is None or callable(function) else function


# --- factories of tests -------------------------------------------------------------------------


class Factory:
    """What both factories take, and how they draw inputs."""

    def __init__(
        self,
        *,
        mygrad_func: Function,
        true_func: Function,
        num_arrays: int | None = None,
        shapes: Any = None,
        index_to_bnds: Any = None,
        default_bnds: Any = (-1e6, 1e6),
        index_to_no_go: Any = None,
        index_to_arr_shapes: Any = None,
        index_to_unique: Any = None,
        elements_strategy: Any = None,
        kwargs: Any = None,
        arrs_from_kwargs: Any = None,
        rtol: float = 1e-7,
        atol: float = 1e-7,
        assumptions: Any = None,
        vary_each_element: bool = False,
        use_finite_difference: bool = False,
        **others: Any,
    ) -> None:
        self.ours, self.numpys, self.kwargs = mygrad_func, true_func, kwargs or {}
        self.tolerance, self.assumptions = (rtol, atol), assumptions
        self.vary, self.quotient = vary_each_element, use_finite_difference
        self.from_kwargs, self.default_bounds = arrs_from_kwargs or {}, default_bnds
        self.count = num_arrays or shapes.wrapped_strategy.num_shapes
        self.elements = elements_strategy or functools.partial(st.floats, allow_subnormal=False)
        self.bounds, self.no_go = self._each(index_to_bnds), self._each(index_to_no_go)
        self.fixed, self.unique = self._each(index_to_arr_shapes), self._each(index_to_unique)
        self.missing = [i for i in range(self.count) if i not in self.fixed]
        self.shapes = shapes or (
            hnp.mutually_broadcastable_shapes(num_shapes=len(self.missing))
            if self.missing
            else st.just(hnp.BroadcastableShapes((), ()))
        )

    def _each(self, given: Any) -> dict[int, Any]:
        """By number of the input, where one value may have been given for all."""
        if given is None or isinstance(given, dict):
            return given or {}
        return dict.fromkeys(range(self.count), given)

    def draw(self, data: st.DataObject) -> tuple[list[Any], dict[str, Any]]:
        """Arrays and keyword arguments."""
        drawn = data.draw(self.shapes).input_shapes
        shapes = self.fixed | dict(zip(self.missing, drawn, strict=True))
        inputs = {
            i: data.draw(
                hnp.arrays(
                    float,
                    shapes[i],
                    elements=self.elements(*self.bounds.get(i, self.default_bounds)),
                    unique=bool(self.unique.get(i)),
                )
            )
            for i in range(self.count)
            if i not in self.from_kwargs
        }
        first = list(inputs.values())
        if callable(self.kwargs):
            options = data.draw(self.kwargs(*first))
        else:
            options = {
                key: data.draw(value(*first)) if callable(value) else value
                for key, value in self.kwargs.items()
            }
        inputs |= {i: numpy.asarray(options.pop(key)) for i, key in self.from_kwargs.items()}
        arrays = [inputs[i] for i in range(self.count)]
        assume(self.assumptions is None or self.assumptions(*arrays, **options))
        for i, values in self.no_go.items():
            assume(all(numpy.all(arrays[i] != value) for value in values))
        return arrays, options

    def __call__(self, named: Function) -> Function:
        @given(data=st.data())
        def test(data: st.DataObject) -> None:
            self.check(data)

        return test

    def check(self, data: st.DataObject) -> None:
        raise NotImplementedError


class fwdprop_test_factory(Factory):
    """Values are NumPy's, and the inputs stay as they are."""

    def check(self, data: st.DataObject) -> None:
        arrays, options = self.draw(data)
        tensors = [Tensor(x) for x in arrays]
        found = self.ours(*tensors, **options, constant=False)
        expected = self.numpys(*[x.copy() for x in arrays], **options)
        assert isinstance(found, tg.Tensor)
        numpy.testing.assert_allclose(found.data, expected, *self.tolerance)
        for x, tensor in zip(arrays, tensors, strict=True):
            numpy.testing.assert_array_equal(x, tensor.data)


class backprop_test_factory(Factory):
    """Gradients are difference quotients."""

    def __init__(self, *, rtol: float = 1e-8, atol: float = 1e-8, **others: Any) -> None:
        super().__init__(rtol=rtol, atol=atol, **others)

    def check(self, data: st.DataObject) -> None:
        from tests.utils import numerical_gradient as quotients  # type: ignore[import-not-found]

        arrays, options = self.draw(data)
        tensors = [Tensor(x) for x in arrays]
        found = self.ours(*tensors, **options, constant=False)
        elements = st.floats(-10, 10, allow_subnormal=False)
        grad = data.draw(hnp.arrays(float, found.shape, elements=elements, unique=True))
        found.backward(grad)
        full, plain = quotients.numerical_gradient_full, quotients.numerical_gradient
        numerical = quotients.finite_difference if self.quotient else full if self.vary else plain
        copies = [x.copy() for x in arrays]
        expected = numerical(self.numpys, *copies, back_grad=grad, kwargs=options)
        for tensor, slopes in zip(tensors, expected, strict=True):
            assert tensor.grad is not None
            numpy.testing.assert_allclose(tensor.grad.data, slopes, *self.tolerance)


# --- modules ------------------------------------------------------------------------------------


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    vars(made).setdefault("__path__", [])
    sys.modules[name] = made
    return made


def theirs(name: str) -> None:
    """A module of theirs that only names types, or serves their tests."""
    folder = CHECKOUT / "src" / Path(*name.split("."))
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)


class NoValue:
    """An argument that is not given."""


def install() -> None:
    """Put these under the names that MyGrad has."""
    off = nullcontext()
    kinds = {"Tensor": Tensor, "tensor": Tensor, "astensor": Tensor}
    mygrad = module("mygrad", **kinds, asarray=numpy.asarray, mem_guard_off=off)
    vars(mygrad)["no_autodiff"] = no_autodiff()
    vars(mygrad)["newaxis"] = None
    drawn = {name: Wrapped(name, getattr(np.random, name), "") for name in ("rand", "randn")}
    vars(mygrad)["random"] = module("mygrad.random", **drawn)
    vars(mygrad)["__getattr__"] = ours
    module("mygrad.tensor_base", Tensor=Tensor, CONSTANT_ONLY_DTYPES=(numpy.integer, numpy.bool_))
    module("mygrad.operation_base", Operation=object, _NoValue=NoValue(), _NoValueType=NoValue)
    module("mygrad.ufuncs", MyGradBinaryUfunc=object, MyGradUnaryUfunc=object)
    for name in (
        *("linalg.funcs", "math.misc.funcs", "math._special", "nnet.activations"),
        *("tensor_manip", "tensor_creation.funcs", "indexing_routines.funcs"),
    ):
        parts = name.split(".")
        for i in range(1, len(parts) + 1):
            path = ".".join(["mygrad", *parts[:i]])
            inner = sys.modules.get(path) or module(path)
            vars(inner)["__getattr__"] = ours
            setattr(sys.modules[path.rpartition(".")[0]], parts[i - 1], inner)
    locks: dict[str, Any] = {
        "_views_waiting_for_unlock": {},
        "_array_tracker": {},
        "_array_counter": {},
    }
    theirs("mygrad.typing")
    theirs("mygrad._utils")
    module("mygrad._utils.lock_management", **locks)
    sys.path.insert(0, str(CHECKOUT))
    factories = (fwdprop_test_factory, backprop_test_factory)
    module("tests.wrappers.uber", **{f.__name__: f for f in factories})


install()


@pytest.fixture(autouse=True)
def _on_the_cpu() -> None:
    tg.set_default_device("cpu")
