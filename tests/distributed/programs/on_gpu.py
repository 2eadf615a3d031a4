"""Training on GPUs as one process and then as ranks: `python on_gpu.py` is one rank of one.

The process trains by itself first, then with the others; what comes out must be the same.
"""

from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, datasets, distributed, nn
from tinygrad_cupy.backend.ranks import ranks

STEPS = 20
tg.set_precision("fp32")


def trained(captured: bool) -> tuple[list[float], list[Any]]:
    """Losses and weights of a few steps, the last batch of each pass smaller than the others."""
    tg.manual_seed(1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 1, 12, 12), dtype=np.uint8)
    data = datasets.ArrayDataset(images, rng.integers(0, 10, 100))
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3)]
    model = nn.SyncBatchNorm.convert(nn.Sequential(*layers, nn.Flatten(), nn.Linear(100, 10)))
    adam = nn.optim.Adam(model.parameters(), lr=0.01)
    if ranks.world is not None:
        distributed.data_parallel(model, adam)
    augment = nn.Sequential(nn.augment.RandomCrop(12, padding=1), nn.augment.RandomHorizontalFlip())
    loader = datasets.DataLoader(data, 24, shuffle=True)

    def step(rows: Tensor) -> Any:
        x, y = loader.batch(rows)
        adam.zero_grad()
        loss = model(augment(x)).cross_entropy(y)
        loss.backward()
        nn.optim.clip_grad_norm(adam.params, 1.0)
        adam.step()
        return loss

    run = tg.jit(step) if captured else step
    losses: list[float] = []
    while len(losses) < STEPS:
        for rows in loader.rows():
            loss = run(rows).detach().clone()
            counts = 1.0 if ranks.split is None else ranks.split.weight
            losses.append(distributed.all_reduce(loss * counts).item())
    return losses[:STEPS], [p.numpy() for p in model.parameters()]


alone = {captured: trained(captured) for captured in (False, True)}
distributed.init(even_alone=True)
RANK, SIZE = distributed.rank(), distributed.size()
assert ranks.world.gpu is not None, "NCCL is not in use"
device = tg.default_device()


def say(text: str) -> None:
    if RANK == 0:
        print(text, flush=True)


# Each collective, eager and captured.
x = Tensor(np.arange(6.0, dtype=np.float32).reshape(3, 2) + RANK, device=device)
total = sum(np.arange(6.0).reshape(3, 2) + r for r in range(SIZE))


@tg.jit
def both(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y = distributed.all_reduce(x * 1)
    return y, distributed.all_gather(x), distributed.broadcast(x, SIZE - 1)


for _ in range(4):
    y, every, last = both(x)
    np.testing.assert_array_equal(y.numpy(), total)
    assert every.shape == (3 * SIZE, 2)
    np.testing.assert_array_equal(last.numpy(), np.arange(6.0).reshape(3, 2) + SIZE - 1)
say("collectives as expected")

# Draws of a part, from any place inside of a block of four.
for offset in (0, 1, 3):
    for shape, axis in (((8, 3), 0), ((3, 8, 5), 1), ((8, 2, 4, 4), 0)):
        found = []
        for split in (False, True):
            tg.manual_seed(offset)
            Tensor.rand(4 * offset + 1, device=device, replicated=True)
            mine = list(shape)
            if split and SIZE > 1:
                distributed.split(Tensor(np.zeros(8, np.float32), device=device))
                assert ranks.share is not None
                mine[axis] = ranks.share.samples
            ones = Tensor(np.ones(mine, np.float32), device=device)
            found.append(Tensor.rand(*mine, device=device, batch_axis=axis).numpy())
            found.append(ones.dropout(0.4, batch_axis=axis).numpy())
        rows = ranks.share.rows if ranks.share is not None else slice(None)
        for whole, part in zip(found[:2], found[2:], strict=True):
            np.testing.assert_array_equal(
                np.moveaxis(whole, axis, 0)[rows], np.moveaxis(part, axis, 0)
            )
        distributed.no_batch()
say("draws as expected")

for captured in (False, True):
    losses, weights = trained(captured)
    again, same = trained(captured)
    assert losses == again
    assert all((a == b).all() for a, b in zip(weights, same, strict=True))
    if SIZE == 1:
        assert losses == alone[captured][0]
        assert all((a == b).all() for a, b in zip(weights, alone[captured][1], strict=True))
    else:
        np.testing.assert_allclose(losses[:10], alone[captured][0][:10], rtol=1e-5)
    for other in distributed.exchange(weights):
        assert all((a == b).all() for a, b in zip(weights, other, strict=True))
say("training as expected")
backend.synchronize()
distributed.close()
