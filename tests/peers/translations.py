"""Calls with PyTorch's arguments of functions with NumPy's.

``translation(what does it, …, *PyTorch's arguments)``: dim becomes axis, keepdim keepdims. What
ours does not have is no parameter here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]


class NotOurs(Exception):
    """What the counterpart does not do, by design."""


def plain(f: Call, *arguments: Any) -> Any:
    return f(*arguments)


def counting(f: Call, start: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Any:
    return f(start, dtype=dtype) if end is None else f(start, end, step, dtype)


def window(f: Call, size: int, sym: bool = True, dtype: Any = None) -> Any:
    if not sym:
        raise NotOurs("NumPy's windows are symmetric")
    return f(size)


def log_odds(f: Call, x: Any, eps: Any = None) -> Any:
    return f(x if eps is None else x.clip(eps, 1 - eps))


def of_whole_degree(f: Call, x: Any, n: Any) -> Any:
    """PyTorch's polynomials cut off what a degree has behind its point."""
    return f(n.astype("int64") if hasattr(n, "astype") else n, x)


def softened(f: Call, x: Any, beta: float = 1, threshold: float = 20) -> Any:
    return (f(x * beta) / beta).where(x * beta <= threshold, x)


# --- axes ---------------------------------------------------------------------------------------


def axes(dim: Any) -> Any:
    """An axis, a tuple of axes, or None for all, which PyTorch also writes ()."""
    return (tuple(dim) or None) if isinstance(dim, list | tuple) else dim


def along(x: Any, dim: int, part: Any) -> tuple[Any, ...]:
    """The key of a part along one axis."""
    return (*[slice(None)] * (dim % x.ndim), part) if x.ndim else (part,)


