"""Adam through every layer and loss, beside PyTorch's, in float64: 20 steps in the slow suite.

Both start from the same weights. What a layer is given is trained as well, so that its gradients
count, and those without parameters are compared too. After training, the states are exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from support.peers import import_torch
from tinygrad_cupy import Tensor, nn

torch = import_torch()

many = pytest.mark.parametrize("steps", [3, pytest.param(20, marks=pytest.mark.slow)])
SEQUENCE, IMAGE, VOLUME = (3, 4, 7), (3, 4, 6, 5), (2, 4, 3, 4, 5)


class Case(NamedTuple):
    """One layer: its arguments, and the shapes of what it is given."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    shapes: tuple[tuple[int, ...], ...] = ((3, 5),)
    trained: bool = True  # whether in training; else in evaluation
    relative: float = 1e-9  # what PyTorch computes as exactly

    @property
    def label(self) -> str:
        told = [*map(repr, self.arguments), *[f"{k}={v!r}" for k, v in self.options.items()]]
        return f"{self.name}({', '.join(told)}) {self.shapes[0]}"


def _all(names: str, *arguments: Any, shape: tuple[int, ...] = (3, 5), **options: Any) -> Any:
    return [Case(name, arguments, options, (shape,)) for name in names.split()]


def _of_dimensions(name: str, *arguments: Any, **options: Any) -> list[Case]:
    shapes = (SEQUENCE, IMAGE, VOLUME)
    return [Case(f"{name}{n + 1}d", arguments, options, (s,)) for n, s in enumerate(shapes)]


