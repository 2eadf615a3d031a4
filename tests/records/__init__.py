"""All sample records: one per operation, by the family's file. See `sampling.Sample`."""

from support.sampling import Sample

from . import arithmetic, conv, matmul, norm, reduce, shape

SAMPLES: list[Sample] = [
    *arithmetic.SAMPLES,
    *reduce.SAMPLES,
    *shape.SAMPLES,
    *matmul.SAMPLES,
    *conv.SAMPLES,
    *norm.SAMPLES,
]

BY_NAME = {sample.name: sample for sample in SAMPLES}
