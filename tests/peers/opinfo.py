"""What stands here for the operations of PyTorch's test records (`OpInfo`).

A counterpart is a public function or method of ours; between PyTorch's arguments and ours stands a
translation. Arguments that ours does not have are not in it, and a sample that gives one is left
out, as is one for which it raises `NotOurs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

import tinygrad_cupy as tg
from peers import translations as t
from peers.translations import Call
from tinygrad_cupy import Tensor
from tinygrad_cupy import numpy as np
from tinygrad_cupy.ops.protocols import TABLE as DISPATCHED


@dataclass(frozen=True)
class Counterpart:
    """One operation.

    names:
        what does it, one or more names with blanks between: "Tensor.relu", "nn.MSELoss",
        "random.normal"; others are in `tinygrad_cupy.numpy` or in `tinygrad_cupy`.
    call:
        ``call(*what does it, *the sample's arguments)``, tensors being ours.
    theirs:
        the part of PyTorch's result that ours has.
    drawn:
        the values are drawn at random, or nobody's: only shapes and dtypes are compared.
    """

    names: str
    call: Call
    theirs: Call | None = None
    drawn: bool = False

    def functions(self) -> list[Any] | None:
        """What does it, or None where a name is not there (yet)."""
        found = [resolve(name) for name in self.names.split()]
        return None if any(f is None for f in found) else found


def resolve(name: str) -> Any:
    """The public function or method of that name, or None."""
    first, _, rest = name.partition(".")
    if first == "Tensor":
        return getattr(Tensor, rest, None) if rest in _METHODS else None
    roots, path = ((tg.nn,), rest) if first == "nn" else ((np, tg), name)
    for root in roots:
        found = _inside(root, path)
        if callable(found):
            found = DISPATCHED.get(found, found)  # np.linalg may be NumPy's own
            if getattr(found, "__module__", "").partition(".")[0] != "numpy":
                return found
    return None


def in_numpy(name: str) -> Any:
    """NumPy's function or method of that name, or None."""
    first, _, rest = name.partition(".")
    if first == "Tensor":
        return numpy.copy if rest == "clone" else getattr(numpy.ndarray, rest, None)
    return _inside(numpy, name)


def _inside(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part, None)
    return root


_METHODS = {name for base in Tensor.__mro__ for name in vars(base)}  # not the class's own type's

TABLE: dict[str, Counterpart] = {}  # by an OpInfo's name, or "name.variant"


def one(record: str, ours: str, call: Call = t.plain, **options: Any) -> None:
    """Enter an operation."""
    TABLE[record] = Counterpart(ours, call, **options)


def all_of(names: str, call: Call = t.plain, **options: Any) -> None:
    """Enter operations that are called alike; "theirs=ours" where names differ."""
    for name in names.split():
        record, _, ours = name.partition("=")
        one(record, ours or record, call, **options)


# --- elementwise --------------------------------------------------------------------------------

all_of(
    "abs acos=arccos acosh=arccosh add asin=arcsin asinh=arcsinh atan=arctan atan2=arctan2"
    " atanh=arctanh angle bitwise_and bitwise_left_shift=left_shift bitwise_not=invert bitwise_or"
    " bitwise_right_shift=right_shift bitwise_xor ceil conj conj_physical=conj copysign cos cosh"
    " deg2rad div.no_rounding_mode=true_divide eq=equal equal=array_equal exp exp2 expm1"
    " float_power floor floor_divide fmax fmin fmod frexp gcd ge=greater_equal gt=greater"
    " heaviside hypot i0 isfinite isin isinf isnan isneginf isposinf isreal lcm"
    " le=less_equal log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or"
    " logical_xor lt=less max.binary=maximum maximum min.binary=minimum minimum mul=multiply"
    " ne=not_equal neg=negative nextafter positive pow=power rad2deg real reciprocal remainder"
    " round sgn=sign sign signbit sin sinc sinh sqrt square sub=subtract tan tanh"
    " true_divide trunc"
)
all_of(
    "digamma=special.digamma erf=Tensor.erf erfc=special.erfc erfinv=special.erfinv"
    " igamma=special.gammainc igammac=special.gammaincc lgamma=special.gammaln"
    " special.entr special.erfcx special.i0e special.i1 special.i1e"
    " special.log_ndtr special.ndtr special.ndtri special.xlog1py special.zeta xlogy=special.xlogy"
    " special.bessel_j0=special.j0 special.bessel_j1=special.j1 special.bessel_y0=special.y0"
    " special.bessel_y1=special.y1 special.modified_bessel_i0=special.i0"
    " special.modified_bessel_i1=special.i1 special.modified_bessel_k0=special.k0"
    " special.modified_bessel_k1=special.k1 special.scaled_modified_bessel_k0=special.k0e"
    " special.scaled_modified_bessel_k1=special.k1e nn.functional.logsigmoid=special.log_expit"
)
one("logit", "special.logit", t.log_odds)
all_of(
    "special.chebyshev_polynomial_t=special.eval_chebyt"
    " special.chebyshev_polynomial_u=special.eval_chebyu"
    " special.shifted_chebyshev_polynomial_t=special.eval_sh_chebyt"
    " special.shifted_chebyshev_polynomial_u=special.eval_sh_chebyu"
    " special.hermite_polynomial_h=special.eval_hermite"
    " special.hermite_polynomial_he=special.eval_hermitenorm"
    " special.laguerre_polynomial_l=special.eval_laguerre"
    " special.legendre_polynomial_p=special.eval_legendre",
    t.of_whole_degree,
)
one("special.spherical_bessel_j0", "special.spherical_jn", lambda f, x: f(0, x))
one("mvlgamma", "special.multigammaln", lambda f, x, p: f(x, p))
for name in ("polygamma", "special.polygamma"):
    one(name, "special.polygamma", lambda f, x, n: f(n, x))
one("nn.functional.softplus", "special.softplus", t.softened)
all_of(
    "round.decimals_0=round round.decimals_3=round round.decimals_neg_3=round",
    lambda f, x, decimals: f(x, decimals),
)
one("div.floor_rounding", "floor_divide", lambda f, x, y, rounding_mode: f(x, y))
one("frac", "modf", lambda f, x: f(x)[0])
all_of(
    "allclose isclose",
    lambda f, x, y, rtol=1e-5, atol=1e-8, equal_nan=False: f(x, y, rtol, atol, equal_nan),
)
one("clamp", "clip", lambda f, x, min=None, max=None: f(x, min, max))
one("clamp_max", "clip", lambda f, x, max: f(x, None, max))
one("clamp_min", "clip", lambda f, x, min: f(x, min, None))
one("nan_to_num", "nan_to_num", lambda f, x, **values: f(x, **values))
one("where", "where", lambda f, x, condition, y: f(condition, x, y))
one("masked_fill", "where", lambda f, x, mask, value: f(mask, value, x))
for name in ("add", "mul", "and", "or", "xor", "matmul", "mod", "pow", "sub"):
    one(f"__r{name}__", f"Tensor.__r{name}__")
all_of("__rdiv__=Tensor.__rtruediv__ rsub=Tensor.__rsub__")

# --- reductions and scans -----------------------------------------------------------------------

all_of(
    "all amax=max amin=min any argmax argmin logsumexp=Tensor.logsumexp max.reduction_no_dim=max"
    " min.reduction_no_dim=min",
    t.reduced,
)
all_of("mean nanmean nansum prod sum", t.added)
all_of("cumprod cumsum", t.scanned)
all_of("logcumsumexp=Tensor.logcumsumexp", t.scanned_plainly)
all_of("cummax=Tensor.cummax cummin=Tensor.cummin", t.scanned_plainly, theirs=t.values)
one("max.reduction_with_dim", "max argmax", t.extremum)
one("min.reduction_with_dim", "min argmin", t.extremum)
all_of("median nanmedian", t.reduced, theirs=t.values)
all_of("nanquantile quantile", t.at_quantiles)
all_of("std var", t.spread)
all_of("std.unbiased=std var.unbiased=var", lambda f, x, unbiased: f(x, ddof=int(unbiased)))
all_of("masked.amax=max masked.amin=min masked.mean=mean masked.prod=prod masked.sum=sum", t.masked)
all_of("masked.std=std masked.var=var", t.masked_spread)
one("count_nonzero", "count_nonzero", lambda f, x, dim=None: f(x, axis=t.axes(dim)))
all_of("trapezoid trapz=trapezoid", lambda f, y, x=None, dx=1.0, dim=-1: f(y, x, dx, dim))
one("corrcoef", "corrcoef")
one(
    "cov",
    "cov",
    lambda f, x, correction=1, fweights=None, aweights=None: f(
        x, ddof=correction, fweights=fweights, aweights=aweights
    ),
)
one("diff", "diff", t.differences)
one("gradient", "gradient", t.slopes)
all_of("norm=linalg.norm", t.normed)
one(
    "linalg.norm",
    "linalg.norm",
    lambda f, x, ord=None, dim=None, keepdim=False: f(x, ord, t.axes(dim), keepdim),
)
one(
    "linalg.vector_norm",
    "linalg.vector_norm",
    lambda f, x, ord=2, dim=None, keepdim=False: f(x, axis=t.axes(dim), keepdims=keepdim, ord=ord),
)
one(
    "linalg.matrix_norm",
    "linalg.norm",
    lambda f, x, ord="fro", dim=(-2, -1), keepdim=False: f(x, ord, tuple(dim), keepdim),
)

# --- sorting, searching, counting ---------------------------------------------------------------

one("sort", "sort argsort", t.ordered)
one("argsort", "argsort", t.order)
one("msort", "sort", lambda f, x: f(x, axis=0))
one("topk", "topk", t.largest)
one("unique", "unique", t.distinct)
one("argwhere", "argwhere")
one("nonzero", "nonzero argwhere", t.places)
one("searchsorted", "searchsorted", t.searched)
one(
    "bucketize",
    "searchsorted",
    lambda f, x, edges, out_int32=False, right=False: t.searched(f, edges, x, out_int32, right),
)
one("bincount", "bincount", lambda f, x, weights=None, minlength=0: f(x, weights, minlength))
one("histc", "histogram", t.counted)
one("histogram", "histogram", t.histogram)

# --- shapes -------------------------------------------------------------------------------------

all_of(
    "atleast_1d atleast_2d atleast_3d broadcast_tensors=broadcast_arrays broadcast_to"
    " clone=Tensor.clone column_stack dsplit dstack fliplr flipud hsplit hstack kron"
    " movedim=moveaxis ravel tile vsplit vstack"
)
all_of("diag=diag tril triu", lambda f, x, k=0: f(x, k))
all_of(
    "diagonal diagonal_copy=diagonal",
    lambda f, x, offset=0, dim1=0, dim2=1: f(x, offset, dim1, dim2),
)
one(
    "linalg.diagonal",
    "diagonal",
    lambda f, x, offset=0, dim1=-2, dim2=-1: f(x, offset, dim1, dim2),
)
one("diagflat", "diagflat", lambda f, x, offset=0: f(x, offset))
one("trace", "trace")
one("cat", "concatenate", lambda f, xs, dim=0: f(xs, dim))
one("stack", "stack", lambda f, xs, dim=0: f(xs, dim))
one("contiguous", "ascontiguousarray")
one("sum_to_size", "Tensor.sum_to", lambda f, x, *shape: f(x, t.sequence(shape)))
all_of("expand=broadcast_to expand_copy=broadcast_to", lambda f, x, *shape: f(x, t.sequence(shape)))
one("expand_as", "broadcast_to", lambda f, x, y: f(x, y.shape))
one("flip", "flip", lambda f, x, dims: f(x, dims))
one(
    "flatten",
    "Tensor.flatten",
    lambda f, x, start_dim=0, end_dim=-1: f(x, start_dim, end_dim),
)
one("meshgrid", "meshgrid", t.meshed)
all_of("permute=transpose permute_copy=transpose", lambda f, x, dims: f(x, dims))
all_of("transpose=swapaxes transpose_copy=swapaxes")
all_of("T=transpose t=transpose t_copy=transpose H=transpose", lambda f, x: f(x))
all_of("mT=matrix_transpose mH=matrix_transpose")
all_of("constant_pad_nd=pad nn.functional.pad=pad", t.padded)
one("repeat", "tile", lambda f, x, *sizes: f(x, t.sequence(sizes)))
one("repeat_interleave", "repeat", lambda f, x, repeats, dim=None: f(x, repeats, dim))
all_of("reshape view=reshape view_copy=reshape")
all_of("reshape_as=reshape view_as=reshape", lambda f, x, y: f(x, y.shape))
one("roll", "roll", lambda f, x, shifts, dims=None: f(x, shifts, t.axes(dims)))
one("rot90", "rot90", lambda f, x, k=1, dims=(0, 1): f(x, k, dims))
all_of("squeeze squeeze.multiple=squeeze squeeze_copy=squeeze", lambda f, x, dim=None: f(x, dim))
all_of("unsqueeze=expand_dims unsqueeze_copy=expand_dims")
all_of("split=Tensor.split unsafe_split=Tensor.split", t.split_into)
all_of(
    "split.list_args=Tensor.split split_with_sizes=Tensor.split split_with_sizes_copy=Tensor.split",
    lambda f, x, sizes, dim=0: f(x, sizes, dim),
)
one("tensor_split", "array_split", t.cut)
all_of("unbind=unstack unbind_copy=unstack", lambda f, x, dim=0: f(x, axis=dim))
for name in ("unfold", "unfold_copy"):
    one(name, "lib.stride_tricks.sliding_window_view", t.windows)

# --- elements -----------------------------------------------------------------------------------

one("__getitem__", "Tensor.__getitem__")
one("masked_select", "extract", lambda f, x, mask: f(mask, x))
all_of("select=take index_select=take", lambda f, x, dim, index: f(x, index, axis=dim))
one(
    "slice",
    "Tensor.__getitem__",
    lambda f, x, dim=0, start=None, end=None, step=None: f(
        x, t.along(x, dim, slice(start, end, step))
    ),
)
all_of(
    "narrow=Tensor.__getitem__ narrow_copy=Tensor.__getitem__",
    lambda f, x, dim, start, length: f(x, t.along(x, dim, slice(int(start), int(start) + length))),
)
one("take", "take")
one("take_along_dim", "take_along_axis", lambda f, x, index, dim=None: f(x, index, dim))
one("gather", "gather", lambda f, x, dim, index: f(x, index, axis=dim))
one("scatter_add", "scatter_add", lambda f, x, dim, index, src: f(x, index, src, axis=dim))
one(
    "scatter_reduce",
    "scatter_reduce",
    lambda f, x, dim, index, src, reduce, include_self=True: f(
        x, index, src, dim, reduce, include_self
    ),
)
one("unravel_index", "unravel_index")
one(
    "index_put",
    "Tensor.clone Tensor.__setitem__ add.at",
    lambda f, g, at, x, key, value, accumulate=False: t.written(
        f, at if accumulate else g, x, key, value
    ),
)
one(
    "index_add",
    "Tensor.clone add.at",
    lambda f, g, x, dim, i, y, alpha=1: t.written(f, g, x, t.along(x, dim, i), alpha * y),
)
one("put", "Tensor.clone put", t.put)
one("scatter", "Tensor.clone put_along_axis", t.scattered)
for name in ("fill", "zero_"):
    one(
        name,
        "Tensor.clone Tensor.__setitem__",
        lambda f, g, x, value=0: t.written(f, g, x, ..., value),
    )
one(
    "select_scatter",
    "Tensor.clone Tensor.__setitem__",
    lambda f, g, x, src, dim, i: t.written(f, g, x, t.along(x, dim, i), src),
)
one(
    "slice_scatter",
    "Tensor.clone Tensor.__setitem__",
    lambda f, g, x, src, dim, *ends: t.written(f, g, x, t.along(x, dim, slice(*ends)), src),
)
for name in ("index_copy", "index_fill"):
    one(
        name,
        "Tensor.clone Tensor.__setitem__",
        lambda f, g, x, dim, i, y: t.written(f, g, x, t.along(x, dim, i), y),
    )

# --- products -----------------------------------------------------------------------------------

all_of("bmm=matmul dot inner matmul mm=matmul mv=matmul outer vdot")
all_of("linalg.matrix_power linalg.multi_dot")
one("einsum", "einsum", lambda f, xs, equation: f(equation, *xs))
one("tensordot", "tensordot", lambda f, x, y, dims: f(x, y, dims))
one("cross", "cross", lambda f, x, y, dim=None: f(x, y, axis=-1 if dim is None else dim))
one("linalg.cross", "cross", lambda f, x, y, dim=-1: f(x, y, axis=dim))
one("linalg.vecdot", "vecdot", lambda f, x, y, dim=-1: f(x, y, axis=dim))
one("linalg.vander", "vander", lambda f, x, *, N=None: f(x, N, increasing=True))

# --- linear algebra -----------------------------------------------------------------------------

all_of("linalg.det linalg.inv linalg.svdvals linalg.slogdet linalg.cond matrix_exp=linalg.expm")
one("logdet", "linalg.slogdet", t.log_of_det)
one("linalg.inv_ex", "linalg.inv", lambda f, x, check_errors=False: f(x), theirs=t.first)
one("linalg.tensorinv", "linalg.tensorinv", lambda f, x, ind=2: f(x, ind))
one("linalg.tensorsolve", "linalg.tensorsolve", lambda f, a, b, dims=None: f(a, b, t.axes(dims)))
one("linalg.solve", "linalg.solve", t.solved)
one(
    "linalg.solve_ex",
    "linalg.solve",
    lambda f, a, b, left=True, check_errors=False: t.solved(f, a, b, left),
    theirs=t.first,
)
one("linalg.solve_triangular", "linalg.solve_triangular", t.solved_by_triangle)
one("triangular_solve", "linalg.solve_triangular", t.triangular)
one("linalg.cholesky", "linalg.cholesky", lambda f, x, upper=False: f(x, upper=upper))
one("cholesky", "linalg.cholesky", lambda f, x, upper=False: f(x, upper=upper))
one(
    "linalg.cholesky_ex",
    "linalg.cholesky",
    lambda f, x, upper=False, check_errors=False: f(x, upper=upper),
    theirs=t.first,
)
one("cholesky_solve", "linalg.cho_solve", t.chosen)
one("cholesky_inverse", "linalg.cho_solve eye", t.chosen_inverse)
one("linalg.eigvals", "linalg.eigvals", lambda f, x: f(x).sum(-1), theirs=lambda w: w.sum(-1))
one("linalg.eigvalsh", "linalg.eigvalsh", lambda f, x, UPLO="L": f(x, UPLO))
one(
    "linalg.eigh",
    "linalg.eigh",
    lambda f, x, UPLO="L": t.square_of_each(f(x, UPLO)),
    theirs=t.square_of_each,
)
one(
    "linalg.svd",
    "linalg.svd",
    lambda f, x, full_matrices=True: t.of_singular_values(f(x, full_matrices)),
    theirs=t.of_singular_values,
)
one(
    "svd",
    "linalg.svd",
    lambda f, x, some=True, compute_uv=True: t.values_of_svd(f, x, some, compute_uv),
    theirs=lambda found: found[1],
)
all_of("linalg.qr qr=linalg.qr", t.qr_of, theirs=t.square_of_each)
all_of("pinverse=linalg.pinv linalg.pinv", t.inverted)
one("linalg.pinv.singular", "linalg.pinv", lambda f, a, b: f(a @ b.mT))
one("linalg.matrix_rank", "linalg.matrix_rank", t.ranked)
one("linalg.lstsq", "linalg.lstsq", t.least, theirs=lambda found: found[0])
one("linalg.lu", "linalg.lu", t.taken_apart)
one("linalg.lu_factor", "linalg.lu_factor", t.factored)
one("linalg.lu_factor_ex", "linalg.lu_factor", t.factored, theirs=lambda found: found[:2])
one("lu", "linalg.lu_factor", t.factored_as_before, theirs=lambda found: found[:2])
one("linalg.lu_solve", "linalg.lu_solve", t.solved_by_lu)
one("lu_solve", "linalg.lu_solve", lambda f, b, both, pivots: f((both, pivots - 1), b))
one("block_diag", "linalg.block_diag", lambda f, *xs: f(*xs))

# --- creation, dtypes, random numbers -----------------------------------------------------------

one("arange", "arange", t.counting)
one("eye", "eye", lambda f, n, m=None, dtype=None: f(n, m, dtype=dtype))
all_of(
    "linspace linspace.tensor_overload=linspace",
    lambda f, start, end, steps, dtype=None: f(start, end, steps, dtype=dtype),
)
all_of(
    "logspace logspace.tensor_overload=logspace",
    lambda f, start, end, steps, base=10.0, dtype=None: f(
        start, end, steps, base=base, dtype=dtype
    ),
)
all_of("ones zeros", lambda f, shape, dtype=None: f(shape, dtype))
one("full", "full", lambda f, shape, value, dtype=None: f(shape, value, dtype))
one("empty", "empty", lambda f, shape, dtype=None: f(shape, dtype), drawn=True)
all_of("new_ones=ones new_zeros=zeros", lambda f, x, shape, dtype=None: f(shape, dtype or x.dtype))
one("new_empty", "empty", lambda f, x, shape, dtype=None: f(shape, dtype or x.dtype), drawn=True)
one("new_full", "full", lambda f, x, shape, v, dtype=None: f(shape, v, dtype or x.dtype))
all_of("ones_like zeros_like", lambda f, x, dtype=None: f(x, dtype))
one("full_like", "full_like", lambda f, x, value, dtype=None: f(x, value, dtype))
one("empty_like", "empty_like", lambda f, x, dtype=None: f(x, dtype), drawn=True)
one("scalar_tensor", "array", lambda f, x, dtype=None: f(x, dtype))
all_of(
    "tril_indices triu_indices",
    lambda f, rows, columns, offset=0, dtype=None: f(rows, offset, columns),
    theirs=tuple,
)
all_of(
    "signal.windows.bartlett=bartlett signal.windows.blackman=blackman"
    " signal.windows.hamming=hamming signal.windows.hann=hanning",
    t.window,
)
for theirs, ours in {
    "bfloat16": "bfloat16",
    "bool": "bool",
    "byte": "uint8",
    "char": "int8",
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "int": "int32",
    "long": "int64",
    "short": "int16",
}.items():
    one(theirs, "Tensor.astype", lambda f, x, dtype=ours: f(x, dtype))
one("item", "Tensor.item")
one("to", "Tensor.astype", t.cast)

one("exponential", "random.exponential", lambda f, x, rate: f(1 / rate, x.shape), drawn=True)
one("geometric", "random.geometric", lambda f, x, p: f(p, x.shape), drawn=True)
all_of(
    "log_normal=random.lognormal normal.in_place=random.normal uniform=random.uniform",
    lambda f, x, *of: f(*of, x.shape),
    drawn=True,
)
one("normal", "random.normal", drawn=True)
one(
    "normal.number_mean",
    "random.normal",
    lambda f, std, mean, size=None, dtype=None: f(mean, std, size),
    drawn=True,
)
one("bernoulli", "random.bernoulli", drawn=True)
one("randn", "random.standard_normal", lambda f, shape, dtype=None: f(shape), drawn=True)
all_of(
    "rand_like=random.random randn_like=random.standard_normal",
    lambda f, x, dtype=None: f(x.shape),
    drawn=True,
)
one(
    "randint",
    "random.randint",
    lambda f, *ends_and_shape: f(*ends_and_shape[:-1], size=ends_and_shape[-1]),
    drawn=True,
)
one("randint_like", "random.randint", lambda f, x, *ends: f(*ends, size=x.shape), drawn=True)

# --- layers -------------------------------------------------------------------------------------

all_of("sigmoid=Tensor.sigmoid nn.functional.relu=Tensor.relu nn.functional.silu=Tensor.silu")
all_of(
    "softmax=Tensor.softmax softmax.with_dtype=Tensor.softmax log_softmax=Tensor.log_softmax"
    " log_softmax.with_dtype=Tensor.log_softmax",
    lambda f, x, dim, dtype=None: f(x if dtype is None else x.astype(dtype), dim),
)
one(
    "nn.functional.leaky_relu",
    "Tensor.leaky_relu",
    lambda f, x, negative_slope=0.01: f(x, negative_slope),
)
one("nn.functional.elu", "Tensor.elu", lambda f, x, alpha=1.0: f(x, alpha))
one("nn.functional.gelu", "Tensor.gelu", lambda f, x, approximate="none": f(x, approximate))
all_of(
    "nn.functional.hardsigmoid=Tensor.hardsigmoid nn.functional.hardswish=Tensor.hardswish"
    " nn.functional.logsigmoid=Tensor.logsigmoid nn.functional.mish=Tensor.mish"
    " nn.functional.relu6=Tensor.relu6 nn.functional.selu=Tensor.selu"
    " nn.functional.softsign=Tensor.softsign nn.functional.tanhshrink=Tensor.tanhshrink"
    " nn.functional.threshold=Tensor.threshold",
)
for name, default in (
    ("celu", {"alpha": 1.0}),
    ("hardshrink", {"lambd": 0.5}),
    ("softshrink", {"lambd": 0.5}),
    ("glu", {"dim": -1}),
    ("softplus", {"beta": 1.0, "threshold": 20.0}),
    ("hardtanh", {"min_val": -1.0, "max_val": 1.0}),
):
    one(
        f"nn.functional.{name}",
        f"Tensor.{name}",
        lambda f, x, *given, default=default, **named: f(
            x, *given, *[named.get(k, v) for k, v in [*default.items()][len(given) :]]
        ),
    )
one("nn.functional.prelu", "Tensor.prelu", lambda f, x, weight: f(x, weight))
one(
    "nn.functional.rrelu",
    "Tensor.rrelu",
    lambda f, x, lower=1 / 8, upper=1 / 3, training=False: f(x, lower, upper, training),
    drawn=True,
)
all_of(
    "nn.functional.softmin=Tensor.softmin nn.functional.softmin.with_dtype=Tensor.softmin",
    t.along_dim,
)
one("nn.functional.normalize", "Tensor.normalize", t.as_unit)
one("nn.functional.cosine_similarity", "Tensor.cosine_similarity", t.angle)
one(
    "nn.functional.pairwise_distance",
    "Tensor.pairwise_distance",
    lambda f, x, y, p=2.0, eps=1e-6, keepdim=False: f(x, y, p, eps, keepdim),
)
one("cdist", "spatial.distance.cdist", t.all_distances)
one("nn.functional.pdist", "spatial.distance.pdist", t.own_distances)
one("nn.functional.linear", "Tensor.linear", t.linear)
one("nn.functional.unfold", "Tensor.unfold", t.unfolded)
for _n in (1, 2, 3):
    for _name, _translation in (
        ("conv{}d", t.convolved),
        ("conv_transpose{}d", t.convolved),
        ("max_pool{}d", t.pooled),
        ("avg_pool{}d", t.averaged),
        ("adaptive_avg_pool{}d", t.plain),
        ("adaptive_max_pool{}d", t.maxima_to),
        ("max_unpool{}d", t.unpooled),
        ("max_unpool{}d.grad", t.unpooled),
    ):
        _named = _name.format(_n)
        one(f"nn.functional.{_named}", f"Tensor.{_named.partition('.')[0]}", _translation)
for _name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
    one(f"nn.functional.{_name}", f"Tensor.{_name}", lambda f, x, *n, **named: f(x, *n, **named))
all_of(
    "nn.functional.interpolate=Tensor.interpolate"
    " nn.functional.upsample_nearest=Tensor.interpolate",
    t.resized,
)
one(
    "nn.functional.upsample_bilinear",
    "Tensor.interpolate",
    lambda f, x, size=None, scale_factor=None: f(x, size, scale_factor, "bilinear", True),
)
one("nn.functional.grid_sample", "Tensor.grid_sample", t.sampled)
all_of("grid_sampler_2d=Tensor.grid_sample grid_sampler_3d=Tensor.grid_sample", t.sampled_by_number)
one("_upsample_bilinear2d_aa", "Tensor.interpolate", t.resized_smoothly)
one("nn.functional.batch_norm", "Tensor.batch_norm", t.normalized)
one(
    "nn.functional.layer_norm",
    "Tensor.layer_norm",
    lambda f, x, shape, weight=None, bias=None, eps=1e-5: f(x, shape, weight, bias, eps),
)
one("nn.functional.cross_entropy", "Tensor.cross_entropy", t.loss_of_classes)
for name in (
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss", "kl_div"),
    *("l1_loss", "margin_ranking_loss", "mse_loss", "multilabel_margin_loss", "poisson_nll_loss"),
    *("multilabel_soft_margin_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss"),
    "hinge_embedding_loss",
):
    one(f"nn.functional.{name}", f"Tensor.{name}", t.of_one_shape)
one("nn.functional.gaussian_nll_loss", "Tensor.gaussian_nll_loss", t.of_moments)
for name in ("bilinear", "cosine_embedding_loss", "multi_margin_loss"):
    one(f"nn.functional.{name}", f"Tensor.{name}", t.with_options)
one("nn.functional.nll_loss", "Tensor.nll_loss", t.log_likelihood)
one(
    "nn.functional.triplet_margin_with_distance_loss",
    "nn.TripletMarginWithDistanceLoss",
    t.triplets,
)
one("nn.functional.one_hot", "one_hot", t.one_hot)
one("nn.functional.embedding", "Tensor.embedding", t.embedded)
one(
    "nn.functional.scaled_dot_product_attention", "Tensor.scaled_dot_product_attention", t.attention
)
one("nn.functional.group_norm", "Tensor.group_norm", t.by_groups)
one("nn.functional.instance_norm", "Tensor.instance_norm", t.by_instances)
one(
    "nn.functional.rms_norm",
    "Tensor.rms_norm",
    lambda f, x, shape, weight=None, eps=None: f(x, shape, weight, eps),
)
one(
    "nn.functional.local_response_norm",
    "Tensor.local_response_norm",
    lambda f, x, size, alpha=1e-4, beta=0.75, k=1.0: f(x, size, alpha, beta, k),
)
for axes in (2, 3):
    name = f"dropout{axes}d"
    one(f"nn.functional.{name}", f"Tensor.{name}", t.dropped(axes + 2), drawn=True)
for name in ("alpha_dropout", "feature_alpha_dropout"):
    one(
        f"nn.functional.{name}",
        f"Tensor.{name}",
        lambda f, x, p=0.5, training=False: f(x, p, training),
        drawn=True,
    )
one(
    "nn.functional.dropout",
    "Tensor.dropout",
    lambda f, x, p=0.5, training=True: f(x, p, training),
    drawn=True,
)
