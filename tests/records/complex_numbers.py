"""Records of ops/complex_numbers.py: of a + ib, made of two tensors of real numbers.

Of complex results they give both parts, so that all that is drawn and differentiated is real.
tests/ops/test_complex.py asks all other records with complex numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygrad_cupy.numpy as tnp
from support.elementwise import two
from support.sampling import Sample, nonzero
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import complex_numbers as ops
from tinygrad_cupy.ops.trigonometric import Arctan2


def _of_complex(name: str, function: Callable[[Any], Any], *kinds: Any, **options: Any) -> Sample:
    """``function`` of a + ib, which PyTorch's tensors answer as ours do unless told otherwise."""
    torch = options.pop("torch", lambda _, z: function(z))
    return Sample(
        name,
        call=lambda a, b: _parts(function(ops.from_parts(a, b))),
        cases=two(nonzero, nonzero),
        torch=lambda t, a, b: _parts_in_torch(torch(t, t.complex(*t.broadcast_tensors(a, b)))),
        ops=(ops.FromParts, *kinds),
        covers=(),
        **options,
    )


def _parts(z: Any) -> Any:
    return [z.real, z.imag] if z.dtype.kind == "c" else z


def _parts_in_torch(z: Any) -> Any:
    return [z.real, z.resolve_conj().imag] if z.is_complex() else z


def _written(a: Tensor, b: Tensor) -> Any:
    """b in place of the imaginary part, and then 2 a in place of the real one."""
    z = ops.from_parts(a * 3, b) * 1j
    z.imag = b
    z.real[...] = a * 2
    return _parts(z)


SAMPLES = [
    _of_complex("from_parts", lambda z: z),
    _of_complex("conj of complex", lambda z: z.conj(), ops.Conj),
    _of_complex("real of complex", lambda z: (z * z).real, ops.Real),
    _of_complex("imag of complex", lambda z: (z * z).imag, ops.Imag),
    _of_complex("abs of complex", abs, ops.Modulus),
    _of_complex("sign of complex", lambda z: z.sign(), ops.Modulus, torch=lambda t, z: t.sgn(z)),
    _of_complex("angle of complex", tnp.angle, Arctan2, torch=lambda t, z: t.angle(z)),
    _of_complex("power of complex", lambda z: z ** (1 + 2j)),
    _of_complex("number to a complex power", lambda z: 2.0**z),
    _of_complex("number below 0 to a complex power", lambda z: (-2) ** z),
    _of_complex("quotient of complex", lambda z: (1 + 2j) / z),
    Sample(
        "parts written",
        call=_written,
        cases=two(nonzero, nonzero),
        torch=lambda t, a, b: list(t.broadcast_tensors(a * 2, b)),
        ops=(ops.FromParts, ops.Real, ops.Imag),
        covers=(),
    ),
]
