"""Angles on arrays, as far as they are more than a function of the array's library."""

from __future__ import annotations

import math

import numpy as np

from ..backend import Array, array_module


def direction(a: Array, b: Array) -> Array:
    """a / √(a² + b²): 0 at the origin, ±1 or, where both are infinite, ±√½ at infinity."""
    xp = array_module(a)
    radius = xp.hypot(a, b)
    with np.errstate(invalid="ignore"):  # 0 / 0 and ∞ / ∞
        y = xp.where(radius == 0, radius, a / radius)
    far = xp.where(xp.isinf(b), radius.dtype.type(math.sqrt(0.5)), radius.dtype.type(1))
    return xp.where(xp.isinf(a), xp.copysign(far, a), y)


def spherical_bessel(z: Array, order: int) -> Array:
    """jₙ(z): a power series up to z = n + 1, from there on by recurrence from j₀ and j₁."""
    xp = array_module(z)
    if order == 0:
        return _j0(z)
    near = xp.abs(z) < order + 1
    far = xp.where(near, z.dtype.type(order + 1), z)
    last, y = _j0(far), (_j0(far) - xp.cos(far)) / far
    for n in range(1, order):
        last, y = y, (2 * n + 1) / far * y - last
    return xp.where(near, _series(xp.where(near, z, z.dtype.type(0)), order), y)


def _j0(z: Array) -> Array:
    xp = array_module(z)
    safe = xp.where(z == 0, z.dtype.type(1), z)
    return xp.where(z == 0, z.dtype.type(1), xp.sin(safe) / safe)


def _series(z: Array, order: int) -> Array:
    """zⁿ / (2n + 1)!! · Σ (-z²/2)ᵏ / (k! (2n + 3) (2n + 5) … (2n + 2k + 1)), for |z| < n + 1."""
    half = z * z * -0.5
    terms, size = 0, 1.0  # as many as the largest z needs
    while size > 1e-18:
        terms += 1
        size *= (order + 1) ** 2 / 2 / (terms * (2 * order + 2 * terms + 1))
    total = array_module(z).ones_like(z)
    for k in range(terms, 0, -1):
        total *= half / (k * (2 * order + 2 * k + 1))
        total += 1
    for k in range(1, order + 1):
        total *= z / (2 * k + 1)
    return total
