"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    arrange,
    choose,
    comparison,
    conv,
    conv_fused,
    diagonal,
    dropout,
    indexing,
    joining,
    loss,
    matmul,
    norm,
    padding,
    pool,
    reduce,
    scatter,
    sets,
    shape,
    softmax,
    sort,
    take,
    unary,
    windows,
)

FAMILIES: dict[str, list[Sample]] = {
    module.__name__.rpartition(".")[2]: module.SAMPLES
    for module in (
        *(arithmetic, comparison, unary, activation, reduce, softmax, shape, indexing),
        *(arrange, joining, padding, take, choose, diagonal, windows, scatter, sort, sets),
        *(matmul, conv, conv_fused, pool, norm, loss, dropout),
    )
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
