"""Records of ops/fft.py: `numpy.fft`. Of complex results they give both parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Sample, normal, shapes
from tinygrad_cupy.ops import fft as ops
from tinygrad_cupy.ops.complex_numbers import from_parts

NORMS = st.sampled_from([None, "backward", "ortho", "forward"])


def _parts(z: Any) -> Any:
    complex_ = z.is_complex() if hasattr(z, "is_complex") else z.dtype.kind == "c"
    if not complex_:
        return z
    return [z.real, z.resolve_conj().imag] if hasattr(z, "resolve_conj") else [z.real, z.imag]


def _one_axis(draw: Draw, shape: tuple[int, ...], half: bool) -> dict[str, Any]:
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    least = 2 if half and shape[axis] == 1 else 1  # of one element NumPy would make none
    n = draw(st.integers(least, 6) if least > 1 else st.none() | st.integers(1, 6))
    return {"n": n, "axis": axis, "norm": draw(NORMS)}


def _axes(draw: Draw, shape: tuple[int, ...], half: bool, two: bool) -> dict[str, Any]:
    count = 2 if two else draw(st.integers(1, len(shape)))
    axes = tuple(draw(st.permutations(range(-len(shape), 0)))[:count])
    sizes = [shape[i] for i in axes]
    if draw(st.booleans()) or (half and sizes[-1] == 1):
        sizes = [draw(st.integers(2 if half else 1, 5)) for _ in axes]
        return {"s": tuple(sizes), "axes": axes, "norm": draw(NORMS)}
    return {"axes": axes, "norm": draw(NORMS)}


def _cases(name: str, inputs: int) -> Callable[[Draw], Case]:
    half = name.startswith(("irfft", "hfft"))

    def cases(draw: Draw) -> Case:
        two = name.endswith("2")
        shape = draw(shapes(min_dims=2 if two else 1))
        some = two or name.endswith("n")
        options = _axes(draw, shape, half, two) if some else _one_axis(draw, shape, half)
        return Case(tuple(normal(draw, shape) for _ in range(inputs)), options)

    return cases


def _transform(name: str, kind: Any, inputs: int) -> Sample:
    def call(*xs: Any, **options: Any) -> Any:
        x = xs[0] if len(xs) == 1 else from_parts(*xs)
        return _parts(getattr(np.fft, name)(x, **options))

    def torch(t: Any, *xs: Any, **options: Any) -> Any:
        x = xs[0] if len(xs) == 1 else t.complex(*xs)
        options = {"dim" if k in ("axis", "axes") else k: v for k, v in options.items()}
        return _parts(getattr(t.fft, name)(x, **options))

    return Sample(
        f"np.fft.{name}",
        call=call,
        cases=_cases(name, inputs),
        torch=torch,
        ops=kind,
        covers=(f"np.fft.{name}",),
    )


def _shift(name: str) -> Sample:
    def cases(draw: Draw) -> Case:
        shape = draw(shapes(min_dims=1))
        axes = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
        return Case((normal(draw, shape),), {"axes": axes})

    return Sample(
        f"np.fft.{name}",
        call=lambda x, axes: getattr(np.fft, name)(x, axes),
        cases=cases,
        torch=lambda t, x, axes: getattr(t.fft, name)(x, axes),
        ops=(),
        covers=(f"np.fft.{name}",),
    )


SAMPLES = [
    *(
        _transform(name, (ops.Fft,), 2)
        for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn")
    ),
    *(
        _transform(name, (ops.HalfFft, ops.FromHalfFft, ops.Weighted), 1)
        for name in ("rfft", "rfft2", "rfftn", "ihfft")
    ),
    *(
        _transform(name, (ops.HalfFft, ops.FromHalfFft, ops.Weighted), 2)
        for name in ("irfft", "irfft2", "irfftn", "hfft")
    ),
    _shift("fftshift"),
    _shift("ifftshift"),
]
