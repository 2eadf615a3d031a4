"""Reverse-mode differentiation of a graph that is recorded while the program runs.

An operation is a class. Calling an instance on tensors computes the result and, where a gradient
may be wanted, turns that instance into one node of the graph: it remembers where its inputs came
from (its *edges*) and what its backward rule declared it would read (its *saved* values), nothing
else. Backward rules take and return tensors, so a gradient can itself be differentiated.

    class Exp(Op):
        saves = ("y",)                          # an input of forward by its name, or y: the output

        def forward(self, x): return self.xp.exp(x)      # arrays in, array out
        def backward(self, grad, y): return grad * y     # tensors in, tensors out
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Sequence
from contextlib import ContextDecorator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from .backend import Array, array_module, cuda_count, device_of, home_of, may_share_memory
from .tracing import active

if TYPE_CHECKING:
    from .tensor import Tensor

Edge = Any  # an Op (the node that made the input), a leaf TensorBase, or None: no gradient


class _Mode(threading.local):
    recording = True


_mode = _Mode()


class set_grad_enabled(ContextDecorator):
    """Context or decorator: record a graph inside it, or not. Per thread."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.previous: list[bool] = []  # a stack: one instance may be entered again inside itself

    def _recreate_cm(self) -> set_grad_enabled:
        return set_grad_enabled(self.enabled)  # threads in one decorated function share no stack

    def __enter__(self) -> None:
        self.previous.append(_mode.recording)
        _mode.recording = self.enabled

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _mode.recording = self.previous.pop()


class no_grad(set_grad_enabled):
    """Context or decorator under which no graph is recorded. Per thread.

    >>> with no_grad():
    ...     y = x * 2       # y.requires_grad is False
    """

    def __init__(self) -> None:
        super().__init__(False)


def is_grad_enabled() -> bool:
    """Whether operations of this thread are being recorded."""
    return _mode.recording


class Version:
    """How often an array was written in place; shared by all tensors that view that array.

    ``home`` is the run of a jitted function in which the array was made, or None.
    """

    __slots__ = ("__weakref__", "count", "home")

    def __init__(self) -> None:
        self.count = 0
        self.home = active.run


class TensorBase:
    """What the engine needs to know of a tensor: its array, its place in the graph, its gradient.

    The mixins of the operation families build on this; users see `tinygrad_cupy.Tensor`.
    """

    __slots__ = ("__weakref__", "_grad", "_node", "_version", "data", "requires_grad")

    data: Array
    requires_grad: bool
    _grad: Tensor | None
    _fleeting: ClassVar[bool] = False  # whether the memory is written again behind its back
    _node: Op | None
    _version: Version

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    @classmethod
    def _wrap(cls, array: Array) -> Tensor:
        """A plain tensor around ``array``, outside the graph."""
        raise NotImplementedError  # tensor.py has it: this file cannot name Tensor

    def _alias(self, array: Array) -> Tensor:
        """A plain tensor around ``array``, a view of this one's memory."""
        tensor = self._wrap(array)
        tensor._version = self._version
        return tensor

    @property
    def grad(self) -> Tensor | None:
        """What `backward` found, or None."""
        if active.run is not None:
            active.run.reads_grad(self)
        return self._grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if active.run is not None:
            active.run.sets_grad(self)
        self._grad = grad

    def _edge(self) -> Edge:
        """Where a gradient of this tensor goes: its node, itself when it is a leaf, or nowhere."""
        if not self.requires_grad:
            return None
        return self if self._node is None else self._node


