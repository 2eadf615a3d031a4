"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    bitwise,
    comparison,
    conv,
    conv_fused,
    division,
    dropout,
    exponential,
    floating,
    indexing,
    logical,
    loss,
    matmul,
    norm,
    pool,
    reduce,
    rounding,
    shape,
    softmax,
    trigonometric,
    unary,
)

FAMILIES: dict[str, list[Sample]] = {
    module.__name__.rpartition(".")[2]: module.SAMPLES
    for module in (
        *(arithmetic, comparison, unary, activation, reduce, softmax, shape, indexing),
        *(exponential, trigonometric, rounding, division, floating, logical, bitwise),
        *(matmul, conv, conv_fused, pool, norm, loss, dropout),
    )
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
