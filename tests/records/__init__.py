"""All sample records, one file for each file of `tinygrad_cupy/ops/`. See `sampling.Sample`."""

from support.sampling import Sample

from . import (
    activation,
    arithmetic,
    bitwise,
    closeness,
    comparison,
    conv,
    conv_fused,
    creation,
    division,
    dropout,
    einsum,
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
        activation,
        arithmetic,
        bitwise,
        closeness,
        comparison,
        conv,
        conv_fused,
        creation,
        division,
        dropout,
        einsum,
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
}
SAMPLES: list[Sample] = [sample for family in FAMILIES.values() for sample in family]
BY_NAME = {sample.name: sample for sample in SAMPLES}
