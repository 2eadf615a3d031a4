"""The names that others offer and this library has too."""

from __future__ import annotations

import pytest

from peers.opinfo import in_numpy, resolve
from tinygrad_cupy import numpy as np

# The functions of the Python array API standard, version 2024.12 (data-apis.org/array-api).
ARRAY_API = {
    "": "arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones"
    " ones_like tril triu zeros zeros_like astype can_cast finfo iinfo isdtype result_type abs"
    " acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert"
    " bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal"
    " exp expm1 floor floor_divide greater greater_equal hypot imag isfinite isinf isnan less"
    " less_equal log log1p log2 log10 logaddexp logical_and logical_not logical_or logical_xor"
    " maximum minimum multiply negative nextafter not_equal positive pow real reciprocal"
    " remainder round sign signbit sin sinh square sqrt subtract tan tanh trunc take"
    " take_along_axis matmul matrix_transpose tensordot vecdot broadcast_arrays broadcast_to"
    " concat expand_dims flip moveaxis permute_dims repeat reshape roll squeeze stack tile"
    " unstack argmax argmin count_nonzero nonzero searchsorted where unique_all unique_counts"
    " unique_inverse unique_values argsort sort cumulative_prod cumulative_sum max mean min"
    " prod std sum var all any diff __array_namespace_info__",
    "linalg": "cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power"
    " matrix_rank matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace"
    " vecdot vector_norm",
    "fft": "fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift"
    " ifftshift",
}
FLOORS = {"array API": 169, "autograd": 138}


def test_the_array_api() -> None:
    names = [
        f"{chapter}.{name}".lstrip(".")
        for chapter in ARRAY_API
        for name in ARRAY_API[chapter].split()
    ]
    types = [name for name in ("finfo", "iinfo") if hasattr(np, name)]  # NumPy's own serve
    there = {name for name in names if name in types or resolve(name)}
    print(f"{len(there)} of {len(names)}; not {sorted(set(names) - there)}")
    assert len(there) >= FLOORS["array API"]


def test_what_autograd_differentiates() -> None:
    """NumPy's functions with a rule of autograd's."""
    core = pytest.importorskip("autograd.core", reason="needs autograd: pip install autograd")
    theirs = pytest.importorskip("autograd.numpy")
    parts = {"": theirs, "linalg.": theirs.linalg, "fft.": theirs.fft}
    ruled = {
        prefix + name
        for prefix, module in parts.items()
        for name, function in vars(module).items()
        if callable(function) and function in core.primitive_vjps and in_numpy(prefix + name)
    }
    there = {name for name in ruled if resolve(name)}
    print(f"{len(there)} of {len(ruled)}; not {sorted(ruled - there)}")
    assert len(there) >= FLOORS["autograd"]
