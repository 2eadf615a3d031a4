"""Transforms of functions of tensors: derivatives of any kind, and batches.

Arguments and results are tensors in lists, tuples and dicts. What is differentiated is wrapped
anew, so that transforms nest, and hides nothing: a gradient for which somebody outside may want a
graph has one. (The names, and what they return, are those of ``torch.func``, but for `hvp`.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .autograd import TensorBase
from .autograd.backward import grad as grad_of_tensors
from .autograd.backward import grad_of, topological
from .autograd.batching import BatchLevel, Randomness, lifted
from .autograd.forward import ForwardLevel, tangents_of
from .autograd.fused import Alias
from .autograd.levels import as_leaf, bottoms
from .autograd.mode import mode, set_grad_enabled
from .backend.dtypes import is_float
from .pytree import Branch, Constant, TreeDef, flatten, rebuild
from .tensor import Tensor

Argnums = int | Sequence[int]
CHUNK = 256  # rows or columns of a Jacobian that are computed at once


class Tree:
    """The tensors of a value, and its structure without them."""

    def __init__(self, value: Any, what: str) -> None:
        leaves: list[Any] = []
        try:
            self.shape: TreeDef = flatten(value, leaves, once=False)
        except TypeError as error:
            raise TypeError(f"{what}: {error}") from None
        self.leaves: list[Any] = [x if isinstance(x, TensorBase) else Tensor(x) for x in leaves]

    def with_leaves(self, leaves: Sequence[Any]) -> Any:
        """The value with others in their places."""
        return rebuild(self.shape, leaves)

    @property
    def only(self) -> Any:
        """The value's one tensor, where it is one itself; else None."""
        one = len(self.leaves) == 1 and not isinstance(self.shape, Branch | Constant)
        return self.leaves[0] if one else None


# --- what is differentiated ---------------------------------------------------------------------


class _Run:
    """One run of a function whose result is differentiated by some of its arguments."""

    def __init__(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], argnums: Sequence[int],
        kwargs: dict[str, Any], has_aux: bool,
    ) -> None:  # fmt: skip
        self.name = name
        self.trees = [Tree(args[i], f"[{name}] argument {i}") for i in argnums]
        given = list(args)
        self.fresh: list[Any] = []
        recording = mode.recording
        with set_grad_enabled(True):
            for i, tree in zip(argnums, self.trees, strict=True):
                leaves = [self._leaf(x, i, recording) for x in tree.leaves]
                self.fresh += leaves
                given[i] = tree.with_leaves(leaves)
            result = fn(*given, **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"[{name}] expected the function to return (result, aux), as has_aux says, got "
                f"{type(result).__name__}"
            )
        result, aux = result if has_aux else (result, None)
        self.result = Tree(result, f"[{name}] the result")
        self.keeps = recording and self._is_seen_from_outside()
        self.aux = self._shown(Tree(aux, f"[{name}] aux")) if has_aux else None

    def _leaf(self, x: Any, argument: int, recording: bool) -> Any:
        if not is_float(x.dtype):
            raise TypeError(
                f"[{self.name}] expected floating-point tensors to differentiate by, got dtype "
                f"{x.dtype} in argument {argument}"
            )
        wide = lifted(x)
        return Alias()(wide) if recording and wide.requires_grad else as_leaf(wide)

    def _is_seen_from_outside(self) -> bool:
        """Whether somebody else may want to differentiate what comes of this."""
        own = {id(part) for x in self.fresh for part in bottoms(x)}
        roots = [part._edge() for y in self.result.leaves for part in bottoms(y)]
        return any(
            isinstance(edge, TensorBase) and id(edge) not in own for edge in topological(roots)
        )

    def gradients(self, seeds: Sequence[Any], retain_graph: bool = False) -> list[Any]:
        """Jᵀ seeds by each tensor of the arguments, one after the other."""
        pairs = [(y, u) for y, u in zip(self.result.leaves, seeds, strict=True) if y.requires_grad]
        found: list[Any] = [None] * len(self.fresh)
        if pairs:
            found = grad_of(
                [y for y, _ in pairs], self.fresh, [u for _, u in pairs], self.keeps,
                retain_graph or self.keeps, allow_unused=True,
            )  # fmt: skip
        return [x._zeros() if g is None else g for x, g in zip(self.fresh, found, strict=True)]

    def in_trees(self, by_leaf: Sequence[Any]) -> list[Any]:
        """One value for each differentiated argument, in its structure."""
        found, start = [], 0
        for tree in self.trees:
            found.append(tree.with_leaves(by_leaf[start : start + len(tree.leaves)]))
            start += len(tree.leaves)
        return found

    def _shown(self, tree: Tree) -> Any:
        return tree.with_leaves(
            [x if self.keeps or not x.requires_grad else x.detach() for x in tree.leaves]
        )

    def value(self) -> Any:
        """The function's result, for the caller."""
        return self._shown(self.result)

    def loss(self) -> Any:
        """The one element that a gradient is of."""
        y = self.result.only
        if y is None or y.data.size != 1 or not is_float(y.dtype):
            got = "no single tensor" if y is None else f"shape {y.shape}, dtype {y.dtype}"
            raise TypeError(
                f"[{self.name}] expected the function to return one floating-point tensor of one "
                f"element, got {got}"
            )
        return y


