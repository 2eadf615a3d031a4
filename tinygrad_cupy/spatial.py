"""Distances between points, with SciPy's names (`scipy.spatial.distance`)."""
