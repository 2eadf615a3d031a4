"""`benchmarks.cifar`: pictures, whitening layer and steps of its recipe, beside PyTorch's."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from support.graph_stand_in import StandInPool
from tinygrad_cupy import Tensor

ROOT = Path(__file__).parents[2]
COUNT, BATCH = 40, 16
WIDTHS = (24, 32, 40)  # narrow blocks, for the time that they take


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.cifar")


@pytest.fixture
def airbench(cifar: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = importlib.import_module("benchmarks.airbench")
    monkeypatch.setattr(module, "WIDTHS", WIDTHS)
    return module


@pytest.fixture
def training(cifar: Any, airbench: Any) -> Any:
    tg.manual_seed(0)
    return airbench.Training(airbench.Pictures(cifar.made_up(COUNT)), BATCH, "fp32")


def rows_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(COUNT)[:count]


def normalized(cifar: Any, airbench: Any, rows: np.ndarray) -> np.ndarray:
    images = cifar.made_up(COUNT).inputs[rows] / 255
    mean, std = (np.array(x)[:, None, None] for x in (airbench.MEAN, airbench.STD))
    return np.asarray((images - mean) / std)


def test_pictures_are_mirrored_and_moved(cifar: Any, airbench: Any) -> None:
    rng, rows = np.random.default_rng(2), rows_of(30)
    mirrored = rng.random(30) < 0.5
    down, right = rng.integers(-2, 3, (2, 30))
    found = airbench.Pictures(cifar.made_up(COUNT)).batch(
        *map(Tensor, (rows, mirrored, down, right))
    )
    for i, image in enumerate(normalized(cifar, airbench, rows)):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        part = padded[:, 2 + down[i] :, 2 + right[i] :][:, :32, :32]
        expected = part[..., ::-1] if mirrored[i] else part
        np.testing.assert_allclose(found[i].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_six_views_weigh_one(airbench: Any) -> None:
    assert len(set(airbench.SIX_VIEWS)) == 6
    assert sum(weight for *_, weight in airbench.SIX_VIEWS) == 1
    for weights in zip(*[iter(airbench.SIX_VIEWS)] * 2, strict=True):  # as seen and mirrored
        assert weights[0][1:] == weights[1][1:]


def test_the_whitening_layer_whitens(airbench: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((50, 3, 9, 18), np.float32), 2, axis=3)[..., :9]
    x += 0.5 * rng.standard_normal((50, 1, 9, 9), np.float32)
    filters = airbench.whitening(Tensor(x))
    y = Tensor(x).conv2d(Tensor(filters)).numpy().swapaxes(0, 1).reshape(24, -1)
    np.testing.assert_allclose(y[:12] @ y[:12].T / y.shape[1], np.eye(12), atol=2e-2)
    np.testing.assert_allclose(y[12:], -y[:12], rtol=1e-5, atol=1e-5)


@pytest.mark.peers
def test_steps_are_those_of_the_recipe_in_pytorch(training: Any) -> None:
    """Weights after steps with the whitening layer's bias and without, losses and statistics.

    In float64: Muon enlarges what rounding leaves in directions of which a gradient has little.
    """
    torch = pytest.importorskip("torch")
    training.restart(3)
    training.whiten()
    training.net.astype("float64").train()
    batch = training.train.batch
    training.train.batch = lambda *given: batch(*given).astype("float64")
    twin = Twin(torch, training.net.state_dict(), BATCH)
    steps, bias_steps = 5, 3
    for number in range(steps):
        rows = rows_of(BATCH) if number % 2 else rows_of(COUNT)[-BATCH:]
        mirrored = np.random.default_rng(number).random(COUNT) < 0.5
        tg.manual_seed(number)
        down, right = (np.floor(Tensor.rand(2, BATCH).numpy() * 5) - 2).astype(np.int64)
        tg.manual_seed(number)
        training.set_rates(number, steps, bias_steps)
        loss = training.step(Tensor(rows), Tensor(mirrored)).item()
        given = map(Tensor, (rows, mirrored[rows], down, right))
        x = torch.tensor(training.train.batch(*given).numpy())
        labels = torch.tensor(training.train.labels.numpy()[rows])
        expected = twin.step(x, labels, number, steps, bias_steps)
        assert loss == pytest.approx(expected, rel=1e-9)
    found = training.net.state_dict()
    for name, value in twin.net.state_dict().items():
        distance = np.linalg.norm(found[name] - value.numpy()) / np.linalg.norm(value.numpy())
        assert distance < 1e-7, name


class Twin:
    """The recipe as PyTorch's layers and optimizers say it; Muon, which is not among them, here."""

    def __init__(self, torch: Any, weights: dict[str, np.ndarray], batch: int) -> None:
        self.torch, layers = torch, torch.nn

        class Block(layers.Module):  # type: ignore[misc, name-defined]
            def __init__(self, inputs: int, outputs: int) -> None:
                super().__init__()
                same = {"padding": "same", "bias": False}
                self.conv1 = layers.Conv2d(inputs, outputs, 3, **same)
                self.norm1 = layers.BatchNorm2d(outputs, eps=1e-12, momentum=1 - 0.6)
                self.conv2 = layers.Conv2d(outputs, outputs, 3, **same)
                self.norm2 = layers.BatchNorm2d(outputs, eps=1e-12, momentum=1 - 0.6)

            def forward(self, x: Any) -> Any:
                pooled = layers.functional.max_pool2d(self.conv1(x), 2)
                x = layers.functional.gelu(self.norm1(pooled))
                return layers.functional.gelu(self.norm2(self.conv2(x)))

        widths = zip((24, *WIDTHS), WIDTHS, strict=False)
        blocks = layers.Sequential(*[Block(*pair) for pair in widths])
        self.net = layers.ModuleDict(
            {
                "whiten": layers.Conv2d(3, 24, 2),
                "blocks": blocks,
                "head": layers.Linear(WIDTHS[-1], 10, bias=False),
            }
        )
        given = {name: torch.tensor(value) for name, value in weights.items()}
        self.net.double().load_state_dict(given)
        self.net["whiten"].weight.requires_grad = False
        biases = []
        for block in blocks:
            for norm in (block.norm1, block.norm2):
                norm.weight.requires_grad = False
                biases.append(norm.bias)
        decay = 2e-6 * batch
        self.sgd = torch.optim.SGD(
            [
                {"params": [self.net["whiten"].bias], "lr": 0.053, "weight_decay": decay / 0.053},
                {"params": biases, "lr": 0.053, "weight_decay": decay / 0.053},
                {"params": [self.net["head"].weight], "lr": 0.67, "weight_decay": decay / 0.67},
            ],
            momentum=0.85,
            nesterov=True,
        )
        self.rates = [group["lr"] for group in self.sgd.param_groups]
        self.filters = [conv.weight for block in blocks for conv in (block.conv1, block.conv2)]
        self.momenta = [torch.zeros_like(weight) for weight in self.filters]

    def step(self, x: Any, labels: Any, number: int, steps: int, bias_steps: int) -> float:
        torch, net, functional = self.torch, self.net, self.torch.nn.functional
        bias = net["whiten"].bias if number < bias_steps else net["whiten"].bias.detach()
        y = net["blocks"](functional.gelu(functional.conv2d(x, net["whiten"].weight, bias)))
        logits = net["head"](functional.max_pool2d(y, 3).flatten(1)) / WIDTHS[-1]
        loss = functional.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum")
        net.zero_grad(set_to_none=True)
        loss.backward()
        lengths = (bias_steps, steps, steps)
        for group, rate, length in zip(self.sgd.param_groups, self.rates, lengths, strict=True):
            group["lr"] = rate * max(0.0, 1 - number / length)
        self.sgd.step()
        with torch.no_grad():
            for weight, momentum in zip(self.filters, self.momenta, strict=True):
                momentum.mul_(0.6).add_(weight.grad)
                direction = (weight.grad + 0.6 * momentum).flatten(1)
                weight *= len(weight) ** 0.5 / weight.norm()
                rate = 0.24 * (1 - number / steps)
                weight -= rate * _orthogonal(direction / direction.norm(), 3).reshape(weight.shape)
        return float(loss.detach())


