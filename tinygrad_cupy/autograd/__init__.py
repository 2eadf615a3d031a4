"""What a graph of operations is, and what can be done with one."""

from .fused import FusedOp
from .op import Elementwise, Op
from .tensor_base import TensorBase, Version, fits

__all__ = ["Elementwise", "FusedOp", "Op", "TensorBase", "Version", "fits"]
