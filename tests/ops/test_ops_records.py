"""No operation without a sample record, and no record that claims what it does not run."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

import tinygrad_cupy as tg
import tinygrad_cupy.numpy as tnp
from numpy_api.calls import CALLS
from numpy_api.dispatching import dispatching
from numpy_api.running import carries_gradient
from records import FAMILIES, SAMPLES
from support.sampling import Sample, options_on, tensors_of
from tinygrad_cupy import FusedOp, Op, Tensor, special
from tinygrad_cupy.autograd import Elementwise
from tinygrad_cupy.autograd.array_rules import ArrayRule
from tinygrad_cupy.autograd.autocast import Cast
from tinygrad_cupy.autograd.fused import Alias
from tinygrad_cupy.autograd.joint import Deliver, Joint
from tinygrad_cupy.custom import _Custom
from tinygrad_cupy.interop.theirs import Theirs
from tinygrad_cupy.ops import functions
from tinygrad_cupy.ops.conv import EachConv
from tinygrad_cupy.ops.draws import Count, GammaQuantile, GammaSlope
from tinygrad_cupy.ops.matmul import EachLinear
from tinygrad_cupy.ops.protocols import TABLE
from tinygrad_cupy.ops.recurrent import _Recurrent
from tinygrad_cupy.ops.sort import Ordered
from tinygrad_cupy.tensor import Transfer
from tinygrad_cupy.transforms.implicit import Rooted, Solved

PLUMBING = {
    FusedOp: "a base class",
    Elementwise: "a base class",
    functions._Made: "what makes functions",
    functions.Function: "of one tensor",
    functions.Pair: "and of two",
    functions.Choice: "which takes one of them",
    Ordered: "of sorting, one",
    _Recurrent: "of networks with states",
    Cast: "of autocast: a cast that was made before; test_autocast.py",
    _Custom: "of users' own; test_custom.py",
    Theirs: "of PyTorch's; test_interop.py",
    Joint: "several outputs at once; test_checkpoint.py, test_hooks.py",
    Deliver: "one of them",
    EachConv: "what vmap(grad) makes of Conv; transforms/test_by_sample.py",
    EachLinear: "what vmap(grad) makes of Linear; the same",
    ArrayRule: "raises behind a rule that works on arrays; test_array_rules.py",
    Alias: "what a FusedOp gives its reference; test_fused.py",
    GammaQuantile: "draws, differentiated once; numpy_api/test_draws.py",
    GammaSlope: "its derivative, which has none; the same",
    Count: "draws counts; the same",
    Solved: "of linear equations without a matrix; science/test_iterative.py",
    Rooted: "of other equations; science/test_roots.py",
    Transfer: "moves between devices, which takes two; test_cpu_gpu.py",
}

# Public names of Tensor that are no operations: what it is, its graph, memory and construction.
NOT_OPERATIONS = {
    *("data", "device", "dtype", "grad", "is_leaf", "ndim", "requires_grad", "shape", "size"),
    *("flags", "flat", "imag", "itemsize", "nbytes", "real", "strides", "tobytes"),
    *("fill", "put"),  # writes, as `__setitem__` is: test_as_arrays.py
    *(
        "backward",
        "detach",
        "item",
        "numpy",
        "register_hook",
        "requires_grad_",
        "to",
        "to_device",
        "tolist",
        "zero_grad",
    ),
    *("assign_", "bump_version", "replace_data"),
    *("arange", "eye", "full", "ones", "rand", "randn", "zeros"),
}
BITS = ("and", "or", "xor", "lshift", "rshift")  # which floats have not
SPECIAL = {
    *("__abs__", "__getitem__", "__matmul__", "__rmatmul__", "__neg__", "__invert__"),
    "__setitem__",
    *[f"__{side}{name}__" for name in BITS for side in ("", "r")],
}
FUNCTIONS = {"concat", "stack", "where"}  # of the package, beside the methods
NO_FUNCTIONS = {
    *("checkpoint", "custom_op", "functional_call", "hessian", "hvp", "jacobian", "jvp"),
    *("GradScaler", "autocast", "enable_grad", "interop", "value_and_grad", "vjp", "vmap"),
    *(
        "Elementwise",
        "FusedOp",
        "GradientDroppedWarning",
        "Op",
        "Tensor",
        "array_api",
        "datasets",
        "distributed",
        "fft",
        "gradcheck",
        "jit",
        "load_run",
        "linalg",
        "manual_seed",
        "ndimage",
        "nn",
        "numpy",
        "signal",
        "spatial",
        "integrate",
        "optimize",
        "sparse",
        "special",
    ),
    *("cuda_available", "default_device", "set_default_device"),
    *("get_precision", "set_precision"),
    *("grad", "is_grad_enabled", "no_grad"),
}

# NumPy's functions that call others here, on which their gradients are: numpy_api/test_calls.py
# checks these. Their shapes depend on values, or on a function of the user's.
COMPOSED = {
    *("apply_along_axis", "apply_over_axes", "piecewise", "conjugate", "real_if_close"),
    *("copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"),
    *("emath.arccos", "emath.arcsin", "emath.arctanh", "emath.log", "emath.log10", "emath.log2"),
    *("emath.logn", "emath.power", "emath.sqrt", "polydiv", "polyfit", "roots"),
}

# Those that are a method of ours by another name, and nothing else.
FORWARDED = {
    "absolute": "abs",
    "add": "__add__",
    "concatenate": "tg.concat",
    "copy": "clone",
    "divide": "__truediv__",
    "matmul": "__matmul__",
    "multiply": "__mul__",
    "negative": "__neg__",
    "power": "__pow__",
    "stack": "tg.stack",
    "subtract": "__sub__",
}


def op_classes(base: type[Op] = Op) -> set[type[Op]]:
    """All subclasses, those of this package only: tests define some of their own."""
    found = set(base.__subclasses__())
    found |= {kind for direct in found for kind in op_classes(direct)}
    ours = {kind for kind in found if kind.__module__.startswith("tinygrad_cupy.")}
    # What ranks do together is checked by ranks: tests/distributed.
    return {kind for kind in ours if not kind.__module__.startswith("tinygrad_cupy.distributed.")}


def public_names() -> set[str]:
    operators = {
        name
        for kind in Tensor.__mro__[:-1]
        for name in vars(kind)
        if name.startswith("__") and hasattr(float, name) and not hasattr(object, name)
    }
    conversions = {"__bool__", "__float__", "__index__", "__int__", "__round__"}
    comparisons = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"}
    named = {n for n in dir(Tensor) if not n.startswith("_") and hasattr(Tensor, n)}
    return (named - NOT_OPERATIONS) | SPECIAL | (operators - conversions) | comparisons


def test_every_operation_has_a_record() -> None:
    recorded = {kind for sample in SAMPLES for kind in sample.ops}
    missing = op_classes() - recorded - set(PLUMBING)
    assert not missing, f"no sample record for {sorted(kind.__name__ for kind in missing)}"


def test_records_stand_one_file_for_each_file_of_operations() -> None:
    for kind in op_classes() - set(PLUMBING):
        package, _, family = kind.__module__.rpartition(".")
        if package == "tinygrad_cupy.ops":
            assert any(kind in sample.ops for sample in FAMILIES[family]), (family, kind.__name__)
    folder = Path(__file__).parents[1] / "records"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(FAMILIES)


def test_every_public_method_has_a_record() -> None:
    covered = {name for sample in SAMPLES for name in sample.covers}
    missing = public_names() - covered
    assert not missing, f"no sample record for {sorted(missing)}"


def test_every_public_function_has_a_record() -> None:
    covered = {name for sample in SAMPLES for name in sample.covers}
    functions = {f"tg.{name}" for name in FUNCTIONS}
    assert functions <= covered
    assert set(tg.__all__) - FUNCTIONS <= NO_FUNCTIONS


def test_every_differentiable_function_of_numpy_has_a_record() -> None:
    covered = {name for sample in SAMPLES for name in sample.covers}
    missing = {
        name
        for name, function in dispatching().items()
        if function in TABLE
        and name not in COMPOSED
        and not {f"np.{name}", name, FORWARDED.get(name)} & covered
        and any(carries_gradient(name, expression) for expression in CALLS.get(name, ()))
    }
    assert not missing, f"no sample record for {sorted(missing)}"


def test_every_special_function_has_a_record() -> None:
    covered = {name for sample in SAMPLES for name in sample.covers}
    missing = {f"special.{name}" for name in special.__all__} - covered
    assert not missing, f"no sample record for {sorted(missing)}"


def test_names_of_records_are_unique() -> None:
    counts = collections.Counter(sample.name for sample in SAMPLES)
    assert [name for name, count in counts.items() if count > 1] == []


class Spy:
    """A function that says by all its names when it is called, or one of its attributes is."""

    def __init__(self, names: set[str], original: Any, seen: set[Any]) -> None:
        self._names, self._original, self._seen = names, original, seen

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._seen |= self._names
        return self._original(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        self._seen |= self._names
        return getattr(self._original, name)


def watch_numpy(patch: pytest.MonkeyPatch, seen: set[Any]) -> None:
    """See NumPy's functions, called by NumPy or as those of our namespace."""
    names = collections.defaultdict(set)
    for name, function in dispatching().items():
        if function in TABLE:
            names[id(TABLE[function])].add(f"np.{name}")
    for name in tnp.__all__:
        names[id(getattr(tnp, name))].add(f"np.{name}")
    spies: dict[int, Any] = {}

    def spy(ours: Any) -> Any:
        return spies.setdefault(id(ours), Spy(names[id(ours)], ours, seen))

    for function, ours in list(TABLE.items()):
        patch.setitem(TABLE, function, spy(ours))
    for name in tnp.__all__:
        if callable(ours := getattr(tnp, name)) and not isinstance(ours, type):
            patch.setattr(tnp, name, spy(ours))


