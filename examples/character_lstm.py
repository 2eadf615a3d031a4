"""An LSTM reads the names of 949 colors, letter by letter, and then invents and paints its own.

It learns two things at once from the answers of xkcd's color survey, which matplotlib ships: which
letter comes next, and which color a name stands for, from the state after its last letter. Names
are then drawn a letter at a time; what is in the survey is left out. Asked for a name of yours
(`--paint "midnight moss"`), it paints that too.
"""

import argparse

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import XKCD_COLORS, to_rgb

import tinygrad_cupy as tg
from tinygrad_cupy import nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=25)
asked = ["dark rose", "light night", "ugly sky", "old moss"]
parser.add_argument("--paint", nargs="*", default=asked)
parser.add_argument("--device", default=tg.default_device())
parser.add_argument("--out", default="character_lstm.png")
options = parser.parse_args()
HIDDEN, BATCH, WARMTH = 128, 32, 0.7

names = [name.removeprefix("xkcd:") for name in XKCD_COLORS]
letters = sorted({letter for name in names for letter in name} | set("".join(options.paint)))
END, longest = len(letters), max(map(len, names)) + 1  # END begins and ends a name
tg.manual_seed(0)
rng = np.random.default_rng(0)


def encoded(names):
    """(N, T + 1) numbers of letters, END before and behind; and lengths, with the END before."""
    table = np.full((len(names), longest + 1), END)
    for row, name in zip(table, names, strict=True):
        row[1 : len(name) + 1] = [letters.index(letter) for letter in name]
    return table, np.array([len(name) + 1 for name in names])


class Painter(nn.Module):
    """Numbers of letters (N, T) -> logits of the next letter (N, T, L), colors (N, T, 3)."""

    def __init__(self):
        self.embedding = nn.Embedding(END + 1, 32)
        self.lstm = nn.LSTM(32, HIDDEN, batch_first=True)
        self.letter, self.color = nn.Linear(HIDDEN, END + 1), nn.Linear(HIDDEN, 3)

    def forward(self, x, state=None):
        states, state = self.lstm(self.embedding(x), state)
        return self.letter(states), self.color(states).sigmoid(), state


net = Painter().to(options.device)
optimizer = nn.optim.Adam(net.parameters(), lr=0.005)
table, lengths = encoded(names)
colors = np.array([to_rgb(color) for color in XKCD_COLORS.values()], np.float32)


def tensor(data):
    return tg.Tensor(data, device=options.device)


@tg.jit
def step(x, targets, last, color):
    optimizer.zero_grad()
    logits, painted, _ = net(x)
    loss = logits.reshape(-1, END + 1).cross_entropy(targets.reshape(-1), ignore_index=-1)
    loss = loss + 20 * (((painted * last).sum(axis=1) - color) ** 2).mean()
    loss.backward()
    optimizer.step()
    return loss


place = np.arange(longest)
targets = np.where(place < lengths[:, None], table[:, 1:], -1)  # the letters, and END once
last = (place == lengths[:, None] - 1)[..., None].astype(np.float32)
data = [tensor(array) for array in (table[:, :-1], targets, last, colors)]
for epoch in range(options.epochs):
    optimizer.lr = 0.005 * (1 - epoch / options.epochs)
    for rows in np.array_split(rng.permutation(len(names)), len(names) // BATCH):
        step(*(array[rows] for array in data))


def invented(count):
    """Names drawn letter by letter, from logits over WARMTH: a colder one is more careful."""
    x, state, drawn = tensor(np.full((count, 1), END)), None, []
    with tg.no_grad():
        for _ in range(longest):
            logits, _, state = net(x, state)
            noise = rng.gumbel(size=(count, END + 1))
            drawn.append((logits[:, -1].numpy() / WARMTH + noise).argmax(axis=1))
            x = tensor(drawn[-1][:, None])
    texts = ("".join((*letters, "\n")[i] for i in row) for row in np.array(drawn).T)
    found = (text.partition("\n")[0].strip() for text in texts)
    return [name for name in dict.fromkeys(found) if 3 < len(name) < 22 and name not in names]


def painted(names):
    table, lengths = encoded(names)
    with tg.no_grad():
        return net(tensor(table[:, :-1]))[1].numpy()[np.arange(len(names)), lengths - 1]


shown = [*invented(120)[: 40 - len(options.paint)], *options.paint]
error = np.abs(painted(names) - colors).mean()
print(f"{len(shown)} names; its colors for the survey's own are off by {255 * error:.0f} of 255")
print(", ".join(shown))
figure, axes = plt.subplots(8, 5, figsize=(11, 7), layout="constrained")
for ax, name, color in zip(axes.flat, shown, painted(shown), strict=False):
    ax.imshow(color[None, None], aspect="auto")
    ax.text(0, 0, name, ha="center", va="center", color="black" if color.mean() > 0.45 else "white")
    ax.axis("off")
figure.savefig(options.out, dpi=100)
