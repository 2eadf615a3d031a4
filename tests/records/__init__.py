"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    bessel,
    closeness,
    comparison,
    conv,
    conv_fused,
    convolve,
    creation,
    dropout,
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
        *(matmul, conv, conv_fused, pool, norm, loss, dropout, creation, closeness),
        *(convolve, bessel),
    )
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
