"""Convolution on arrays."""
