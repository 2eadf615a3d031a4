"""Functions of the namespace have NumPy's names and parameters."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import tinygrad_cupy.numpy as tnp
from numpy_api.dispatching import dispatching
from support.looped import looped
from tinygrad_cupy.numpy.ufunc import Ufunc
from tinygrad_cupy.ops.protocols import TABLE

FUNCTIONS = {
    name: function for name, function in dispatching().items() if not isinstance(function, np.ufunc)
}
UFUNCS = [f for f in dispatching().values() if isinstance(f, np.ufunc) and f in TABLE]

# Parameters of NumPy's that a function here has not, and why.
LEFT_OUT: dict[str, set[str]] = {"sum": {"initial", "where"}, "mean": {"where"}}
LEFT_OUT |= {name: {"descending"} for name in ("sort", "argsort")}  # new in NumPy 2.5
# For every function: of memory layouts, subclasses and other libraries, and what NumPy deprecates.
NEVER = {"order", "subok", "like", "casting", "interpolation"}
# Parameters that are ours alone, by keyword.
OURS = {"device", "requires_grad"}


def parameters(function: Any) -> list[str]:
    return [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is not p.VAR_KEYWORD
    ]


@looped("name", [n for n, function in FUNCTIONS.items() if function in TABLE])
def test_parameters_are_those_of_numpy(name: str) -> None:
    theirs, ours = FUNCTIONS[name], TABLE[FUNCTIONS[name]]
    left_out = (LEFT_OUT.get(name, set()) | NEVER) - set(parameters(ours))
    wanted = [p for p in parameters(theirs) if p not in left_out]
    assert [p for p in parameters(ours) if p in wanted or p not in OURS] == wanted
    by_name = inspect.signature(ours).parameters
    for p, theirs_ in inspect.signature(theirs).parameters.items():
        if p in wanted and theirs_.kind is theirs_.POSITIONAL_OR_KEYWORD:
            assert by_name[p].kind is theirs_.kind, p


@looped("theirs", UFUNCS, ids=lambda f: f.__name__)
def test_ufuncs_have_as_many_operands(theirs: np.ufunc) -> None:
    ours: Any = TABLE[theirs]
    if not isinstance(ours, Ufunc):
        return
    assert ours.like is theirs or ours.like.__name__ == theirs.__name__
    assert (ours.nin, ours.nout) == (theirs.nin, theirs.nout)


# Names of NumPy's for functions that take a tensor, which the namespace has not yet.
MISSING = {"concat", "pow"}


def test_the_namespace_has_every_name_of_what_takes_a_tensor() -> None:
    names = {n for n in dir(np) if not n.startswith("_") and _hashable(getattr(np, n)) in TABLE}
    assert {name for name in names if not hasattr(tnp, name)} <= MISSING
    assert set(tnp.__all__) <= set(dir(tnp))
    assert len(tnp.__all__) == len(set(tnp.__all__))


def _hashable(value: Any) -> Any:
    return value if callable(value) else None
