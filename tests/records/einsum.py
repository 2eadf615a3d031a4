"""Records of ops/einsum.py."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy
from hypothesis import strategies as st

from support.equations import draw_equation
from support.sampling import Case, Draw, Error, Sample, broadcastable, method, normal, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import einsum, matmul

SIDE = st.integers(1, 3)
DTYPES = ("float32", "float64", "float16", "int64")
ONES = Tensor.ones(2, 3, device="cpu")
np: Any = numpy  # of whose calls with tensors its types know nothing


def _equation(draw: Draw) -> Case:
    equation, shapes = draw_equation(draw)
    return Case(tuple([normal(draw, shape) for shape in shapes]), {"equation": equation})


def _labels(draw: Draw) -> Case:
    """Equations of two operands as lists of labels."""
    case = _equation(draw)
    inputs, arrow, output = case.options["equation"].partition("->")
    terms = [_as_list(term) for term in inputs.split(",")]
    return Case(case.values, {"labels": (*terms, *([_as_list(output)] if arrow else []))})


def _as_list(term: str) -> list[Any]:
    before, dots, after = term.partition("...")
    return [*map(_number, before), *([...] if dots else []), *map(_number, after)]


def _number(letter: str) -> int:
    return ord(letter) - (ord("a") - 26 if letter.islower() else ord("A"))


def _by_labels(*operands: Any, labels: Any) -> Any:
    pairs = zip(operands, labels, strict=False)
    output = labels[len(operands) :]
    return np.einsum(*[part for pair in pairs for part in pair], *output)


def _their_labels(torch: Any, *operands: Any, labels: Any) -> Any:
    pairs = zip(operands, labels, strict=False)
    return torch.einsum(*[part for pair in pairs for part in pair], *labels[len(operands) :])


def _of_two(first: Any, second: Any) -> Any:
    """Two tensors of shapes that a strategy each draws from the sizes k, m and n."""

    def cases(draw: Draw) -> Case:
        sizes = {"k": draw(st.integers(0, 3)), "m": draw(SIDE), "n": draw(SIDE), "l": draw(SIDE)}
        pair = [tuple([sizes[c] for c in draw(st.sampled_from(x))]) for x in (first, second)]
        return Case(tuple([normal(draw, shape) for shape in pair]))

    return cases


def _any_two(draw: Draw) -> Case:
    return Case(tuple([normal(draw, draw(shapes(max_dims=2, min_side=0))) for _ in range(2)]))


def _same_size(draw: Draw) -> Case:
    shape = draw(shapes(max_dims=3, min_side=0))
    return Case((normal(draw, shape), normal(draw, draw(st.permutations(shape)))))


def _vectors(draw: Draw) -> Case:
    a, b = broadcastable(draw, 2)
    return Case((normal(draw, (*a, 3)), normal(draw, (*b, 3))))


def _stacks(first: str, second: str) -> Any:
    def cases(draw: Draw) -> Case:
        lead, sizes = broadcastable(draw, 2), {"k": draw(st.integers(0, 3)), "m": draw(SIDE)}
        pair = [(*lead[i], *[sizes[c] for c in (first, second)[i]]) for i in range(2)]
        return Case(tuple([normal(draw, shape) for shape in pair]))

    return cases


def _square(draw: Draw) -> Case:
    n = draw(SIDE)
    lead = draw(shapes(max_dims=1))
    return Case((normal(draw, (*lead, n, n)),), {"n": draw(st.integers(0, 6))})


def _chain(draw: Draw) -> Case:
    sides = draw(st.lists(SIDE, min_size=3, max_size=5))
    matrices = [[m, n] for m, n in pairwise(sides)]
    if draw(st.booleans()):
        matrices[0].pop(0)
    if draw(st.booleans()):
        matrices[-1].pop()
    return Case(tuple([normal(draw, tuple(shape)) for shape in matrices]))


def _bilinear(draw: Draw) -> Case:
    lead, i, j, o = draw(shapes(max_dims=2)), draw(SIDE), draw(SIDE), draw(SIDE)
    sides = [(*lead, i), (*lead, j), (o, i, j), (o,)][: draw(st.sampled_from([3, 4]))]
    return Case(tuple([normal(draw, shape) for shape in sides]))


def _contracted(draw: Draw) -> Case:
    sizes = draw(st.lists(SIDE, min_size=1, max_size=3))
    count = draw(st.integers(0, len(sizes)))
    others = draw(st.lists(SIDE, max_size=2))
    a, b = tuple(sizes), (*sizes[len(sizes) - count :], *others)
    return Case((normal(draw, a), normal(draw, b)), {"axes": count})


def _dot(torch: Any, a: Any, b: Any) -> Any:
    if not a.ndim or not b.ndim:
        return a * b
    return torch.tensordot(a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))


def _function(name: str, cases: Any, **options: Any) -> Sample:
    """NumPy's function of two tensors."""
    function = getattr(np, name)
    return Sample(
        f"np.{name}",
        options.pop("call", lambda a, b: function(a, b)),
        cases,
        options.pop("torch", lambda torch, a, b: getattr(torch, name)(a, b)),
        options.pop("ops", (einsum.Contract,)),
        (f"np.{name}",),
        **options,
    )


