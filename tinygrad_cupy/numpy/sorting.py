"""Sorting, searching and counting."""

from __future__ import annotations

__all__: list[str] = []