LAYERS: list[Case] = [
    # activations
    *_all("CELU ELU GELU Hardshrink Hardswish Hardtanh LeakyReLU LogSigmoid Mish"),
    *_all("ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"),
    Case("Hardsigmoid", relative=1e-7),  # its 1 / 6 is of float32
    *_all("CELU", 0.5),  # 1 / alpha, of float32 in its gradient, is exact
    *_all("ELU", 0.7),
    *_all("GELU", approximate="tanh"),
    *_all("Hardshrink Softshrink", 0.3),
    *_all("Hardtanh", -0.5, 1.5),
    *_all("LeakyReLU", 0.2),
    *_all("Softplus", 2.0),
    *_all("Threshold", 0.1, -0.3),
    *_all("PReLU"),
    *_all("PReLU", 4, 0.1, shape=IMAGE),
    *_all("Softmax LogSoftmax Softmin", axis=-1),
    *_all("Softmax LogSoftmax Softmin", axis=1, shape=IMAGE),
    *_all("GLU", shape=(3, 6)),
    *_all("GLU", axis=1, shape=IMAGE),
    *_all("Softmax2d", shape=IMAGE),
    Case("RReLU", trained=False),
    # norms
    *_of_dimensions("BatchNorm", 4),
    *_of_dimensions("BatchNorm", 4, momentum=None),
    *_of_dimensions("BatchNorm", 4, 1e-3, 0.3, affine=False),
    *_of_dimensions("BatchNorm", 4, track_running_stats=False),
    Case("BatchNorm1d", (5,), {}, ((4, 5),)),
    Case("BatchNorm2d", (4,), {}, (IMAGE,), trained=False),
    Case("BatchNorm2d", (4,), {"track_running_stats": False}, (IMAGE,), trained=False),
    *_of_dimensions("InstanceNorm", 4),
    *_of_dimensions("InstanceNorm", 4, 1e-3, 0.3, True, True),
    Case("InstanceNorm2d", (4, 1e-5, 0.1, True, True), {}, (IMAGE,), trained=False),
    Case("InstanceNorm2d", (4,), {"affine": True}, (IMAGE[1:],)),
    Case("GroupNorm", (2, 4), {}, (IMAGE,)),
    Case("GroupNorm", (4, 4, 1e-3), {"affine": False}, (SEQUENCE,)),
    Case("LayerNorm", ((6, 5),), {}, (IMAGE,)),
    Case("LayerNorm", (5,), {"elementwise_affine": False}, (IMAGE,)),
    Case("LayerNorm", (5,), {"bias": False}, (IMAGE,)),
    Case("RMSNorm", (5,), {}, (IMAGE,)),
    Case("RMSNorm", ((6, 5), 1e-3), {"elementwise_affine": False}, (IMAGE,)),
    Case("LocalResponseNorm", (3,), {}, (IMAGE,)),
    Case("LocalResponseNorm", (2, 0.1, 0.5, 2.0), {}, (SEQUENCE,)),
    # linear and convolutions
    Case("Linear", (5, 4)),
    Case("Linear", (5, 4), {"bias": False}),
    Case("Bilinear", (5, 3, 4), {}, ((3, 5), (3, 3))),
    Case("Bilinear", (5, 3, 4, False), {}, ((2, 3, 5), (2, 3, 3))),
    *_of_dimensions("Conv", 4, 6, 3, 2, 1, 1, 2),
    *_of_dimensions("Conv", 4, 3, 3, padding="same", bias=False),
    *_of_dimensions("ConvTranspose", 4, 6, 3, 2, 1, 1, 2),
    # pools
    *_of_dimensions("MaxPool", 2),
    *_of_dimensions("AvgPool", 3, 2, 1),
    *_of_dimensions("LPPool", 2, 2),
    *_of_dimensions("AdaptiveAvgPool", 2),
    *_of_dimensions("AdaptiveMaxPool", 2),
    # shapes
    Case("Identity"),
    Case("Flatten", (), {}, (IMAGE,)),
    Case("Unflatten", (1, (2, 2)), {}, (IMAGE,)),
    Case("Unflatten", (-1, (5, -1)), {}, (IMAGE,)),
    *_of_dimensions("ConstantPad", 2, 0.5),
    *_of_dimensions("ZeroPad", 1),
    *_of_dimensions("ReflectionPad", 2),
    *_of_dimensions("ReplicationPad", 2),
    *_of_dimensions("CircularPad", 2),
    Case("ConstantPad2d", ((1, 2, 3, 0), -1.0), {}, (IMAGE,)),
    Case("ZeroPad2d", ((1, 2, 3, 0),), {}, (IMAGE,)),
    Case("ReflectionPad2d", ((1, 2, 3, 0),), {}, (IMAGE,)),
    Case("ReplicationPad3d", ((1, 2, 3, 0, 0, 1),), {}, (VOLUME,)),
    Case("CircularPad1d", ((3, 1),), {}, (SEQUENCE,)),
    Case("ReflectionPad1d", (2,), {}, (SEQUENCE[1:],)),
    Case("PixelShuffle", (2,), {}, (IMAGE,)),
    Case("PixelUnshuffle", (2,), {}, ((2, 3, 4, 6),)),
    Case("ChannelShuffle", (2,), {}, (IMAGE,)),
    Case("Unfold", (3, 1, 1, 2), {}, (IMAGE,)),
    Case("Fold", ((6, 5), 2), {}, ((2, 12, 20),)),
    Case("Upsample", (), {"scale_factor": 2}, (IMAGE,)),
    Case("Upsample", (), {"size": (4, 9), "mode": "bilinear"}, (IMAGE,)),
    Case("Upsample", (None, 1.7, "bicubic", True), {}, (IMAGE,)),
    Case("Upsample", (11,), {"mode": "linear"}, (SEQUENCE,)),
    Case("Upsample", (None, (2, 1, 1.5)), {"mode": "trilinear"}, (VOLUME,)),
    Case("UpsamplingNearest2d", (), {"scale_factor": 2}, (IMAGE,)),
    Case("UpsamplingBilinear2d", ((8, 9),), {}, (IMAGE,)),
    # pairs
    Case("CosineSimilarity", (), {}, ((3, 5), (3, 5))),
    Case("CosineSimilarity", (), {"axis": -1, "eps": 1e-6}, (SEQUENCE, SEQUENCE)),
    Case("PairwiseDistance", (), {}, ((3, 5), (3, 5))),
    Case("PairwiseDistance", (1.0,), {"keepdims": True}, ((3, 5), (3, 5))),
    # dropout rests in evaluation
    *[
        Case(name, (0.3,), {}, (shape,), trained=False)
        for name, shape in (
            ("Dropout", (3, 5)),
            ("Dropout1d", SEQUENCE),
            ("Dropout2d", IMAGE),
            ("Dropout3d", VOLUME),
            ("AlphaDropout", (3, 5)),
            ("FeatureAlphaDropout", IMAGE),
        )
    ],
]

THEIR_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def _pair(name: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, Any]:
    """A layer of both libraries, in float64."""
    ours = getattr(nn, name)(*arguments, **options).astype("float64")
    named = {THEIR_NAMES.get(k, k): v for k, v in options.items()}
    theirs = getattr(torch.nn, name)(
        *map(_theirs, arguments), **{k: _theirs(named[k]) for k in named}
    )
    return ours, theirs.double()


