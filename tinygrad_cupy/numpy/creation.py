"""Making arrays: zeros, ranges, grids, copies."""

from __future__ import annotations

__all__: list[str] = []