def watch_special(patch: pytest.MonkeyPatch, seen: set[Any]) -> None:
    """See the functions of `tinygrad_cupy.special`, by all their names."""
    functions = {name: getattr(special, name) for name in special.__all__}
    for name, ours in functions.items():
        names = {f"special.{n}" for n, function in functions.items() if function is ours}
        patch.setattr(special, name, Spy(names, ours, seen))


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[Any]]:
    """Op classes that are called, and public names that are used, inside."""
    seen: set[Any] = set()
    call = Op.__call__

    def spy_op(self: Op, *inputs: Any) -> Tensor:
        seen.add(type(self))
        return call(self, *inputs)

    def spy(name: str, original: Any) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            seen.add(name)
            return original(*arguments, **options)

        return method

    with monkeypatch.context() as patch:
        patch.setattr(Op, "__call__", spy_op)
        for name in public_names():
            original = getattr(Tensor, name)
            if isinstance(original, property):
                assert original.fget is not None
                patch.setattr(Tensor, name, property(spy(name, original.fget)))
            else:
                patch.setattr(Tensor, name, spy(name, original))
        for name in FUNCTIONS:
            patch.setattr(tg, name, spy(f"tg.{name}", getattr(tg, name)))
        watch_numpy(patch, seen)
        watch_special(patch, seen)
        yield seen