def _theirs(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, np.ndarray) else value


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """PyTorch starts its threads for the smallest of arrays, and they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """A layer, and the values that it is given, which are trained as well."""

    def __init__(self, layer: nn.Module, given: list[np.ndarray]) -> None:
        self.layer = layer
        self.given = nn.ParameterList([Tensor(array.copy()) for array in given])


def _nets(layer: nn.Module, their_layer: Any, given: list[np.ndarray]) -> tuple[Net, Any]:
    """Ours and PyTorch's."""
    theirs = torch.nn.Module()
    theirs.layer = their_layer
    theirs.given = torch.nn.ParameterList([torch.tensor(array) for array in given])
    return Net(layer, given), theirs


def _run(net: Any, targets: list[Any], through: Callable[[Any], Any]) -> Any:
    first, *others = net.given
    return net.layer(through(first), *others, *targets)


def _itself(x: Any) -> Any:
    return x


def _close(ours: Any, theirs: Any, what: str, relative: float) -> None:
    found, expected = np.asarray(ours), theirs.detach().numpy()
    assert found.shape == expected.shape, what
    scale = float(np.abs(expected).max()) if expected.size else 0.0
    least = relative * max(scale, 1e-3)
    np.testing.assert_allclose(found, expected, relative, least, err_msg=what)


def _same_start(ours: Net, theirs: Any, rng: np.random.Generator) -> None:
    """Weights that are neither ones nor zeros, which would hide a mix-up."""
    for parameter in theirs.layer.parameters():
        start = torch.from_numpy(rng.uniform(0.2, 0.9, tuple(parameter.shape)))
        parameter.data.copy_(start * np.sign(rng.standard_normal() + 0.5))
    ours.load_state_dict(theirs.state_dict())


def _train(
    ours: Net,
    theirs: Any,
    targets: list[np.ndarray],
    rng: np.random.Generator,
    device: str,
    relative: float,
    steps: int,
    through: Callable[[Any], Any] = _itself,
) -> None:
    """Steps of both: values, gradients, and what is left of them afterwards."""
    ours.to(device)
    here = [Tensor(t, device=device) for t in targets]
    there = [torch.from_numpy(t) for t in targets]
    optimizer = nn.optim.Adam(ours.parameters(), lr=0.01)
    their_optimizer = torch.optim.Adam(theirs.parameters(), lr=0.01)
    weights = rng.standard_normal(tuple(_run(theirs, there, through).shape))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    for step in range(steps):
        optimizer.zero_grad()
        their_optimizer.zero_grad()
        y, expected = _run(ours, here, through), _run(theirs, there, through)
        _close(y.numpy(), expected, f"value at step {step}", relative)
        (y * Tensor(weights, device=device)).sum().backward()
        (expected * torch.from_numpy(weights)).sum().backward()
        their_gradients = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            what = f"gradient of {name} at step {step}"
            assert parameter.grad is not None
            _close(parameter.grad.numpy(), their_gradients[name].grad, what, relative)
        optimizer.step()
        their_optimizer.step()
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert state[name].dtype == value.numpy().dtype
        _close(state[name], value, f"{name} after {steps} steps", relative)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.one_in(4)
@many
@pytest.mark.parametrize("case", LAYERS, ids=[case.label for case in LAYERS])
def test_a_layer_trains_as_pytorchs(
    case: Case, rng: np.random.Generator, device: str, steps: int
) -> None:
    layer, their_layer = _pair(case.name, case.arguments, case.options)
    given = [rng.standard_normal(shape) * 2 for shape in case.shapes]
    ours, theirs = _nets(layer, their_layer, given)
    ours.train(case.trained)
    theirs.train(case.trained)
    _same_start(ours, theirs, rng)
    _train(ours, theirs, [], rng, device, case.relative, steps)


# --- losses ---------------------------------------------------------------------------------------

CLASSES = (5, 4)


