"""Jordan's recipe for CIFAR-10 in seconds, airbench94_muon, on our engine.

Keller Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv:2404.00498), and its
successor with Muon, as published at github.com/KellerJordan/cifar10-airbench: a frozen whitening
layer, three blocks of 64, 256 and 256 channels, Muon for the filters and Nesterov's SGD for the
rest, 8 epochs of batches of 2000, pictures mirrored in every other epoch and moved by up to two
pixels, and six views of each picture at test time.

Letters in shapes: N pictures of the data, B of a batch, S rows and columns, O filters.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, backend, nn, random
from tinygrad_cupy.nn import optim

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of red, green and blue
WIDTHS = (64, 256, 256)  # channels of the blocks
MOVED = 2  # pixels, at most, in training
WHITENED, WHITEN_EPS = 5000, 5e-4  # pictures that the whitening layer is made of
BIAS_EPOCHS = 3  # in which that layer's bias is trained
SMOOTHING = 0.2
BIAS_RATE, HEAD_RATE, FILTER_RATE = 0.053, 0.67, 0.24
DECAY = 2e-6  # of the weights in SGD, times the batch, over the rate
WARM_UP = 3  # steps with the bias and as many without: as they are, captured and replayed
# Each view of a picture at test time: whether it is mirrored, pixels moved, weight.
ONE_VIEW = ((False, 0, 1.0),)
SIX_VIEWS = tuple(
    (mirrored, moved, weight)
    for moved, weight in ((0, 0.25), (-1, 0.125), (1, 0.125))
    for mirrored in (False, True)
)

Row = dict[str, Any]


# --- pictures -----------------------------------------------------------------------------------


def here(values: Any) -> Tensor:
    """A NumPy array as a tensor on the default device."""
    return Tensor(values, device=tg.default_device())


class Pictures:
    """Pictures uint8 (N, 3, S, S) and their classes (N,) on the default device."""

    def __init__(self, dataset: Any) -> None:
        images = np.asarray(dataset.inputs)
        self.side, self.count = images.shape[-1], len(images)
        self.pixels = here(np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(-1, 3))
        self.labels = here(np.asarray(dataset.targets).astype(np.int64))
        self.along = here(np.arange(self.side))
        self.mean, self.std = (here(np.float32(255) * np.float32(x)) for x in (MEAN, STD))

    def batch(self, rows: Tensor, mirrored: Tensor, down: Tensor, right: Tensor) -> Tensor:
        """Pictures float32 (B, 3, S, S) of these rows (B,), normalized.

        Of each is taken what stands ``down`` and ``right`` (B,) pixels of it, where its border
        mirrors it; and where it is ``mirrored`` (B,), left and right of that are exchanged.
        """
        across = tg.where(mirrored.reshape(-1, 1), self.side - 1 - self.along, self.along)
        lines = self._inside(self.along + down.reshape(-1, 1))  # (B, S)
        columns = self._inside(across + right.reshape(-1, 1))  # (B, S)
        lines = rows.reshape(-1, 1) * self.side + lines
        places = lines[:, :, None] * self.side + columns[:, None, :]  # (B, S, S)
        found = (self.pixels[places.flatten()].astype("float32") - self.mean) / self.std
        return found.reshape(-1, self.side, self.side, 3).transpose(0, 3, 1, 2)

    def _inside(self, places: Tensor) -> Tensor:
        last = self.side - 1
        return last - abs(last - abs(places))


# --- net ----------------------------------------------------------------------------------------


class Block(nn.Module):
    """(N, C, S, S) -> (N, O, S // 2, S // 2) by two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.conv1, self.norm1 = _conv(inputs, outputs), _norm(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x).max_pool2d(2)).gelu()
        return self.norm2(self.conv2(x)).gelu()


class Net(nn.Module):
    """Logits (N, 10) of pictures (N, 3, 32, 32)."""

    def __init__(self) -> None:
        filters = 2 * 3 * 2 * 2  # each direction of a patch of 2 x 2 pixels, and its opposite
        self.whiten = nn.Conv2d(3, filters, 2)
        self.whiten.weight.requires_grad = False
        widths = zip((filters, *WIDTHS), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*[Block(*pair) for pair in widths])
        self.head = nn.Linear(WIDTHS[-1], 10, bias=False)
        weight = self.head.weight.numpy()
        self.head.weight = nn.Parameter(here(weight / weight.std(ddof=1)).data)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.whiten(x).gelu())
        x = x.max_pool2d(3).flatten(1)  # (N, 256)
        return self.head(x) / x.shape[1]


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution whose first filters hand its input on."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    weight = conv.weight.numpy().copy()
    weight[:inputs] = backend.to_numpy(nn.init.dirac(weight[:inputs].shape))
    conv.weight = nn.Parameter(here(weight).data)
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def whitening(x: Tensor) -> np.ndarray:
    """Filters (24, 3, 2, 2): the outputs of the first 12 are uncorrelated and of variance 1.

    That is for pictures x (N, 3, S, S); the other 12 are their opposites.
    """
    size = x.shape[-1] - 1
    shifted = [x[:, :, i : i + size, j : j + size] for i in (0, 1) for j in (0, 1)]
    patches = tg.stack(shifted, axis=2).reshape(len(x), 12, -1)  # (N, 3*2*2, size*size)
    products = (patches @ patches.swapaxes(1, 2)).mean(0) / patches.shape[2]
    variances, directions = np.linalg.eigh(products.numpy().astype(np.float64))
    filters = (directions / np.sqrt(variances + WHITEN_EPS)).T.reshape(12, 3, 2, 2)
    return np.concatenate([filters, -filters]).astype(np.float32)


# --- training -----------------------------------------------------------------------------------


