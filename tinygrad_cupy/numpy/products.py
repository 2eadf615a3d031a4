"""Products of vectors, matrices and tensors, and `einsum`."""

from __future__ import annotations

__all__: list[str] = []