def _orthogonal(x: Any, count: int) -> Any:
    for _ in range(count):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_the_seed_decides_a_run_whatever_was_before(
    cifar: Any, airbench: Any, training: Any
) -> None:
    test = airbench.Pictures(cifar.made_up(20))
    runs = []
    for seed in (1, 2, 1):
        row = training.run_steps(seed, 3, 2, test)
        del row["seconds"]
        runs.append((row, training.net.state_dict()))
    assert runs[0][0] == runs[2][0]
    for name, value in runs[0][1].items():
        np.testing.assert_array_equal(value, runs[2][1][name], name)
    assert not np.array_equal(runs[0][1]["head.weight"], runs[1][1]["head.weight"])


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_captured_run_is_an_eager_one(
    cifar: Any, airbench: Any, precision: str, place: str
) -> None:
    """Twice over: what was captured in the first run serves the second."""
    found, calls = [], []
    for captured in (True, False):
        words = ["--cold", "--device", place, "--batch", "8", "--precision", precision]
        training = cifar.prepared(cifar.made_up(24), cifar.parse(words))
        test = airbench.Pictures(cifar.made_up(24))
        StandInPool.owners[:] = [training.net, training.sgd, training.muon]
        if captured:

            def step(*given: Any, plain: Any = training._step) -> Any:
                calls.append(len(given))
                return plain(*given)

            training.step = tg.jit(step)
        else:
            training.step, training.right = training._step, training._right
        rows = [training.run_steps(seed, 6, 3, test) for seed in (0, 1)]
        if captured:  # with the whitening layer's bias and without
            assert place != "cpu" or training.step.memory_bytes == 2
            assert place == "cpu" or len(calls) == 4
        for row in rows:
            del row["seconds"]
        found.append((rows, training.net.state_dict()))
    assert found[0][0] == found[1][0]
    for name, value in found[0][1].items():
        np.testing.assert_array_equal(value, found[1][1][name], name)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32"])
