"""Truth: comparisons of whole arrays, tests of elements."""

from __future__ import annotations

__all__: list[str] = []
