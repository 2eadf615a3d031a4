"""Dropout on arrays."""
