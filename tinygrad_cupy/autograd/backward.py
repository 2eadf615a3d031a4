"""The way back through a recorded graph: gradients, by `backward` and `grad`.

Of complex numbers users see PyTorch's gradient, dL/dx + i dL/dy for z = x + iy: the direction in
which the real L grows fastest. Rules are handed its conjugate c, for which dL = Re(c dz): so the
rule of a holomorphic function is that of real numbers, c f'(z), and only what is none (`Conj`,
`Abs`) has to think. The conjugation is done where a gradient enters and where it arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import array_module, device_of, is_alone, on_one_device, plain_array
from ..backend.capture import active
from ..backend.ranks import ranks
from .array_rules import input_gradients
from .hooks import hooked, hooks_of, leaves
from .levels import Tracer, innermost
from .mode import mode
from .op import Op
from .rule import Rule
from .tensor_base import Edge, TensorBase, facts_of

if TYPE_CHECKING:
    from .typing import Tensor


def topological(roots: Iterable[Edge]) -> list[Edge]:
    """Nodes and leaves below ``roots``, inputs before outputs.

    Iterative: graphs are deeper than Python's stack.
    """
    order: list[Edge] = []
    seen: set[int] = set()
    stack: list[Edge] = [root for root in roots if root is not None]
    while stack:
        edge = stack.pop()
        if edge is None:  # all that is below the one before it is in order
            order.append(stack.pop())
        elif id(edge) not in seen:
            seen.add(id(edge))
            if isinstance(edge, TensorBase):
                order.append(edge)
            else:
                stack += (edge, None)
                stack += [e for e in edge.edges if e is not None and id(e) not in seen]
    return order


def _leading_to(targets: set[int], order: list[Edge]) -> set[int]:
    """Ids of those in ``order`` that are a target or have one below them."""
    wanted: set[int] = set()
    for edge in order:
        if id(edge) in targets or (
            not isinstance(edge, TensorBase) and not wanted.isdisjoint([id(e) for e in edge.edges])
        ):
            wanted.add(id(edge))
    return wanted


def _walk(
    roots: Sequence[TensorBase],
    seeds: Sequence[Tensor],
    targets: set[int] | None,
    create_graph: bool,
    retain_graph: bool,
    through: bool = True,
) -> dict[int, tuple[Edge, Tensor]]:
    """Send ``seeds`` from ``roots`` down the graph; what arrived, by id of target or leaf.

    With ``targets`` (ids of nodes and leaves) only what lies between the roots and a target
    matters; without, every leaf is a target, and every node has one below it. Not ``through``, a
    target is an end.
    """
    edges = [root._edge() for root in roots]
    order = topological(edges)
    wanted = None if targets is None else _leading_to(targets, order)
    # Gradients, whether a step is absorbed, and where alone they count, see `Op`.
    pending: dict[int, tuple[Tensor, bool, Any]] = {}
    narrow: dict[int, Any] = {}  # dtypes of 16 bits, of gradients that are added up in float32
    arrived: dict[int, tuple[Edge, Tensor]] = {}
    # Gradients that are, so far, of parts of their tensors alone, and which parts.
    parted: dict[int, tuple[Tensor, list[Any]]] = {}

    def add(edge: Edge, grad: Tensor, only: Any) -> None:
        """To what arrived at ``edge`` before."""
        known = pending[id(edge)]
        if grad._facts.dtype.itemsize == 2:  # rounded once, however many there are
            narrow[id(edge)] = grad._facts.dtype
            grad = grad.astype(np.float32)
        both = None if only is None or known[2] is None else only | known[2]
        pending[id(edge)] = (known[0] + grad, False, both)

    watched = leaves.hooked or active.run is not None
    outer, recording, cast = mode.rule, mode.recording, active.cast
    rule = Rule(outer, targets is None)
    # Plain stores, for KeyboardInterrupt may be raised at the first step of an __exit__.
    try:
        mode.rule, mode.recording = rule, create_graph
        if cast is not None:  # rules run in what the forward pass ran in
            active.cast = None
        for edge, seed in zip(edges, seeds, strict=True):
            if id(edge) in pending:
                add(edge, seed, None)
            else:
                pending[id(edge)] = seed, False, None
        while order:
            node = order.pop()
            key = id(node)
            if key not in pending or (wanted is not None and key not in wanted):
                continue
            grad, absorbed, only = pending.pop(key)
            parted.pop(key, None)
            if narrow and key in narrow:
                grad = grad.astype(narrow[key])
            is_leaf = isinstance(node, TensorBase)
            hooks = node.hooks if not is_leaf else watched and hooks_of(node)
            if hooks:
                rule.node, rule.grad = None, grad
                seen = conjugated(grad)
                found = hooked(hooks, seen)
                if found is not seen:
                    grad, only = conjugated(found), None
            if is_leaf if targets is None else key in targets:
                arrived[key] = (node, grad)
            if is_leaf or (not through and key in arrived):
                continue
            below = node.edges
            if wanted is None:
                needs = tuple([e is not None for e in below])
            else:
                needs = tuple([e is not None and id(e) in wanted for e in below])
            if True not in needs:
                continue
            node.needs = needs
            if absorbed or node.absorbed:
                node.absorbed = absorbed
            absorbing = False
            if node._asks:
                absorbing = node.absorbing = (
                    not create_graph
                    and _may_be_absorbed(below[0], targets)
                    and not isinstance(grad, Tracer)
                    and node.absorbs(below[0])
                )
            rule.node, rule.grad = node, grad
            part = None
            if node._takes_part and not create_graph and only is None:
                part = None if isinstance(grad, Tracer) else node.part()
                whole, others = parted.get(id(below[0]), (None, ()))
                if (
                    part is not None
                    and whole is not None
                    and pending[id(below[0])][0] is whole
                    and node.store_part(grad, whole, part, others)
                ):  # in memory that is there
                    if not retain_graph:
                        node._release()
                    continue
            if node._foreign and active.level is not None and isinstance(grad, Tracer):
                by_input = grad._level.rule(node, grad, create_graph)
            elif node._foreign:
                by_input = gradients_of(node, grad, create_graph, only)
            else:
                by_input = node._input_gradients(grad, create_graph, only)
            chosen = node.__dict__.pop("chosen", None)
            for i, by_x in enumerate(by_input):
                if by_x is None:
                    continue
                edge, only = below[i], chosen[i] if chosen else None
                if id(edge) in pending:
                    add(edge, by_x, only)
                else:
                    pending[id(edge)] = by_x, absorbing and i == 0, only
                    if part is not None and not isinstance(by_x, Tracer):
                        parted[id(edge)] = by_x, [part]
            if not retain_graph:
                node._release()
    finally:
        mode.rule, mode.recording = outer, recording
        if cast is not None:
            active.cast = cast
    return arrived


def _may_be_absorbed(producer: Edge, targets: set[int] | None) -> bool:
    """Whether nobody but the producer itself sees its gradient."""
    if not isinstance(producer, Op) or producer.hooks:
        return False
    return targets is None or id(producer) not in targets


def gradients_of(
    node: Op, grad: Tensor, create_graph: bool, only: Any = None
) -> list[Tensor | None]:
    """The gradients by the inputs of one operation, from that of its output.

    A user's rule is handed gradients as users see them, and gives such.
    """
    if not node._foreign:
        return node._input_gradients(grad, create_graph, only)
    grad = conjugated(grad)
    if create_graph:
        return [conjugated(g) for g in input_gradients(node, grad)]
    return [conjugated(g) for g in node._input_gradients(grad, create_graph, only)]


def conjugated(grad: Any) -> Any:
    """A gradient as users see it (dL/dx + i dL/dy), from one as rules do, and the other way."""
    return grad.conj() if grad is not None and grad._facts.dtype.kind == "c" else grad


def _seed(output: TensorBase, grad: Any, caller: str, create_graph: bool) -> Tensor:
    """The gradient that the walk starts with at ``output``."""
    if not output.requires_grad:
        raise RuntimeError(
            f"[{caller}] the tensor (shape {output.shape}) does not require a gradient: nothing "
            "it was computed from has requires_grad=True"
        )
    if grad is None:
        if output._facts.size != 1:
            raise RuntimeError(
                f"[{caller}] only a tensor with one element has a gradient of its own; for shape "
                f"{output.shape} pass the gradient of what is computed from it"
            )
        if output._facts.dtype.kind == "c":
            raise RuntimeError(
                f"[{caller}] only a real number has a gradient of its own; of {output.dtype} pass "
                "the gradient of what is computed from it, or take .real, .imag or .abs() first"
            )
        one = array_module(output._facts).ones(output._facts.shape, output._facts.dtype)
        if ranks.share is not None and caller == "backward":  # what this rank's loss counts
            one *= output._facts.dtype.type(ranks.loss_scale())
        return output._wrap(one)
    if not hasattr(grad, "shape"):  # a number or a list
        grad = array_module(output._facts).asarray(grad, output._facts.dtype)
    if not isinstance(grad, TensorBase):  # a copy: a graph of the gradients would keep it
        grad = output._wrap(plain_array(grad).copy() if create_graph else plain_array(grad))
    seed: Tensor = grad
    if not on_one_device(seed._facts, output._facts):
        raise ValueError(
            f"[{caller}] expected a gradient on {device_of(output._facts)}, where the tensor is, "
            f"got one on {device_of(seed._facts)}"
        )
    if seed.shape != output.shape:
        raise ValueError(
            f"[{caller}] expected a gradient of shape {output.shape}, got {seed.shape}"
        )
    if seed._facts.dtype.kind == "c" and output._facts.dtype.kind != "c":
        raise TypeError(
            f"[{caller}] expected a real gradient, as the tensor is of {output.dtype}, got one of "
            f"{seed.dtype}: take .real"
        )
    return seed if seed._facts.dtype == output._facts.dtype else seed.astype(output._facts.dtype)


def backward(
    output: TensorBase, grad: Any, create_graph: bool = False, retain_graph: bool | None = None
) -> None:
    """Add the gradient of ``output`` to ``.grad`` of every leaf it depends on."""
    seed = _seed(output, grad, "backward", create_graph)
    retain = create_graph if retain_graph is None else retain_graph
    owned = {id(seed._facts)}
    recording = mode.recording
    try:
        mode.recording = create_graph
        arrived = _walk([output], [conjugated(seed)], None, create_graph, retain)
        for leaf, grad in arrived.values():
            found = conjugated(grad)
            # .grad must be memory of its own: rules may hand one array to several inputs.
            shared = id(found._facts) in owned or not is_alone(found._facts)
            if leaves.hooked and hooks_of(leaf):  # a hook may have kept it, or given what it keeps
                shared = True
            known = leaf.grad
            if known is None:
                leaf._set_grad(found.clone() if shared else found)
            elif (
                known._facts.shape == found._facts.shape
                and known._facts.dtype == found._facts.dtype
            ):
                leaf._set_grad(known + found)
            else:  # .data was given another array
                raise ValueError(
                    f"[backward] expected a .grad of {facts_of(found._facts)} to add to, as the "
                    f"leaf has, got {facts_of(known._facts)}; forget it with zero_grad()"
                )
            owned.add(id(found._facts))
    finally:
        mode.recording = recording


def _between(
    outputs: Sequence[TensorBase],
    seeds: Sequence[Tensor],
    keys: Sequence[int],
    create_graph: bool,
    retain: bool,
    through: bool,
) -> list[Any]:
    """The gradients of what has those ids, as users see them; None where none arrived."""
    recording = mode.recording
    try:
        mode.recording = create_graph
        rules = [conjugated(seed) for seed in seeds]
        arrived = _walk(outputs, rules, set(keys), create_graph, retain, through)
        return [conjugated(arrived[key][1]) if key in arrived else None for key in keys]
    finally:
        mode.recording = recording


def transposed(
    outputs: Sequence[TensorBase],
    inputs: Sequence[TensorBase],
    cotangents: Sequence[Any],
    *how: bool,
    **also: Any,
) -> list[Any]:
    """Jᵀ cotangents, for rules: as `grad_of`, which gives Jᴴ where numbers are complex."""
    seeds = [conjugated(c) for c in cotangents]
    return [conjugated(g) for g in grad_of(outputs, inputs, seeds, *how, **also)]


def grad_of(
    outputs: Sequence[TensorBase],
    inputs: Sequence[TensorBase],
    grad_outputs: Sequence[Any] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
    through: bool = True,
) -> list[Tensor]:
    """Gradients of ``outputs`` with respect to ``inputs``, as a list; users call `grad`.

    Not ``through``, of an input that is computed from another the gradient goes no further.
    """
    given = grad_outputs if grad_outputs is not None else [None] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(
            f"[grad] expected {len(outputs)} grad_outputs, one per output, got {len(given)}"
        )
    for i, x in enumerate(inputs):
        if not x.requires_grad:
            raise RuntimeError(f"[grad] input {i} (shape {x.shape}) does not require a gradient")
    retain = create_graph if retain_graph is None else retain_graph
    level = innermost((*outputs, *inputs)) if active.level is not None else None
    found: list[Any]
    if level is not None:
        how = {"create_graph": create_graph, "retain_graph": retain, "allow_unused": True}
        found = level.gradients(outputs, inputs, given, how)
    else:
        seeds = [
            _seed(output, g, "grad", create_graph) for output, g in zip(outputs, given, strict=True)
        ]
        keys = [id(x._edge()) for x in inputs]
        found = _between(outputs, seeds, keys, create_graph, retain, through)
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
    """`tg.grad` of tensors: gradients by ``inputs``, returned instead of accumulated."""
    single = isinstance(inputs, TensorBase)
    output_list = [outputs] if isinstance(outputs, TensorBase) else list(outputs)
    input_list = [inputs] if single else list(inputs)
    if grad_outputs is not None and isinstance(outputs, TensorBase):
        grad_outputs = [grad_outputs]
    found = grad_of(output_list, input_list, grad_outputs, create_graph, retain_graph, allow_unused)
    return found[0] if single else found
