"""A `Trainer` of several ranks with captured steps, in play: the bits of one without."""

from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support import graph_stand_in
from support.graph_stand_in import StandInPool
from tinygrad_cupy import datasets, distributed, nn
from tinygrad_cupy.backend.ranks import ranks

assert distributed.init()
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (45, 1, 8, 8)).astype(np.uint8)
DATA = datasets.ArrayDataset(IMAGES, RNG.integers(0, 3, 45))


def trained(jit: bool) -> tuple[list[Any], int]:
    """Figures and weights, and how many functions were captured. The last batch is smaller."""
    tg.manual_seed(2)
    layers = [nn.Conv2d(1, 3, 3), nn.SyncBatchNorm(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(108, 3))
    adam = nn.optim.Adam(list(model.parameters()), lr=0.01)
    StandInPool.owners[:] = [model, adam]
    augment = nn.augment.RandomCrop(8, 1)
    trainer = nn.Trainer(model, adam, jit=jit, progress=False, augment=augment, clip_norm=1.0)
    train, val = datasets.DataLoader(DATA, 10, shuffle=True), datasets.DataLoader(DATA, 7)
    history = trainer.fit(train, val, epochs=4)
    figures = [(r.train_loss, r.train_accuracy, r.val_loss) for r in history]
    found = [figures, trainer.evaluate(val).loss, [p.tolist() for p in model.parameters()]]
    return found, len(ranks.captured)


expected, none = trained(False)
graph_stand_in.install(pytest.MonkeyPatch())
found, captured = trained(True)
assert found == expected
assert (none, captured) == (0, 3)
