"""Photographs in ten classes after a minute or two: what a recipe of seconds for CIFAR-10 does.

Keller Jordan's airbench (arXiv:2404.00498) trains on a GPU to 94 % in 200 steps. The first layer is
not trained: its filters whiten patches of 2 x 2 pixels. All others begin by handing their input on,
and are stepped by Muon; the rest by SGD. A photograph is judged together with its mirror image.
The full size: --images 50000 --epochs 8 --batch 2000 --width 64; all of it: `benchmarks.cifar`.

FOLDER has train/CLASS/*.jpg and test/CLASS/*.jpg (.png will do, too) of 32 x 32 pixels.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, image_folder

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--images", type=int, default=10_000)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--batch", type=int, default=250)
parser.add_argument("--width", type=int, default=24)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="fast_cifar10.png")
options = parser.parse_args()
width, draw = options.width, np.random.default_rng(0).permutation
tg.set_default_device(options.device)
tg.manual_seed(0)
train, test = (part[draw(len(part))[: options.images]] for part in image_folder(options.folder))


def scaled(x):
    """Pixels from 0..1, of a mean of about 0 and a variance of about 1."""
    return (x - 0.47) * 4


def whitening(x):
    """Filters (24, 3, 2, 2): directions of patches, scaled to variance 1, and their opposites."""
    shifted = [x[:, :, i : i + 31, j : j + 31] for i in (0, 1) for j in (0, 1)]
    patches = tg.stack(shifted, axis=2).reshape(len(x), 12, 31 * 31)
    covariance = (patches @ patches.swapaxes(1, 2)).mean(0) / 31**2
    variances, directions = np.linalg.eigh(covariance.numpy())
    filters = (directions / np.sqrt(variances + 5e-4)).T.reshape(12, 3, 2, 2)
    return np.concatenate([filters, -filters]).astype("float32")


def conv(inputs, outputs):
    """A convolution whose first filters hand their input on, and a norm that only shifts."""
    layer, norm = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
    with tg.no_grad():
        layer.weight[:inputs] = tg.Tensor(nn.init.dirac(layer.weight[:inputs].shape))
    norm.weight.requires_grad = False
    return layer, norm


def block(inputs, outputs):
    (first, norm), second = conv(inputs, outputs), conv(outputs, outputs)
    return [first, nn.MaxPool2d(2), norm, nn.GELU(), *second, nn.GELU()]


whiten, head = nn.Conv2d(3, 24, 2), nn.Linear(4 * width, len(train.classes), bias=False)
whiten.weight.requires_grad = False
blocks = [*block(24, width), *block(width, 4 * width), *block(4 * width, 4 * width)]
net = nn.Sequential(whiten, nn.GELU(), *blocks, nn.MaxPool2d(3), nn.Flatten(), head)
filters = [p for p in net.parameters() if p.ndim == 4 and p.requires_grad]
muon = nn.optim.Muon(filters, lr=0.24, momentum=0.6, weight_decay=0.0, ns_steps=3)
rest = [p for p in net.parameters() if p.ndim < 4 and p.requires_grad]
sgd = nn.optim.SGD(rest, lr=0.05, momentum=0.85, nesterov=True)
moved = nn.augment.RandomCrop(32, padding=2, padding_mode="reflect")
changes = nn.Sequential(nn.augment.RandomHorizontalFlip(), moved)
loader = DataLoader(train, options.batch, shuffle=True, drop_last=True)


@tg.jit
def step(rows):
    x, labels = loader.batch(rows)
    net.zero_grad()
    with tg.autocast("bf16", enabled=options.device != "cpu"):
        loss = net(changes(scaled(x))).cross_entropy(labels, label_smoothing=0.2)
    loss.backward()
    with tg.no_grad():
        for weight in filters:  # of one length, so that each step turns it by as much
            weight *= len(weight) ** 0.5 / (weight**2).sum().sqrt()
    muon.step()
    sgd.step()
    return loss


whiten.weight.assign_(whitening(scaled(tg.Tensor(train.inputs[:1000] / np.float32(255)))))
steps = options.epochs * len(loader)
order = (rows for _ in range(options.epochs) for rows in loader.rows())
for number, rows in enumerate(order):
    muon.lr, sgd.lr = 0.24 * (1 - number / steps), 0.05 * (1 - number / steps)
    loss = step(rows)

net.eval()
with tg.no_grad():
    batches = (scaled(x) for x, _ in DataLoader(test, 500))
    read = np.concatenate([(net(x) + net(x[..., ::-1])).argmax(1).numpy() for x in batches])
accuracy = float((read == test.targets).mean())
print(f"{accuracy:.1%} of {len(test)} photographs that it has not seen; loss {loss.item():.3f}")

figure = plt.figure(figsize=(11, 5), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.1))
left.suptitle("directions of patches of 2 x 2 pixels, by their variance")
for ax, tile in zip(left.subplots(3, 4).ravel(), whiten.weight.numpy()[11::-1], strict=True):
    ax.set(xticks=[], yticks=[])
    ax.imshow(0.5 + 0.5 * (tile / np.abs(tile).max()).transpose(1, 2, 0))
ax, classes = right.subplots(), range(len(test.classes))
ax.imshow(nn.metrics.confusion_matrix(test.targets, read, len(classes)) ** 0.5, cmap="Greens")
ax.set_title(f"{accuracy:.1%} right: what photographs are, and are taken for")
ax.set_xticks(classes, test.classes, rotation=90)
ax.set_yticks(classes, test.classes)
figure.savefig(options.out, dpi=100)
