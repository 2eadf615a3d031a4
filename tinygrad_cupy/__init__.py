"""tinygrad_cupy: an autograd tensor engine for people who compute with CuPy, with CNN layers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .autograd import FusedOp, Op
from .autograd.mode import enable_grad, is_grad_enabled, no_grad
from .backend import cuda_available, default_device, set_default_device
from .backend.blas import get_precision, set_precision
from .custom import custom_op
from .gradcheck import gradcheck
from .jit import jit
from .ops.comparison import where
from .ops.hints import FUNCTIONS
from .ops.shape import concat, stack
from .random import manual_seed
from .tensor import Tensor
from .transforms import checkpoint, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp, vmap

if TYPE_CHECKING:
    from . import datasets, interop, nn
    from .nn import functional_call

__version__ = "0.1.0"

__all__ = [
    "FusedOp",
    "Op",
    "Tensor",
    "checkpoint",
    "concat",
    "cuda_available",
    "custom_op",
    "datasets",
    "default_device",
    "enable_grad",
    "functional_call",
    "get_precision",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "interop",
    "is_grad_enabled",
    "jacobian",
    "jit",
    "jvp",
    "manual_seed",
    "nn",
    "no_grad",
    "set_default_device",
    "set_precision",
    "stack",
    "value_and_grad",
    "vjp",
    "vmap",
    "where",
]


def __getattr__(name: str) -> Any:
    """Load ``nn``, ``datasets`` and ``interop`` on first use: the engine alone imports fast."""
    if name in ("nn", "datasets", "interop"):
        return importlib.import_module(f"{__name__}.{name}")
    if name == "functional_call":
        return importlib.import_module(f"{__name__}.nn").functional_call
    hint = f": use {FUNCTIONS[name]}" if name in FUNCTIONS else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
