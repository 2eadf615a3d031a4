"""Truth of elements: what is not 0 is true, NaN too. Nothing to differentiate."""

from __future__ import annotations

from ..backend import Array, array_module
from ..backend.dtypes import quietly
from .functions import Body, question, relation


def _truth(x: Array) -> Array:
    return x if x.dtype == bool else quietly(array_module(x).not_equal, x, x.dtype.type(0))


def _of_truths(name: str) -> Body:
    return lambda a, b: getattr(array_module(a), name)(_truth(a), _truth(b))


LogicalAnd = relation("logical_and", "Whether both are true.", _of_truths("logical_and"))
LogicalOr = relation("logical_or", "Whether one is true, or both.", _of_truths("logical_or"))
LogicalXor = relation("logical_xor", "Whether one is true, and one not.", _of_truths("logical_xor"))
LogicalNot = question("logical_not", "Whether x is not true.", lambda x: ~_truth(x))
