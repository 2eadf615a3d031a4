"""Transforms of functions of tensors: derivatives of any kind, and batches.

Arguments and results are tensors in lists, tuples and dicts. The names, and what they return, are
those of ``torch.func``; `hvp` is JAX's.
"""

from .batch import vmap
from .forward import jvp
from .jacobians import hessian, jacobian
from .recompute import checkpoint
from .reverse import grad, hvp, value_and_grad, vjp

__all__ = [
    "checkpoint",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
    "vmap",
]