def _numbers(name: str, argnums: Argnums, args: Sequence[Any]) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int | np.integer) else tuple(argnums)
    for i in numbers:
        if not isinstance(i, int | np.integer) or not -len(args) <= i < len(args):
            raise ValueError(f"[{name}] argnums {argnums}: there are {len(args)} arguments")
    places = tuple([int(i) % len(args) for i in numbers])
    if len(set(places)) < len(places):
        raise ValueError(f"[{name}] argnums {argnums}: expected each argument once")
    return places


def _expect_function(name: str, fn: Any) -> None:
    if not callable(fn):
        raise TypeError(f"[{name}] expected a function, got {type(fn).__name__}")


# --- reverse mode -------------------------------------------------------------------------------


def value_and_grad(
    fn: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns what ``fn`` returns and its gradient.

    fn:
        takes tensors (in lists, tuples, dicts) and returns a tensor of one element; with
        ``has_aux`` a pair of that and anything else, which is handed on.
    argnums:
        which positional arguments to differentiate by: a number, or several.

    The function returned gives ``(value, gradient)``, with ``has_aux`` ``((value, aux),
    gradient)``; the gradient has the structure of the argument, for several argnums it is a tuple.
    Where the result does not depend on a tensor the gradient is 0.

    >>> value_and_grad(lambda x: (x ** 3).sum())(Tensor([2.0]))
    (Tensor(8.), Tensor([12.]))
    """
    _expect_function("value_and_grad", fn)
    return _differentiating("value_and_grad", fn, argnums, has_aux, with_value=True)


def _differentiating(
    name: str, fn: Callable[..., Any], argnums: Argnums, has_aux: bool, with_value: bool
) -> Callable[..., Any]:
    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        run = _Run(name, fn, args, _numbers(name, argnums, args), kwargs, has_aux)
        found = run.in_trees(run.gradients([None] if run.loss() is not None else []))
        gradient = found[0] if isinstance(argnums, int | np.integer) else tuple(found)
        if not with_value:
            return (gradient, run.aux) if has_aux else gradient
        value = run.value()
        return ((value, run.aux) if has_aux else value), gradient

    return transformed


def grad(
    outputs: Any,
    inputs: Any = None,
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
    *,
    argnums: Argnums | None = None,
    has_aux: bool = False,
) -> Any:
    """Gradients of tensors, or of a function: ``grad(fn)`` is the function ∇fn.

    Of a function
    -------------
    outputs:
        a function that returns a tensor of one element. ``grad(fn, argnums=0, has_aux=False)``
        returns a function of the same arguments that returns the gradient by those that
        ``argnums`` names; see `value_and_grad`, of which it is the second half.

    Of tensors
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
    >>> grad(grad(lambda x: x ** 3))(Tensor(3.0)).item()
    18.0
    """
    if callable(outputs) and not isinstance(outputs, TensorBase):
        if argnums is None:  # grad(fn, 1), as in torch.func and JAX
            argnums = 0 if inputs is None else inputs
        return _differentiating("grad", outputs, argnums, has_aux, with_value=False)
    if inputs is None:
        raise TypeError("[grad] expected inputs to differentiate by, or a function as outputs")
    return grad_of_tensors(outputs, inputs, grad_outputs, create_graph, retain_graph, allow_unused)


def vjp(fn: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """``fn(*primals)``, and the function that multiplies by its transposed Jacobian.

    Returns ``(result, pull)``, with ``has_aux`` ``(result, pull, aux)``. ``pull(u)``, for u of the
    structure, shapes and dtypes of the result, returns a tuple of Jᵀu, one for each primal. It may
    be called again.

    >>> y, pull = vjp(lambda x: x.sin(), Tensor([0.0]))
    >>> pull(Tensor([2.0]))
    (Tensor([2.]),)
    """
    _expect_function("vjp", fn)
    run = _Run("vjp", fn, primals, range(len(primals)), {}, has_aux)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        seeds = _matching("vjp", "the result", run.result, cotangents)
        return tuple(run.in_trees(run.gradients(seeds, retain_graph=True)))

    return (run.value(), pull, run.aux) if has_aux else (run.value(), pull)


def _matching(name: str, what: str, tree: Tree, given: Any) -> list[Any]:
    """The tensors of ``given``, which must be like those of ``tree``."""
    other = Tree(given, f"[{name}] {what}")
    if other.shape != tree.shape:
        raise ValueError(f"[{name}] expected the structure of {what}, got another")
    for x, t in zip(tree.leaves, other.leaves, strict=True):
        if (t.shape, t.dtype, t.device) != (x.shape, x.dtype, x.device):
            raise ValueError(
                f"[{name}] expected shape {x.shape}, dtype {x.dtype} on {x.device}, as {what} has, "
                f"got shape {t.shape}, dtype {t.dtype} on {t.device}"
            )
    return other.leaves


def hvp(fn: Callable[..., Any], primals: Any, vectors: Any) -> Any:
    """The product of the Hessian of ``fn`` at ``primals`` with ``vectors``, by two passes.

    primals, vectors:
        tuples of arguments and of what is like them; or one of each. ``fn`` returns a tensor of
        one element.

    Returns a tuple like ``primals``, of Σ_j ∂²fn / ∂x_i ∂x_j · v_j; for one primal, that alone.

    >>> hvp(lambda x: (x ** 3).sum(), (Tensor([2.0]),), (Tensor([1.0]),))
    Tensor([12.])
    """
    _expect_function("hvp", fn)
    primals, vectors = _as_tuple(primals), _as_tuple(vectors)
    gradient = grad(fn, argnums=tuple(range(len(primals))))
    with set_grad_enabled(True):
        run = _Run("hvp", gradient, primals, range(len(primals)), {}, False)
    run.keeps = run.keeps and mode.recording
    found = run.in_trees(run.gradients(_matching("hvp", "the primals", run.result, vectors)))
    return found[0] if len(found) == 1 else tuple(found)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


# --- forward mode -------------------------------------------------------------------------------


def jvp(
    fn: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """``fn(*primals)`` and the derivative along ``tangents``, in one pass forward.

    primals, tangents:
        tuples of arguments, and of directions of the same structure, shapes and dtypes.

    Returns ``(result, J t)``, with ``has_aux`` ``(result, J t, aux)``. An operation of yours whose
    backward works on arrays has no forward mode but by a ``jvp`` of its own, and raises.

    >>> jvp(lambda x: x.sin(), (Tensor([0.0]),), (Tensor([2.0]),))
    (Tensor([0.]), Tensor([2.]))
    """
    _expect_function("jvp", fn)
    primals, tangents = _as_tuple(primals), _as_tuple(tangents)
    if len(primals) != len(tangents):
        raise ValueError(
            f"[jvp] expected a tangent for each of {len(primals)} primals, got {len(tangents)}"
        )
    tree = Tree(primals, "[jvp] the primals")
    along = _matching("jvp", "the primals", tree, tangents)
    for x in tree.leaves:
        if not is_float(x.dtype):
            raise TypeError(f"[jvp] expected floating-point primals, got dtype {x.dtype}")
    level = ForwardLevel()
    with level.entered():
        result = fn(*tree.with_leaves([level.dual(x, t) for x, t in zip(tree.leaves, along, strict=True)]))  # fmt: skip  # noqa: E501
        result, aux = result if has_aux else (result, None)
        found = Tree(result, "[jvp] the result")
        pairs = list(tangents_of(level, found.leaves))
        moved = tuple(found.with_leaves([pair[i] for pair in pairs]) for i in (0, 1))
        if has_aux:
            rest = Tree(aux, "[jvp] aux")
            return (*moved, rest.with_leaves([level.split(x)[0] for x in rest.leaves]))
    return moved


# --- Jacobians ----------------------------------------------------------------------------------


def jacobian(
    fn: Callable[..., Any],
    argnums: Argnums = 0,
    mode: str = "auto",
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``fn``: ∂ result / ∂ argument.

    For a tensor result of shape R and a tensor argument of shape A it has shape (*R, *A); for
    results and arguments that hold several, one for each pair, in the structure of the result and,
    in that, of the argument (of a tuple of arguments for several ``argnums``).

    mode:
        "reverse" computes it by rows, a pass back for each element of the result, "forward" by
        columns, a pass forward for each element of the argument; "auto" whichever are fewer.
    chunk_size:
        how many rows or columns are computed at once (by `vmap`), 256 when None: memory is that
        many times what one takes.

    >>> jacobian(lambda x: x ** 2)(Tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]])
    """
    _expect_function("jacobian", fn)
    if mode not in ("auto", "forward", "reverse"):
        raise ValueError(f'[jacobian] expected mode "auto", "forward" or "reverse", got {mode!r}')
    chunk = CHUNK if chunk_size is None else chunk_size
    if not isinstance(chunk, int | np.integer) or chunk < 1:
        raise ValueError(f"[jacobian] expected chunk_size of at least 1, got {chunk_size!r}")

    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        numbers = _numbers("jacobian", argnums, args)
        single = isinstance(argnums, int | np.integer)
        trees = [Tree(args[i], f"[jacobian] argument {i}") for i in numbers]
        columns = sum(x.data.size for tree in trees for x in tree.leaves)
        way = mode
        if way != "forward":
            run = _Run("jacobian", fn, args, numbers, kwargs, has_aux)
            rows = sum(y.data.size for y in run.result.leaves)
            way = "reverse" if way == "reverse" or rows <= columns else "forward"
        if way == "reverse":
            blocks = _by_rows(run, chunk)
            result, aux, arguments = run.result, run.aux, run.trees
        else:
            result, aux, blocks = _by_columns(fn, args, numbers, trees, kwargs, has_aux, chunk)
            arguments = trees
        found = result.with_leaves([_nested(arguments, row, single) for row in blocks])
        return (found, aux) if has_aux else found

    return transformed


def _nested(trees: Sequence[Tree], row: Sequence[Any], single: bool) -> Any:
    """The blocks of one tensor of the result, in the structure of the arguments."""
    found, start = [], 0
    for tree in trees:
        found.append(tree.with_leaves(row[start : start + len(tree.leaves)]))
        start += len(tree.leaves)
    return found[0] if single else tuple(found)


def _by_rows(run: _Run, chunk: int) -> list[list[Any]]:
    """Of each tensor of the result, the derivatives by each of the arguments."""
    blocks = []
    for k, y in enumerate(run.result.leaves):

        def pull(seed: Any, k: int = k) -> Any:
            seeds = [seed if i == k else None for i in range(len(run.result.leaves))]
            pairs = [(y, u) for y, u in zip(run.result.leaves, seeds, strict=True) if u is not None]
            if not pairs[0][0].requires_grad:
                return [x._zeros() for x in run.fresh]
            found = grad_of([pairs[0][0]], run.fresh, [seed], run.keeps, True, allow_unused=True)
            return [x._zeros() if g is None else g for x, g in zip(run.fresh, found, strict=True)]

        rows = _over_units(pull, y, chunk)
        blocks.append(
            [part.reshape(*y.shape, *x.shape) for part, x in zip(rows, run.fresh, strict=True)]
        )
    return blocks


def _over_units(fn: Callable[[Any], list[Any]], like: Any, chunk: int) -> list[Any]:
    """``fn`` of each unit vector of the space of ``like``, results stacked."""
    size = like.data.size
    parts: list[list[Any]] = []
    for start in range(0, size, chunk):
        stop = min(start + chunk, size)
        units = _units(like, start, stop)
        parts.append(vmap(fn)(units))
    if not parts:
        return [part._zeros() for part in vmap(fn)(_units(like, 0, 1, empty=True))]
    return [_joined(column) for column in zip(*parts, strict=True)]


def _units(like: Any, start: int, stop: int, empty: bool = False) -> Tensor:
    """Unit vectors ``start`` … ``stop`` - 1 of the space of ``like``, (n, *shape)."""
    size = max(like.data.size, 1)
    rows = np.zeros((stop - start, size))
    rows[np.arange(stop - start), np.arange(start, stop)] = 1
    shape = like.shape
    return Tensor(rows.astype(like.dtype), device=like.device).reshape(stop - start, *shape)


def _joined(parts: Sequence[Any]) -> Any:
    from .ops.shape import concat

    return parts[0] if len(parts) == 1 else concat(list(parts))


def _by_columns(
    fn: Callable[..., Any], args: Sequence[Any], numbers: Sequence[int], trees: Sequence[Tree],
    kwargs: dict[str, Any], has_aux: bool, chunk: int,
) -> tuple[Tree, Any, list[list[Any]]]:  # fmt: skip
    """The result, aux, and the derivatives by each tensor of the arguments."""
    leaves = [x for tree in trees for x in tree.leaves]
    shown: dict[str, Any] = {}

    def along(k: int, direction: Any) -> Any:
        level = ForwardLevel()
        with level.entered():
            duals = [level.dual(x, direction if i == k else None) for i, x in enumerate(leaves)]
            given, start = list(args), 0
            for i, tree in zip(numbers, trees, strict=True):
                given[i] = tree.with_leaves(duals[start : start + len(tree.leaves)])
                start += len(tree.leaves)
            result = fn(*given, **kwargs)
            result, aux = result if has_aux else (result, None)
            tree = Tree(result, "[jacobian] the result")
            shown["result"] = Tree(
                tree.with_leaves([level.split(y)[0] for y in tree.leaves]), "[jacobian] the result"
            )
            rest = Tree(aux, "[jacobian] aux")
            shown["aux"] = rest.with_leaves([level.split(x)[0] for x in rest.leaves])
            return [tangent for _, tangent in tangents_of(level, tree.leaves)]

    by_argument = [_over_units(functools.partial(along, k), x, chunk) for k, x in enumerate(leaves)]
    results = shown["result"]
    blocks = []
    for j, y in enumerate(results.leaves):
        row = []
        for x, columns in zip(leaves, by_argument, strict=True):
            part = columns[j]  # (A, *R)
            axes = (*range(1, len(part.shape)), 0)
            row.append(part.permute(axes).reshape(*y.shape, *x.shape))
        blocks.append(row)
    return results, shown["aux"], blocks


def hessian(
    fn: Callable[..., Any], argnums: Argnums = 0, chunk_size: int | None = None
) -> Callable[..., Any]:
    """A function that returns the second derivatives of ``fn``, whose result has one element.

    For a tensor argument of shape A they have shape (*A, *A); for several, they are nested as
    `jacobian` of the gradient is. ``chunk_size`` is that of `jacobian`.

    >>> hessian(lambda x: (x ** 3).sum())(Tensor([1.0, 2.0]))
    Tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    _expect_function("hessian", fn)
    gradient = _differentiating("hessian", fn, argnums, False, with_value=False)
    return jacobian(gradient, argnums, "reverse", chunk_size=chunk_size)


# --- batches ------------------------------------------------------------------------------------


def vmap(
    fn: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    randomness: Randomness = "different",
) -> Callable[..., Any]:
    """A function that does for a batch at once what ``fn`` does for one element.

    in_axes:
        along which axis each positional argument holds the elements: an integer for all, or a
        tuple of one for each argument, where None stands for an argument that is the same for all
        elements. In the place of an integer may stand a list, tuple or dict of the argument's own
        structure. Keyword arguments hold the elements along axis 0.
    out_axes:
        along which axis the results hold them; structured likewise.
    randomness:
        "different": what an operation draws is for element b what the b-th of as many calls would
        draw; "same": all elements get what the first would.

    Operations that have no rule for batches are done one element after the other, and say so once.
    Inside of ``fn`` there are no values to look at: ``.item()``, ``.numpy()`` and ``if x > 0`` are
    errors. Batch norm in training moves its statistics element by element.

    >>> vmap(lambda a, b: a @ b)(Tensor.ones(5, 3), Tensor.ones(5, 3)).shape
    (5,)
    """
    _expect_function("vmap", fn)
    if randomness not in ("different", "same"):
        raise ValueError(f'[vmap] expected randomness "different" or "same", got {randomness!r}')

    @functools.wraps(fn, updated=())
    def transformed(*args: Any, **kwargs: Any) -> Any:
        given = Tree((args, kwargs), "[vmap] the arguments")
        axes = _axes_in(in_axes, args, kwargs, given)
        size = _batch_size(given.leaves, axes)
        level = BatchLevel(size, randomness)
        with level.entered():
            inner = [
                x if axis is None else level.batched(_moved(x, axis, 0))
                for x, axis in zip(given.leaves, axes, strict=True)
            ]
            inner_args, inner_kwargs = given.with_leaves(inner)
            found = Tree(fn(*inner_args, **inner_kwargs), "[vmap] the result")
            places = _prefix("out_axes", out_axes, found.shape, len(found.leaves))
            outer = []
            for y, axis in zip(found.leaves, places, strict=True):
                if axis is None:
                    if level.has(y):
                        raise ValueError(
                            "[vmap] out_axes is None for a result that differs from element to "
                            "element"
                        )
                    outer.append(y)
                else:
                    outer.append(_moved(level.whole(y), 0, axis))
            return found.with_leaves(outer)

    return transformed


def _axes_in(in_axes: Any, args: Any, kwargs: Any, given: Tree) -> list[int | None]:
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise ValueError(
            f"[vmap] expected in_axes for {len(args)} arguments, got {len(in_axes)}: {in_axes}"
        )
    for_args = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    assert isinstance(given.shape, Branch)
    places = _prefix("in_axes", (for_args, 0), given.shape, len(given.leaves))
    return [
        None if axis is None else _axis("in_axes", axis, x)
        for x, axis in zip(given.leaves, places, strict=True)
    ]


def _prefix(name: str, axes: Any, shape: TreeDef, count: int) -> list[Any]:
    """An axis, or None, for each leaf of a structure, of which ``axes`` is the upper part."""
    found: list[Any] = []

    def walk(axes: Any, shape: TreeDef) -> None:
        if isinstance(shape, Branch):
            if isinstance(axes, list | tuple | dict):
                keys = list(shape.keys) if isinstance(axes, dict) else range(len(shape.children))
                if len(axes) != len(shape.children) or (
                    isinstance(axes, dict) and set(axes) != set(shape.keys)
                ):
                    raise ValueError(f"[vmap] {name} {axes}: expected the structure of the values")
                for key, child in zip(keys, shape.children, strict=True):
                    walk(axes[key], child)
            else:
                for child in shape.children:
                    walk(axes, child)
        elif not isinstance(shape, Constant):
            if axes is not None and (
                not isinstance(axes, int | np.integer) or isinstance(axes, bool)
            ):
                raise ValueError(f"[vmap] {name}: expected an integer or None, got {axes!r}")
            found.append(axes)

    walk(axes, shape)
    assert len(found) == count
    return found


def _axis(name: str, axis: int, x: Any) -> int:
    if not -len(x.shape) <= axis < len(x.shape):
        raise ValueError(f"[vmap] {name}: there is no axis {axis} in shape {x.shape}")
    return int(axis) % len(x.shape)


def _batch_size(leaves: Sequence[Any], axes: Sequence[int | None]) -> int:
    sizes = {x.shape[a] for x, a in zip(leaves, axes, strict=True) if a is not None}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [x.shape for x in leaves]
        raise ValueError(
            "[vmap] expected arguments that hold the same number of elements, at least 1, along "
            f"their axes {list(axes)}, got shapes {shapes}"
        )
    return int(sizes.pop())


def _moved(x: Any, source: int, target: int) -> Any:
    """x with one axis in another place."""
    if source == target:
        return x
    ndim = len(x.shape)
    order = [i for i in range(ndim) if i != source]
    order.insert(target % ndim, source)
    return x.permute(order)
