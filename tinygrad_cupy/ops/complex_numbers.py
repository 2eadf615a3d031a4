"""Complex numbers: their parts, and what is no holomorphic function of them.

A gradient in a rule is the c of dL = Re(c dz); see `autograd.backward`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import kernels
from ..autograd import Elementwise, FusedOp, TensorBase
from ..backend import Array
from ..backend.dtypes import is_complex, with_imaginary
from .trigonometric import Arctan2

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class Conj(Elementwise):
    """x - iy of x + iy: dL = Re(c dz̄) = Re(c̄ dz)."""

    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return self.xp.conj(x)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.conj()


class Real(Elementwise):
    """x of x + iy, a view: dL = c Re(dz) with a real c."""

    view = True
    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return x.real

    def backward(self, grad: Tensor) -> Tensor:
        return grad.astype(with_imaginary(grad.dtype))


class Imag(Elementwise):
    """y of x + iy, a view: dL = c Im(dz) = Re(-ic dz) with a real c."""

    view = True
    linear = ("x",)

    def forward(self, x: Array) -> Array:
        return x.imag

    def backward(self, grad: Tensor) -> Tensor:
        return grad * -1j


class FromParts(Elementwise):
    """a + ib of real a and b: dL = Re(c) da + Re(ic) db."""

    linear = ("a", "b")
    jointly = True
    only_real = True
    broadcasts = True

    def forward(self, a: Array, b: Array) -> Array:
        shape = np.broadcast_shapes(a.shape, b.shape)
        out = self.xp.empty(shape, with_imaginary(a.dtype))
        out.real, out.imag = a, b
        return out

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad.real, -grad.imag


class Modulus(FusedOp):
    """|x| of complex numbers; the gradient at 0 is 0."""

    elementwise = True
    holomorphic = False
    saves = ("x", "y")

    def forward(self, x: Array) -> Array:
        return self.xp.abs(x)

    def backward_arrays(self, grad: Array, x: Array, y: Array) -> tuple[Array]:
        return (kernels.complex_numbers.abs_backward(grad, x, y),)

    def backward(self, grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return grad * x.sign().conj()


def from_parts(a: Tensor, b: Tensor) -> Tensor:
    """a + ib of real tensors of one dtype, which broadcast; exact where a product would not be."""
    return FromParts()(a, b)


def squared_size(x: Any) -> Tensor:
    """|x|², without the root's bend at 0: x², of complex numbers real² + imag²."""
    if x._facts.dtype.kind != "c":
        return x * x  # type: ignore[no-any-return]
    a, b = x.real, x.imag
    return a * a + b * b  # type: ignore[no-any-return]


def angle(x: Tensor) -> Tensor:
    """The angle of complex numbers in the plane, from -π to π; at 0 it is 0, with gradient 0."""
    return Arctan2.of(x.imag, x.real)


# --- the methods --------------------------------------------------------------------------------


class ComplexMixin(TensorBase):
    """Parts of complex numbers; real numbers are their own."""

    __slots__ = ()

    @property
    def real(self) -> Tensor:
        """The real part, a view; of real numbers the tensor itself."""
        x: Any = self
        return Real()(x) if is_complex(x._facts.dtype) else x

    @real.setter
    def real(self, value: Any) -> None:
        x: Any = self
        x.real[...] = value

    @property
    def imag(self) -> Tensor:
        """The imaginary part, a view; of real numbers 0 throughout."""
        x: Any = self
        return Imag()(x) if is_complex(x._facts.dtype) else x._zeros()

    @imag.setter
    def imag(self, value: Any) -> None:
        x: Any = self
        if not is_complex(x._facts.dtype):
            raise TypeError(f"[imag] expected complex numbers to write into, got dtype {x.dtype}")
        x.imag[...] = value

    def conj(self) -> Tensor:
        """The complex conjugate x - iy; of real numbers the tensor itself."""
        x: Any = self
        return Conj()(x) if x._facts.dtype.kind == "c" else x

    def conjugate(self) -> Tensor:
        """`conj`."""
        return self.conj()
