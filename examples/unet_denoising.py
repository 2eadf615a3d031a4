"""A U-Net takes noise away that is half as strong as the drawing itself.

Handwritten digits are covered by Gaussian noise and by a black bar; the net learns to give back the
clean picture. A U-Net (Ronneberger, Fischer and Brox 2015) looks at the picture at full, half and
quarter size, and carries each size across to where it is drawn again. With MNIST where it can be
had, else with the digits inside the package; it is tested on digits that it has not seen.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dataset", default="auto")
parser.add_argument("--images", type=int, default=4000)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="unet_denoising.png")
options = parser.parse_args()
NOISE, BAR, CHANNELS = 0.5, 4, 10

train, test, why = load(options.dataset)
print(why)
train, test = train[: options.images], test[:200]
tg.manual_seed(0)


def block(inputs, outputs):
    """Two convolutions of 3 x 3 pixels."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    """(N, 1, 28, 28) -> the same, by way of 14 x 14 and 7 x 7."""

    def __init__(self, c):
        self.full, self.half, self.quarter = block(1, c), block(c, 2 * c), block(2 * c, 4 * c)
        self.up_half = nn.ConvTranspose2d(4 * c, 2 * c, 2, stride=2)
        self.up_full = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.join_half, self.join_full = block(4 * c, 2 * c), block(2 * c, c)
        self.last = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        full = self.full(x)
        half = self.half(full.max_pool2d(2))
        quarter = self.quarter(half.max_pool2d(2))
        y = self.join_half(tg.concat([self.up_half(quarter), half], axis=1))
        y = self.join_full(tg.concat([self.up_full(y), full], axis=1))
        return self.last(y)


def damaged(x):
    """Noise on all of it, and a bar across, at a height of its own in each picture."""
    rows = np.arange(28).reshape(1, 1, 28, 1)
    top = np.random.default_rng(len(steps)).integers(6, 18, (len(x), 1, 1, 1))
    bar = tg.Tensor((rows >= top) & (rows < top + BAR), device=x.device)
    noise = NOISE * tg.Tensor.randn(*x.shape, device=x.device)
    return tg.where(bar, 0.0, x) + noise


net, steps = UNet(CHANNELS).to(options.device), []
optimizer = nn.optim.Adam(net.parameters(), lr=0.003)
schedule = nn.schedules.Cosine(0.003, steps=options.epochs * -(-len(train) // 40))


@tg.jit
def step(noisy, clean):
    optimizer.zero_grad()
    loss = net(noisy).mse_loss(clean)
    loss.backward()
    optimizer.step()
    return loss


for _ in range(options.epochs):
    for x, _ in DataLoader(train, 40, shuffle=True, device=options.device):
        optimizer.lr = schedule(len(steps))
        steps.append(step(damaged(x), x).item())

clean = tg.Tensor(test.images / np.float32(255), device=options.device)
noisy = damaged(clean)
with tg.no_grad():
    found = net(noisy).clip(0, 1)
before, after = (-10 * np.log10(((x - clean) ** 2).mean().item()) for x in (noisy, found))
print(f"from {before:.1f} to {after:.1f} dB, on {len(test)} digits that it has not seen")

figure, axes = plt.subplots(3, 10, figsize=(12, 4.2), layout="constrained")
names = f"noisy, {before:.1f} dB", f"the net, {after:.1f} dB", "truth"
for row, pictures, name in zip(axes, (noisy, found, clean), names, strict=True):
    row[0].set_ylabel(name)
    for ax, picture in zip(row, pictures.numpy()[::20, 0], strict=True):
        ax.set(xticks=[], yticks=[])
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
figure.savefig(options.out, dpi=100)
