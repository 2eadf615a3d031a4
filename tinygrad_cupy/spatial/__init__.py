"""Distances between points, where SciPy has them (`scipy.spatial`)."""

from . import distance

__all__ = ["distance"]
