"""`jit`: a function of tensors, such as a whole training step, as one launch of a CUDA graph."""

from .function import jit

__all__ = ["jit"]
