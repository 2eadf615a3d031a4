"""NumPy's functions on tensors: differentiable, on the CPU and on a GPU.

    import tinygrad_cupy.numpy as np

in place of ``import numpy as np`` makes NumPy code differentiable. What it creates are `ndarray`s:
tensors with NumPy's default dtypes (float64, int64), on `tinygrad_cupy.default_device()`. The same
functions answer NumPy's own when those are handed a tensor: see `ops.protocols`.

Each chapter of NumPy's manual has a file. A function takes what NumPy's takes, arrays and numbers
among tensors too; where it cannot be differentiated its docstring says so.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ..ops.hints import for_function
from . import fft, linalg, random
from . import lib as lib
from . import scimath as emath
from .arrays import *
from .arrays import __all__ as _arrays
from .bits import *
from .bits import __all__ as _bits
from .creation import *
from .creation import __all__ as _creation
from .elementwise import *
from .elementwise import __all__ as _elementwise
from .files import *
from .files import __all__ as _files
from .fitting import *
from .fitting import __all__ as _fitting
from .functional import *
from .functional import __all__ as _functional
from .grids import *
from .grids import __all__ as _grids
from .histograms import *
from .histograms import __all__ as _histograms
from .indexing import *
from .indexing import __all__ as _indexing
from .joining import *
from .joining import __all__ as _joining
from .logic import *
from .logic import __all__ as _logic
from .nanfunctions import *
from .nanfunctions import __all__ as _nanfunctions
from .padding import *
from .padding import __all__ as _padding
from .polynomials import *
from .polynomials import __all__ as _polynomials
from .products import *
from .products import __all__ as _products
from .reductions import *
from .reductions import __all__ as _reductions
from .scans import *
from .scans import __all__ as _scans
from .sets import *
from .sets import __all__ as _sets
from .shaping import *
from .shaping import __all__ as _shaping
from .signals import *
from .signals import __all__ as _signals
from .sorting import *
from .sorting import __all__ as _sorting
from .statistics import *
from .statistics import __all__ as _statistics
from .ufuncs import *
from .ufuncs import __all__ as _ufuncs
from .writing import *
from .writing import __all__ as _writing

# What NumPy has beside functions: its types, constants and settings serve here as they are.
_PASSED = (type, float, np.dtype, np.bool_, ModuleType)
_ALSO = (
    *("ScalarType", "__version__", "base_repr", "binary_repr", "errstate", "finfo"),
    *("format_float_positional", "format_float_scientific", "get_printoptions", "geterr"),
    *("iinfo", "index_exp", "isdtype", "issubdtype", "iterable", "little_endian", "mintypecode"),
    *("newaxis", "printoptions", "promote_types", "s_", "sctypeDict", "set_printoptions"),
    *("seterr", "typecodes", "typename"),
)


def __getattr__(name: str) -> Any:
    """A type, a constant or a setting of NumPy's; any other name is an error."""
    found = getattr(np, name, _ALSO)
    if found is not _ALSO and (name in _ALSO or isinstance(found, _PASSED)):
        return found
    hint = "" if found is _ALSO else ": NumPy's takes values, x.detach().numpy(), not tensors"
    if found is _ALSO and not name.startswith("_"):
        ours = for_function(name)  # of PyTorch's names, say
        hint = "" if ours is None else f": use {ours}"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


__all__ = [
    "emath",
    "fft",
    "linalg",
    "random",
    *_arrays,
    *_bits,
    *_creation,
    *_files,
    *_fitting,
    *_functional,
    *_elementwise,
    *_grids,
    *_histograms,
    *_indexing,
    *_joining,
    *_logic,
    *_polynomials,
    *_padding,
    *_nanfunctions,
    *_products,
    *_reductions,
    *_scans,
    *_sets,
    *_shaping,
    *_signals,
    *_sorting,
    *_statistics,
    *_ufuncs,
    *_writing,
]
