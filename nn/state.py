"""What is a Module's state: its `Parameter`s and `Buffer`s, and how attributes are walked for them.

A path leads from a Module to something below it: for each Module on the way an attribute's name,
followed by the keys and positions inside of that attribute's lists, tuples and dicts. Joined by
dots it is the name in a state_dict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.mode import is_grad_enabled
from tinygrad_cupy.backend.capture import first_made, use
from tinygrad_cupy.backend.dtypes import is_complex, is_float, is_inexact
from tinygrad_cupy.tensor import Tensor

Keys = tuple[object, ...]
Path = tuple[Keys, ...]


class Parameter(Tensor):
    """A Tensor that a Module owns and trains.

    Frozen with `requires_grad=False` it is still a parameter: it is saved, counted and moved, but
    optimizers leave it alone.

    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         self.factor = nn.Parameter([1.0, 2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [(name, p.shape) for name, p in Scale().named_parameters()]
    [('factor', (2,))]
    """

    def __init__(
        self, data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = True
    ) -> None:
        super().__init__(data, dtype, device, requires_grad)


class Buffer(Tensor):
    """A Tensor that a Module owns and does not train: a running mean, a mask, a table.

    It moves with its Module, is copied with it and, unless `persistent=False`, is saved and loaded
    with it. As an attribute it stays the same object: `module.mean = tensor` writes the new value
    into it.

    >>> class Shift(nn.Module):
    ...     def __init__(self):
    ...         self.mean = nn.Buffer([0.5])
    ...     def forward(self, x):
    ...         return x - self.mean
    >>> list(Shift().state_dict()), list(Shift().parameters())
    (['mean'], [])
    """

    __slots__ = ("persistent",)

    def __init__(
        self, data: Any, dtype: Any = None, device: str | None = None, *, persistent: bool = True
    ) -> None:
        super().__init__(data, dtype, device)
        self.persistent = bool(persistent)


STATE = (Parameter, Buffer)


def become(tensor: Tensor, value: Tensor) -> None:
    """Give `tensor` another value, on its own device; in its own memory if shape and dtype fit.

    Otherwise the memory is new, and a captured function that used the old is captured anew.
    """
    use(value)
    array = backend.to_device(value.data, tensor.device)
    if array.shape == tensor.shape and array.dtype == tensor.dtype:
        shares = backend.may_share_memory(array, tensor.data)
        tensor.assign_(array.copy() if shares else array)
    else:
        first_made(f"the memory of a Buffer of shape {array.shape} and dtype {array.dtype}")
        tensor.replace_data(array.copy())


def check_assigned(owner: object, name: str, there: Tensor, value: object) -> None:
    """Raise unless `value` may be assigned to an attribute that holds the state `there`.

    State, a Module or None may; to a Buffer so may a Tensor outside of any graph.
    """
    what = f"[{type(owner).__name__}] {name} is a {type(there).__name__}"
    got = f"got {type(value).__name__}"
    if isinstance(there, Parameter):
        raise TypeError(
            f"{what}: expected a Parameter or None, {got}, which would not be trained. Write its "
            f"values under no_grad() in place ({name} -= ..., or {name}.assign_(...)), or put "
            f"another in its place with nn.Parameter(...), or `del` it before"
        )
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{what}: expected a Tensor (its new value), a Buffer or None, {got}; `del` it before, "
            "if it is to be no state any more"
        )
    if value.requires_grad and is_grad_enabled():
        raise ValueError(
            f"{what}, which holds values and no graph: expected a Tensor that requires no "
            "gradient; assign its .detach(), or keep what is to be differentiated elsewhere"
        )


# --- walking --------------------------------------------------------------------------------------


def flat(
    attributes: Iterable[tuple[object, object]], above: tuple[object, ...] = ()
) -> Iterator[tuple[Keys, object]]:
    """What attributes hold, with what their lists, tuples and dicts hold, each with its keys."""
    for key, value in attributes:
        if isinstance(value, Mapping):
            inside: Any = value.items()
        elif isinstance(value, list | tuple):
            inside = enumerate(value)
        else:
            yield (key,), value
            continue
        if not any(value is container for container in above):  # one may hold itself
            for keys, item in flat(inside, (*above, value)):
                yield (key, *keys), item


def dotted(path: Iterable[Keys]) -> str:
    """The name of what a path leads to in a state_dict."""
    return ".".join([str(key) for keys in path for key in keys])


def written(path: Path) -> str:
    """A path as one writes it in Python, from `self` on."""
    text = "self"
    for attribute, *keys in path:
        if isinstance(attribute, int):  # a layer of a Sequential
            text += f"[{attribute}]"
        elif str(attribute).isidentifier():
            text += f".{attribute}"
        else:
            text = f"getattr({text}, {attribute!r})"
        text += "".join(f"[{key!r}]" for key in keys)
    return text


def once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each tensor under the first of its names."""
    seen: set[int] = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


# --- values of a state_dict -----------------------------------------------------------------------


def host_array(value: Any, real: bool = True) -> np.ndarray | None:
    """A value of a saved state as a NumPy array, or None when it is not made of numbers.

    Complex numbers are none if it must be ``real``.
    """
    array: np.ndarray
    if isinstance(value, Tensor) or backend.is_cuda(value):
        array = Tensor(value).numpy()
        return None if real and is_complex(array.dtype) else array
    try:  # a parameter of PyTorch refuses to become an array until it is detached
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError):  # a ragged list, a dtype that NumPy has not
        return None
    known = is_float if real else is_inexact
    return array if array.dtype.kind in "biu" or known(array.dtype) else None


def describe(value: Any) -> str:
    """What an error says of such a value: its shape, or its type when it is no array."""
    array = host_array(value, real=False)
    return f"an object of type {type(value).__name__}" if array is None else str(array.shape)


class Mismatch(NamedTuple):
    """What of a state_dict did not fit a Module; each entry is a line for a reader."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]


def fit(
    own: Mapping[str, Tensor], state: Mapping[str, Any], unexpected: Callable[[object], str]
) -> tuple[dict[str, np.ndarray], Mismatch]:
    """What of `state` fits the tensors `own`, in their dtypes; and what does not.

    `unexpected` says what a reader is told of a name that is not among `own`.
    """
    fitting: dict[str, np.ndarray] = {}
    misshaped = []
    for name in own:
        if name in state:
            value, shape, dtype = state[name], own[name].shape, own[name].dtype
            array = host_array(value, real=False)
            if array is None or array.shape != shape:
                misshaped.append(f"{name}: expected {shape}, got {describe(value)}")
            elif (converted := _converted(array, dtype)) is None:
                misshaped.append(f"{name}: expected numbers that {dtype} holds, got others")
            else:
                fitting[name] = converted
    mismatch = Mismatch(
        tuple(f"{name} {own[name].shape}" for name in own if name not in state),
        tuple(unexpected(name) for name in state if name not in own),
        tuple(misshaped),
    )
    return fitting, mismatch


def _converted(array: np.ndarray, dtype: Any) -> np.ndarray | None:
    """An array in another dtype, or None where that would turn numbers into quite different ones.

    Rounding is none of it; 0.5 as an integer is, and what becomes infinite.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        if is_complex(array.dtype) and not is_complex(dtype):
            return _converted(array.real, dtype) if not array.imag.any() else None
        result = array.astype(dtype)
        fits = np.isfinite(result) == np.isfinite(array) if is_inexact(dtype) else result == array
    return result if fits.all() else None


def report(owner: str, mismatch: Mismatch) -> str:
    """The text of an error that lists all that did not fit."""
    lines = [f"[{owner}] the state_dict does not fit, nothing was loaded"]
    for title, entries in zip(("missing", "unexpected", "mis-shaped"), mismatch, strict=True):
        lines += [f"  {title}: " + "; ".join(entries)] if entries else []
    return "\n".join(lines)
