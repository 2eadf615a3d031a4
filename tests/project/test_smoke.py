"""The whole house in seconds, for the commit hook: gradients, a net that learns, the command."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, cli, nn
from tinygrad_cupy.datasets import DataLoader, digits
from tinygrad_cupy.nn import optim


def test_gradients_of_first_and_second_order(device: str) -> None:
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert x.device == device
    (first,) = tg.grad((x**3).sum(), [x], create_graph=True)
    (second,) = tg.grad(first.sum(), [x])
    np.testing.assert_allclose(first.numpy(), [3.0, 12.0, 27.0], rtol=1e-6)
    np.testing.assert_allclose(second.numpy(), [6.0, 12.0, 18.0], rtol=1e-6)


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(288, 10)
    )


def test_a_small_net_learns_32_digits_by_heart(device: str) -> None:
    train, _ = digits()
    loader = DataLoader(train.take(np.arange(32)), batch_size=32, device=device)
    model = small_net().to(device)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    (batch,) = loader
    images, labels = batch
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(images).cross_entropy(labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    copy = small_net().to(device)
    copy.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(copy(images).numpy(), model(images).numpy())


def test_the_command_trains_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], device: str
) -> None:
    run = tmp_path / "run"
    kind = device.split(":")[0]
    options = ["--dataset", "digits", "--model", "small", "--epochs", "1", "--device", kind]
    assert cli.main(["train", *options, "--quiet", "--out", str(run)]) == 0
    assert {"metrics.json", "history.csv", "curves.png", "model.safetensors"} <= {
        path.name for path in run.iterdir()
    }
    capsys.readouterr()
    assert cli.main(["predict", str(run), str(run / "mistakes.png"), "--json"]) == 0
    assert "mistakes.png" in json.loads(capsys.readouterr().out)[0]["image"]
