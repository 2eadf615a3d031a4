"""Records of ops/pool.py and of its methods, ops/pool_windows.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, distinct, method, normal, positive
from support.windows import draw_lead, draw_windows, image, plain
from tinygrad_cupy.ops import pool

HALF: Any = 2.5


def _case(draw: Draw, ndim: int, values: Any, dilated: bool = False, padded: bool = True) -> Case:
    windows, size = draw_windows(draw, most_padding=0, ndim=ndim)
    half = tuple(draw(st.integers(0, k // 2)) for k in windows["kernel_size"])
    windows["padding"] = half
    if not dilated:
        del windows["dilation"]
    if not padded:
        del windows["padding"]
    if draw(st.booleans()):
        del windows["stride"]  # the kernel size then
    if draw(st.booleans()) and dilated:
        windows["dilation"] = (1,) * ndim
    shape = (*draw_lead(draw, draw(st.integers(1, 3))), *size)
    options = {**windows, "ceil_mode": draw(st.booleans())}
    return Case((values(draw, shape),), plain(draw, options))


def _max_case(draw: Draw, ndim: int) -> Case:
    return _case(draw, ndim, distinct, dilated=True)


def _avg_case(draw: Draw, ndim: int) -> Case:
    case = _case(draw, ndim, normal)
    case.options["count_include_pad"] = draw(st.booleans())
    if ndim > 1 and draw(st.booleans()):
        case.options["divisor_override"] = draw(st.integers(1, 5))
    return case


def _norm_case(draw: Draw, ndim: int) -> Case:
    case = _case(draw, ndim, positive, padded=False)
    if ndim == 1:  # numbers alone, in PyTorch
        case.options.update({k: v[0] for k, v in case.options.items() if isinstance(v, tuple)})
    return Case(case.values, {"norm_type": draw(st.sampled_from([1.0, 2.0, 3.0])), **case.options})


def _functional(name: str) -> Any:
    def reference(torch: Any, x: Any, **options: Any) -> Any:
        return getattr(torch.nn.functional, name)(x, **options)

    return reference


def _indices(ndim: int) -> Any:
    def call(x: Any, **options: Any) -> Any:
        return getattr(x, f"max_pool{ndim}d")(return_indices=True, **options)[1]

    return call


def _torch_indices(ndim: int) -> Any:
    def call(torch: Any, x: Any, **options: Any) -> Any:
        name = f"max_pool{ndim}d"
        return getattr(torch.nn.functional, name)(x, return_indices=True, **options)[1]

    return call


MAX_ERRORS: tuple[Error, ...] = (
    Error(
        lambda: image(5, 5).max_pool2d(2),
        ValueError,
        "[max_pool2d] expected an input of shape (N, C, H, W) or (C, H, W), got (5, 5)",
    ),
    Error(
        lambda: image(1, 1, 5, 5).max_pool2d(3, padding=2),
        ValueError,
        "[max_pool2d] expected padding of at most half the kernel (3, 3), got (2, 2)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).max_pool2d(3),
        ValueError,
        "[max_pool2d] a kernel of (3, 3) with dilation (1, 1) does not fit in an input of "
        "(2, 2) padded by (0, 0)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).max_pool2d(0),
        ValueError,
        "[max_pool2d] kernel_size: expected an integer from 1 to 2147483647 or two of them, got 0",
    ),
    Error(
        lambda: image(1, 1, 2, 2).max_pool2d(2**31 - 1, padding=2**30 - 1),
        ValueError,
        "[max_pool2d] expected at most 2147483647 rows and columns with their padding, got "
        "an input of (2, 2) padded by (1073741823, 1073741823)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).max_pool2d(2, stride=HALF),
        ValueError,
        "[max_pool2d] stride: expected an integer from 1 to 2147483647 or two of them, got 2.5",
    ),
)

AVG_ERRORS: tuple[Error, ...] = (
    Error(
        lambda: image(1, 1, 2, 2).avg_pool2d((3, 1)),
        ValueError,
        "[avg_pool2d] a kernel of (3, 1) with dilation (1, 1) does not fit in an input of "
        "(2, 2) padded by (0, 0)",
    ),
    Error(
        lambda: image(1, 1, 2, 2).avg_pool2d(2, divisor_override=0),
        ValueError,
        "[avg_pool2d] expected a divisor_override other than 0, got 0",
    ),
)

NORM_ERRORS = (
    Error(
        lambda: image(1, 1, 2, 2).lp_pool2d(0, 2),
        ValueError,
        "[lp_pool2d] expected a norm_type other than 0, got 0",
    ),
)

SAMPLES = [
    *[
        Sample(
            f"max_pool{n}d",
            method(f"max_pool{n}d"),
            lambda draw, n=n: _max_case(draw, n),  # type: ignore[misc]
            _functional(f"max_pool{n}d"),
            (pool.MaxPool, pool.MaxScatter, pool.MaxGather),
            (f"max_pool{n}d",),
            kinks=True,
            errors=MAX_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"indices of max_pool{n}d",
            _indices(n),
            lambda draw, n=n: _max_case(draw, n),  # type: ignore[misc]
            _torch_indices(n),
            (pool.MaxIndices,),
            (f"max_pool{n}d",),
            order=0,
            kinks=True,
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"avg_pool{n}d",
            method(f"avg_pool{n}d"),
            lambda draw, n=n: _avg_case(draw, n),  # type: ignore[misc]
            _functional(f"avg_pool{n}d"),
            (pool.SumPool, pool.Spread),
            (f"avg_pool{n}d",),
            errors=AVG_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
    *[
        Sample(
            f"lp_pool{n}d",
            method(f"lp_pool{n}d"),
            lambda draw, n=n: _norm_case(draw, n),  # type: ignore[misc]
            _functional(f"lp_pool{n}d"),
            (pool.SumPool, pool.Spread),
            (f"lp_pool{n}d",),
            errors=NORM_ERRORS if n == 2 else (),
        )
        for n in (1, 2, 3)
    ],
]
