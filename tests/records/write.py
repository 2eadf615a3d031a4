"""Records of ops/write.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import MOVED, Case, Draw, Error, Sample, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import write
from tinygrad_cupy.ops.inplace import add_at

from .indexing import draw_key, has_mask, numbers_of

PATHS = {
    "none": lambda x: x,
    "transposed": lambda x: x.transpose(),
    "flat": lambda x: x.reshape(-1),
    "backwards": lambda x: x.flip(),
    "in part": lambda x: x[1:] if x.shape else x,
}


def _case(draw: Draw) -> Case:
    """A tensor, a path to a view of it, a key into that, and values that broadcast there."""
    shape = draw(shapes(min_side=0))
    path = draw(st.sampled_from(list(PATHS)))
    view = _view(np.empty(shape), path)
    key = draw_key(draw, view.shape)
    place = np.asarray(view[key]).shape
    kept = place[draw(st.integers(0, len(place))) :]
    values = tuple(1 if draw(st.booleans()) else n for n in kept)
    return Case((normal(draw, shape), normal(draw, values)), {"path": path, "key": key})


def _view(array: Any, path: str) -> Any:
    """PATHS for an array."""
    return np.flip(array) if path == "backwards" else PATHS[path](array)


def _is_of_fixed_size(case: Case) -> bool:
    """Whether values at a mask are the same for all its places."""
    mask, (x, values) = case.options["key"], case.values
    if not has_mask(mask):
        return True
    rest = _view(x, case.options["path"]).ndim - mask.ndim
    return mask.ndim > 0 and set(values.shape[: max(0, values.ndim - rest)]) <= {1}


def _assigned(x: Tensor, values: Tensor, path: str, key: Any) -> Tensor:
    made = x.clone()
    PATHS[path](made)[key] = values
    return made


def _added(x: Tensor, values: Tensor, path: str, key: Any) -> Tensor:
    made = x.clone()
    add_at(PATHS[path](made), key, values)
    return made


def _put(torch: Any, x: Any, values: Any, accumulate: bool, path: str, key: Any) -> Any:
    """By the numbers of elements; of several values for one element the last."""
    shape = tuple(x.shape)
    numbers = numbers_of(_view(np.arange(x.numel()).reshape(shape), path), key)
    values = values.broadcast_to(numbers.shape).reshape(-1)
    flat, which = numbers.ravel(), np.arange(numbers.size)
    if not accumulate:
        last = dict(zip(flat.tolist(), which.tolist(), strict=True))
        flat, which = np.array(list(last), int), np.array(list(last.values()), int)
    where = (torch.as_tensor(flat, device=x.device),)
    chosen = values[torch.as_tensor(which, device=x.device)]
    return x.reshape(-1).index_put(where, chosen, accumulate).reshape(shape)


SAMPLES = [
    Sample(
        "setitem",
        _assigned,
        _case,
        lambda torch, x, values, **options: _put(torch, x, values, False, **options),
        (write.Write, write.IndexLast),
        ("__setitem__",),
        dtypes=MOVED,
        captured=_is_of_fixed_size,
        obstacle="a mask as a key, with a value for each place: how many there are depends on it",
        errors=(
            Error(
                lambda: (Tensor.ones(2, 3, requires_grad=True) * 1).__setitem__(5, 1.0),
                IndexError,
                "[index] index 5 is out of bounds for axis 0 with size 2 (tensor of shape (2, 3))",
            ),
            Error(
                lambda: (Tensor.ones(2, requires_grad=True) * 1).__setitem__(0, Tensor.ones(2)),
                ValueError,
                "[index] values of shape (2,) do not broadcast to the place, of shape ()",
            ),
            Error(
                lambda: Tensor.ones(2, requires_grad=True).__setitem__(0, 1.0),
                RuntimeError,
                "[index] a leaf that wants a gradient (shape (2,)) is not written in place while "
                "operations are recorded: do it under no_grad(), or write into a .clone()",
            ),
        ),
    ),
    Sample(
        "np.add.at",
        _added,
        _case,
        lambda torch, x, values, **options: _put(torch, x, values, True, **options),
        (write.AddAt,),
        (),
        captured=lambda case: not has_mask(case.options["key"]),
        obstacle="a mask as a key: how many places there are depends on values",
    ),
]
