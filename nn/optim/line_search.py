"""A line search for the strong Wolfe conditions, on numbers of the host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_cupy.backend import Array

DECREASE, CURVATURE = 1e-4, 0.9  # c1 and c2
WIDEST = 10.0  # how many times as far a step may reach as the one before it
NEAR = 0.1  # of a bracket's length: closer to its end a trial tells little


class Point(NamedTuple):
    """A point x + t d: the loss there, its gradient, and the slope, gradient . d."""

    t: float
    loss: float
    grad: Array
    slope: float


def strong_wolfe(
    at: Callable[[float], Point],
    start: Point,
    t: float,
    length: float,
    most: int,
    tolerance: float,
) -> tuple[Point, int]:
    """A point whose loss is at most `start.loss` + c1 t slope and whose slope at most c2 |slope|.

    `at` evaluates a point, `t` is tried first, `length` is the largest entry of the direction: a
    bracket that moves no parameter by `tolerance` is not searched further. After `most` points the
    best one so far is taken. Also returns how many were evaluated.

    Nocedal and Wright, "Numerical optimization", algorithms 3.5 (steps grow until they enclose such
    a point) and 3.6 (the bracket shrinks), with cubic interpolation, as in minFunc and PyTorch.
    """
    before, point = start, at(t)
    evaluated, rounds = 1, 0
    while rounds < most:
        if _too_high(point, start) or (rounds > 1 and point.loss >= before.loss):
            bracket = [before, point]
            break
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point, evaluated
        if point.slope >= 0:
            bracket = [before, point]
            break
        nearest = point.t + 0.01 * (point.t - before.t)
        farther = _interpolated(before, point, nearest, WIDEST * point.t)
        before, point = point, at(farther)
        evaluated += 1
        rounds += 1
    else:
        bracket = [start, point]
    return _zoom(at, start, bracket, length, most - rounds, tolerance, evaluated)


def _zoom(
    at: Callable[[float], Point],
    start: Point,
    bracket: list[Point],
    length: float,
    rounds: int,
    tolerance: float,
    evaluated: int,
) -> tuple[Point, int]:
    """The bracket, which holds such a point, made smaller until one is found."""
    low = _lower(bracket)
    stuck = False  # whether the last trial was close to an end
    for _ in range(rounds):
        least, most = sorted(point.t for point in bracket)
        if (most - least) * length < tolerance:
            break
        t = _interpolated(bracket[0], bracket[1], least, most)
        margin = NEAR * (most - least)
        if min(most - t, t - least) >= margin:
            stuck = False
        elif stuck or t >= most or t <= least:
            t = most - margin if abs(t - most) < abs(t - least) else least + margin
            stuck = False
        else:
            stuck = True
        point = at(t)
        evaluated += 1
        high = 1 - low
        if _too_high(point, start) or point.loss >= bracket[low].loss:
            bracket[high] = point
            low = _lower(bracket)
            continue
        if abs(point.slope) <= -CURVATURE * start.slope:
            return point, evaluated
        if point.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
    return bracket[low], evaluated


def _too_high(point: Point, start: Point) -> bool:
    """Whether the loss has not come down far enough; also where it is NaN."""
    return not point.loss <= start.loss + DECREASE * point.t * start.slope


def _lower(bracket: list[Point]) -> int:
    """Which end has the lower loss; one that is NaN has not."""
    first, second = (point.loss for point in bracket)
    return 1 if second < first or math.isnan(first) else 0


def _interpolated(one: Point, other: Point, least: float, most: float) -> float:
    """Where the cubic through two points and their slopes is lowest, brought into a range."""
    a, b = sorted((one, other), key=lambda point: point.t)
    if b.t == a.t:
        return (least + most) / 2
    mixed = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mixed * mixed - a.slope * b.slope
    if not square >= 0:
        return (least + most) / 2
    root = math.sqrt(square)
    below = b.slope - a.slope + 2 * root
    if not below:
        return (least + most) / 2
    t = b.t - (b.t - a.t) * ((b.slope + root - mixed) / below)
    return (least + most) / 2 if math.isnan(t) else min(max(t, least), most)