class Op:
    """One operation and, once recorded, one node of the graph.

    Subclasses set

    ``saves``
        names of what ``backward`` reads, in the order it takes them: arguments of ``forward``, or
        ``"y"`` for the output. Only these are kept, and only these are checked for in-place writes.
    ``read_for``
        for each saved name that only one input's gradient reads, the position of that input (else
        None). Where that gradient is not wanted, nothing is kept, and ``backward`` gets None.
    ``broadcasts``
        the inputs are broadcast against each other (and promoted to one dtype); the engine then
        sums each gradient back to its input's shape and casts it to its input's dtype.
    ``differentiable``
        False for comparisons and the like: their results are never part of a graph.
    ``view``
        the output may share memory with the first input, and so shares its version counter.

    While running, ``self.xp`` is ``numpy`` or ``cupy`` and, in ``backward``, ``self.needs`` says
    for each input whether its gradient is wanted (``None`` may be returned where it is not).
    What ``forward`` decided for ``backward`` (a mask, an argmax) is kept as attributes.
    """

    saves: ClassVar[tuple[str, ...]] = ()
    read_for: ClassVar[tuple[int | None, ...]] = ()
    broadcasts: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    view: ClassVar[bool] = False
    _slots: ClassVar[tuple[int, ...]] = ()  # of each saved name: its input's position, -1 for y
    _readers: ClassVar[tuple[int | None, ...]] = ()  # `read_for`, one for each saved name

    xp: Any
    needs: tuple[bool, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[tuple[tuple[int, ...], Any] | None, ...]  # shape and dtype; None for a scalar
    _saved: list[tuple[Any, Edge, Version | None, int]] | None
    _watched: Sequence[tuple[Array, Version, int]] = ()
    _kind: type[TensorBase]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        names = [name for name in inspect.signature(cls.forward).parameters if name != "self"]
        unknown = set(cls.saves) - {*names, "y"}
        if unknown:
            raise TypeError(f"[{cls.__name__}] saves {unknown}, but forward takes {names}")
        cls._slots = tuple(names.index(name) if name in names else -1 for name in cls.saves)
        cls._readers = cls.read_for or (None,) * len(cls.saves)

    def forward(self, *inputs: Any) -> Array:
        raise NotImplementedError

    def backward(self, grad: Tensor, *saved: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> Tensor:
        """Compute the operation on tensors (and Python scalars); record it where wanted."""
        tensors = [x for x in inputs if isinstance(x, TensorBase)]
        first = tensors[0]
        if len(tensors) > 1:
            self._check_devices(tensors)
        if active.run is not None:
            active.run.uses(tensors)
        self.xp, device = home_of(first.data)
        try:
            with device:
                array = self.forward(*[x.data if isinstance(x, TensorBase) else x for x in inputs])
        except ValueError as error:
            self._blame_shapes(tensors, error)
            raise
        shares = self.view and may_share_memory(array, first.data)
        result = first._alias(array) if shares else first._wrap(array)
        if _mode.recording and self.differentiable:
            self._record(inputs, result)
        return result

    def watch_with(self, other: Op) -> Self:
        """Watch what ``other`` watches: for an adjoint that is made with the same key or mask."""
        self._watched = other._watched
        return self

    def watch(self, *values: Any) -> Self:
        """Check in backward that no tensor among ``values`` (a key, a mask) was written since.

        For what an operation is made with; its inputs are checked as ``saves`` says.
        """
        tensors = [x for x in values if isinstance(x, TensorBase)]
        if active.run is not None:
            active.run.uses(tensors)
        self._watched = [(x.data, x._version, x._version.count) for x in tensors]
        return self

    def _check_devices(self, tensors: list[TensorBase]) -> None:
        kinds = {type(x.data) for x in tensors}
        if len(kinds) == 1 and (np.ndarray in kinds or cuda_count() == 1):
            return
        devices = {device_of(x.data) for x in tensors}
        if len(devices) > 1:
            raise ValueError(
                f"[{type(self).__name__}] expected all inputs on one device, "
                f"got {' and '.join(sorted(devices))}; move one with .to(device)"
            )

    def _blame_shapes(self, tensors: list[TensorBase], error: ValueError) -> None:
        if self.broadcasts:
            try:
                np.broadcast_shapes(*[x.shape for x in tensors])
            except ValueError:
                shapes = " and ".join(str(x.shape) for x in tensors)
                raise ValueError(
                    f"[{type(self).__name__}] shapes {shapes} do not broadcast"
                ) from error

    # --- the graph ------------------------------------------------------------------------------

    def _record(self, inputs: tuple[Any, ...], result: Tensor) -> None:
        """Make this a node of the graph, if a gradient of an input may be wanted."""
        edges: list[Edge] = []
        known: list[Any] = []
        wanted = False
        for x in inputs:
            if isinstance(x, TensorBase):
                edges.append(x._edge())
                known.append((x.data.shape, x.data.dtype))
                wanted = wanted or x.requires_grad
            else:
                edges.append(None)
                known.append(None)
        if not wanted:
            return
        if "edges" in self.__dict__:
            raise RuntimeError(
                f"[{type(self).__name__}] this instance is a node of a graph already; make a new "
                "one for every call"
            )
        self.edges, self.inputs = tuple(edges), tuple(known)
        self._saved = []
        for slot, reader in zip(self._slots, self._readers, strict=True):
            if reader is not None and edges[reader] is None:
                self._saved.append((None, None, None, 0))
                continue
            value = result if slot < 0 else inputs[slot]
            if isinstance(value, TensorBase):
                edge = None if slot < 0 else edges[slot]  # `self` is put in when y is read
                self._saved.append((value.data, edge, value._version, value._version.count))
            else:
                self._saved.append((value, None, None, 0))
        self._kind = type(result)
        result._node = self
        result.requires_grad = True

    def _check_saved(self) -> None:
        """Raise where the saved values are gone, or something that backward reads was written."""
        if self._saved is None:
            raise RuntimeError(
                f"[{type(self).__name__}] this graph was already used by a backward pass, which "
                "freed its saved values; pass retain_graph=True to the first pass to use it again"
            )
        for value, version, count in self._watched:
            if version.count != count:
                raise self._written(value)
        for value, _, saved, count in self._saved:
            if saved is not None and saved.count != count:
                raise self._written(value)

    def _written(self, value: Array) -> RuntimeError:
        return RuntimeError(
            f"[{type(self).__name__}] a value that its backward needs (shape "
            f"{tuple(value.shape)}) was written in place after it was used"
        )

    def _read_saved(self, connected: bool) -> list[Any]:
        """The saved values as tensors; ``connected`` to the graph where it will be extended."""
        self._check_saved()
        values = []
        for slot, (value, kept, version, _) in zip(self._slots, self._saved or (), strict=True):
            if version is None:
                values.append(value)
                continue
            edge = self if slot < 0 else kept
            tensor = self._kind._wrap(value)
            tensor._version = version
            if connected and edge is not None:
                tensor._node, tensor.requires_grad = edge, True
            values.append(tensor)
        return values

    def _run_backward(self, grad: Tensor, create_graph: bool) -> Any:
        return self.backward(grad, *self._read_saved(create_graph))

    def _input_gradients(self, grad: Tensor, create_graph: bool) -> list[Tensor | None]:
        result = self._run_backward(grad, create_graph)
        grads = result if isinstance(result, (tuple, list)) else (result,)
        if len(grads) != len(self.edges):
            raise RuntimeError(
                f"[{type(self).__name__}] expected {len(self.edges)} gradients from backward, "
                f"got {len(grads)}"
            )
        return [self._fit(grad, i) for i, grad in enumerate(grads)]

    def _fit(self, grad: Tensor | None, index: int) -> Tensor | None:
        """Check a gradient against its input; undo broadcasting and promotion where declared."""
        expected = self.inputs[index]
        if grad is None or expected is None or not self.needs[index]:
            return None
        shape, dtype = expected
        if isinstance(grad, TensorBase) and grad.data.shape == shape and grad.data.dtype == dtype:
            return grad
        if not isinstance(grad, TensorBase):
            raise TypeError(
                f"[{type(self).__name__}] expected backward to give tensors, got "
                f"{type(grad).__name__} for input {index}"
            )
        if self.broadcasts:
            if grad.shape != shape:
                grad = grad.sum_to(shape)
            if grad.data.dtype != dtype:
                grad = grad.astype(dtype)
        if grad.shape != shape or grad.data.dtype != dtype:
            raise RuntimeError(
                f"[{type(self).__name__}] expected a gradient of shape {shape} and dtype {dtype} "
                f"for input {index}, got shape {grad.shape} and dtype {grad.dtype}"
            )
        return grad

    def _release(self) -> None:
        """Let go of everything the backward rule read; edges stay, so that a reuse is noticed."""
        self.__dict__ = {"edges": self.edges, "_saved": None}


class FusedOp(Op):
    """An operation with one kernel forward and one backward, and a plain `reference` beside them.

    While no graph of the backward is wanted, `backward_arrays` runs on arrays. When it is, the
    reference, written in Tensor operations, is differentiated instead. The reference gets every
    input and may use what ``forward`` decided (kept as attributes), and changes nothing.
    """

    def __init_subclass__(cls) -> None:
        names = [name for name in inspect.signature(cls.forward).parameters if name != "self"]
        cls.saves = tuple(names)
        super().__init_subclass__()

    def reference(self, *inputs: Any) -> Tensor:
        raise NotImplementedError

    def backward_arrays(self, grad: Array, *inputs: Any) -> Any:
        raise NotImplementedError

    def _run_backward(self, grad: Tensor, create_graph: bool) -> Any:
        if create_graph:
            return super()._run_backward(grad, create_graph)
        self._check_saved()
        found = self.backward_arrays(grad.data, *[value for value, *_ in self._saved or ()])
        return [None if array is None else grad._wrap(array) for array in found]

    def backward(self, grad: Tensor, *inputs: Any) -> Any:
        # Aliases, so that in f(x, g(x)) the path from g(x) to x is not followed here as well.
        aliases = [Alias()(x) if isinstance(x, TensorBase) else x for x in inputs]
        wanted = [alias for alias, need in zip(aliases, self.needs, strict=True) if need]
        output = self.reference(*aliases)
        found = iter(grad_of([output], wanted, [grad], create_graph=True, allow_unused=True))
        return tuple(next(found) if need else None for need in self.needs)


class Alias(Op):
    """The same array as a new node of the graph: y = x."""

    view = True

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Tensor) -> Tensor:
        return grad


# --- the walk -----------------------------------------------------------------------------------


def _topological(roots: Iterable[Edge]) -> list[Edge]:
    """Nodes and leaves below ``roots``, inputs before outputs.

    Iterative: graphs are deeper than Python's stack.
    """
    order: list[Edge] = []
    seen: set[int] = set()
    stack: list[tuple[Edge, bool]] = [(root, False) for root in roots if root is not None]
    while stack:
        edge, entered = stack.pop()
        if entered:
            order.append(edge)
        elif id(edge) not in seen:
            seen.add(id(edge))
            if isinstance(edge, TensorBase):
                order.append(edge)
            else:
                stack.append((edge, True))
                stack += [(e, False) for e in edge.edges if e is not None and id(e) not in seen]
    return order


def _leading_to(targets: set[int], order: list[Edge]) -> set[int]:
    """Ids of those in ``order`` that are a target or have one below them."""
    wanted: set[int] = set()
    for edge in order:
        inside = not isinstance(edge, TensorBase) and any(id(e) in wanted for e in edge.edges)
        if inside or id(edge) in targets:
            wanted.add(id(edge))
    return wanted


def _walk(
    roots: Sequence[TensorBase],
    seeds: Sequence[Tensor],
    targets: set[int] | None,
    create_graph: bool,
    retain_graph: bool,
) -> dict[int, tuple[Edge, Tensor]]:
    """Send ``seeds`` from ``roots`` down the graph; what arrived, by id of target or leaf.

    With ``targets`` (ids of nodes and leaves) only what lies between the roots and a target
    matters; without, every leaf is a target, and every node has one below it.
    """
    edges = [root._edge() for root in roots]
    order = _topological(edges)
    wanted = None if targets is None else _leading_to(targets, order)
    pending: dict[int, Tensor] = {}
    arrived: dict[int, tuple[Edge, Tensor]] = {}

    def add(edge: Edge, grad: Tensor) -> None:
        known = pending.get(id(edge))
        pending[id(edge)] = grad if known is None else known + grad

    with set_grad_enabled(create_graph):
        for edge, seed in zip(edges, seeds, strict=True):
            add(edge, seed)
        while order:
            node = order.pop()
            grad = pending.pop(id(node), None)
            if grad is None or (wanted is not None and id(node) not in wanted):
                continue
            is_leaf = isinstance(node, TensorBase)
            if is_leaf if targets is None else id(node) in targets:
                arrived[id(node)] = (node, grad)
            if is_leaf:
                continue
            node.needs = tuple(
                [e is not None and (wanted is None or id(e) in wanted) for e in node.edges]
            )
            if not any(node.needs):
                continue
            for edge, found in zip(
                node.edges, node._input_gradients(grad, create_graph), strict=True
            ):
                if found is not None:
                    add(edge, found)
            if not retain_graph:
                node._release()
    return arrived


def _seed(output: TensorBase, grad: Any, caller: str) -> Tensor:
    """The gradient that the walk starts with at ``output``."""
    if not output.requires_grad:
        raise RuntimeError(
            f"[{caller}] the tensor (shape {output.shape}) does not require a gradient: nothing "
            "it was computed from has requires_grad=True"
        )
    if grad is None:
        if output.data.size != 1:
            raise RuntimeError(
                f"[{caller}] only a tensor with one element has a gradient of its own; for shape "
                f"{output.shape} pass the gradient of what is computed from it"
            )
        one = array_module(output.data).ones(output.data.shape, output.data.dtype)
        return output._wrap(one)
    if not hasattr(grad, "shape"):  # a number or a list
        grad = array_module(output.data).asarray(grad, output.data.dtype)
    seed: Tensor = grad if isinstance(grad, TensorBase) else output._wrap(grad)  # type: ignore[assignment]
    if device_of(seed.data) != device_of(output.data):
        raise ValueError(
            f"[{caller}] expected a gradient on {device_of(output.data)}, where the tensor is, got "
            f"one on {device_of(seed.data)}"
        )
    if seed.shape != output.shape:
        raise ValueError(
            f"[{caller}] expected a gradient of shape {output.shape}, got {seed.shape}"
        )
    return seed if seed.data.dtype == output.data.dtype else seed.astype(output.data.dtype)


def backward(
    output: TensorBase, grad: Any, create_graph: bool = False, retain_graph: bool | None = None
) -> None:
    """Add the gradient of ``output`` to ``.grad`` of every leaf it depends on."""
    seed = _seed(output, grad, "backward")
    retain = create_graph if retain_graph is None else retain_graph
    owned = {id(seed.data)}
    arrived = _walk([output], [seed], None, create_graph, retain)
    with set_grad_enabled(create_graph):
        for leaf, found in arrived.values():
            # .grad must be memory of its own: rules may hand one array to several inputs.
            shared = found.data.base is not None or id(found.data) in owned
            known = leaf.grad
            if known is not None:
                leaf.grad = known + found
            else:
                leaf.grad = found.clone() if shared else found
            owned.add(id(found.data))


def grad_of(
    outputs: Sequence[TensorBase],
    inputs: Sequence[TensorBase],
    grad_outputs: Sequence[Any] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> list[Tensor]:
    """Gradients of ``outputs`` with respect to ``inputs``, as a list; users call `grad`."""
    given = grad_outputs if grad_outputs is not None else [None] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(
            f"[grad] expected {len(outputs)} grad_outputs, one per output, got {len(given)}"
        )
    seeds = [_seed(output, g, "grad") for output, g in zip(outputs, given, strict=True)]
    for i, x in enumerate(inputs):
        if not x.requires_grad:
            raise RuntimeError(f"[grad] input {i} (shape {x.shape}) does not require a gradient")
    retain = create_graph if retain_graph is None else retain_graph
    keys = [id(x._edge()) for x in inputs]
    arrived = _walk(outputs, seeds, set(keys), create_graph, retain)
    found: list[Any] = [arrived[key][1] if key in arrived else None for key in keys]
    for i, x in enumerate(found):
        if x is None and not allow_unused:
            raise RuntimeError(
                f"[grad] input {i} (shape {inputs[i].shape}) was not used to compute the outputs; "
                "pass allow_unused=True to get None for it"
            )
    return found


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    """Gradients of ``outputs`` with respect to ``inputs``, returned instead of accumulated.

    Parameters
    ----------
    outputs, inputs:
        a tensor or a sequence of tensors; ``inputs`` may be leaves or intermediate results.
    grad_outputs:
        the gradient to start from, one per output (ones for outputs with a single element).
    create_graph:
        record the gradients' own graph, so that they can be differentiated again.
    retain_graph:
        keep the graph usable; defaults to ``create_graph``.
    allow_unused:
        give ``None`` for an input that the outputs do not depend on, instead of an error.

    Returns a tensor when ``inputs`` is a tensor, else a list of tensors.

    >>> x = Tensor(3.0, requires_grad=True)
    >>> first = grad(x ** 3, x, create_graph=True)      # 3 x²
    >>> grad(first, x).item()                           # 6 x
    18.0
    """
    single = isinstance(inputs, TensorBase)
    output_list = [outputs] if isinstance(outputs, TensorBase) else list(outputs)
    input_list = [inputs] if single else list(inputs)
    if grad_outputs is not None and isinstance(outputs, TensorBase):
        grad_outputs = [grad_outputs]
    found = grad_of(output_list, input_list, grad_outputs, create_graph, retain_graph, allow_unused)
    return found[0] if single else found
