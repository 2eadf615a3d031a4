"""Orthogonal polynomials, of degrees by which there is no derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autograd import Elementwise, TensorBase
from ..backend import Array
from ..backend.dtypes import is_narrow
from ..kernels.orthogonal import (
    CHEBYSHEV,
    GEGENBAUER,
    HERMITE,
    HERMITE_NORM,
    LAGUERRE,
    polynomial,
)
from .functions import beside, operands
from .gamma import undifferentiated
from .promotion import as_float, in_one_dtype

if TYPE_CHECKING:
    from ..autograd.typing import Tensor


class Orthogonal(Elementwise):
    """A polynomial of degree n at x, of a family with a parameter: λ of Gegenbauer, α of Laguerre.

    Derivatives are of the same family with the next parameter, one degree lower (DLMF 18.9.19,
    18.9.21, 18.9.23, 18.9.25 and 18.9.27).
    """

    only_real = True
    broadcasts = True
    saves = ("n", "x")

    def __init__(self, name: str, family: int, parameter: float = 0.0) -> None:
        self.name, self.family, self.parameter = name, family, parameter

    def forward(self, n: Array, x: Array) -> Array:
        return polynomial(n, x, self.family, self.parameter)

    def backward(self, grad: Tensor, n: Tensor, x: Tensor) -> tuple[Any, ...]:
        if self.needs[0]:
            undifferentiated(self.name, "n")(grad)
        family, parameter, scale = self.family, self.parameter + 1, 1.0
        factor: Any = n
        if family == CHEBYSHEV:  # n times the second kind's, which is Gegenbauer's of λ = 1
            family, parameter = GEGENBAUER, 1.0
        elif family == GEGENBAUER:
            factor, scale = 1, 2 * self.parameter
        elif family == LAGUERRE:
            factor, scale = 1, -1.0
        else:
            parameter, scale = 0.0, 2.0 if family == HERMITE else 1.0
        lower = Orthogonal(self.name, family, parameter)(n.detach() - 1, x)
        return None, grad * (lower * factor * scale)


def _evaluating(name: str, family: int, parameter: float = 0.0, shifted: bool = False) -> Any:
    def evaluate(n: Any, x: Any) -> Tensor:
        given = operands(n, x, name)
        like: Any = next(one for one in given if isinstance(one, TensorBase))
        both: list[Any] = [
            one if isinstance(one, TensorBase) else beside(like, one, name) for one in given
        ]
        degree, at = (as_float(one) for one in in_one_dtype(*both))
        dtype = at.data.dtype
        if is_narrow(dtype):
            degree, at = degree.astype(np.float32), at.astype(np.float32)
        found = Orthogonal(name, family, parameter)(degree, at * 2 - 1 if shifted else at)
        return found.astype(dtype) if is_narrow(dtype) else found

    return evaluate


Evaluate = Callable[[Any, Any], "Tensor"]

chebyt: Evaluate = _evaluating("eval_chebyt", CHEBYSHEV)
chebyu: Evaluate = _evaluating("eval_chebyu", GEGENBAUER, 1.0)
sh_chebyt: Evaluate = _evaluating("eval_sh_chebyt", CHEBYSHEV, shifted=True)
sh_chebyu: Evaluate = _evaluating("eval_sh_chebyu", GEGENBAUER, 1.0, shifted=True)
legendre: Evaluate = _evaluating("eval_legendre", GEGENBAUER, 0.5)
laguerre: Evaluate = _evaluating("eval_laguerre", LAGUERRE)
hermite: Evaluate = _evaluating("eval_hermite", HERMITE)
hermitenorm: Evaluate = _evaluating("eval_hermitenorm", HERMITE_NORM)