def _of_linalg(name: str, cases: Any, **options: Any) -> Sample:
    return Sample(
        f"np.linalg.{name}",
        options.pop("call"),
        cases,
        options.pop("torch"),
        options.pop("ops", (einsum.Contract,)),
        (f"np.linalg.{name}",),
        **options,
    )


SAMPLES = [
    Sample(
        "np.einsum",
        lambda *xs, equation: np.einsum(equation, *xs),
        _equation,
        lambda torch, *xs, equation: torch.einsum(equation, *xs),
        (einsum.Contract, einsum.Diagonal, einsum.FromDiagonal),
        ("np.einsum",),
        dtypes=DTYPES,
        errors=(
            Error(
                lambda: np.einsum("ij,jk", ONES),
                ValueError,
                "[einsum] expected 2 operands for 'ij,jk', got 1",
            ),
            Error(
                lambda: np.einsum("ij,jk", ONES, ONES),
                ValueError,
                "[einsum] expected one size for 'j' in 'ij,jk', got shapes (2, 3) and (2, 3)",
            ),
            Error(
                lambda: np.einsum("...i,...i", ONES, Tensor.ones(5, 3)),
                ValueError,
                "[einsum] expected one size for an axis of '...' in '...i,...i', got shapes (2, 3) "
                "and (5, 3)",
            ),
            Error(
                lambda: np.einsum("ii", ONES),
                ValueError,
                "[einsum] expected one size for 'i' in 'ii', got shapes (2, 3)",
            ),
            Error(
                lambda: np.einsum("i", ONES),
                ValueError,
                "[einsum] expected 1 axes for 'i' in 'i', got operand 0 of shape (2, 3)",
            ),
            Error(
                lambda: np.einsum("ijk...", ONES),
                ValueError,
                "[einsum] expected 3 axes or more for 'ijk...' in 'ijk...', got operand 0 of shape "
                "(2, 3)",
            ),
            Error(
                lambda: np.einsum("i1", ONES),
                ValueError,
                "[einsum] expected letters, one ellipsis '...' a term, ',' and '->' in 'i1', got "
                "'1'",
            ),
            Error(
                lambda: np.einsum("ij->ii", ONES),
                ValueError,
                "[einsum] expected 'i' once in the result of 'ij->ii'",
            ),
            Error(
                lambda: np.einsum("ij->k", ONES),
                ValueError,
                "[einsum] expected labels of operands in the result of 'ij->k', got 'k'",
            ),
            Error(
                lambda: np.einsum("i...->i", ONES),
                ValueError,
                "[einsum] expected an ellipsis in the result of 'i...->i': operands have 1 axes "
                "without a label",
            ),
            Error(
                lambda: np.einsum("ij,ij,ij", ONES, ONES, ONES, optimize=["einsum_path", (0, 3)]),
                ValueError,
                "[einsum] expected distinct positions below 3 in the path for 'ij,ij,ij', got "
                "(0, 3)",
            ),
            Error(
                lambda: np.einsum("ij,ij,ij", ONES, ONES, ONES, optimize=["einsum_path", (0, 1)]),
                ValueError,
                "[einsum] expected a path for 'ij,ij,ij' that leaves one result, got [(0, 1)]",
            ),
            Error(
                lambda: np.einsum("ij->i", Tensor([[1.5]]), dtype="int64"),
                TypeError,
                "[einsum] expected operands that can be cast to int64 by the rule 'safe', got "
                "float32 for operand 0",
            ),
        ),
    ),
    Sample(
        "np.einsum with lists of labels",
        _by_labels,
        _labels,
        _their_labels,
        (einsum.Contract,),
        ("np.einsum",),
        errors=(
            Error(
                lambda: np.einsum(ONES, [0, 52]),
                ValueError,
                "[einsum] expected labels from 0 to 51, got 52",
            ),
            Error(
                lambda: np.einsum(ONES, ["a", 1]),
                TypeError,
                "[einsum] expected an equation, or a list of integers and ellipses, got ['a', 1]",
            ),
        ),
    ),
    Sample(
        "dot",
        method("dot"),
        _of_two(["", "k", "mk", "lmk"], ["k", "kn", "lkn"]),
        _dot,
        (einsum.Contract,),
        ("dot",),
        dtypes=DTYPES,
        errors=(
            Error(
                lambda: Tensor.ones(2, 3).dot(Tensor.ones(2, 3)),
                ValueError,
                "[dot] expected axes (-1,) of (2, 3) to match axes (-2,) of (2, 3)",
            ),
            Error(
                lambda: Tensor.ones(2, 3).dot("x"),
                TypeError,
                "[dot] expected a tensor, an array or a number, got str",
            ),
        ),
    ),
    _function(
        "dot",
        _of_two(["", "k", "mk", "lmk"], ["k", "kn", "lkn"]),
        torch=_dot,
    ),
    _function(
        "vdot",
        _same_size,
        torch=lambda torch, a, b: torch.vdot(a.reshape(-1), b.reshape(-1)),
    ),
    _function(
        "inner",
        _of_two(["", "k", "mk", "lmk"], ["k", "nk"]),
        torch=lambda torch, a, b: torch.inner(a, b),
    ),
    _function(
        "outer",
        _any_two,
        torch=lambda torch, a, b: torch.outer(a.reshape(-1), b.reshape(-1)),
        dtypes=DTYPES,
    ),
    _function("kron", _any_two, dtypes=DTYPES),
    Sample(
        "np.tensordot",
        np.tensordot,
        _contracted,
        lambda torch, a, b, axes: torch.tensordot(a, b, axes),
        (einsum.Contract,),
        ("np.tensordot",),
        errors=(
            Error(
                lambda: np.tensordot(ONES, ONES, 1),
                ValueError,
                "[tensordot] expected axes (-1,) of (2, 3) to match axes (0,) of (2, 3)",
            ),
            Error(
                lambda: np.tensordot(ONES, ONES, ([0, 0], [0, 0])),
                ValueError,
                "[tensordot] expected distinct axes, got (0, 0)",
            ),
            Error(
                lambda: np.tensordot(ONES, ONES, ([0, 1], [0])),
                ValueError,
                "[tensordot] expected a number of axes, or as many of a as of b, got ([0, 1], [0])",
            ),
        ),
    ),
    Sample(
        "np.cross",
        lambda a, b: np.cross(a, b),
        _vectors,
        lambda torch, a, b: torch.linalg.cross(*torch.broadcast_tensors(a, b)),
        (einsum.Cross,),
        ("np.cross",),
        dtypes=("float32", "float64", "int64"),
        errors=(
            Error(
                lambda: np.cross(Tensor.ones(4), Tensor.ones(3)),
                ValueError,
                "[cross] expected vectors of 2 or 3 numbers, got (4,) and (3,) of float32",
            ),
        ),
    ),
    _function("vecdot", _stacks("k", "k"), torch=lambda _, a, b: (a.conj() * b).sum(-1)),
    _function("matvec", _stacks("mk", "k"), torch=lambda _, a, b: (a * b[..., None, :]).sum(-1)),
    _function(
        "vecmat", _stacks("k", "km"), torch=lambda _, a, b: (a[..., None].conj() * b).sum(-2)
    ),
    Sample(
        "np.matmul",
        lambda a, b: np.matmul(a, b, axes=[(-1, -2), (-2, -1), (-2, -1)]),
        _of_two(["km", "lkm"], ["kn", "lkn"]),
        lambda _, a, b: a.swapaxes(-1, -2) @ b,
        (matmul.MatMul,),
        ("np.matmul",),
        errors=(
            Error(
                lambda: np.matmul(ONES, ONES, axes=[(0, 1), (0,), (0, 1)]),
                ValueError,
                "[matmul] expected [2, 2, 2] axes of operands and result, got [(0, 1), (0,), "
                "(0, 1)]",
            ),
            Error(
                lambda: np.vecdot(ONES, ONES[:, :1]),
                ValueError,
                "[vecdot] expected shapes (…, i) and (…, i), got (2, 3) and (2, 1)",
            ),
            Error(
                lambda: np.matmul(ONES, ONES, keepdims=True),
                TypeError,
                "[matmul] does not take keepdims=",
            ),
        ),
    ),
    _of_linalg(
        "multi_dot",
        _chain,
        call=lambda *xs: np.linalg.multi_dot(xs),
        torch=lambda torch, *xs: torch.linalg.multi_dot(xs),
        errors=(
            Error(
                lambda: np.linalg.multi_dot([ONES, ONES]),
                ValueError,
                "[multi_dot] expected two or more matrices that can be multiplied, the first and "
                "the last may be vectors, got shapes (2, 3), (2, 3)",
            ),
        ),
    ),
    _of_linalg(
        "matrix_power",
        _square,
        call=lambda x, n: np.linalg.matrix_power(x, n),
        torch=lambda torch, x, n: torch.linalg.matrix_power(x, n),
        ops=(matmul.MatMul,),
        errors=(
            Error(
                lambda: np.linalg.matrix_power(ONES, 2),
                ValueError,
                "[matrix_power] expected square matrices, got shape (2, 3)",
            ),
            Error(
                lambda: np.linalg.matrix_power(Tensor.eye(2), 1.5),
                TypeError,
                "[matrix_power] expected an integer exponent, got 1.5",
            ),
        ),
    ),
    _of_linalg(
        "cross",
        _vectors,
        call=lambda a, b: np.linalg.cross(a, b),
        torch=lambda torch, a, b: torch.linalg.cross(*torch.broadcast_tensors(a, b)),
        ops=(einsum.Cross,),
        errors=(
            Error(
                lambda: np.linalg.cross(Tensor.ones(2), Tensor.ones(2)),
                ValueError,
                "[cross] expected vectors of 3 numbers along axis -1, got (2,) and (2,)",
            ),
        ),
    ),
    _of_linalg(
        "outer",
        _of_two(["m"], ["n"]),
        call=lambda a, b: np.linalg.outer(a, b),
        torch=lambda torch, a, b: torch.outer(a, b),
        errors=(
            Error(
                lambda: np.linalg.outer(ONES, ONES),
                ValueError,
                "[outer] expected vectors, got (2, 3) and (2, 3)",
            ),
        ),
    ),
    _of_linalg(
        "matmul",
        _of_two(["mk", "lmk"], ["kn", "lkn"]),
        call=lambda a, b: np.linalg.matmul(a, b),
        torch=lambda _, a, b: a @ b,
        ops=(matmul.MatMul,),
    ),
    _of_linalg(
        "vecdot",
        _stacks("k", "k"),
        call=lambda a, b: np.linalg.vecdot(a, b),
        torch=lambda _, a, b: (a.conj() * b).sum(-1),
    ),
    _of_linalg(
        "tensordot",
        _contracted,
        call=lambda a, b, axes: np.linalg.tensordot(a, b, axes=axes),
        torch=lambda torch, a, b, axes: torch.tensordot(a, b, axes),
    ),
    Sample(
        "bilinear",
        lambda a, b, weight, *bias: a.bilinear(b, weight, *bias),
        _bilinear,
        lambda torch, a, b, weight, *bias: torch.nn.functional.bilinear(a, b, weight, *bias),
        (einsum.Contract,),
        ("bilinear",),
        errors=(
            Error(
                lambda: ONES.bilinear(ONES, Tensor.ones(4, 3, 2)),
                ValueError,
                "[bilinear] expected inputs (…, I) and (…, J) and a weight (O, I, J), got (2, 3), "
                "(2, 3) and (4, 3, 2)",
            ),
            Error(
                lambda: ONES.bilinear(ONES, Tensor.ones(4, 3, 3), Tensor.ones(3)),
                ValueError,
                "[bilinear] expected bias (4,), got (3,)",
            ),
        ),
    ),
]
