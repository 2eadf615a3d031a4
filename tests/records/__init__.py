"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    comparison,
    conv,
    conv_fused,
    dropout,
    extrema,
    histogram,
    indexing,
    logical_reduce,
    loss,
    matmul,
    norm,
    numpy_reductions,
    numpy_scans,
    numpy_statistics,
    order_statistics,
    pool,
    product,
    reduce,
    scan,
    shape,
    softmax,
    unary,
)

FAMILIES: dict[str, list[Sample]] = {
    module.__name__.rpartition(".")[2]: module.SAMPLES
    for module in (
        *(arithmetic, comparison, unary, activation, reduce, extrema, product, logical_reduce),
        *(scan, softmax, shape, indexing),
        *(matmul, conv, conv_fused, pool, norm, loss, dropout),
        *(order_statistics, histogram, numpy_reductions, numpy_scans, numpy_statistics),
    )
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
