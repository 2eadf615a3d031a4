"""A convolutional net for handwritten digits, from plain tensor operations alone: no layers.

What `nn` does is written out: a convolution is its windows side by side times the weights (im2col),
a pool a maximum over pairs of axes, the loss the logarithm of a softmax, and the optimizer (SGD
with momentum) two lines. Only the gradients come from the engine. With MNIST where it can be had,
else with the digits inside the package.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy.datasets import load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dataset", default="auto")
parser.add_argument("--images", type=int, default=10000)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="mnist_from_scratch.png")
options = parser.parse_args()
BATCH, RATE, MOMENTUM, CHANNELS = 50, 0.05, 0.9, 8

train, test, why = load(options.dataset)
print(why)
train = train[: options.images]
tg.manual_seed(0)


def tensor(data):
    return tg.Tensor(data, device=options.device)


def convolve(x, weight, bias):
    """(N, C, H, W) by (O, C K K) of 3 x 3 pixels -> (N, O, H - 2, W - 2)."""
    height, width = x.shape[2] - 2, x.shape[3] - 2
    shifts = [x[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    windows = tg.concat(shifts, axis=1)  # (N, 9 C, H - 2, W - 2)
    rows = windows.permute(0, 2, 3, 1) @ weight.T + bias  # (N, H - 2, W - 2, O)
    return rows.permute(0, 3, 1, 2)


def pool(x):
    """The largest of each 2 x 2 pixels."""
    N, C, H, W = x.shape
    return x[:, :, : H // 2 * 2, : W // 2 * 2].reshape(N, C, H // 2, 2, W // 2, 2).max(axis=(3, 5))


def logits(x, weights):
    w1, b1, w2, b2, w3, b3 = weights
    x = pool(np.maximum(convolve(x, w1, b1), 0))  # (N, 8, 13, 13)
    x = pool(np.maximum(convolve(x, w2, b2), 0))  # (N, 16, 5, 5)
    return x.reshape(len(x), -1) @ w3.T + b3


def loss(weights, x, y):
    scores = logits(x, weights)
    scores = scores - scores.max(axis=1, keepdims=True)  # the same softmax, without overflow
    chances = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -chances[np.arange(len(y)), y].mean()


def layer(outputs, inputs):
    weight = tg.Tensor.randn(outputs, inputs, device=options.device) * np.sqrt(2 / inputs)
    return weight, tensor(np.zeros(outputs, np.float32))


weights = [*layer(CHANNELS, 9), *layer(2 * CHANNELS, 9 * CHANNELS), *layer(10, 50 * CHANNELS)]
velocities, losses = [w * 0 for w in weights], []
slope = tg.jit(tg.value_and_grad(loss))  # of all weights
images, labels = tensor(train.images / np.float32(255)), tensor(train.labels)
for _ in range(options.epochs):
    order = np.random.default_rng(len(losses)).permutation(len(train))
    for rows in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
        value, slopes = slope(weights, images[rows], labels[rows])
        velocities = [MOMENTUM * v - RATE * s for v, s in zip(velocities, slopes, strict=True)]
        weights = [w + v for w, v in zip(weights, velocities, strict=True)]
        losses.append(value.item())
parts = np.array_split(np.arange(len(test)), max(1, len(test) // 500))
shown = [logits(tensor(test.images[i] / np.float32(255)), weights).numpy() for i in parts]
guesses = np.concatenate(shown).argmax(axis=1)
accuracy = (guesses == test.labels).mean()
print(f"{accuracy:.2%} of {len(test):,} test digits right")

figure = plt.figure(figsize=(12, 4.2), layout="constrained")
curve, filters, wrong = figure.subfigures(1, 3, width_ratios=(1.2, 0.8, 1.2))
curve.subplots().semilogy(np.convolve(losses, np.ones(20) / 20, "valid"), lw=1)
curve.suptitle("the loss, mean of 20 steps")
for ax, weight in zip(filters.subplots(4, 2).flat, weights[0].numpy(), strict=True):
    ax.imshow(weight.reshape(3, 3), cmap="RdBu", vmin=-1, vmax=1)
    ax.axis("off")
filters.suptitle("the first layer's weights")
for ax, i in zip(wrong.subplots(3, 5).flat, np.flatnonzero(guesses != test.labels), strict=False):
    ax.imshow(test.images[i, 0], cmap="gray")
    ax.set_title(f"{test.labels[i]}, not {guesses[i]}", size=9)
    ax.axis("off")
wrong.suptitle(f"mistakes: {1 - accuracy:.1%}")
figure.savefig(options.out, dpi=100)