class Training:
    """A net with its optimizers, trained anew by each `run`; its steps are captured once."""

    def __init__(self, train: Pictures, batch: int, precision: str) -> None:
        if train.count < batch:
            raise ValueError(
                f"[Training] expected a batch of pictures or more, got {train.count} pictures and "
                f"batches of {batch}"
            )
        self.train, self.batch, self.precision = train, batch, precision
        self.net = Net()
        self.filters = [p for p in self.net.parameters() if p.ndim == 4 and p.requires_grad]
        norms = [p for name, p in self.net.named_parameters() if name.endswith("norm1.bias")]
        norms += [p for name, p in self.net.named_parameters() if name.endswith("norm2.bias")]
        decay = DECAY * batch
        of_biases = {"lr": BIAS_RATE, "weight_decay": decay / BIAS_RATE}
        groups = [
            {"params": self.net.whiten.bias, **of_biases},
            {"params": norms, **of_biases},
            {"params": self.net.head.weight, "lr": HEAD_RATE, "weight_decay": decay / HEAD_RATE},
        ]
        self.sgd = optim.SGD(groups, momentum=0.85, nesterov=True)
        self.muon = optim.Muon(
            self.filters, FILTER_RATE, weight_decay=0.0, momentum=0.6, ns_steps=3
        )
        self.step, self.right = tg.jit(self._step), tg.jit(self._right)

    def restart(self, seed: int) -> None:
        """First weights, optimizers that have seen nothing; all of it where it was."""
        tg.manual_seed(seed)
        self.net.load_state_dict(Net().state_dict())
        for state in [*self.sgd.state, *self.muon.state]:
            for array in state.values():
                array.fill(0)

    def whiten(self) -> None:
        """Make the whitening layer of the first pictures."""
        count = min(WHITENED, self.train.count)
        rows = here(np.arange(count))
        before = tg.get_precision()
        tg.set_precision("fp32")
        try:
            filters = whitening(self.train.batch(rows, rows < 0, rows * 0, rows * 0))
        finally:
            tg.set_precision(before)
        self.net.whiten.weight.assign_(filters)

    def set_rates(self, number: int, steps: int, bias_steps: int) -> None:
        """Rates fall to 0 in a straight line; the whitening layer's bias then stands still."""
        whiten, *others = self.sgd.param_groups
        whiten["lr"] = BIAS_RATE * max(0.0, 1 - number / bias_steps)
        for group, rate in zip(others, (BIAS_RATE, HEAD_RATE), strict=True):
            group["lr"] = rate * (1 - number / steps)
        self.muon.lr = FILTER_RATE * (1 - number / steps)
        self.net.whiten.bias.requires_grad = number < bias_steps

    def cast(self) -> AbstractContextManager[Any]:
        return tg.autocast(self.precision) if "16" in self.precision else nullcontext()

    def _step(self, rows: Tensor, mirrored: Tensor) -> Tensor:
        """One step on these rows (B,); `mirrored` (N,) says which of all pictures are so now."""
        down, right = (Tensor.rand(2, len(rows)) * (2 * MOVED + 1)).astype("int64") - MOVED
        x = self.train.batch(rows, mirrored[rows], down, right)
        self.sgd.zero_grad()
        self.muon.zero_grad()
        with self.cast():
            loss: Tensor = self.net(x).cross_entropy(
                self.train.labels[rows], label_smoothing=SMOOTHING, reduction="sum"
            )
        loss.backward()
        self.sgd.step()
        with tg.no_grad():
            for weight in self.filters:
                weight *= len(weight) ** 0.5 / (weight**2).sum().sqrt()
        self.muon.step()
        return loss

    def run(self, seed: int, epochs: int, test: Pictures) -> Row:
        """Train and test once."""
        per_epoch = self.train.count // self.batch
        return self.run_steps(seed, epochs * per_epoch, BIAS_EPOCHS * per_epoch, test)

    def run_steps(self, seed: int, steps: int, bias_steps: int, test: Pictures) -> Row:
        self.restart(seed)
        backend.synchronize()
        started = time.perf_counter()
        self.whiten()
        turned = Tensor.rand(self.train.count) < 0.5
        in_epochs = turned, ~turned  # in every other epoch the others are mirrored
        device = self.train.labels.device
        self.net.train()
        per_epoch = self.train.count // self.batch
        for number in range(steps):
            epoch, place = divmod(number, per_epoch)
            if place == 0:
                order = Tensor(random.permutation(self.train.count, device))
                mirrored = in_epochs[epoch % 2]
            self.set_rates(number, steps, bias_steps)
            self.step(order[place * self.batch : (place + 1) * self.batch], mirrored)
        accuracy = self.accuracy(test, SIX_VIEWS)
        seconds = time.perf_counter() - started
        plain = self.accuracy(test, ONE_VIEW)
        return {"seed": seed, "seconds": seconds, "accuracy": accuracy, "accuracy_plain": plain}

    def accuracy(self, test: Pictures, views: Any) -> float:
        self.net.eval()
        every = here(np.arange(test.count))
        parts = [every[i : i + self.batch] for i in range(0, test.count, self.batch)]
        return sum(int(self.right(test, rows, views).item()) for rows in parts) / test.count

    def _right(self, test: Pictures, rows: Tensor, views: Any) -> Tensor:
        """How many of these rows are told by the views together."""
        scores: Any = 0
        with tg.no_grad(), self.cast():
            for mirrored, moved, weight in views:
                by = rows * 0 + moved
                x = test.batch(rows, rows >= 0 if mirrored else rows < 0, by, by)
                scores = scores + self.net(x).astype("float32") * weight
        return (scores.argmax(1) == test.labels[rows]).sum()