class LossCase(NamedTuple):
    """A loss: its options, what is trained, and what it is compared with."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    targets: Callable[[np.random.Generator], tuple[np.ndarray, ...]]
    options: tuple[Mapping[str, Any], ...]
    through: Callable[[Any], Any] = _itself  # between what is trained and the loss


def _values(*shape: int) -> Any:
    return lambda rng: (rng.standard_normal(shape),)


def _shares(*shape: int) -> Any:
    return lambda rng: (rng.uniform(0.05, 0.95, shape),)


def _signs(*shape: int) -> Any:
    return lambda rng: (rng.choice([-1.0, 1.0], shape),)


def _labels(*shape: int, ignored: bool = False) -> Any:
    def labels(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        found = rng.integers(0, CLASSES[1], shape)
        if ignored:
            found.flat[1:3] = -100
        return (found,)

    return labels


def _several(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    found = np.stack([rng.permutation(CLASSES[1]) for _ in range(CLASSES[0])])
    found[rng.random(found.shape) < 0.4] = -1
    return (found,)


def _counts(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return (rng.poisson(2.0, CLASSES).astype(np.float64),)


WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])
SMOOTH = {"label_smoothing": 0.1}

LOSSES = [
    LossCase("L1Loss", (CLASSES,), _values(*CLASSES), ({},)),
    LossCase("MSELoss", (CLASSES,), _values(*CLASSES), ({},)),
    LossCase("HuberLoss", (CLASSES,), _values(*CLASSES), ({}, {"delta": 0.5})),
    LossCase("SmoothL1Loss", (CLASSES,), _values(*CLASSES), ({}, {"beta": 0.5}, {"beta": 0.0})),
    LossCase("SoftMarginLoss", (CLASSES,), _signs(*CLASSES), ({},)),
    LossCase("HingeEmbeddingLoss", (CLASSES,), _signs(*CLASSES), ({}, {"margin": 0.5})),
    LossCase("MarginRankingLoss", ((7,), (7,)), _signs(7), ({}, {"margin": 0.5})),
    LossCase("CosineEmbeddingLoss", ((6, 3), (6, 3)), _signs(6), ({}, {"margin": 0.2})),
    LossCase(
        "TripletMarginLoss",
        ((6, 3),) * 3,
        lambda rng: (),
        ({}, {"margin": 3.0, "p": 1.0, "swap": True}),
    ),
    LossCase("TripletMarginWithDistanceLoss", ((6, 3),) * 3, lambda rng: (), ({}, {"swap": True})),
    LossCase(
        "BCELoss",
        (CLASSES,),
        _shares(*CLASSES),
        ({}, {"weight": WEIGHT}),
        lambda x: x.sigmoid(),
    ),
    LossCase(
        "BCEWithLogitsLoss",
        (CLASSES,),
        _shares(*CLASSES),
        ({}, {"weight": WEIGHT}, {"pos_weight": WEIGHT}),
    ),
    LossCase("MultiLabelSoftMarginLoss", (CLASSES,), _shares(*CLASSES), ({}, {"weight": WEIGHT})),
    LossCase("MultiLabelMarginLoss", (CLASSES,), _several, ({},)),
    LossCase("MultiMarginLoss", (CLASSES,), _labels(5), ({}, {"p": 2, "weight": WEIGHT})),
    LossCase(
        "KLDivLoss",
        (CLASSES,),
        _shares(*CLASSES),
        ({"reduction": "batchmean"}, {"log_target": True}),
    ),
    LossCase("PoissonNLLLoss", (CLASSES,), _counts, ({}, {"full": True})),
    LossCase("PoissonNLLLoss", (CLASSES,), _counts, ({"log_input": False},), lambda x: x * x + 0.1),
    LossCase(
        "GaussianNLLLoss",
        (CLASSES,),
        lambda rng: (rng.standard_normal(CLASSES), rng.uniform(0.5, 2, (5, 1))),
        ({}, {"full": True}),
    ),
    LossCase(
        "NLLLoss", (CLASSES,), _labels(5, ignored=True), ({}, {"weight": WEIGHT}), lambda x: -x * x
    ),
    LossCase("NLLLoss", ((5, 4, 2, 3),), _labels(5, 2, 3), ({"weight": WEIGHT},)),
    *[
        LossCase(
            "CrossEntropyLoss",
            ((5, 4, *rest),),
            _labels(5, *rest, ignored=True),
            ({}, SMOOTH, {"weight": WEIGHT}, {"weight": WEIGHT, **SMOOTH}),
        )
        for rest in ((), (3,), (2, 3))
    ],
    *[
        LossCase(
            "CrossEntropyLoss",
            ((5, 4, *rest),),
            _shares(5, 4, *rest),
            ({}, SMOOTH, {"weight": WEIGHT, **SMOOTH}),
        )
        for rest in ((), (2, 3))
    ],
]


@pytest.mark.one_in(4)
@many
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch's, of KLDivLoss
@pytest.mark.parametrize("case", LOSSES, ids=[f"{c.name} {c.shapes[0]}" for c in LOSSES])
def test_a_loss_trains_as_pytorchs(
    case: LossCase, rng: np.random.Generator, device: str, steps: int
) -> None:
    for options in case.options:
        for reduction in ({}, {"reduction": "sum"}, {"reduction": "none"}):
            loss, their_loss = _pair(case.name, (), {**reduction, **options})
            given = [rng.standard_normal(shape) * 1.5 for shape in case.shapes]
            nets, targets = _nets(loss, their_loss, given), list(case.targets(rng))
            _train(*nets, targets, rng, device, 1e-9, steps, case.through)
