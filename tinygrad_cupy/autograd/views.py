"""Bases and views: what is written into one is seen by all, and so are the gradients.

A memory has a *base*, the tensor that was made with it. A *view* remembers which tensor it is a
view of, and by which operation: from view to view, these lead from the base to it. (The design is
PyTorch's.) Of a write that is recorded

1. the values go into the memory, as of any other;
2. the base gets a new node: the old base with the values put in at the place that the view's
   operations lead to (`ops.write.Write`). What wanted no gradient so joins the graph;
3. the memory's count of recorded writes goes up. All other views find that out when they are next
   used, and are put in the graph anew (`refresh`): their operation, applied to what they view.

Nothing but the views points at a base, and the base at none of them, so there is no circle. Who
never writes pays for a look at that count, and for a link in each view.

A tensor on the same memory that is outside of the graph (`detach`, `Tensor(x)`, a view made under
`no_grad` of what wants a gradient) is *apart*: a base of its own, to which the others' graph says
nothing. Where one of both joins a graph by what is written through the other, its values would say
more than its graph does: using it then is an error.

Inside of a transform the same links serve: a base that is written with a tracer becomes one (of
another class, but the same object), and so do its views when they are next used. They are never
asked how a memory lies, only which tensor is which part of which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..backend import may_share_memory
from .mode import mode

if TYPE_CHECKING:
    from .op import Op
    from .tensor_base import TensorBase

# In the slot `_view`: of a view what it is of, by which operation, how many recorded writes there
# had been then, and how many views lie between it and its base; of a tensor apart the number of
# writes alone. A base has none.
Link = tuple["TensorBase | None", "Op | None", "int | None", int]
FIXED: Link = (None, None, None, 0)  # what a graph saved: no later write changes its place
DEEPEST = 1000  # views of views, before one is lost: whoever makes them for ever keeps no more

_TRACED = ("_level", "_primal", "_tangent", "_value")  # slots of tracers


def link(view: TensorBase, parent: TensorBase, op: Op, recording: bool) -> None:
    """Have a view, just made, remember what it is of, and by which operation."""
    above = parent._view
    depth = 1 if above is None else above[3] + 1
    if not recording and parent.requires_grad:
        set_apart(view)
    elif depth < DEEPEST:
        view._view = (parent, op, parent._version.recorded, depth)
    else:
        view._view = (None, op, parent._version.recorded, 0)


def set_apart(tensor: TensorBase) -> None:
    """Have nothing that others on its memory write into it change its place in the graph."""
    tensor._view = (None, None, tensor._version.recorded, 0)


def _parent(tensor: TensorBase) -> Any:
    """What ``tensor`` is a view of, or None."""
    kept = tensor._view
    return None if kept is None else kept[0]


def base_of(tensor: TensorBase) -> Any:
    """The base that ``tensor`` is a view of, or itself."""
    parent = _parent(tensor)
    while parent is not None:
        tensor, parent = parent, _parent(parent)
    return tensor


def path_to(tensor: TensorBase) -> tuple[Op, ...]:
    """The operations that lead from its base to a tensor."""
    path: list[Op] = []
    while (parent := _parent(tensor)) is not None:
        path.append(tensor._view[1].again())  # type: ignore[index, union-attr]
        tensor = parent
    return tuple(reversed(path))


def refresh(tensor: TensorBase) -> None:
    """Put ``tensor`` in the graph where it is now, if what it is a view of was written since.

    Of a tensor whose memory has recorded writes.
    """
    version, kept = tensor._version, tensor._view
    if not (version.apart or version.moved) and (
        kept is None
        or (kept[2] == version.recorded and kept[0] is not None and kept[0]._view is None)
    ):
        return
    views: list[Any] = []
    base: Any = tensor
    while (parent := _parent(base)) is not None:
        views.append(base)
        base = parent
    _expect_known(base)
    for view in reversed(views):
        if view._view[2] != view._version.recorded:
            _renew(view)


def refresh_all(values: Iterable[Any]) -> None:
    """`refresh` the tensors among ``values``, which a transform is about to look at."""
    for x in values:
        if hasattr(x, "_grad") and x._version.recorded:
            refresh(x)


def _renew(view: Any) -> None:
    parent, op = view._view[:2]
    recording = mode.recording
    try:
        mode.recording = True
        made: Any = op.again()(parent)
    finally:
        mode.recording = recording
    is_tracer, was_tracer = hasattr(made, "_level"), hasattr(view, "_level")
    if made._version is not parent._version or not (
        is_tracer or was_tracer or may_share_memory(made._facts, view._facts)
    ):
        if is_tracer:
            raise RuntimeError(
                f"[{made._level.name}] a view of shape {view.shape} of a tensor that was written "
                "in place is no view any more inside of the transform: take it after the write"
            )
        view._view = FIXED  # .data was given another array
        return
    become(view, made)


def become(tensor: Any, made: Any) -> None:
    """Have ``tensor`` be what ``made`` is: at its place in the graph, or a tracer like it."""
    if hasattr(made, "_level"):
        try:
            tensor.__class__ = type(made)
        except TypeError:
            raise RuntimeError(
                f"[{made._level.name}] a {type(tensor).__name__} is not written in place with what "
                "the transform computes: make a plain tensor of it with .clone()"
            ) from None
        _copy(_TRACED, made, tensor)
    else:
        tensor._requires_grad = made._requires_grad
    tensor._node = made._node
    tensor._view = made._view or tensor._view


def twin(tensor: Any) -> Any:
    """Another tensor that is what ``tensor``, a base, is now."""
    made = object.__new__(type(tensor))
    plain = ("_requires_grad", "_version", "data")
    made._node = tensor._node
    _copy(_TRACED if hasattr(tensor, "_level") else plain, tensor, made)
    made._grad = made._view = None
    return made


def as_it_is(tensor: TensorBase) -> Any:
    """Another tensor at the place in the graph where ``tensor`` is now, and stays."""
    if tensor._version.recorded:
        refresh(tensor)
    made = twin(tensor)
    made._view = FIXED
    return made


def _copy(names: Sequence[str], source: Any, target: Any) -> None:
    for name in names:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))


def rebase(base: Any, node: Op | None) -> None:
    """Give a base that was written its new place in the graph; views notice when they are used."""
    base._node, base._requires_grad = node, node is not None
    if base._view is not None:
        base._version.apart = True
        set_apart(base)


def _expect_known(base: Any) -> None:
    """Raise where ``base`` lies in memory that was written so that its graph does not know."""
    if hasattr(base, "_level") or base._view is FIXED:
        return  # what it holds is asked in its turn; what was saved is as it was
    version, kept = base._version, base._view or FIXED
    unseen = kept[2] not in (None, version.recorded)
    if version.moved:
        raise RuntimeError(
            f"[Tensor] a tensor of shape {base.shape} shares memory, by .detach(), with one that a "
            "transform has written in place, and does not see it: take .detach() after the write"
        )
    if unseen and kept[1] is not None:
        raise RuntimeError(
            f"[Tensor] a tensor of shape {base.shape} is a view by more than {DEEPEST} steps of "
            "one that was written in place, and does not see it: take fewer, or a .clone()"
        )
    beside = unseen and base._node is not None
    if beside or (base._view is None and version.apart):
        line = version.last_line()
        raise RuntimeError(
            f"[Tensor] the memory of a tensor of shape {base.shape} was written in place"
            f"{line and ' at ' + line} through one that is outside of its graph (by .detach(), "
            "Tensor(x) or a view under no_grad()), with what wants a gradient: write into the "
            "tensor itself, or into a .clone()"
        )
