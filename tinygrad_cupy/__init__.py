"""tinygrad_cupy: an autograd tensor engine for people who compute with CuPy, with CNN layers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .autograd import Elementwise, FusedOp, Op
from .autograd.autocast import autocast
from .autograd.mode import enable_grad, is_grad_enabled, no_grad
from .backend import cuda_available, default_device, set_default_device
from .backend.blas import get_precision, set_precision
from .gradcheck import gradcheck
from .jit import jit
from .ops.comparison import where
from .ops.hints import for_function
from .ops.leaving import GradientDroppedWarning
from .ops.protocols import provided_by
from .ops.shape import concat, stack
from .random import manual_seed
from .tensor import Tensor

if TYPE_CHECKING:
    from . import (
        array_api,
        datasets,
        distributed,
        fft,
        integrate,
        interop,
        linalg,
        ndimage,
        nn,
        numpy,
        optimize,
        signal,
        sparse,
        spatial,
        special,
    )
    from .command.loaded_run import load_run
    from .custom import custom_op
    from .nn import functional_call
    from .nn.optim import GradScaler
    from .transforms import checkpoint, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp, vmap

__version__ = "0.1.0"

provided_by("tinygrad_cupy.numpy")  # what NumPy's functions do with tensors
provided_by("tinygrad_cupy.special")  # and SciPy's

__all__ = [
    "Elementwise",
    "FusedOp",
    "GradScaler",
    "GradientDroppedWarning",
    "Op",
    "Tensor",
    "array_api",
    "autocast",
    "checkpoint",
    "concat",
    "cuda_available",
    "custom_op",
    "datasets",
    "default_device",
    "distributed",
    "enable_grad",
    "fft",
    "functional_call",
    "get_precision",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "integrate",
    "interop",
    "is_grad_enabled",
    "jacobian",
    "jit",
    "jvp",
    "linalg",
    "load_run",
    "manual_seed",
    "ndimage",
    "nn",
    "no_grad",
    "numpy",
    "optimize",
    "set_default_device",
    "set_precision",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stack",
    "value_and_grad",
    "vjp",
    "vmap",
    "where",
]


# What is loaded on first use, and where it stands: the engine alone imports fast.
_MODULES = (
    *("array_api", "datasets", "distributed", "fft", "integrate", "interop", "linalg"),
    *("ndimage", "nn", "numpy", "optimize", "signal", "sparse", "spatial", "special"),
)
_TRANSFORMS = (
    *("checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp"),
    *("value_and_grad", "vjp", "vmap"),
)
_LATER = {
    "GradScaler": "nn.optim",
    "custom_op": "custom",
    "functional_call": "nn",
    "load_run": "command.loaded_run",
    **dict.fromkeys(_TRANSFORMS, "transforms"),
}


def __getattr__(name: str) -> Any:
    """Load a part on first use."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LATER:
        found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
        globals()[name] = found
        return found
    ours = None if name.startswith("_") else for_function(name)
    hint = "" if ours is None else f": use {ours}"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