def reduced(f: Call, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return f(x, axis=axes(dim), keepdims=keepdim)


def added(f: Call, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return f(x, axis=axes(dim), dtype=dtype, keepdims=keepdim)


def scanned(f: Call, x: Any, dim: int, dtype: Any = None) -> Any:
    return f(x, axis=dim, dtype=dtype)


def scanned_plainly(f: Call, x: Any, dim: int) -> Any:
    return f(x, axis=dim)


def extremum(f: Call, g: Call, x: Any, dim: int, keepdim: bool = False) -> Any:
    return f(x, axis=dim, keepdims=keepdim), g(x, axis=dim, keepdims=keepdim)


def spread(
    f: Call,
    x: Any,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: Any = None,
) -> Any:
    ddof = int(unbiased) if correction is None else correction
    return f(x, axis=axes(dim), ddof=ddof, keepdims=keepdim)


def at_quantiles(
    f: Call,
    x: Any,
    q: Any,
    dim: Any = None,
    keepdim: bool = False,
    interpolation: str = "linear",
) -> Any:
    return f(x, q, axis=dim, keepdims=keepdim, method=interpolation)


def masked(f: Call, x: Any, dim: Any = None, keepdim: bool = False, mask: Any = None) -> Any:
    if f.__name__ in ("max", "min") and mask is not None:
        initial = {"max": -float("inf"), "min": float("inf")}[f.__name__]
        return f(x, axis=axes(dim), keepdims=keepdim, where=mask, initial=initial)
    return f(x, axis=axes(dim), keepdims=keepdim, where=True if mask is None else mask)


def masked_spread(
    f: Call,
    x: Any,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: Any = None,
    mask: Any = None,
) -> Any:
    ddof = int(unbiased) if correction is None else correction
    where = True if mask is None else mask
    return f(x, axis=axes(dim), ddof=ddof, keepdims=keepdim, where=where)


def normed(f: Call, x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    """`torch.norm`, which flattens where no axis is given."""
    if dim is None and p not in ("fro", "nuc"):
        if keepdim:
            raise NotOurs("kept axes of a flattened array")
        return f(x.reshape(-1), p)
    order = None if p == "fro" and not isinstance(axes(dim), tuple) else p
    return f(x, order, axes(dim), keepdim)


def differences(
    f: Call, x: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> Any:
    ends = {"prepend": prepend, "append": append}
    return f(x, n, dim, **{k: v for k, v in ends.items() if v is not None})


def slopes(f: Call, x: Any, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    steps = [] if spacing is None else spacing if isinstance(spacing, list | tuple) else [spacing]
    return f(x, *steps, axis=axes(dim), edge_order=edge_order)


# --- linear algebra -----------------------------------------------------------------------------


def solved(f: Call, a: Any, b: Any, left: bool = True) -> Any:
    """b of one axis less than a stack is vectors for PyTorch; from the right, of transposes."""
    vectors = b.ndim == 1 or (a.ndim - 1 == b.ndim and tuple(b.shape) == tuple(a.shape[:-1]))
    b = b[..., None] if vectors else b
    found = f(a, b) if left else f(a.mT, b.mT).mT
    return found[..., 0] if vectors else found


def solved_by_triangle(
    f: Call, a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    if not left:
        return f(a, b.mT, "T", lower=not upper, unit_diagonal=unitriangular).mT
    return f(a, b, lower=not upper, unit_diagonal=unitriangular)


def triangular(
    f: Call,
    b: Any,
    a: Any,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """`torch.triangular_solve`, which hands back the matrix, too."""
    return f(a, b, "T" if transpose else "N", lower=not upper, unit_diagonal=unitriangular), a


def _expect_no_slope(factor: Any) -> None:
    if factor.requires_grad and factor.size:
        raise NotOurs("slopes by the other triangle, of which no element is read")


def chosen(f: Call, b: Any, factor: Any, upper: bool = False) -> Any:
    _expect_no_slope(factor)
    return f((factor, not upper), b)


def chosen_inverse(f: Call, g: Call, factor: Any, upper: bool = False) -> Any:
    _expect_no_slope(factor)
    one = g(factor.shape[-1], dtype=factor.dtype)
    return f((factor, not upper), one)


def inverted(
    f: Call,
    x: Any,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Any:
    if atol is not None:
        raise NotOurs("an absolute tolerance")
    if hermitian and (x - x.mT).detach().numpy().any():
        raise NotOurs("slopes of what is said to be Hermitian and is not")
    return f(x, rcond, hermitian, rtol=rtol)


def ranked(
    f: Call, x: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Any:
    if atol is not None:
        raise NotOurs("an absolute tolerance beside a relative one")
    return f(x, tol, hermitian, rtol=rtol)


def qr_of(f: Call, x: Any, mode: Any = "reduced") -> Any:
    """PyTorch's first argument of `torch.qr` is whether it is reduced."""
    mode = {True: "reduced", False: "complete"}.get(mode, mode)
    q, r = f(x, mode)
    return q * q, r * r  # signs are anybody's


def square_of_each(found: Any) -> Any:
    """What signs do not change."""
    return tuple([x * x for x in found])


def of_singular_values(found: Any) -> Any:
    """Squares of the vectors that go with singular values; the others have no gradient here."""
    u, s, vh = found
    k = s.shape[-1]
    return square_of_each((u[..., :k], s, vh[..., :k, :]))


def first(found: Any) -> Any:
    """The result of what ends with _ex, which says how it went, too."""
    return found[0]


def log_of_det(f: Call, x: Any) -> Any:
    sign, found = f(x)
    if (sign.detach().numpy() <= 0).any():
        raise NotOurs("logarithms of determinants that are not positive")
    return found


def values_of_svd(f: Call, x: Any, some: bool, compute_uv: bool) -> Any:
    return f(x, not some)[1] if compute_uv else f(x, compute_uv=False)


def least(f: Call, a: Any, b: Any, driver: Any = None, rcond: Any = None) -> Any:
    if a.ndim != 2 or b.ndim > 2:
        raise NotOurs("stacks of least squares, which NumPy has not")
    return f(a, b, rcond)[0]


def factored_as_before(f: Call, x: Any, pivot: bool = True, get_infos: bool = False) -> Any:
    return factored(f, x, pivot=pivot)


def factored(f: Call, x: Any, *, pivot: bool = True, **rest: Any) -> Any:
    if not pivot:
        raise NotOurs("LU without pivots")
    both, pivots = f(x)
    return both, pivots + 1


def taken_apart(f: Call, x: Any, *, pivot: bool = True) -> Any:
    if not pivot:
        raise NotOurs("LU without pivots")
    return tuple(f(x))


def solved_by_lu(
    f: Call, both: Any, pivots: Any, b: Any, *, left: bool = True, adjoint: bool = False
) -> Any:
    if left:
        return f((both, pivots - 1), b, 2 if adjoint else 0)
    return f((both, pivots - 1), b.mT, 0 if adjoint else 1).mT


# --- sorting and counting -----------------------------------------------------------------------


def values(result: Any) -> Any:
    """Of PyTorch's (values, indices) the values."""
    return result[0] if isinstance(result, tuple) else result


def ordered(f: Call, g: Call, x: Any, dim: int = -1, *, stable: bool = False) -> Any:
    return f(x, axis=dim), g(x, axis=dim, kind="stable")


def order(f: Call, x: Any, dim: int = -1, *, stable: bool = False) -> Any:
    return f(x, axis=dim, kind="stable")


def largest(
    f: Call, x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    return f(x, k, dim, largest)


def distinct(
    f: Call,
    x: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    return f(x, return_inverse=return_inverse, return_counts=return_counts, axis=dim)


def places(f: Call, g: Call, x: Any, as_tuple: bool = False) -> Any:
    return f(x) if as_tuple else g(x)


def searched(
    f: Call,
    x: Any,
    values: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str = "left",
    sorter: Any = None,
) -> Any:
    return f(x, values, side="right" if right else side, sorter=sorter)


def counted(f: Call, x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """`torch.histc`, whose counts are floats, and which takes (0, 0) for the data's range."""
    return f(x, bins, None if min == max else (min, max))[0].astype("float64")


def histogram(f: Call, x: Any, bins: Any, weight: Any = None, density: bool = False) -> Any:
    counts, edges = f(x, bins, weights=weight, density=density)
    return counts.astype("float64"), edges


# --- shapes and elements ------------------------------------------------------------------------


def sequence(sizes: Any) -> Any:
    """f(1, 2) and f((1, 2)) alike."""
    return sizes if sizes and isinstance(sizes[0], int) else sizes[0] if sizes else ()


def padded(f: Call, x: Any, pad: Any, mode: Any = "constant", value: Any = None) -> Any:
    if not isinstance(mode, str):  # constant_pad_nd
        mode, value = "constant", mode
    widths = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[::-2], strict=True))
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return f(x, widths, mode, **({} if mode != "constant" else {"constant_values": value or 0}))


def windows(f: Call, x: Any, dim: int, size: int, step: int) -> Any:
    return f(x, size, axis=dim)[along(x, dim, slice(None, None, step))]


def split_into(f: Call, x: Any, size: int, dim: int = 0) -> Any:
    length = x.shape[dim]
    return f(x, [min(size, length - i) for i in range(0, length, size)], dim)


def cut(f: Call, x: Any, parts: Any, dim: int = 0) -> Any:
    return f(x, parts.tolist() if hasattr(parts, "tolist") else parts, dim)


def meshed(f: Call, *vectors: Any, indexing: str) -> Any:
    (given,) = vectors if isinstance(vectors[0], list | tuple) else (vectors,)
    return f(*given, indexing=indexing)


def written(copy: Call, write: Call, x: Any, key: Any, value: Any) -> Any:
    """y with y[key] = value, y being a copy of x."""
    y = copy(x)
    write(y, key, value)
    return y


def put(copy: Call, put: Call, x: Any, places: Any, values: Any, accumulate: bool) -> Any:
    if accumulate:
        raise NotOurs("NumPy's put does not add")
    return written(copy, put, x, places, values)


def scattered(copy: Call, put: Call, x: Any, dim: int, index: Any, values: Any) -> Any:
    y = copy(x)
    put(y, index, values, dim)
    return y


def cast(f: Call, x: Any, *arguments: Any) -> Any:
    if not isinstance(arguments[0], str) or arguments[0] == "cpu":
        raise NotOurs("astype takes a dtype")
    return f(x, arguments[0])


# --- layers -------------------------------------------------------------------------------------


def pooled(
    f: Call,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    return f(x, kernel_size, stride or None, padding, dilation, ceil_mode, return_indices)


def averaged(
    f: Call,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Any:
    each = [n[0] if isinstance(n, tuple) and len(n) == 1 else n for n in (kernel_size, padding)]
    where = (each[0], stride or None, each[1], ceil_mode, count_include_pad)
    return f(x, *where, *[divisor_override] * (divisor_override is not None))


def maxima_to(f: Call, x: Any, output_size: Any, return_indices: bool = False) -> Any:
    return f(x, output_size, return_indices)


def unpooled(
    f: Call,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Any:
    return f(x, indices, kernel_size, stride or None, padding, output_size)


def convolved(f: Call, x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    return f(x, weight, bias, **options)


def unfolded(
    f: Call, x: Any, kernel: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    two = (kernel, kernel) if isinstance(kernel, int) else kernel
    return f(x, two, stride, padding, dilation)


def linear(f: Call, x: Any, weight: Any, bias: Any = None) -> Any:
    if weight.ndim != 2:
        raise NotOurs("a weight of one axis")
    return f(x, weight, bias)


def one_hot(f: Call, x: Any, num_classes: int = -1) -> Any:
    if num_classes < 0:
        raise NotOurs("the number of classes is said")
    return f(x, num_classes, dtype="int64")


def normalized(
    f: Call,
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if x.ndim < 2:
        raise NotOurs("an input without channels")
    return f(x, weight, bias, mean, var, training, momentum, eps)


# --- losses -------------------------------------------------------------------------------------


def loss_of_classes(
    f: Call,
    x: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Any:
    if x.ndim < 2:
        raise NotOurs("logits are a batch")
    return f(x, target, label_smoothing, ignore_index, reduction, weight)


def of_one_shape(f: Call, *given: Any, **options: Any) -> Any:
    """Losses of tensors of one shape, which ours do not broadcast."""
    if len({tuple(x.shape) for x in given}) > 1:
        raise NotOurs("losses of shapes that broadcast")
    return f(*given, **options)


def of_moments(f: Call, x: Any, target: Any, var: Any, **options: Any) -> Any:
    return of_one_shape(lambda x, target: f(x, target, var, **options), x, target)


def with_options(f: Call, *given: Any, **options: Any) -> Any:
    return f(*given, **options)


def triplets(f: Call, *vectors: Any, distance_function: Any = None, **options: Any) -> Any:
    if getattr(distance_function, "__name__", None) not in (None, "pairwise_distance"):
        raise NotOurs("a function of PyTorch's tensors")
    return f(**options)(*vectors)


def log_likelihood(
    f: Call,
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Any:
    if 0 in x.shape:
        raise NotOurs("no rows or no classes")
    return f(x, target, weight, ignore_index, reduction)


# --- functions of layers --------------------------------------------------------------------------


def resized(
    f: Call,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: Any = None,
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Any:
    """`torch.nn.functional.interpolate`."""
    return f(
        x, size, scale_factor, mode or "nearest", align_corners, recompute_scale_factor, antialias
    )


def resized_smoothly(
    f: Call, x: Any, *, output_size: Any, align_corners: bool, scale_factors: Any = None
) -> Any:
    """What is behind `interpolate` with ``antialias``."""
    return f(x, output_size, scale_factors, "bilinear", align_corners, antialias=True)


def sampled(
    f: Call,
    x: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: Any = None,
) -> Any:
    return f(x, grid, mode, padding_mode, align_corners)


def sampled_by_number(
    f: Call, x: Any, grid: Any, mode: int, padding_mode: int, align_corners: bool
) -> Any:
    """What is behind `grid_sample`."""
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    return f(x, grid, modes[mode], paddings[padding_mode], align_corners)


def along_dim(f: Call, x: Any, dim: Any = -1, dtype: Any = None) -> Any:
    if x.ndim == 0 or 0 in x.shape:
        raise NotOurs("a 0-d tensor has no axes, an empty one no largest element")
    return f(x if dtype is None else x.astype(dtype), dim)


def by_groups(
    f: Call, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    return f(x, groups, weight, bias, eps)


def by_instances(
    f: Call,
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    return f(x, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def attention(
    f: Call,
    q: Any,
    k: Any,
    v: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Any:
    if dropout_p:
        raise NotOurs("what is drawn")
    return f(q, k, v, attn_mask, 0.0, is_causal, scale, enable_gqa)


def embedded(f: Call, weight: Any, rows: Any, padding_idx: Any = None, **options: Any) -> Any:
    """PyTorch's records have the weight first."""
    if any(options.get(name) for name in ("max_norm", "scale_grad_by_freq", "sparse")):
        raise NotOurs("max_norm, scale_grad_by_freq and sparse")
    return f(rows, weight, padding_idx)


def dropped(ndim: int) -> Call:
    """Dropout of channels of a batch; PyTorch takes other numbers of axes, too."""

    def call(f: Call, x: Any, p: float = 0.5, training: bool = True) -> Any:
        if x.ndim != ndim:
            raise NotOurs("without a batch")
        return f(x, p, training)

    return call


METRICS = {1.0: "cityblock", 2.0: "euclidean", float("inf"): "chebyshev"}


def distances(f: Call, x: Any, *others: Any, p: float = 2.0) -> Any:
    """`cdist` and `pdist`, whose p gives the metric."""
    if p == 0:
        raise NotOurs("the number of elements that differ")
    return f(x, *others, METRICS[p]) if p in METRICS else f(x, *others, "minkowski", p=p)


def all_distances(f: Call, x: Any, y: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    return distances(f, x, y, p=p)


def own_distances(f: Call, x: Any, p: float = 2.0) -> Any:
    return distances(f, x, p=p)


def as_unit(f: Call, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Any:
    return f(x, p, dim, eps)


def angle(f: Call, x: Any, y: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    if not x.ndim:
        raise NotOurs("a 0-d tensor has no axes")
    return f(x, y, dim, eps)
