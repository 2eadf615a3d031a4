"""Records of ops/entropy.py."""

from __future__ import annotations

from typing import Any

from support.elementwise import between, one, special, two
from support.sampling import Case, Draw, broadcastable, normal, positive, rng_of
from tinygrad_cupy.ops import entropy, trigonometric

POSITIVE = two(positive, positive)


def _huber_case(draw: Draw) -> Case:
    delta, r = broadcastable(draw, 2)
    rng = rng_of(draw)
    far = rng.choice([-1.0, 1.0], r) * rng.choice([0.3, 3.0], r) * rng.uniform(0.8, 1.2, r)
    return Case((rng.uniform(0.7, 1.5, delta), far))


def _huber(t: Any, delta: Any, r: Any) -> Any:
    inside, outside = r * r / 2, delta * (r.abs() - delta / 2)
    return t.where(r.abs() <= delta, inside, outside)


SAMPLES = [
    special("xlogy", entropy.Xlogy, two(normal, positive)),
    special("xlog1py", entropy.Xlog1py, two(normal, positive)),
    special("entr", (entropy.Entr, entropy.Xlogy), one(positive)),
    special(
        "rel_entr",
        (entropy.RelEntr, entropy.Xlogy),
        POSITIVE,
        torch=lambda t, a, b: a * (a / b).log(),
    ),
    special(
        "kl_div",
        (entropy.KlDiv, entropy.Xlogy),
        POSITIVE,
        torch=lambda t, a, b: a * (a / b).log() - a + b,
    ),
    special("huber", entropy.Huber, _huber_case, torch=_huber, kinks=True),
    special(
        "pseudo_huber",
        (entropy.PseudoHuber, trigonometric.Direction, trigonometric.Hypot),
        two(positive, between(-3, 3)),
        torch=lambda t, delta, r: delta * ((delta * delta + r * r).sqrt() - delta),
    ),
]
