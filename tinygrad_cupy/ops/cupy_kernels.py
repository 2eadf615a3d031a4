"""CuPy's kernels on tensors: `cupy.exp(x)` and `cupy.sum(x)` are operations of ours.

CuPy's ufuncs and its kernels for elements ask their arguments for
``__cupy_override_elementwise_kernel__``, its reductions for ``__cupy_override_reduction_kernel__``.
A kernel says its name, ``cupy_exp``, which is that of NumPy's function but for those here, or
``cupyx_scipy_special_gammaln``, that of SciPy's. What CuPy's other functions do with a tensor is in
docs/numpy.md. A tensor has no
``__cuda_array_interface__``, and on a GPU its ``__array__`` refuses, so that none of them takes its
values unseen.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..autograd import TensorBase
from .protocols import ours_for

_PREFIXES = ("cupyx_scipy_special_", "cupyx_scipy_", "cupy_")
_SUFFIXES = ("_with_dtype", "_complex_dtype", "_empty")  # of reductions: how they compute
_SPECIAL = {"cupyx_scipy_special_erf": "erf", "cupy_expit": "sigmoid"}  # methods
_RENAMED = {"is_close": "isclose", "round_neg_uint": "round", "angle_deg": "angle"}


class CupyMixin(TensorBase):
    """What a tensor answers to CuPy's kernels."""

    __slots__ = ()

    def __cupy_override_elementwise_kernel__(self, kernel: Any, *args: Any, **options: Any) -> Any:
        return _elementwise(str(kernel.name), args, options)

    def __cupy_override_reduction_kernel__(
        self, kernel: Any, axis: Any, dtype: Any, out: Any, keepdims: Any
    ) -> Any:
        return _reduction(str(kernel.name), self, axis, dtype, out, keepdims)


def _elementwise(name: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """What one of CuPy's kernels for elements gives on these arguments, a tensor among them."""
    given = {key: value for key, value in options.items() if value is not None}
    if name in _SPECIAL and len(args) == 1 and not given:
        return getattr(args[0], _SPECIAL[name])()
    if name in ("cupy_copy", "cupy_fill") and len(args) == 2:
        source, target = args
        ours_for(np.copyto)(target, source, casting="unsafe", where=given.get("_where", True))
        return target
    if name == "cupy_angle_deg":
        args = (*args, True)
    if "_where" in given:
        given["where"] = given.pop("_where")
    return _function(name)(*args, **given)


def _reduction(name: str, x: Any, axis: Any, dtype: Any, out: Any, keepdims: Any) -> Any:
    """What one of CuPy's reductions gives of the tensor ``x``."""
    given = {"dtype": dtype, "out": out}
    given = {key: value for key, value in given.items() if value is not None}
    return _function(name)(x, axis=axis, keepdims=bool(keepdims), **given)


def _function(name: str) -> Any:
    """What does the work of NumPy's or SciPy's function that a kernel of CuPy's is named after."""
    plain = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), "")
    for suffix in _SUFFIXES:
        plain = plain.removesuffix(suffix)
    plain = _RENAMED.get(plain, plain)
    function = None if name.startswith("cupyx") else getattr(np, plain, None)
    if function is None and plain:
        function = getattr(importlib.import_module("scipy.special"), plain, None)
    try:
        return ours_for(function)
    except (TypeError, AttributeError):
        raise TypeError(
            f"[cupy] the kernel {name} expected arrays, got a Tensor: give it x.detach().data, or "
            "make an operation of it with tg.custom_op"
        ) from None
