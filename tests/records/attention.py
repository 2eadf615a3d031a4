"""Records of ops/attention.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from support.sampling import Case, Draw, Error, Sample, normal, rng_of, shapes
from tinygrad_cupy import Tensor
from tinygrad_cupy.kernels.attention import Rule
from tinygrad_cupy.ops.attention import Attention
from tinygrad_cupy.ops.matmul import MatMul
from tinygrad_cupy.ops.softmax import Softmax
from tinygrad_cupy.ops.take import PutAdded, Take

SIDE = st.integers(1, 4)


def _attention_case(draw: Draw) -> Case:
    rows, keys, width, out = (draw(SIDE) for _ in range(4))
    grouped = draw(st.booleans())
    heads, shared = (draw(st.integers(1, 2)), draw(st.integers(1, 2))) if grouped else (1, 1)
    lead = (2, heads) if grouped else draw(shapes(max_dims=2))
    q = (2, heads * shared) if grouped else lead
    options: dict[str, Any] = {"enable_gqa": grouped, "scale": draw(st.sampled_from([None, 0.5]))}
    kind = draw(st.sampled_from(["none", "causal", "seen", "added"]))
    values = [normal(draw, (*q, rows, width)), normal(draw, (*lead, keys, width))]
    values.append(normal(draw, (*lead, keys, out)))
    if kind == "causal":
        options["is_causal"] = True
    elif kind == "seen":
        options["seen"] = rng_of(draw).random((rows, keys)) < 0.7
    elif kind == "added":
        values.append(normal(draw, (rows, keys)))
    return Case(tuple(values), options)


def _attention(
    q: Tensor, k: Tensor, v: Tensor, added: Any = None, seen: Any = None, **options: Any
) -> Tensor:
    mask = added if seen is None else Tensor(seen, device=q.device)
    return q.scaled_dot_product_attention(k, v, mask, **options)


def _their_attention(
    torch: Any, q: Any, k: Any, v: Any, added: Any = None, seen: Any = None, **options: Any
) -> Any:
    mask = added if seen is None else seen
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, mask, **options)


def _fused_case(draw: Draw) -> Case:
    rows, keys, width, heads, shared = (draw(st.integers(1, 3)) for _ in range(5))
    values = [normal(draw, (2, heads * shared, rows, width))]
    values += [normal(draw, (2, heads, keys, width)) for _ in range(2)]
    options: dict[str, Any] = {"causal": draw(st.booleans())}
    if not options["causal"] and draw(st.booleans()):
        options["seen"] = rng_of(draw).random((2, 1, rows, keys)) < 0.7
    return Case(tuple(values), options)


def _fused(q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Any = None) -> Tensor:
    mask = None if seen is None else Tensor(seen, device=q.device)
    return Attention(Rule(causal, 0.4))(q, k, v, mask)


def _their_fused(torch: Any, q: Any, k: Any, v: Any, causal: bool, seen: Any = None) -> Any:
    how = {"is_causal": causal, "scale": 0.4, "enable_gqa": True}
    return _their_attention(torch, q, k, v, None, seen, **how)


def _embedding_case(draw: Draw) -> Case:
    count, width = draw(SIDE), draw(SIDE)
    rows = rng_of(draw).integers(0, count, draw(shapes(max_dims=2)))
    return Case((normal(draw, (count, width)),), {"rows": rows})


def _padded_case(draw: Draw) -> Case:
    case = _embedding_case(draw)
    return Case(case.values, {**case.options, "padding_idx": draw(st.sampled_from([0, -1]))})


def _embedding(weight: Tensor, rows: np.ndarray, padding_idx: int | None = None) -> Tensor:
    return Tensor(rows, device=weight.device).embedding(weight, padding_idx)


def _their_embedding(torch: Any, weight: Any, rows: Any, padding_idx: int | None = None) -> Any:
    return torch.nn.functional.embedding(rows, weight, padding_idx)


def _images(*shape: int) -> Tensor:
    return Tensor.ones(*shape)


SAMPLES = [
    Sample(
        "scaled_dot_product_attention",
        _attention,
        _attention_case,
        _their_attention,
        (MatMul, Softmax),
        ("scaled_dot_product_attention",),
        errors=(
            Error(
                lambda: _images(2, 3).scaled_dot_product_attention(_images(4, 5), _images(4, 5)),
                ValueError,
                "[scaled_dot_product_attention] expected queries (…, L, E), keys (…, S, E) and "
                "values (…, S, V), got (2, 3), (4, 5) and (4, 5)",
            ),
            Error(
                lambda: _images(2, 3).scaled_dot_product_attention(
                    _images(2, 3), _images(2, 3), _images(2, 2), is_causal=True
                ),
                ValueError,
                "[scaled_dot_product_attention] expected either attn_mask or is_causal, got both",
            ),
            Error(
                lambda: _images(2, 3).scaled_dot_product_attention(
                    _images(2, 3), _images(2, 3), Tensor([[0, 1], [1, 1]])
                ),
                TypeError,
                "[scaled_dot_product_attention] expected a mask of booleans, which keys are seen, "
                "or of real numbers to add, got dtype int64",
            ),
            Error(
                lambda: _images(3, 2, 3).scaled_dot_product_attention(
                    _images(2, 2, 3), _images(2, 2, 3), enable_gqa=True
                ),
                ValueError,
                "[scaled_dot_product_attention] expected a multiple of the heads of keys and "
                "values, along axis -3, got (3, 2, 3), (2, 2, 3) and (2, 2, 3)",
            ),
        ),
    ),
    Sample("attention in one step", _fused, _fused_case, _their_fused, (Attention,), ()),
    Sample(
        "embedding with padding",
        _embedding,
        _padded_case,
        _their_embedding,
        (Take,),
        ("embedding",),
        differences=False,  # a row's gradient is 0 whatever its slope
    ),
    Sample(
        "embedding",
        _embedding,
        _embedding_case,
        _their_embedding,
        (Take, PutAdded),
        ("embedding",),
        errors=(
            Error(
                lambda: Tensor([0, 1]).embedding(_images(2, 3), max_norm=1.0),
                NotImplementedError,
                "[embedding] max_norm is not there: leave it out",
            ),
            Error(
                lambda: Tensor([0.5]).embedding(_images(2, 3)),
                ValueError,
                "[embedding] expected integers, and a weight (V, D), got dtype float32 and shape "
                "(2, 3)",
            ),
            Error(
                lambda: Tensor([2]).embedding(_images(2, 3)),
                IndexError,
                "[embedding] index 2 is out of bounds for axis 0 with size 2 (tensor of shape "
                "(2, 3))",
                on_gpu=False,
            ),
            Error(
                lambda: Tensor([1]).embedding(_images(2, 3), padding_idx=2),
                ValueError,
                "[embedding] expected padding_idx to be one of 2 rows, got 2",
            ),
        ),
    ),
]
