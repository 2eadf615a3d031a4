"""Names of NumPy and PyTorch that are not ours raise errors that say which are.

Nothing here is on the way of a name that exists: a foreign one is a descriptor on the class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from ..autograd import TensorBase
from ..autograd.mode import mode

F = TypeVar("F", bound=Callable[..., Any])

KEYWORDS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "start_dim": "start_axis",
    "end_dim": "end_axis",
    "ddof": "correction",
    "min": "low",
    "max": "high",
    "a_min": "low",
    "a_max": "high",
}

# PyTorch's and NumPy's names for functions of tensors.
FUNCTIONS = {
    "arange": "Tensor.arange(…)",
    "array": "Tensor(…)",
    "as_tensor": "Tensor(…)",
    "asarray": "Tensor(…)",
    "cat": "tg.concat(tensors, axis)",
    "concatenate": "tg.concat(tensors, axis)",
    "eye": "Tensor.eye(n)",
    "from_numpy": "Tensor(array)",
    "full": "Tensor.full(shape, value)",
    "hstack": "tg.concat(tensors, axis=1)",
    "inference_mode": "tg.no_grad()",
    "ones": "Tensor.ones(*shape)",
    "rand": "Tensor.rand(*shape)",
    "randn": "Tensor.randn(*shape)",
    "seed": "tg.manual_seed(seed)",
    "tensor": "Tensor(…)",
    "vstack": "tg.concat(tensors, axis=0)",
    "zeros": "Tensor.zeros(*shape)",
}

# NumPy's functions whose method has another name here.
_METHODS_OF_NUMPY = {
    "absolute": "abs()",
    "amax": "max()",
    "amin": "min()",
    "dot": "matmul(y)",
    "expand_dims": "unsqueeze(axis)",
    "ravel": "flatten()",
    "swapaxes": "transpose(*axes)",
}

_OPERATORS = {
    np.add: ("__add__", "__radd__"),
    np.subtract: ("__sub__", "__rsub__"),
    np.multiply: ("__mul__", "__rmul__"),
    np.true_divide: ("__truediv__", "__rtruediv__"),
    np.power: ("__pow__", "__rpow__"),
    np.matmul: ("__matmul__", "__rmatmul__"),
    np.equal: ("__eq__", "__eq__"),
    np.not_equal: ("__ne__", "__ne__"),
    np.less: ("__lt__", "__gt__"),
    np.less_equal: ("__le__", "__ge__"),
    np.greater: ("__gt__", "__lt__"),
    np.greater_equal: ("__ge__", "__le__"),
}


_COMPARISONS = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal}


class Elsewhere:
    """A name that is not ours: reading it raises ``AttributeError`` with what is."""

    def __init__(self, ours: str) -> None:
        self.ours = ours

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"[Tensor] has no {self.name}: use {self.ours}")


class _ArrayUfunc:
    """`HintMixin._ufunc` for NumPy, which asks the class; None for CuPy, which asks the tensor.

    NumPy then hands over what ``array * tensor`` and ``np.exp(tensor)`` ask for; CuPy's arrays
    leave ``array * tensor`` to the tensor's own operator. ``array += tensor`` writes into NumPy's
    array, unless the tensor is in a graph, which the result then continues.
    """

    def __get__(self, instance: object, owner: Any = None) -> Any:
        return owner._ufunc if instance is None else None


class HintMixin(TensorBase):
    """What a tensor says to NumPy's functions, and to names from elsewhere."""

    __slots__ = ()
    __array_ufunc__ = _ArrayUfunc()
    __array_priority__ = 1000

    add_ = Elsewhere("x += y, under no_grad() where x wants a gradient")
    all = Elsewhere(".numpy().all()")
    any = Elsewhere(".numpy().any()")
    bmm = Elsewhere("x @ y")
    bool = Elsewhere('.astype("bool")')
    cat = Elsewhere("tg.concat(tensors, axis)")
    clamp = Elsewhere(".clip(low, high)")
    contiguous = Elsewhere("the tensor as it is: operations take any layout")
    copy = Elsewhere(".clone()")
    copy_ = Elsewhere(".assign_(values)")
    cpu = Elsewhere('.to("cpu")')
    cuda = Elsewhere('.to("cuda")')
    dim = Elsewhere(".ndim")
    div_ = Elsewhere("x /= y, under no_grad() where x wants a gradient")
    dot = Elsewhere("x @ y")
    double = Elsewhere('.astype("float64")')
    expand = Elsewhere(".broadcast_to(*shape)")
    expand_as = Elsewhere(".broadcast_to(y.shape)")
    fill = Elsewhere(".assign_(value)")
    fill_ = Elsewhere(".assign_(value)")
    float = Elsewhere('.astype("float32")')
    gather = Elsewhere("x[indices]")
    get = Elsewhere(".numpy()")
    half = Elsewhere('.astype("float16")')
    index_select = Elsewhere("x[indices]")
    int = Elsewhere('.astype("int32")')
    is_cuda = Elsewhere(".device")
    long = Elsewhere('.astype("int64")')
    masked_fill = Elsewhere(".where(mask == 0, value)")
    mm = Elsewhere("x @ y")
    mul_ = Elsewhere("x *= y, under no_grad() where x wants a gradient")
    ndimension = Elsewhere(".ndim")
    numel = Elsewhere(".size")
    ravel = Elsewhere(".flatten()")
    square = Elsewhere("x * x")
    sub_ = Elsewhere("x -= y, under no_grad() where x wants a gradient")
    sum_to_size = Elsewhere(".sum_to(shape)")
    swapaxes = Elsewhere(".transpose(*axes), with every axis")
    t = Elsewhere(".T")
    take = Elsewhere("x[indices]")
    type = Elsewhere(".astype(dtype)")
    unbind = Elsewhere(".split(n)")
    view = Elsewhere(".reshape(*shape)")
    zero_ = Elsewhere(".assign_(0)")

    def __dir__(self) -> Iterable[str]:
        return [name for name in super().__dir__() if name not in _FOREIGN]

    def _ufunc(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        names = _OPERATORS.get(ufunc)
        written = options.pop("out", (None,))[0]  # of array += tensor
        rebinds = written is None or written is inputs[0]
        if names and method == "__call__" and not options and rebinds:
            first, second = inputs
            if written is not None and _is_constant(second):
                return ufunc(first, second.data, out=first)
            if isinstance(first, TensorBase):
                return getattr(first, names[0])(second)
            if ufunc in _COMPARISONS and not np.ndim(first):
                first = first[()]  # NumPy made an array of a scalar that was compared
            return getattr(second, names[1])(first)
        raise _no_array(ufunc.__name__)

    def __array_function__(
        self, func: Any, types: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if _ours(func.__name__) is not None:
            raise _no_array(func.__name__)
        # The others take a tensor by `__array__`, which has a say in it.
        return np.ndarray.__array_function__(np.empty(0), func, (), args, kwargs)


def _is_constant(x: Any) -> bool:
    """Whether a tensor may be added to an array in place: on the CPU, and in no graph."""
    in_graph = mode.recording and x.requires_grad
    return isinstance(x.data, np.ndarray) and not in_graph


_FOREIGN = {name for name, value in vars(HintMixin).items() if isinstance(value, Elsewhere)}


def _ours(name: str) -> str | None:
    """What stands for NumPy's function of this name, or None."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name in ("stack", "where"):
        return f"tg.{name}(…)"
    if name in _METHODS_OF_NUMPY:
        return f"x.{_METHODS_OF_NUMPY[name]}"
    known = any(name in vars(base) for base in _families)
    return f"x.{name}()" if known and name not in _FOREIGN else None


_families: list[Any] = []  # the classes whose methods are Tensor's


def _no_array(name: str) -> TypeError:
    ours = _ours(name)
    use = f"use {ours}, or" if ours else "no operation of tensors does it;"
    return TypeError(
        f"[numpy.{name}] expected arrays, got a Tensor: {use} take the values out of the graph "
        "with .detach().numpy()"
    )


def name_ours(function: F) -> F:
    """``function``, which says of a keyword like ``dim`` what it is called here."""
    parameters = inspect.signature(function).parameters
    foreign = {
        theirs: ours
        for theirs, ours in KEYWORDS.items()
        if ours in parameters and theirs not in parameters
    }

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name in foreign:
                raise TypeError(f"[{function.__name__}] takes {foreign[name]}=, not {name}=")
        return function(*args, **kwargs)

    return cast(F, wrapper) if foreign else function


def hinting(cls: Any) -> Any:
    """The class decorator of `Tensor`: its families' methods name our keywords."""
    for family in cls.__mro__[1:]:
        if family is not TensorBase and issubclass(family, TensorBase):
            _families.append(family)
            for name, method in list(vars(family).items()):
                if inspect.isfunction(method) and not name.startswith("_"):
                    setattr(family, name, name_ours(method))
    return cls
