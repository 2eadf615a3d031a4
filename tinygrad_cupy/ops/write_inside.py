"""Writing in place inside of a transform: tangents and whole batches are written, too.

What is written becomes a tracer where it was none, as what the function computed would be. That is
for what was made inside: of other tensors a loop over the elements would leave what its last one
wrote, and a tangent would outlive its direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import TensorBase
from ..autograd.batching import BatchLevel
from ..autograd.levels import Level
from ..autograd.views import base_of, become, path_to, refresh, twin
from ..backend import array_module, strides_of
from .indexing import leads
from .write import Write, writes_all


def write_inside(level: Any, tensor: Any, write: Write, values: Any) -> None:
    """Do ``write`` on ``tensor``, where the innermost tracers are of this level."""
    level.alive()
    (_write_batch if isinstance(level, BatchLevel) else _write_dual)(level, tensor, write, values)


def _adopt(level: Level, tensor: Any, trace: Callable[[Any], Any]) -> None:
    """Have the base of ``tensor``, and so its views, become what ``trace`` makes of it."""
    base = base_of(tensor)
    if not level.has_made(base):
        raise RuntimeError(
            f"[{level.name}] a tensor of shape {base.shape} from outside of the function is "
            f"written with what {level.name} computes inside, which is not there any more "
            "afterwards: make the tensor inside of the function, and return it"
        )
    old = base._version
    made = trace(twin(base))
    old.record()  # views look what became of their base
    if made._version is not old:
        made._version.record()
        old.moved = True
        made._version.recorded, made._version.inside = old.recorded, old.inside
    become(base, made)
    refresh(tensor)


# --- batches --------------------------------------------------------------------------------------


def _write_batch(level: BatchLevel, tensor: Any, write: Write, values: Any) -> None:
    if not level.has(tensor):
        _adopt(level, tensor, lambda base: level.batched(_repeated(level, base)))
    key = write.key
    if level.has(*key):
        for i in range(level.size):
            element, *keys, value = [
                x._value[i] if level.has(x) else x for x in (tensor, *key, values)
            ]
            element._set("index", tuple(keys), value, type(write))
        return
    values = level.whole(values) if isinstance(values, TensorBase) else values
    if leads(key):  # NumPy would put the axes of the arrays before that of the batch
        xp, shape = array_module(tensor.data), tensor.shape
        numbers = xp.arange(int(np.prod(shape))).reshape(shape)[key]
        key = xp.unravel_index(numbers, shape)
    tensor._value._put(write.at((slice(None), *key)), values)


def _repeated(level: BatchLevel, base: Any) -> Any:
    """``base`` for each element, (B, …), in memory where each lies as the base does."""
    whole, strides = level.whole(base), strides_of(base.data)
    order = sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
    if order == list(range(len(order))):
        return whole.clone()
    back = [0, *[1 + order.index(axis) for axis in range(len(order))]]
    return whole.permute(0, *[1 + axis for axis in order]).clone().permute(*back)


# --- tangents -------------------------------------------------------------------------------------


def _write_dual(level: Any, tensor: Any, write: Write, values: Any) -> None:
    value, tangent = level.split(values)
    if level.split(tensor)[1] is None:
        _adopt(level, tensor, lambda base: level.dual(base, base._zeros()))
    base, path = base_of(tensor), path_to(tensor)
    tensor._primal._put(write.at(write.key), value)
    if tangent is not None and writes_all(base, tensor, write):
        base._tangent = tangent  # nothing of the old, whose slopes may be infinite
    else:
        base._tangent = write.at(write.key, path)(base._tangent, 0 if tangent is None else tangent)
    base._version.record()