def differentiated(sample: Sample, data: st.DataObject) -> None:
    """Value, gradients and second gradients of one case."""
    case = sample.cases(data.draw)
    plain = [("plain", ()) for _ in case.values]
    inputs = tensors_of(case, "float64", "cpu", plain, requires_grad=sample.order > 0)
    outputs = sample.call(*inputs, **options_on(case.options, "cpu"))
    for _ in range(sample.order):
        outputs = outputs if isinstance(outputs, list) else [outputs]
        used = [o for o in outputs if o is not None and o.requires_grad]
        if not used:
            return
        seeds = [Tensor.ones(*o.shape, dtype=o.dtype, requires_grad=True) for o in used]
        inputs = [*inputs, *seeds]  # a gradient is linear in them, and they have gradients as well
        outputs = tg.grad(used, inputs, seeds, create_graph=True, allow_unused=True)


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_record_runs_what_it_claims(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = {*sample.ops, *sample.covers}
    with watched(monkeypatch) as seen:
        for count in (3, 30):  # most records need few cases
            run_cases(sample, count)
            if claimed <= seen:
                break
    assert claimed <= seen


def run_cases(sample: Sample, count: int) -> None:
    @hypothesis.settings(max_examples=count, database=None, derandomize=True)
    @hypothesis.given(data=st.data())
    def run(data: st.DataObject) -> None:
        differentiated(sample, data)

    run()
