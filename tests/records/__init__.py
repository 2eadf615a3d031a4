"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    closeness,
    comparison,
    conv,
    conv_fused,
    creation,
    dropout,
    einsum,
    indexing,
    loss,
    matmul,
    norm,
    pool,
    reduce,
    shape,
    softmax,
    unary,
)

FAMILIES: dict[str, list[Sample]] = {
    module.__name__.rpartition(".")[2]: module.SAMPLES
    for module in (
        *(arithmetic, comparison, unary, activation, reduce, softmax, shape, indexing),
        *(matmul, einsum, conv, conv_fused, pool, norm, loss, dropout, creation, closeness),
    )
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
