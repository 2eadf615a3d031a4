"""Handwritten digits are squeezed into two numbers, and drawn again from them: an autoencoder.

The encoder makes a point in the plane of each picture, the decoder a picture of each point; both
learn to give back what went in. Nobody tells them the classes, and yet digits of a kind come to lie
together. The decoder, asked for points between, draws what lies between a 7 and a 9. With MNIST
where it can be had, else with the digits inside the package.
"""

import argparse
from itertools import pairwise

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dataset", default="auto")
parser.add_argument("--images", type=int, default=6000)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="autoencoder.png")
options = parser.parse_args()

train, test, why = load(options.dataset)
print(why)
train, test = train[: options.images], test[:1500]
tg.manual_seed(0)


def layers(*sizes):
    """Linear layers with ReLU between them."""
    pairs = list(pairwise(sizes))
    inner = [layer for a, b in pairs[:-1] for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*inner, nn.Linear(*pairs[-1]))


# The norm keeps the points spread out: without it most of them crowd in the middle.
encoder = nn.Sequential(nn.Flatten(), layers(784, 256, 64, 2), nn.BatchNorm1d(2, affine=False))
decoder = nn.Sequential(layers(2, 64, 256, 784), nn.Unflatten(1, (1, 28, 28)))
for weight in (p for part in (encoder, decoder) for p in part.parameters() if p.ndim == 2):
    weight.assign_(tg.Tensor.randn(*weight.shape) * np.sqrt(2 / weight.shape[1]))  # He et al. 2015
model = nn.Sequential(encoder, decoder).to(options.device)
optimizer = nn.optim.Adam(model.parameters(), lr=0.002)
schedule = nn.schedules.Cosine(0.002, steps=options.epochs * -(-len(train) // 50))


@tg.jit
def step(x):
    optimizer.zero_grad()
    loss = model(x).binary_cross_entropy_with_logits(x)
    loss.backward()
    optimizer.step()
    return loss


taken = 0
for _ in range(options.epochs):
    for x, _ in DataLoader(train, 50, shuffle=True, device=options.device):
        optimizer.lr = schedule(taken)
        loss = step(x)
        taken += 1

with tg.no_grad():
    seen = tg.Tensor(test.images / np.float32(255), device=options.device)
    points = model.eval()[0](seen)
    error = ((decoder(points).sigmoid() - seen) ** 2).mean().item()
    low, high = np.quantile(points.numpy(), (0.02, 0.98), axis=0)
    x, y = np.linspace(low, high, 16, dtype=np.float32).T
    grid = np.stack(np.meshgrid(x, y[::-1]), axis=-1).reshape(-1, 2)
    drawn = decoder(tg.Tensor(grid, device=options.device)).sigmoid().numpy()
points = points.numpy()
# How well the two numbers alone tell the digits apart: by the ten nearest of the others.
distances = np.linalg.norm(points[:, None] - points, axis=2) + 9 * np.eye(len(points))
near = test.labels[distances.argsort(axis=1)[:, :10]]
told = np.mean([np.bincount(row).argmax() for row in near] == test.labels)
blank = ((seen - seen.mean(axis=0)) ** 2).mean().item()
print(
    f"two numbers explain {1 - error / blank:.0%} of a picture, and tell {told:.0%} of them apart"
)

figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.8), layout="constrained")
for digit in range(10):
    left.scatter(*points[test.labels == digit].T, s=6, label=str(digit), color=f"C{digit}")
left.set(title="where the test digits lie", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
left.legend(markerscale=2, handletextpad=0)
sheet = drawn.reshape(16, 16, 28, 28).transpose(0, 2, 1, 3).reshape(448, 448)
right.imshow(sheet, cmap="gray", extent=(low[0], high[0], low[1], high[1]), aspect="auto")
right.set(title="what the decoder draws there")
figure.savefig(options.out, dpi=100)
