"""A net reads a digit rightly; change each pixel a little, by its gradient, and it reads another.

The gradient of the loss by the pixels says which way to change them (Goodfellow, Shlens and Szegedy
2015); several small steps (Madry et al. 2018) do more harm than one large one. A second net that is
trained on such pictures withstands them. With MNIST where it can be had, else with the digits
inside the package.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dataset", default="auto")
parser.add_argument("--images", type=int, default=6000)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="adversarial_digits.png")
options = parser.parse_args()
LIMIT, TIMES = 0.15, 5  # how far a pixel may go, of 1; steps of the attack

train, test, why = load(options.dataset)
print(why)
train, test = train[: options.images], test[: min(300, options.images // 3)]


def attacked(net, x, y, limit, times=TIMES):
    """Pictures no pixel of which is further than `limit` from x, with a loss as large as can be."""
    slope = tg.grad(lambda moved: net(moved).cross_entropy(y))
    moved = x
    for _ in range(times):
        along = np.sign(slope(moved)) * (1.5 * limit / times)
        moved = np.clip(np.clip(moved + along, x - limit, x + limit), 0, 1)
    return moved.detach()


def trained(by_attacks):
    tg.manual_seed(0)
    conv = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU()]
    net = nn.Sequential(*conv, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 10))
    net.to(options.device)
    optimizer = nn.optim.Adam(net.parameters(), lr=0.003)

    @tg.jit
    def step(x, y):
        x = attacked(net, x, y, LIMIT, times=2) if by_attacks else x
        optimizer.zero_grad()
        loss = net(x).cross_entropy(y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(options.epochs):
        for x, y in DataLoader(train, 50, shuffle=True, device=options.device):
            step(x, y)
    return net.requires_grad_(False)


x = tg.Tensor(test.images / np.float32(255), device=options.device)
y = tg.Tensor(test.labels, device=options.device)


def accuracy(net, x):
    return (net(x).argmax(axis=1) == y).mean().item()


limits = np.linspace(0, 0.25, 6)
names = "trained as ever", "trained on attacks"
nets = [trained(False), trained(True)]
curves = [[accuracy(net, attacked(net, x, y, limit)) for limit in limits] for net in nets]
for name, curve in zip(names, curves, strict=True):
    print(f"{name}: {curve[0]:.0%} right, {curve[3]:.0%} with pixels changed by {limits[3]:.2f}")

moved = attacked(nets[0], x, y, LIMIT)
read = nets[0](moved).argmax(axis=1).numpy()
fooled = np.flatnonzero((nets[0](x).argmax(axis=1) == y).numpy() & (read != test.labels))
figure = plt.figure(figsize=(12, 4.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1.9, 1))
for column, i in zip(left.subplots(3, 7).T, fooled[:: max(1, len(fooled) // 7)], strict=False):
    pictures = x.numpy()[i, 0], (moved - x).numpy()[i, 0], moved.numpy()[i, 0]
    titles = f"{test.labels[i]}", "", f"read as {read[i]}"
    for ax, picture, title, low in zip(column, pictures, titles, (0, -LIMIT, 0), strict=True):
        ax.imshow(picture, cmap="RdBu" if low else "gray", vmin=low, vmax=-low or 1)
        ax.set_title(title, size=10)
        ax.axis("off")
left.suptitle(f"digits, what is added (at most {LIMIT}), and what the net reads then")
ax = right.subplots()
for name, curve in zip(names, curves, strict=True):
    ax.plot(limits, curve, "o-", label=name)
ax.set(xlabel="how far each pixel may go", ylim=(0, 1), title="digits read rightly")
ax.legend(frameon=False)
figure.savefig(options.out, dpi=100)
