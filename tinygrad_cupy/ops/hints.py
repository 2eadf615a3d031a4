"""Names of NumPy and PyTorch that are not ours raise errors that say which are.

Nothing here is on the way of a name that exists: a foreign one is a descriptor on the class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar, cast

from ..autograd import TensorBase

F = TypeVar("F", bound=Callable[..., Any])

KEYWORDS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "start_dim": "start_axis",
    "end_dim": "end_axis",
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


class Elsewhere:
    """A name that is not ours: reading it raises ``AttributeError`` with what is."""

    def __init__(self, ours: str) -> None:
        self.ours = ours

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"[Tensor] has no {self.name}: use {self.ours}")


class HintMixin(TensorBase):
    """What a tensor says to names from elsewhere."""

    __slots__ = ()

    add_ = Elsewhere("x += y, under no_grad() where x wants a gradient")
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


def nearest(name: str) -> str:
    """What to use for NumPy's function of this name, as an error says it."""
    ours = _ours(name)
    return f"use {ours}, or" if ours else "no operation of tensors does it;"


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
