"""A small GPT learns to sort numbers by reading examples, and its attention shows how it does it.

A text is ten digits and the same ten sorted; the net reads it from the left and says at each place
what comes next. A decoder with two blocks (Radford et al. 2019, with the norm before each part) is
enough. Afterwards it gets ten digits that it has not seen and writes the rest, digit by digit.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt

import tinygrad_cupy as tg
from tinygrad_cupy import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="small_gpt.png")
options = parser.parse_args()
COUNT, WIDTH, HEADS, BATCH = 10, 64, 4, 64  # D = WIDTH / HEADS features a head
tg.manual_seed(0)
rng = np.random.default_rng(0)


class Block(nn.Module):
    """Attention to what stands at the left, then two layers for each place alone."""

    def __init__(self):
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        wide = nn.Linear(WIDTH, 4 * WIDTH), nn.GELU()
        self.feed_forward = nn.Sequential(*wide, nn.Linear(4 * WIDTH, WIDTH))

    def heads(self, x):
        """Queries, keys and values, (N, heads, T, D) each."""
        N, T, _ = x.shape
        parts = self.qkv(self.norm1(x)).split(3, axis=-1)
        return [part.reshape(N, T, HEADS, -1).swapaxes(1, 2) for part in parts]

    def forward(self, x):  # (N, T, WIDTH)
        seen = tg.Tensor.scaled_dot_product_attention(*self.heads(x), is_causal=True)
        x = x + self.out(seen.swapaxes(1, 2).reshape(x.shape))
        return x + self.feed_forward(self.norm2(x))

    def attention(self, x):
        """The weights (N, heads, T, T) that `forward` sums the values with."""
        q, k, _ = self.heads(x)
        scores = (q @ k.swapaxes(-1, -2)).numpy() / np.sqrt(WIDTH / HEADS)
        scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
        return tg.Tensor(scores).softmax(axis=-1).numpy()


class GPT(nn.Module):
    """Digits (N, T) -> logits of the next digit (N, T, 10)."""

    def __init__(self):
        self.digit, self.place = nn.Embedding(10, WIDTH), nn.Embedding(2 * COUNT, WIDTH)
        self.blocks = [Block(), Block()]
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = self.digit(x) + self.place.weight[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def texts(count):
    digits = rng.integers(0, 10, (count, COUNT))
    return np.concatenate([digits, np.sort(digits, axis=1)], axis=1)


net = GPT().to(options.device)
optimizer = nn.optim.AdamW(nn.optim.no_decay(net), lr=0.003)
schedule = nn.schedules.Cosine(0.003, steps=options.steps, warmup=options.steps // 20)


@tg.jit
def step(text):
    optimizer.zero_grad()
    logits = net(text[:, :-1])[:, COUNT - 1 :]  # from the last digit on the next is known
    loss = logits.reshape(-1, 10).cross_entropy(text[:, COUNT:].reshape(-1))
    loss.backward()
    optimizer.step()
    return loss


losses = []
for k in range(options.steps):
    optimizer.lr = schedule(k)
    losses.append(step(tg.Tensor(texts(BATCH), device=options.device)).item())
truth = texts(min(500, 2 * options.steps))
written = tg.Tensor(truth[:, :COUNT], device=options.device)
with tg.no_grad():
    for _ in range(COUNT):
        written = tg.concat([written, net(written)[:, -1:].argmax(axis=2)], axis=1)
    x = net.digit(written[:1, :-1]) + net.place.weight[: 2 * COUNT - 1]
    attention = net.blocks[1].attention(net.blocks[0](x))[0].max(axis=0)  # the heads' largest
right = (written.numpy() == truth).all(axis=1).mean()
print(f"{right:.1%} of {len(truth)} new rows of {COUNT} digits sorted without a mistake")

figure, (left, ax) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
left.semilogy(losses, lw=1)
left.set(title="the loss", xlabel="step")
text = written[0].tolist()
ax.imshow(attention[COUNT - 1 :, :], cmap="Blues", aspect="auto")
ax.set_xticks(range(2 * COUNT - 1), text[:-1])
ax.set_yticks(range(COUNT), text[COUNT:])
ax.axvline(COUNT - 0.5, color="gray", lw=1)
ax.set(title=f"{right:.0%} sorted: which digits are looked at for each one", ylabel="written")
figure.savefig(options.out, dpi=100)
