"""The bridge to PyTorch: functions of either side in graphs of the other, on the same memory.

Arrays and tensors change hands without a copy, and what one side computes runs on the stream that
the other is on. What a call did once is not done again for its derivatives: those of any order come
from the graphs that it left on both sides.
"""

from .ours import to_torch
from .theirs import from_torch

__all__ = ["from_torch", "to_torch"]
