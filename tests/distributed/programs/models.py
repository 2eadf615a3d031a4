"""Models trained as one process, then by ranks: `python models.py`, on GPUs where there are some.

In strict float32, with the same global batches: the same rows and masks, and nearly the same
losses. Steps are small: with Adam's default rate deep is so steep in its first steps that a last
bit of the initial weights changes its losses by a hundredth within ten of them, by itself, too.
"""

from typing import Any, NamedTuple

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, datasets, distributed, nn
from tinygrad_cupy.backend.ranks import ranks

NETS, BATCH, STEPS, RATE, APART = ("medium", "deep"), 128, 10, 1e-5, 1e-5
tg.set_precision("fp32")


class Noted(nn.Dropout):
    """Dropout that keeps its masks."""

    masks: list[np.ndarray]

    def forward(self, x: Tensor) -> Tensor:
        mask = Tensor.ones(*x.shape, device=x.device).dropout(self.p)
        self.masks.append(mask.numpy())
        return x * mask


class Trained(NamedTuple):
    """What came of it: losses of the whole batch, weights, and, of each step, rows and masks."""

    losses: list[float]
    weights: list[np.ndarray]
    drawn: list[list[np.ndarray]]


def trained(net: str, captured: bool) -> Trained:
    """A few steps on digits, the last batch of a pass smaller than the others."""
    tg.manual_seed(1)
    data = datasets.digits()[0].take(np.arange(4 * BATCH - 3))
    model = nn.SyncBatchNorm.convert(nn.models.build(net))
    masks: list[np.ndarray] = []
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Dropout) and not captured:
            model[i] = Noted(layer.p)
            model[i].masks = masks
    adam = nn.optim.Adam(model.parameters(), lr=RATE)
    if ranks.world is not None:
        distributed.data_parallel(model, adam)
    loader = datasets.DataLoader(data, BATCH, shuffle=True)

    def step(rows: Tensor) -> Any:
        x, y = loader.batch(rows)
        adam.zero_grad()
        loss = model(x).cross_entropy(y)
        loss.backward()
        adam.step()
        return loss

    run = tg.jit(step) if captured else step
    losses: list[float] = []
    drawn = []
    while len(losses) < STEPS:
        for rows in loader.rows():
            loss = run(rows).detach().clone()
            drawn.append([rows.numpy().copy(), *masks])
            masks.clear()
            counts = 1.0 if ranks.split is None else ranks.split.weight
            losses.append(distributed.all_reduce(loss * counts).item())
            if ranks.split is not None and not captured:  # together as the whole batch
                drawn[-1] = [np.concatenate(distributed.exchange(one)) for one in drawn[-1]]
    return Trained(losses[:STEPS], [p.numpy() for p in model.parameters()], drawn)


alone = {net: trained(net, False) for net in NETS}
distributed.init(even_alone=True)
on_gpu = tg.default_device() != "cpu"
for net in NETS:
    for captured in (False, True) if on_gpu else (False,):
        found, again = trained(net, captured), trained(net, captured)
        assert found.losses == again.losses
        for one, other in zip(found.weights, again.weights, strict=True):
            np.testing.assert_array_equal(one, other)
        for weights in distributed.exchange(found.weights):
            for one, other in zip(found.weights, weights, strict=True):
                np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(found.losses, alone[net].losses, rtol=APART)
        if not captured:  # the rows and masks of all ranks, put together
            for mine, expected in zip(found.drawn, alone[net].drawn, strict=True):
                for one, other in zip(mine, expected, strict=True):
                    np.testing.assert_array_equal(one, other)
        apart = np.max(np.abs(np.array(found.losses) / alone[net].losses - 1))
        if distributed.rank() == 0:
            print(net, "captured" if captured else "eager", f"{apart:.1e}", flush=True)
distributed.close()
