"""Module: a tree of layers whose parameters and buffers are found by walking attributes.

Nothing is registered. An attribute of a Module (or a list, tuple or dict of them) that is a
`Parameter` is trained, a `Buffer` is kept in the state_dict and not trained, and a Module is a
child. Anything else, also a plain Tensor that `forward` leaves behind, is nobody's state. Names are
PyTorch's: attributes and positions joined by dots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tinygrad_cupy import backend
from tinygrad_cupy.autograd.hooks import HookHandle
from tinygrad_cupy.backend.capture import observe
from tinygrad_cupy.backend.dtypes import is_float, resolve_dtype

from . import hooks
from .state import (
    STATE,
    Buffer,
    Mismatch,
    Parameter,
    become,
    check_assigned,
    dotted,
    fit,
    once,
    report,
    written,
)
from .tree import Tree

__all__ = ["Buffer", "Mismatch", "Module", "Parameter"]

# Methods of PyTorch's modules, and what does the same.
ELSEWHERE = {
    "add_module": "self.NAME = module",
    "bfloat16": '.astype("bfloat16")',
    "cpu": '.to("cpu")',
    "cuda": '.to("cuda")',
    "double": '.astype("float64")',
    "float": '.astype("float32")',
    "half": '.astype("float16")',
    "register_module": "self.NAME = module",
    "register_parameter": "self.NAME = nn.Parameter(data)",
    "type": ".astype(dtype)",
}

# The modules whose `train` is under way, each a child of the one before.
_TRAINED: ContextVar[tuple[Module, ...]] = ContextVar("_TRAINED", default=())


class Module(Tree):
    """Base of all layers and models. A subclass assigns its layers and defines `forward`.

    `training` is True until `eval()`; Dropout and BatchNorm behave differently then.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.body = nn.Linear(4, 8)
    ...         self.head = nn.Linear(8, 3)
    ...     def forward(self, x):
    ...         return self.head(self.body(x).relu())
    >>> Net()(Tensor.rand(5, 4)).shape
    (5, 3)
    >>> list(Net().state_dict())
    ['body.weight', 'body.bias', 'head.weight', 'head.bias']
    """

    _training = True
    _may_lack: tuple[str, ...] = ()  # attributes that a state to load need not have

    @property
    def training(self) -> bool:
        """Whether it is being trained, not evaluated."""
        observe(self, "_training")  # a captured forward pass holds for one of the two
        return self._training

    @training.setter
    def training(self, training: bool) -> None:
        self._training = training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; a subclass defines it, and calling the module runs it."""
        raise NotImplementedError(f"[{type(self).__name__}] defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = hooks.hooks_of(self)
        if found is not None:
            return hooks.call(self, found, args, kwargs)
        return self.forward(*args, **kwargs)

    # Hooks ---------------------------------------------------------------------------------------

    @property
    def _hook_changes(self) -> int:
        return hooks.changes_of(self)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have `hook(module, args)` called before `forward`; what it returns, if not None, are
        the arguments then. Hooks of a layer keep it from being fused with its neighbours.

        >>> layer = nn.Flatten()
        >>> handle = layer.register_forward_pre_hook(lambda module, args: args[0] + 1)
        >>> layer(Tensor([[1.0]])), handle.remove(), layer(Tensor([[1.0]]))
        (Tensor([[2.]]), None, Tensor([[1.]]))
        """
        return hooks.register(self, "forward_pre", hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have `hook(module, args, output)` called after `forward`; what it returns, if not None,
        is the output then.

        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> show = lambda module, args, output: print(args[0].shape, "->", output.shape)
        >>> handle = net[0].register_forward_hook(show)
        >>> y = net(Tensor.rand(2, 4))
        (2, 4) -> (2, 8)
        """
        return hooks.register(self, "forward", hook)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have `hook(module, grad_output)` called when the gradients of the results are there, a
        tuple; what it returns, if not None, takes their place.

        >>> layer, x = nn.Flatten(), Tensor([[1.0]], requires_grad=True)
        >>> handle = layer.register_full_backward_pre_hook(lambda module, grads: (3 * grads[0],))
        >>> layer(x).sum().backward()
        >>> x.grad
        Tensor([[3.]])
        """
        return hooks.register(self, "full_backward_pre", hook)

    def register_full_backward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Have `hook(module, grad_input, grad_output)` called when the gradients of the positional
        arguments are there, too, a tuple with None for those that want none; what it returns, if
        not None, takes its place.

        >>> layer, x = nn.Linear(4, 2), Tensor.rand(3, 4, requires_grad=True)
        >>> show = lambda module, grads_in, grads_out: print(grads_in[0].shape, grads_out[0].shape)
        >>> handle = layer.register_full_backward_hook(show)
        >>> layer(x).sum().backward()
        (3, 4) (3, 2)
        """
        return hooks.register(self, "full_backward", hook)

    # Attributes ----------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; one that holds state is not lost to something that is none.

        In the place of a Parameter only a Parameter or Buffer, a Module or None may come. A Tensor
        that is assigned to a Buffer becomes its value; the Buffer stays. Items of lists and dicts
        are replaced without a check.
        """
        there = self.__dict__.get(name)
        if isinstance(there, STATE) and there is not value and not self._may_follow(value):
            check_assigned(self, name, there, value)
            become(there, value)
        else:
            super().__setattr__(name, value)

    def _may_follow(self, value: object) -> bool:
        """Whether a value may stand where a Parameter or Buffer stood."""
        return value is None or isinstance(value, (*STATE, Module))

    if not TYPE_CHECKING:  # which would take any name then

        def __getattr__(self, name: str) -> Any:
            """PyTorch's methods that are called otherwise here are named in the error."""
            hint = f": {ELSEWHERE[name]}" if name in ELSEWHERE else ""
            raise AttributeError(f"[{type(self).__name__}] there is no attribute {name!r}{hint}")

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """`self.NAME = Buffer(tensor, persistent=persistent)`; None makes the attribute None.

        ValueError for a name that is no attribute's or that something else has.
        """
        owner = type(self).__name__
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"[{owner}] expected a buffer's name without dots, got {name!r}")
        if hasattr(self, name) and not isinstance(getattr(self, name), Buffer | None):
            raise ValueError(f"[{owner}] a buffer cannot be named {name!r}: the attribute is there")
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent=persistent))

    # State ---------------------------------------------------------------------------------------

    def _saved(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """What is in a state_dict."""
        for name, tensor in self._named_state():
            if isinstance(tensor, Parameter) or tensor.persistent:
                yield name, tensor

    def state_dict(self) -> dict[str, np.ndarray]:
        """Host copies of all parameters and buffers, with PyTorch's names, shapes and dtypes.

        Buffers with `persistent=False` are left out. ValueError when two different tensors have
        the same name.

        >>> {name: value.shape for name, value in nn.Linear(3, 2).state_dict().items()}
        {'weight': (2, 3), 'bias': (2,)}
        """
        return {
            name: np.array(backend.to_numpy(tensor.data), order="C")
            for name, tensor in self._saved()
        }

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Write `state` (arrays, or tensors of this library or PyTorch) into this Module's memory.

        Values are converted to the dtype that the Module has. What PyTorch's old files lack, the
        count of batches of a norm, may be missing. With `strict`, anything else missing,
        unexpected or of another shape is one ValueError that lists all of it, and nothing is
        changed; without, what fits is loaded. Returns what did not fit.

        >>> layer, other = nn.Linear(3, 2), nn.Linear(3, 2, bias=False)
        >>> layer.load_state_dict(other.state_dict(), strict=False).missing
        ('bias (2,)',)
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"[{type(self).__name__}] expected a state_dict, a mapping from names to arrays, "
                f"got {type(state).__name__}"
            )
        own = dict(self._saved())
        for path, module in self._tree(()):
            for attribute in module._may_lack:
                if (name := dotted((*path, (attribute,)))) not in state:
                    own.pop(name, None)
        fitting, mismatch = fit(own, state, self._unexpected)
        if strict and any(mismatch):
            raise ValueError(report(type(self).__name__, mismatch))
        loaded = {n: backend.to_device(array, own[n].device) for n, array in fitting.items()}
        for name, array in loaded.items():
            own[name].assign_(array)
        for _, module in self.named_modules():
            module._after_loading()
        return mismatch

    def _after_loading(self) -> None:
        """Called when values were loaded; for what a module keeps elsewhere and depends on them."""

    def _unexpected(self, name: object) -> str:
        """What a report says of a name in a state that this Module's state has not."""
        for path, tensor in self._tensors():
            if dotted(path) == name and isinstance(tensor, Buffer):
                return f"{name} (a Buffer with persistent=False, which is not saved)"
            if dotted(path) == name:
                return (
                    f"{name} (a plain Tensor here, which is no state: make it a buffer with "
                    f"{written(path)} = nn.Buffer(...))"
                )
        return str(name)

    # Changing ------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and, by the `train` of each, in all children; returns self."""
        self.training = mode
        # A child that points back at one of these is no child.
        above: tuple[Module, ...] = (*_TRAINED.get(), self)
        under_way = _TRAINED.set(above)
        try:
            children = {id(child): child for _, child in self.named_children()}
            for child in children.values():
                if not any(child is module for module in above):
                    child.train(mode)
        finally:
            _TRAINED.reset(under_way)
        return self

    def eval(self) -> Self:
        """Switch to evaluation: no dropout, batch norm by its running statistics."""
        return self.train(False)

    def to(self, device: str) -> Self:
        """Move all parameters, their gradients and all buffers to `device` ("cpu", "cuda").

        The Parameter objects stay the same ones, so an optimizer that holds them keeps working. A
        plain Tensor among the attributes stays where it is.
        """
        device = backend.normalize_device(device)
        tensors = [tensor for _, tensor in once(self._named_state()) if tensor.device != device]
        # All copies are made before the first swap: running out of memory leaves the model whole.
        arrays = [backend.to_device(tensor.data, device) for tensor in tensors]
        grads = [None if tensor.grad is None else tensor.grad.to(device) for tensor in tensors]
        for tensor, array, grad in zip(tensors, arrays, grads, strict=True):
            tensor.replace_data(array)
            tensor.grad = grad
        return self

    def astype(self, dtype: Any) -> Self:
        """Cast all parameters, their gradients and all buffers of floats to another such dtype.

        Buffers of integers, such as a count of batches, stay. Parameter objects stay the same ones,
        and what is shared stays shared; values that were cast are rounded for good. TypeError for a
        dtype that is not floating-point. Returns self.
        """
        dtype = resolve_dtype(dtype)
        if not is_float(dtype):
            raise TypeError(f"[{type(self).__name__}] expected a floating-point dtype, got {dtype}")
        tensors = [t for _, t in once(self._named_state()) if is_float(t.dtype)]
        for tensor in tensors:
            if tensor.dtype != dtype:
                grad = None if tensor.grad is None else tensor.grad.astype(dtype)
                tensor.replace_data(tensor.data.astype(dtype))
                tensor.grad = grad
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Say of all parameters whether they are trained; gradients of those that are not go.

        Returns self. `model.encoder.requires_grad_(False)` freezes a part; an optimizer leaves it
        alone, and a function under `tg.jit` is captured anew.

        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
        >>> frozen = net[0].requires_grad_(False)
        >>> [p.requires_grad for p in net.parameters()]
        [False, False, True, True]
        """
        for parameter in self.parameters():
            parameter.requires_grad = bool(requires_grad)
            if not requires_grad:
                parameter.grad = None
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` with every Module below and with this one, children first; returns self.

        For initial values: `model.apply(start)`, where `start(layer)` writes into what it knows.

        >>> def start(layer):
        ...     if isinstance(layer, nn.Linear):
        ...         layer.bias.assign_(Tensor.zeros(layer.out_features))
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)).apply(start)
        >>> abs(net[1].bias).sum().item()
        0.0
        """
        for _, child in self.named_children():
            child.apply(function)
        function(self)
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