def test_captured_steps_have_the_losses_of_a_cpu(cifar: Any, airbench: Any, precision: str) -> None:
    """Six steps, the whitening layer's bias in the first three, from the same seed."""
    losses: dict[str, list[float]] = {}
    for device in ("cpu", "cuda"):
        words = ["--cold", "--device", device, "--batch", str(BATCH)]
        precise = "fp32" if device == "cpu" else precision
        options = cifar.parse([*words, "--precision", precise])
        training = cifar.prepared(cifar.made_up(COUNT), options)
        training.restart(5)
        training.whiten()
        training.net.train()
        losses[device] = []
        for number in range(6):
            training.set_rates(number, 6, 3)
            given = map(airbench.here, (rows_of(BATCH), np.arange(COUNT) % 2 == 0))
            loss = training.step(*given)
            losses[device].append(loss.item())
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=3e-2)


def test_the_net_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    net = importlib.import_module("benchmarks.airbench").Net()
    counts = {name: p.size for name, p in net.named_parameters() if p.requires_grad}
    assert sum(counts.values()) == 24 + 9 * 64 * 88 + 9 * 256 * 832 + 2 * 576 + 2560
    dirac = net.blocks[1].conv1.weight.numpy()[:64]
    np.testing.assert_array_equal(dirac[:, :, 1, 1], np.eye(64))
    assert np.abs(dirac).sum() == 64
    assert net.head.weight.numpy().std(ddof=1) == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in "abcdefghij":
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(4):
                image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
                image.save(folder / f"{number}.png")
    base = [sys.executable, "-m", "benchmarks.cifar", "--device", "cpu", "--precision", "fp32"]
    base += ["--batch", "16", "--images", "40", "--out", str(tmp_path / "found.json")]
    words = ["--data-dir", str(tmp_path), "--epochs", "1", "--runs", "2"]
    for more, count in ((words, 2), (["--cold"], 1)):
        subprocess.run([*base, *more], cwd=ROOT, check=True, timeout=300)
        found = json.loads((tmp_path / "found.json").read_text())
        assert len(found["rows"]) == count
        times = [value for key, value in found["rows"][0].items() if key.endswith("seconds")]
        assert times
        assert min(times) > 0


def test_fewer_pictures_than_a_batch_are_refused(cifar: Any, airbench: Any) -> None:
    few = airbench.Pictures(cifar.made_up(BATCH - 1))
    with pytest.raises(ValueError, match="got 15 pictures and batches of 16"):
        airbench.Training(few, BATCH, "fp32")


def test_a_whitening_layer_that_fails_leaves_the_precision(
    airbench: Any, training: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> Any:
        raise np.linalg.LinAlgError("no eigenvalues")

    monkeypatch.setattr(airbench, "whitening", fails)
    before = tg.get_precision()
    tg.set_precision("tf32")
    try:
        with pytest.raises(np.linalg.LinAlgError):
            training.whiten()
        assert tg.get_precision() == "tf32"
    finally:
        tg.set_precision(before)


def test_what_is_missing_is_said(cifar: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cifar.parse([])
    assert "expected --data-dir, --cold or --kernels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cifar.parse(["--kernels", "--device", "cpu"])
    assert "[--kernels] expected a GPU, whose kernels are listed" in capsys.readouterr().err
