"""Activations on arrays, as far as they are more than a function of the array's library."""

from .common.relu import relu, relu_backward

__all__ = ["relu", "relu_backward"]
