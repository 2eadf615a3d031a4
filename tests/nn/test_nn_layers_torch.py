"""Layers against PyTorch's: values, gradients, running statistics, state_dicts both ways."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.peers import import_torch
from tinygrad_cupy import Tensor, nn

torch = import_torch()

# (name in both, arguments, input shape)
OF_OTHER_DIMENSIONS: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2), (3, 4, 9)),
    ("Conv1d", (2, 3, 5, 1, "same"), (2, 20)),
    ("Conv2d", (2, 3, 4, 1, "valid"), (2, 6, 7)),
    ("Conv3d", (4, 6, (3, 2, 1), (2, 1, 1), (1, 2, 0), 1, 2), (2, 4, 6, 5, 4)),
    ("Conv3d", (2, 3, 3, 1, "same", 1, 1, False), (2, 4, 5, 3)),
    ("Conv1d", (4, 6, 3, 2, 2, 1, 2, True, "zeros"), (3, 4, 9)),
    ("Conv1d", (4, 6, 4, 1, "same", 1, 2, True, "reflect"), (3, 4, 9)),
    ("Conv2d", (2, 3, 3, 2, (1, 2), 1, 1, True, "reflect"), (2, 2, 6, 7)),
    ("Conv2d", (2, 3, (3, 4), 1, "same", (2, 1), 1, False, "replicate"), (2, 6, 7)),
    ("Conv2d", (2, 3, 3, 1, "valid", 1, 1, True, "circular"), (2, 2, 6, 7)),
    ("Conv3d", (2, 3, 3, (1, 2, 1), (1, 2, 0), 1, 1, True, "circular"), (2, 2, 4, 5, 6)),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2), (3, 4, 5)),
    ("ConvTranspose3d", (2, 4, 3, 2, 1, 1), (2, 2, 3, 4, 2)),
    ("MaxPool1d", (3, 2, 1, 1, False, True), (2, 3, 8)),
    ("MaxPool2d", (3, 2, 1, 1, False, True), (3, 8, 9)),
    ("MaxPool3d", ((3, 2, 2), 2, (1, 0, 1)), (2, 3, 6, 5, 4)),
    ("AvgPool1d", (3, 2, 1, True), (2, 3, 8)),
    ("AvgPool2d", (3, 2, 1, True, False), (2, 3, 8, 9)),
    ("AvgPool3d", (3, 2, 1, False, True, 5), (2, 3, 6, 5, 4)),
    ("LPPool1d", (2, 3), (2, 3, 8)),
    ("LPPool2d", (2, 3, 2), (2, 3, 8, 9)),
    ("AdaptiveAvgPool1d", (3,), (2, 3, 8)),
    ("AdaptiveAvgPool2d", ((None, 2),), (2, 3, 8, 5)),
    ("AdaptiveAvgPool3d", ((3, 2, 2),), (2, 3, 5, 6, 4)),
    ("AdaptiveMaxPool1d", (3,), (2, 3, 8)),
    ("AdaptiveMaxPool2d", ((3, 2),), (2, 3, 8, 5)),
    ("AdaptiveMaxPool3d", (2,), (2, 3, 5, 6, 4)),
    ("Unfold", (3, 1, 1, 2), (2, 3, 6, 5)),
    ("Fold", ((6, 5), 2), (2, 12, 20)),
    ("PixelShuffle", (2,), (2, 8, 3, 2)),
    ("PixelUnshuffle", (2,), (2, 2, 4, 6)),
    ("ChannelShuffle", (2,), (2, 6, 3, 2)),
]

# (ours, PyTorch's, input shape)
LAYERS: list[tuple[Callable[[], nn.Module], Callable[[], Any], tuple[int, ...]]] = [
    (lambda: nn.Linear(7, 5), lambda: torch.nn.Linear(7, 5), (4, 7)),
    (lambda: nn.Linear(7, 5, bias=False), lambda: torch.nn.Linear(7, 5, bias=False), (2, 3, 7)),
    (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        lambda: torch.nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2),
        (3, 4, 9, 8),
    ),
    (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (2, 1)),
        lambda: torch.nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (2, 1)),
        (3, 4, 5, 4),
    ),
    (lambda: nn.BatchNorm1d(5), lambda: torch.nn.BatchNorm1d(5), (6, 5)),
    (lambda: nn.BatchNorm1d(5), lambda: torch.nn.BatchNorm1d(5), (6, 5, 3)),
    (
        lambda: nn.BatchNorm2d(3, 1e-3, 0.3),
        lambda: torch.nn.BatchNorm2d(3, 1e-3, 0.3),
        (4, 3, 5, 6),
    ),
    (lambda: nn.LayerNorm((4, 5)), lambda: torch.nn.LayerNorm((4, 5)), (3, 4, 5)),
    (
        lambda: nn.LayerNorm(5, elementwise_affine=False),
        lambda: torch.nn.LayerNorm(5, elementwise_affine=False),
        (3, 4, 5),
    ),
    (lambda: nn.LayerNorm(5, bias=False), lambda: torch.nn.LayerNorm(5, bias=False), (3, 5)),
    (lambda: nn.MaxPool2d(3, 2, 1), lambda: torch.nn.MaxPool2d(3, 2, 1), (2, 3, 8, 9)),
    (lambda: nn.AvgPool2d((2, 3)), lambda: torch.nn.AvgPool2d((2, 3)), (2, 3, 8, 9)),
    (lambda: nn.AvgPool2d(3, 2, 1), lambda: torch.nn.AvgPool2d(3, 2, 1), (2, 3, 8, 9)),
    (
        lambda: nn.AdaptiveAvgPool2d((3, 2)),
        lambda: torch.nn.AdaptiveAvgPool2d((3, 2)),
        (2, 3, 8, 5),
    ),
    *[
        (
            lambda name=name, arguments=arguments: getattr(nn, name)(*arguments),
            lambda name=name, arguments=arguments: getattr(torch.nn, name)(*arguments),
            shape,
        )
        for name, arguments, shape in OF_OTHER_DIMENSIONS
    ],
    (lambda: nn.Flatten(), lambda: torch.nn.Flatten(), (2, 3, 4, 5)),
    (lambda: nn.Flatten(0, 1), lambda: torch.nn.Flatten(0, 1), (2, 3, 4)),
    (lambda: nn.ReLU(), lambda: torch.nn.ReLU(), (4, 5)),
    (lambda: nn.LeakyReLU(0.2), lambda: torch.nn.LeakyReLU(0.2), (4, 5)),
    (lambda: nn.GELU(), lambda: torch.nn.GELU(), (4, 5)),
    (lambda: nn.GELU("tanh"), lambda: torch.nn.GELU("tanh"), (4, 5)),
    (lambda: nn.ELU(0.7), lambda: torch.nn.ELU(0.7), (4, 5)),
    (lambda: nn.SiLU(), lambda: torch.nn.SiLU(), (4, 5)),
    (lambda: nn.Sigmoid(), lambda: torch.nn.Sigmoid(), (4, 5)),
    (lambda: nn.Tanh(), lambda: torch.nn.Tanh(), (4, 5)),
    (lambda: nn.Softplus(), lambda: torch.nn.Softplus(), (4, 5)),
    (lambda: nn.Softmax(), lambda: torch.nn.Softmax(dim=-1), (4, 5)),
    (lambda: nn.Softmax(1), lambda: torch.nn.Softmax(dim=1), (4, 5, 3)),
]


def compare(
    ours: nn.Module, theirs: Any, shape: tuple[int, ...], rng: np.random.Generator, device: str
) -> None:
    """The same weights in both; then two passes in training and one in evaluation agree."""
    ours.to(device)
    # PyTorch starts norms at weight 1 and bias 0, which would hide a mix-up.
    start = {
        name: rng.standard_normal(value.shape).astype(np.float32)
        for name, value in theirs.named_parameters()
    }
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in start.items()}, strict=False)
    ours.load_state_dict(theirs.state_dict())
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        array = rng.standard_normal(shape).astype(np.float32)
        x = Tensor(array, device=device, requires_grad=True)
        x_torch = torch.tensor(array, requires_grad=True)
        y, y_torch = ours(x), theirs(x_torch)
        close(y.numpy(), y_torch)
        weights = rng.standard_normal(y.shape).astype(np.float32)
        ours.zero_grad()
        theirs.zero_grad()
        y.backward(Tensor(weights, device=device))
        y_torch.backward(torch.tensor(weights))
        assert x.grad is not None
        close(x.grad.numpy(), x_torch.grad)
        grads = {name: parameter.grad for name, parameter in ours.named_parameters()}
        for name, parameter in theirs.named_parameters():
            close(grads.pop(name).numpy(), parameter.grad)  # type: ignore[union-attr]
        assert not grads
    states = ours.state_dict(), theirs.state_dict()
    assert list(states[0]) == list(states[1])
    for name, value in states[1].items():
        assert states[0][name].dtype == value.numpy().dtype
        close(states[0][name], value)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in states[0].items()})


def close(ours: np.ndarray, theirs: Any) -> None:
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"), LAYERS, ids=[type(ours()).__name__ for ours, _, _ in LAYERS]
)
def test_layer(
    ours: Callable[[], nn.Module],
    theirs: Callable[[], Any],
    shape: tuple[int, ...],
    rng: np.random.Generator,
    device: str,
) -> None:
    compare(ours(), theirs(), shape, rng, device)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_what_a_max_pool_found_is_put_back(
    ndim: int, rng: np.random.Generator, device: str
) -> None:
    array = rng.standard_normal((2, 3, *[5] * ndim)).astype(np.float32)
    found = []
    for library in (nn, torch.nn):
        x = Tensor(array, device=device) if library is nn else torch.tensor(array)
        pool = getattr(library, f"MaxPool{ndim}d")(2, return_indices=True)
        y, places = pool(x)
        back = getattr(library, f"MaxUnpool{ndim}d")(2)(y, places, output_size=[5] * ndim)
        found.append([y, places, back])
    for ours, theirs in zip(*found, strict=True):
        close(ours.numpy(), theirs)


@given(st.data())
def test_conv2d_arguments(device: str, data: st.DataObject) -> None:
    def pair(least: int, most: int) -> tuple[int, int]:
        return data.draw(st.tuples(*[st.integers(least, most)] * 2))

    groups = data.draw(st.integers(1, 3))
    channels = [groups * data.draw(st.integers(1, 2)) for _ in range(2)]
    kernel, stride, dilation, padding = pair(1, 3), pair(1, 3), pair(1, 2), pair(0, 2)
    bias = data.draw(st.booleans())
    arguments: Any = (*channels, kernel, stride, padding, dilation, groups, bias)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shape = (2, channels[0], *(d * (k - 1) + 1 + 3 for d, k in zip(dilation, kernel, strict=True)))
    compare(nn.Conv2d(*arguments), torch.nn.Conv2d(*arguments), shape, rng, device)


def test_a_whole_net_takes_pytorchs_state_dict(rng: np.random.Generator, device: str) -> None:
    ours = nn.models.build("deep")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 5),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 5),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(32),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(32, 64, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(64, 64, 3),
        torch.nn.ReLU(),
        torch.nn.BatchNorm2d(64),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 10),
    )
    ours.load_state_dict(theirs.state_dict())
    ours.to(device).eval()
    x = rng.random((2, 1, 28, 28), np.float32)
    y = theirs.eval()(torch.tensor(x))
    np.testing.assert_allclose(
        ours(Tensor(x, device=device)).numpy(), y.detach().numpy(), rtol=1e-3, atol=1e-4
    )
