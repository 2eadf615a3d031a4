"""Batch norm on arrays."""
