"""Medians, quantiles, variances, correlations, histograms."""

from __future__ import annotations

__all__: list[str] = []
