"""Module: a tree of layers whose parameters and buffers are found by walking attributes.

Nothing is registered. An attribute of a Module (or a list, tuple or dict of them) that is a
`Parameter` is trained, any other leaf Tensor is a buffer (kept in the state_dict, not trained), and
a Module is a child. Names are PyTorch's: attributes and positions joined by dots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from reprlib import recursive_repr
from typing import Any, NamedTuple, Self

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.tensor import Tensor
from tinygrad_cupy.tracing import observe


class Parameter(Tensor):
    """A Tensor that a Module owns and trains.

    Frozen with `requires_grad=False` it is still a parameter: it is saved, counted and moved, but
    optimizers leave it alone.
    """

    def __init__(
        self, data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = True
    ) -> None:
        super().__init__(data, dtype, device, requires_grad)


class Mismatch(NamedTuple):
    """What of a state_dict did not fit a Module; each entry is a line for a reader."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]


class Module:
    """Base of all layers and models. A subclass assigns its layers and defines `forward`.

    `training` is True until `eval()`; Dropout and BatchNorm behave differently then.
    """

    _training = True

    @property
    def training(self) -> bool:
        """Whether it is being trained, not evaluated."""
        observe(self, "_training")  # a captured forward pass holds for one of the two
        return self._training

    @training.setter
    def training(self, training: bool) -> None:
        self._training = training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"[{type(self).__name__}] defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # Walking -------------------------------------------------------------------------------------

    def _attributes(self) -> Mapping[str, object]:
        """What is searched for parameters, buffers and children, under the names it gets."""
        return vars(self)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules directly below this one."""
        for name, value in _flat(self._attributes()):
            if isinstance(value, Module):
                yield name, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This Module (named "") and every Module below it, each once."""
        seen: set[int] = set()
        for name, module in self._tree(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every Parameter with its dotted name; one that is shared comes once, first name first."""
        for name, tensor in _once(self._named_tensors()):
            if isinstance(tensor, Parameter):
                yield name, tensor

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every leaf Tensor that is not a Parameter (running statistics), each once."""
        for name, tensor in _once(self._named_tensors()):
            if not isinstance(tensor, Parameter):
                yield name, tensor

    def parameters(self) -> Iterator[Parameter]:
        """Every Parameter once, this Module's own first."""
        return (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def _tree(self, prefix: str, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """All paths to all Modules; a child that points back at a Module above it is no child."""
        yield prefix, self
        above = (*above, self)
        for name, child in self.named_children():
            if not any(child is module for module in above):
                yield from child._tree(_join(prefix, name), above)

    def _named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All paths to all parameters and buffers, also the second path to a shared one."""
        for prefix, module in self._tree(""):
            for name, value in _flat(module._attributes()):
                if isinstance(value, Tensor) and (isinstance(value, Parameter) or value.is_leaf):
                    yield _join(prefix, name), value

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of all parameters and buffers, with PyTorch's names, shapes and dtypes."""
        return {
            name: np.array(backend.to_numpy(tensor.data), order="C")
            for name, tensor in self._named_tensors()
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Write `state` (arrays, or tensors of this library or PyTorch) into this Module's memory.

        Values are converted to the dtype that the Module has. With `strict`, anything missing,
        unexpected or of another shape is one ValueError that lists all of it, and nothing is
        changed; without, what fits is loaded. Returns what did not fit.
        """
        own = dict(self._named_tensors())
        arrays = {name: _host_array(state[name]) for name in own if name in state}
        fitting = {
            name: array.astype(own[name].dtype)
            for name, array in arrays.items()
            if array is not None and array.shape == own[name].shape
        }
        mismatch = Mismatch(
            tuple(f"{name} {own[name].shape}" for name in own if name not in state),
            tuple(str(name) for name in state if name not in own),
            tuple(
                f"{name}: expected {own[name].shape}, got {_describe(state[name])}"
                for name in arrays
                if name not in fitting
            ),
        )
        if strict and any(mismatch):
            raise ValueError(_report(type(self).__name__, mismatch))
        for name, array in fitting.items():
            own[name].assign_(backend.to_device(array, own[name].device))
        return mismatch

    # Changing ------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in every Module below; returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation: no dropout, batch norm by its running statistics."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move all parameters, their gradients and all buffers to `device` ("cpu", "cuda").

        The Parameter objects stay the same ones, so an optimizer that holds them keeps working.
        """
        device = backend.normalize_device(device)
        tensors = [tensor for _, tensor in _once(self._named_tensors()) if tensor.device != device]
        # All copies are made before the first swap: running out of memory leaves the model whole.
        arrays = [backend.to_device(tensor.data, device) for tensor in tensors]
        grads = [None if tensor.grad is None else tensor.grad.to(device) for tensor in tensors]
        for tensor, array, grad in zip(tensors, arrays, grads, strict=True):
            tensor.replace_data(array)
            tensor.grad = grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    # Printing ------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What a layer shows between its parentheses."""
        return ""

    @recursive_repr("...")
    def __repr__(self) -> str:
        name, extra = type(self).__name__, self.extra_repr()
        children = [
            f"({child_name}): " + repr(child).replace("\n", "\n  ")
            for child_name, child in self.named_children()
        ]
        if not children:
            return f"{name}({extra})"
        return f"{name}({extra}\n  " + "\n  ".join(children) + "\n)"


class Sequential(Module):
    """Layers applied one after the other; parameters are named "0.weight", "1.bias", ...

    Indexable and iterable; a slice is a Sequential that shares the layers. Runs like Conv2d, ReLU,
    MaxPool2d(2) are computed as one operation, with the same values.
    """

    def __init__(self, *layers: Module) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(
                    f"[Sequential] expected Modules, got {type(layer).__name__} at position "
                    f"{position}"
                )
        self.layers = layers

    def _attributes(self) -> Mapping[str, object]:
        others = {name: value for name, value in vars(self).items() if name != "layers"}
        return {str(position): layer for position, layer in enumerate(self.layers)} | others

    def forward(self, x: Any) -> Any:
        for layer, together in _steps(self.layers):
            x = layer(x, **together)
        return x

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)


def _steps(layers: Sequence[Module]) -> Iterator[tuple[Module, dict[str, bool]]]:
    """The layers in order, each with those behind it that its own kernel does as well.

    A layer's class names them in `fuses`, in the order in which they may follow: a Conv2d with
    `fuses = ("relu", "pool")` is called as conv(x, relu=True) when a layer that `acts_as` "relu"
    follows. Both are read in the very class: a subclass may do something else, and runs by itself.
    """
    waiting = list(layers[::-1])
    while waiting:
        layer, together = waiting.pop(), {}
        for act in _own(layer, "fuses") or ():
            if waiting and _own(waiting[-1], "acts_as") == act:
                together[act] = True
                waiting.pop()
        yield layer, together


def _own(layer: Module, name: str) -> Any:
    """An attribute that the layer's class defines itself; None when `forward` was replaced."""
    defined = name in vars(type(layer)) and "forward" not in vars(layer)
    return getattr(layer, name) if defined else None


def _flat(attributes: Mapping[Any, object]) -> Iterator[tuple[str, object]]:
    """Named values of a mapping, with those of its lists, tuples and dicts under dotted names."""
    for name, value in attributes.items():
        if isinstance(value, Mapping):
            yield from ((_join(str(name), inner), item) for inner, item in _flat(value))
        elif isinstance(value, list | tuple):
            inside = _flat(dict(enumerate(value)))
            yield from ((_join(str(name), inner), item) for inner, item in inside)
        else:
            yield str(name), value


def _once(named: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    seen: set[int] = set()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _host_array(value: Any) -> np.ndarray | None:
    """A value of a state_dict as a NumPy array, or None when it is not made of numbers."""
    if isinstance(value, Tensor) or backend.is_cuda(value):
        return Tensor(value).numpy()
    # A parameter of PyTorch refuses to become an array until it is detached.
    array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    return None if array.dtype.kind in "OSUMm" else array


def _describe(value: Any) -> str:
    array = _host_array(value)
    return f"an object of type {type(value).__name__}" if array is None else str(array.shape)


def _report(owner: str, mismatch: Mismatch) -> str:
    lines = [f"[{owner}] the state_dict does not fit, nothing was loaded"]
    for title, entries in zip(("missing", "unexpected", "mis-shaped"), mismatch, strict=True):
        lines += [f"  {title}: " + "; ".join(entries)] if entries else []
    return "\n".join(lines)
