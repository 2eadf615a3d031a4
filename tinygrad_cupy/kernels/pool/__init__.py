"""Pooling on arrays."""
