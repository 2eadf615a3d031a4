"""`map_coordinates` against JAX: values, and gradients by the elements and by the coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.peers import import_jax
from tinygrad_cupy import Tensor

jax = import_jax()


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("grid-constant", "constant"),
        ("nearest", "nearest"),
        ("mirror", "mirror"),
        ("reflect", "reflect"),
        ("grid-wrap", "wrap"),
    ],
)
def test_map_coordinates_and_its_gradients_are_those_of_jax(
    ours: str, theirs: str, rng: np.random.Generator
) -> None:
    x, rows = rng.standard_normal((4, 5)), rng.uniform(-3, 7, (2, 9))

    def their_loss(x: Any, rows: Any) -> Any:
        found = jax.scipy.ndimage.map_coordinates(x, [*rows], order=1, mode=theirs, cval=0.5)
        return (found**3).sum()

    def our_loss(x: Tensor, rows: Tensor) -> Tensor:
        found = tg.ndimage.map_coordinates(x, rows, order=1, mode=ours, cval=0.5)
        return (found**3).sum()

    x, rows = x.astype(np.float32), rows.astype(np.float32)
    expected = jax.grad(their_loss, (0, 1))(x, rows)
    found = tg.grad(our_loss, argnums=(0, 1))(Tensor(x), Tensor(rows))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), np.asarray(other), rtol=2e-3, atol=2e-3)
