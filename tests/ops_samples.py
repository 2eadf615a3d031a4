"""All sample records: one per operation, by the family's file. See `sampling.Sample`."""

import samples_elementwise
import samples_linalg
import samples_reduce
import samples_shape
import samples_training
import samples_windows
from sampling import Sample

SAMPLES: list[Sample] = [
    *samples_elementwise.SAMPLES,
    *samples_reduce.SAMPLES,
    *samples_shape.SAMPLES,
    *samples_linalg.SAMPLES,
    *samples_windows.SAMPLES,
    *samples_training.SAMPLES,
]

BY_NAME = {sample.name: sample for sample in SAMPLES}
