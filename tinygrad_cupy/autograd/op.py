"""Operations, and the graph they are recorded in while the program runs.

An operation is a class. Calling an instance on tensors computes the result and, where a gradient
may be wanted, turns that instance into one node of the graph: it remembers where its inputs came
from (its *edges*) and what its backward rule declared it would read (its *saved* values), nothing
else. Backward rules, which `backward` runs, take and return tensors, so a gradient can itself be
differentiated.

    class Exp(Op):
        saves = ("y",)                          # an input of forward by its name, or y: the output

        def forward(self, x): return self.xp.exp(x)      # arrays in, array out
        def backward(self, grad, y): return grad * y     # tensors in, tensors out
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..backend import Array, cuda_count, device_of, is_cuda, may_share_memory, module_and_device
from ..backend.capture import active, launch_all
from .chosen import alone, summed
from .levels import Tracer
from .mode import mode
from .programs import launched, on_cpu, rule_on_cpu, traced
from .tensor_base import PACKAGE, Edge, TensorBase, Version, expect_real
from .views import FIXED, link, refresh_all

if TYPE_CHECKING:
    from .batching import BatchLevel
    from .typing import Tensor


def names_of_inputs(cls: type[Op]) -> list[str]:
    """What ``forward`` of an operation calls its inputs, whatever it calls the operation itself."""
    names = list(inspect.signature(cls.forward).parameters)
    return names if isinstance(inspect.getattr_static(cls, "forward"), staticmethod) else names[1:]


# What makes a node of an operation, among its attributes.
ENGINE = frozenset(
    (
        *("xp", "needs", "edges", "inputs", "absorbing", "absorbed", "hooks"),
        *("_given", "_saved", "_watched", "_kind", "chosen"),
    )
)


class Op:
    """One operation and, once recorded, one node of the graph.

    Subclasses set

    ``saves``
        names of what ``backward`` reads, in the order it takes them: arguments of ``forward``, or
        ``"y"`` for the output. Only these are kept, and only these are checked for in-place writes.
    ``saved_for``
        for each saved name that only one input's gradient reads, the position of that input (else
        None). Where that gradient is not wanted, nothing is kept, and ``backward`` gets None.
    ``broadcasts``
        the inputs are broadcast against each other (and promoted to one dtype); the engine then
        sums each gradient back to its input's shape and casts it to its input's dtype.
    ``differentiable``
        False for comparisons and the like: their results are never part of a graph.
    ``view``
        the output may share memory with the first input, and so shares its version counter. It is
        linear in that input, the only one, which it is a view of: see `views`.
    ``elementwise``
        each element of the output is computed from those at its place in the inputs, once these
        are broadcast. Forward mode and batching then follow of themselves.
    ``only_real``, ``holomorphic``
        the first for what complex numbers have not (an order, say): such inputs raise
        ``TypeError``. The rules of all others are right for complex numbers: a gradient in a rule
        is the c of dL = Re(c dz), so that a holomorphic function has the rule of real numbers. An
        elementwise one that is neither linear nor holomorphic, as the absolute value, says
        ``holomorphic = False``.
    ``linear``, ``added``, ``jointly``
        names of inputs that the operation is linear in, each by itself (or ``jointly``, as a sum
        is), and of those that are added along axis 1, as a bias is. Forward mode follows; without
        a word it takes two passes back.

    ``autocast``
        under `autocast` "narrow" runs in 16 bits, "wide" in float32; "" in what it is given.

    While running, ``self.xp`` is ``numpy`` or ``cupy`` and, in ``backward``, ``self.needs`` says
    for each input whether its gradient is wanted (``None`` may be returned where it is not).
    ``self.absorbing`` and ``self.absorbed`` are told of `absorbs`.
    What ``forward`` decided for ``backward`` (a mask, an argmax) is kept as attributes. An
    elementwise operation that takes each element from one of its inputs says in ``backward``, as
    ``self.chosen``, where that is of each of them (a boolean tensor, or None for everywhere): what
    was not chosen has no gradient, whatever slopes lie behind, see `chosen`. One that
    ``rearranges`` gives each element of its one input another place: its backward does it back.

    ``backward`` is differentiated in its turn where higher derivatives are wanted. One that works
    on arrays can not be, and raises then. So does one that reads floating-point values which
    ``forward`` kept as attributes, for they may depend on its inputs: what backward reads of those
    belongs into ``saves``. ``constants`` names those that do not depend on them (a mask that is
    drawn, a size as a float).

    >>> class Reversed(tg.Op):
    ...     linear = ("x",)
    ...     def forward(self, x):
    ...         return x[::-1]
    ...     def backward(self, grad):
    ...         return Reversed()(grad)
    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (Reversed()(x) * Tensor([1.0, 0.0, 0.0])).sum().backward()
    >>> x.grad
    Tensor([0., 0., 1.])
    """

    saves: ClassVar[tuple[str, ...]] = ()
    saved_for: ClassVar[tuple[int | None, ...]] = ()
    broadcasts: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    view: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    by_number: ClassVar[bool] = False  # whether numbers among the inputs choose what is computed
    only_real: ClassVar[bool] = False
    autocast: ClassVar[str] = ""
    holomorphic: ClassVar[bool] = True
    rearranges: ClassVar[bool] = False
    chosen: Sequence[Any] = ()
    linear: ClassVar[tuple[str, ...]] = ()
    added: ClassVar[tuple[str, ...]] = ()
    jointly: ClassVar[bool] = False
    absorbing: bool = False
    absorbed: bool = False
    hooks: Any = None  # of the result, see `hooks`
    _asks: ClassVar[bool] = False  # whether it has an `absorbs`
    _takes_part: ClassVar[bool] = False  # whether it has `part` and `store_part`
    constants: ClassVar[tuple[str, ...]] = ()
    _reads_attributes: ClassVar[bool] = True  # whether backward may, beside what is saved
    _foreign: ClassVar[bool] = False  # whether it is an operation of a user's
    _floats_of: ClassVar[Any]  # what its attributes hold of floating-point values, `array_rules`
    _given: Sequence[Any] = ()  # of a user's: those from before forward
    _names: ClassVar[tuple[str, ...]] = ()  # of the inputs
    _positions: ClassVar[tuple[int, ...]] = ()  # of each saved name: its input's position, -1 for y
    _saved_for: ClassVar[tuple[int | None, ...]] = ()  # `saved_for`, one for each saved name

    xp: Any
    needs: tuple[bool, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[tuple[tuple[int, ...], Any] | None, ...]  # shape and dtype; None for a scalar
    _saved: list[tuple[Any, Edge, Version | None, int]] | None
    _watched: Sequence[tuple[Array, Version, int]] = ()
    _kind: type[TensorBase]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "read_for" in vars(cls):
            raise TypeError(f"[{cls.__name__}] read_for is called saved_for")
        names = names_of_inputs(cls)
        unknown = set(cls.saves) - {*names, "y"}
        if unknown:
            raise TypeError(f"[{cls.__name__}] saves {unknown}, but forward takes {names}")
        unknown = {*cls.linear, *cls.added} - set(names)
        if unknown:
            raise TypeError(f"[{cls.__name__}] is linear in {unknown}, but forward takes {names}")
        cls._names = tuple(names)
        cls._positions = tuple(names.index(name) if name in names else -1 for name in cls.saves)
        cls._saved_for = cls.saved_for or (None,) * len(cls.saves)
        cls._asks = cls.absorbs is not Op.absorbs
        cls._foreign = cls.__module__.partition(".")[0] != PACKAGE

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: not what makes a node of it."""
        return {name: x for name, x in self.__dict__.items() if name not in ENGINE}

    def forward(self, *inputs: Any) -> Array:
        raise NotImplementedError

    def backward(self, grad: Tensor, *saved: Any) -> Any:
        raise NotImplementedError

    def jvp(self, y: Tensor, inputs: Sequence[Any], tangents: Sequence[Any]) -> Any:
        """The tangent of the output y for those of the inputs (None where there is none).

        In tensor operations. An operation that has none gets its forward mode as ``elementwise``
        and ``linear`` say, or from its backward.
        """
        raise NotImplementedError

    def absorbs(self, producer: Any) -> bool:
        """Whether backward can do a step of the backward of ``producer`` as well.

        That made the first input. Where it can, ``self.absorbing`` says so in this backward, and in
        that of the producer ``self.absorbed``, unless a gradient came from elsewhere too: the step
        must be one that may be done twice. Asked where no graph of the gradient is wanted.
        """
        return False

    def batch(self, b: BatchLevel, *inputs: Any) -> Any:
        """The outputs (B, …) of a batch, where b says which inputs are batched.

        Without one, and not ``elementwise``, an operation is done for one element after the other.
        """
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> Tensor:
        """Compute the operation on tensors (and Python scalars); record it where wanted."""
        tensors = [x for x in inputs if isinstance(x, TensorBase)]
        first = tensors[0]
        if len(tensors) > 1:
            self._check_devices(tensors)
        if active.busy:
            if active.cast is not None and self.autocast:
                inputs = active.cast.inputs(self.autocast, inputs)
                tensors = [x for x in inputs if isinstance(x, TensorBase)]
                first = tensors[0]
            if (found := self._elsewhere(tensors, inputs)) is not None:
                return found
        if self.only_real:
            expect_real(type(self).__name__, *tensors)
        if type(first._facts) is np.ndarray:
            self.xp, device = np, None
        else:
            self.xp, device = module_and_device(first._facts)
            device = None if self.xp is np else device  # a symbol stands for an array of the host
        if self._foreign and mode.recording and len(self.__dict__) > 1:  # more than xp
            self._given = self._floats_of()  # what forward adds may depend on the inputs
        try:
            given = [x._facts if isinstance(x, TensorBase) else x for x in inputs]
            if device is None:
                array = on_cpu(self, given) if self.elementwise else self.forward(*given)
            elif self._foreign or self.view or not self.elementwise:
                with device:
                    launch_all()
                    array = self.forward(*given)
            else:
                with device:
                    array = self._on_gpu(given)
        except ValueError as error:
            self._blame_shapes(tensors, error)
            raise
        recording = mode.recording
        if self.view and may_share_memory(array, first._facts):
            result = first._alias(array)
            if first._view is None and (recording or not first._requires_grad):
                result._view = (first, self, first._version.recorded, 1)  # as `link`, sooner
            else:
                link(result, first, self, recording)
        else:
            result = first._wrap(array)
            if active.chains is not None:
                active.chains.mark(result)
        if recording and self.differentiable:
            self._record(inputs, result)
        return result

    def _on_gpu(self, given: list[Any]) -> Array:
        """The result of an elementwise operation, by a kernel that is generated for it."""
        found, chains = traced(self, given), active.chains
        if found is not None and chains is None:
            return launched(self, found, given)
        if found is not None and (made := chains.add(found.compiled.program, given)) is not None:
            found.leave(self, made[1:])
            return made[0]
        launch_all()
        return self.forward(*given)

    def _elsewhere(self, tensors: list[TensorBase], inputs: tuple[Any, ...]) -> Tensor | None:
        """What a transform makes of this call, where it is one's; a capture is told of it."""
        if active.level is not None:
            refresh_all(tensors)
            traced = [x for x in tensors if isinstance(x, Tracer)]
            if traced:
                level = max([x._level for x in traced], key=lambda level: level.depth)
                found: Tensor = level.alive().apply(self, inputs)
                if self.view and found._version is tensors[0]._version:
                    link(found, tensors[0], self, mode.recording)
                return found
            active.level.uses(tensors)
        if active.run is not None:
            active.run.uses(tensors)
        return None

    def again(self) -> Self:
        """The same operation, not called yet. (As `copy.copy`, in less time.)"""
        made: Self = object.__new__(type(self))
        made.__dict__.update(self.__getstate__())
        made._watched = self._watched
        return made

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
        self._watched = [(x._facts, x._version, x._version.count) for x in tensors]
        return self

    def _check_devices(self, tensors: list[TensorBase]) -> None:
        for x in tensors:
            if type(x._facts) is not np.ndarray:
                break
        else:
            return
        kinds = {type(x._facts) for x in tensors}
        if len(kinds) == 1 and is_cuda(tensors[0]._facts) and cuda_count() == 1:
            return
        for x in tensors:
            module_and_device(x._facts)  # raises for what is no array
        devices = {device_of(x._facts) for x in tensors}
        if len(devices) > 1:
            raise ValueError(
                f"[{type(self).__name__}] expected all inputs on one device, "
                f"got {' and '.join(sorted(devices))}; move one with .to(device)"
            )

    def _blame_shapes(self, tensors: list[TensorBase], error: ValueError) -> None:
        if self.broadcasts and type(error) is ValueError:
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
                edge = x._edge()
                edges.append(edge)
                known.append((x._facts.shape, x._facts.dtype))
                wanted = wanted or edge is not None
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
        for slot, reader in zip(self._positions, self._saved_for, strict=True):
            if reader is not None and edges[reader] is None:
                self._saved.append((None, None, None, 0))
                continue
            value = result if slot < 0 else inputs[slot]
            if isinstance(value, TensorBase):
                edge = None if slot < 0 else edges[slot]  # `self` is put in when y is read
                version = value._version
                self._saved.append((value._facts, edge, version, version.count))
            else:
                self._saved.append((value, None, None, 0))
        self._kind = result._plain if active.chains is not None else type(result)
        result._node = self
        result._requires_grad = True

    def _check_saved(self) -> None:
        """Raise where the saved values are gone, or something that backward reads was written."""
        if self._saved is None:
            raise RuntimeError(
                f"[{type(self).__name__}] this graph was already used by a backward pass, which "
                "freed its saved values; pass retain_graph=True to the first pass to use it again"
            )
        for value, version, count in self._watched:
            if version.count != count:
                self._expect_unwritten(value, version, count)
        for value, _, saved, count in self._saved:
            if saved is not None and saved.count != count:
                self._expect_unwritten(value, saved, count)

    def _expect_unwritten(self, value: Array, version: Version, count: int) -> None:
        line = version.overwritten(value, count)
        if line is not None:
            raise RuntimeError(
                f"[{type(self).__name__}] a value that its backward needs (shape "
                f"{tuple(value.shape)}) was written in place after it was used"
                f"{line and ', at ' + line}"
            )

    def _read_saved(self, connected: bool) -> list[Any]:
        """The saved values as tensors; ``connected`` to the graph where it will be extended."""
        self._check_saved()
        values: list[Any] = []
        if not self._saved:
            return values
        for slot, (value, kept, version, _) in zip(self._positions, self._saved, strict=True):
            if version is None:
                values.append(value)
                continue
            edge = self if slot < 0 else kept
            tensor = self._kind._wrap(value)
            if active.chains is not None:
                active.chains.mark(tensor)
            tensor._version = version
            if version.recorded:
                tensor._view = FIXED
            if connected and edge is not None:
                tensor._node, tensor._requires_grad = edge, True
            values.append(tensor)
        return values

    def _run_backward(self, grad: Tensor, create_graph: bool) -> Any:
        if self.elementwise and not create_graph and type(grad._facts) is np.ndarray:
            found = rule_on_cpu(self, grad)
            if found is not None:
                return found
        return self.backward(grad, *self._read_saved(create_graph))

    def _input_gradients(
        self, grad: Tensor, create_graph: bool, only: Any = None
    ) -> list[Tensor | None]:
        """The gradients by the inputs, of that by the output, which was chosen where ``only`` is.

        Where theirs count is left in ``self.chosen``, if that is not everywhere.
        """
        if only is None:
            result = self._run_backward(grad, create_graph)
        else:
            with np.errstate(all="ignore"):  # of what was not chosen
                result = self._run_backward(grad, create_graph)
        grads = result if isinstance(result, (tuple, list)) else (result,)
        if len(grads) != len(self.edges):
            raise RuntimeError(
                f"[{type(self).__name__}] expected {len(self.edges)} gradients from backward, "
                f"got {len(grads)}"
            )
        if only is not None and self.elementwise:
            grads = alone(self, grads, only)
        elif only is not None and self.rearranges:
            self.chosen = (self.backward(only.broadcast_to(grad.shape)),)
        found = [self._fit(grad, i) for i, grad in enumerate(grads)]
        if self.broadcasts and self.chosen:
            self.chosen = [
                summed(mask, grad.shape, x) for mask, x in zip(self.chosen, found, strict=True)
            ]
        return found

    def _fit(self, grad: Tensor | None, index: int) -> Tensor | None:
        """Check a gradient against its input; undo broadcasting and promotion where declared."""
        expected = self.inputs[index]
        if grad is None or expected is None or not self.needs[index]:
            return None
        shape, dtype = expected
        known = grad._facts if isinstance(grad, TensorBase) else None
        if known is not None and known.shape == shape and known.dtype == dtype:
            return grad
        if not isinstance(grad, TensorBase):
            raise TypeError(
                f"[{type(self).__name__}] expected backward to give tensors, got "
                f"{type(grad).__name__} for input {index}"
            )
        if grad._facts.dtype.kind == "c" and dtype.kind != "c":
            grad = grad.real  # dL = Re(c dx): what is imaginary says nothing of a real number
        if self.broadcasts:
            if grad.shape != shape:
                grad = grad.sum_to(shape)
            if grad._facts.dtype != dtype:
                grad = grad.astype(dtype)
        if grad.shape != shape or grad._facts.dtype != dtype:
            raise RuntimeError(
                f"[{type(self).__name__}] expected a gradient of shape {shape} and dtype {dtype} "
                f"for input {index}, got shape {grad.shape} and dtype {grad.dtype}"
            )
        return grad

    def _release(self) -> None:
        """Let go of everything the backward rule read; edges stay, so that a reuse is noticed."""
        if not self.view:
            self.__dict__ = {"edges": self.edges, "_saved": None}
            return
        self._saved = None  # it stays a view
        for name in ("inputs", "hooks", "_given", "_watched"):
            self.__dict__.pop(name, None)


class Elementwise(Op):
    """An operation whose output at a place is computed from its inputs at that place alone.

    Forward mode and batches follow of themselves; all else is as in `Op`.

    >>> class Cube(tg.Elementwise):
    ...     saves = ("x",)
    ...     def forward(self, x):
    ...         return x * x * x
    ...     def backward(self, grad, x):
    ...         return grad * 3 * x * x
    >>> tg.jvp(lambda x: Cube()(x), (Tensor([2.0]),), (Tensor([1.0]),))
    (Tensor([8.]), Tensor([12.]))
    """

    elementwise = True
