"""The models: their shapes, sizes, names and first weights, what build refuses, that they learn."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import models, optim

slow = pytest.mark.slow

# Weights and biases, counted from the layers that PERFORMANCE lists; of images of 28x28.
PARAMETERS = {
    "small": 8 * 10 + 1568 * 10 + 10,
    "medium": 32 * 10 + 64 * (32 * 9 + 1) + 9216 * 128 + 128 + 128 * 10 + 10,
    "deep": 32 * 26 + 32 * (32 * 25 + 1) + 64 + 64 * (32 * 9 + 1) + 64 * (64 * 9 + 1) + 128 + 5770,
    "lenet5": 6 * 26 + 16 * (6 * 25 + 1) + 401 * 120 + 121 * 84 + 85 * 10,  # those of the paper
}
# Of colour images and 1000 classes, as torchvision's documentation gives them.
PARAMETERS_OF_IMAGENET = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "vgg11_bn": 132_868_840,
}
LARGE = [pytest.param(name, marks=slow) for name in ("resnet34", "resnet50", "vgg11_bn")]
OTHERS = ["resnet18", "mobilenet_v2", "vit_tiny", "unet", *LARGE]


def size(model: nn.Module) -> int:
    return sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_and_sizes(name: str, device: str) -> None:
    model = models.build(name)
    assert size(model) == PARAMETERS[name]
    assert model(Tensor.rand(2, 1, 28, 28, device=device)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "least"), [("small", 2), ("medium", 6), ("deep", 20), ("lenet5", 12)]
)
def test_other_images_and_classes(name: str, least: int) -> None:
    for shape in (least, 33, (least, 25), (31, least)):
        model = models.build(name, classes=3, in_channels=2, image_size=shape)
        height, width = shape if isinstance(shape, tuple) else (shape, shape)
        assert model(Tensor.rand(2, 2, height, width)).shape == (2, 3)
    text = f"[{name}] images of {least - 1}x{least - 1} pixels are too small, expected at least "
    with pytest.raises(ValueError, match=re.escape(text + f"{least}x{least}")):
        models.build(name, image_size=least - 1)


@pytest.mark.parametrize(("name", "least"), [("small", 2), ("medium", 6), ("deep", 20)])
def test_images_that_are_no_squares(name: str, least: int) -> None:
    for size in ((24, 40), (least, 31), (57, least)):
        model = models.build(name, classes=5, in_channels=3, image_size=size)
        assert model(Tensor.rand(2, 3, *size)).shape == (2, 5)
    text = f"[{name}] images of 40x{least - 1} pixels are too small, expected at least "
    with pytest.raises(ValueError, match=re.escape(text)):
        models.build(name, image_size=(40, least - 1))
    square, pair = models.build(name, image_size=33), models.build(name, image_size=(33, 33))
    assert [p.shape for p in square.parameters()] == [p.shape for p in pair.parameters()]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("shape", [(9, 13), (8, 8)])
def test_colour_images_that_are_not_square(name: str, shape: tuple[int, int], device: str) -> None:
    model = models.build(name, 3, 3, shape).to(device)
    y = model(Tensor.rand(2, 3, *shape, device=device))
    assert y.shape == ((2, 3, *shape) if name == "unet" else (2, 3))
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_stem_of_imagenet_halves_more(name: str) -> None:
    x = Tensor.rand(1, 3, 65, 8)
    found = [models.build(name, 2, 3, (65, 8), stem).eval() for stem in (None, "imagenet")]
    assert [model(x).shape for model in found] == [(1, 2)] * 2
    shapes = [next(model.parameters()).shape for model in found]
    assert shapes[0] == shapes[1]
    small = models.build(name, 2, 3, 64)
    assert isinstance(small, models.ResNet | models.MobileNetV2)
    assert size(small) <= size(found[0])


def listed(name: str) -> dict[str, tuple[int, ...]]:
    """The state_dict's shapes that torchvision_layers.txt gives for a model, in its order."""
    text = Path(__file__).with_name("torchvision_layers.txt").read_text()
    lines = text.split(f"[{name}]\n")[1].split("[")[0].splitlines()
    shapes: dict[str, tuple[int, ...]] = {}
    for line in lines:
        layer, kind, *sizes = line.split()
        shape = tuple(map(int, sizes))
        vectors = {"norm": ("bias", "running_mean", "running_var"), "conv": ()}.get(kind, ("bias",))
        shapes[f"{layer}.weight"] = shape
        shapes |= {f"{layer}.{vector}": shape[:1] for vector in vectors}
        if kind == "norm":
            shapes[f"{layer}.num_batches_tracked"] = ()
    return shapes


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[slow] * (n == "vgg11_bn")) for n in PARAMETERS_OF_IMAGENET]
)
def test_names_and_sizes_are_torchvisions(name: str) -> None:
    model = models.build(name, 1000, 3, 224)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert list(shapes.items()) == list(listed(name).items())
    assert size(model) == PARAMETERS_OF_IMAGENET[name]


def test_names_of_the_others() -> None:
    names = models.build("vit_tiny", 10, 3, 32).state_dict()
    assert names["positions"].shape == (1, 65, 192)
    assert {"class_token", "patch.weight", "encoder.layers.5.self_attn.in_proj_weight"} <= set(
        names
    )
    assert {"encoder.norm.bias", "head.weight"} <= set(names)
    names = models.build("unet", 2, 3, 32).state_dict()
    assert {"down.0.0.weight", "down.3.4.running_var", "up.2.bias", "join.0.3.weight"} <= set(names)
    assert names["head.weight"].shape == (2, 32, 1, 1)


def test_layers_of_the_transformer_begin_apart() -> None:
    state = models.build("vit_tiny", 10, 3, 8).state_dict()
    first, last = (state[f"encoder.layers.{i}.linear1.weight"] for i in (0, 5))
    assert not np.array_equal(first, last)


@pytest.mark.parametrize(
    ("name", "options", "digest"),
    [
        ("small", {}, "2e30a5a078a6c4e8"),
        ("small", {"classes": 3, "in_channels": 2, "image_size": 33}, "fb170dd890547c24"),
        ("medium", {}, "b0f00887da02a99a"),
        ("medium", {"classes": 3, "in_channels": 2, "image_size": 33}, "b29952b5f30c9240"),
        ("deep", {}, "4b662e2d0f022209"),
        ("deep", {"classes": 3, "in_channels": 2, "image_size": 33}, "35300acf3cd0536e"),
    ],
)
def test_a_seed_gives_the_weights_that_it_always_gave(
    name: str, options: dict[str, Any], digest: str
) -> None:
    tg.manual_seed(7)
    found = hashlib.sha256()
    for key, value in models.build(name, **options).state_dict().items():
        found.update(key.encode() + value.tobytes())
    assert found.hexdigest().startswith(digest)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "meduim"}, "unknown model 'meduim': did you mean 'medium'?"),
        ({"name": "bert"}, "unknown model 'bert' (models: small, medium, deep, lenet5, resnet18"),
        ({"name": "small", "classes": 0}, "[small] classes must be an integer of at least 1"),
        ({"name": "deep", "in_channels": 1.5}, "[deep] in_channels must be an integer of at least"),
        ({"name": "deep", "image_size": (28, 0)}, "[deep] image_size must be an integer of at"),
        ({"name": "small", "stem": "small"}, "[small] has no choice of a stem, got 'small'"),
        (
            {"name": "resnet18", "stem": "large"},
            "[resnet18] stem must be one of small, imagenet, got 'large'",
        ),
        (
            {"name": "unet", "image_size": (7, 9)},
            "[unet] images of 7x9 pixels are too small, expected at least 8x8",
        ),
        (
            {"name": "vgg11_bn", "image_size": (31, 99)},
            "[vgg11_bn] images of 31x99 pixels are too small, expected at least 32x32",
        ),
    ],
)
def test_what_build_refuses(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        models.build(**arguments)


def test_positions_are_of_one_size_of_image() -> None:
    model = models.build("vit_tiny", 3, 3, 8)
    text = "[ViT] expected images (N, C, 8, 8), of the size that its positions are for, got shape"
    with pytest.raises(ValueError, match=re.escape(text)):
        model(Tensor.rand(2, 3, 8, 12))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", PARAMETERS)
def test_each_net_learns_32_images_by_heart(
    name: str, device: str, rng: np.random.Generator
) -> None:
    images = Tensor(rng.random((32, 1, 20, 20), np.float32), device=device)
    labels = Tensor(rng.integers(0, 10, 32), device=device)
    model = models.build(name, image_size=20).to(device)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    loss_of = nn.CrossEntropyLoss()
    for _ in range({"lenet5": 100}.get(name, 45)):
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()
    model.eval()
    guess = model(images).numpy().argmax(axis=1)
    assert (guess == labels.numpy()).mean() > 0.95


@slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_larger_nets_learn(name: str, device: str, rng: np.random.Generator) -> None:
    images = Tensor(rng.random((32, 1, 16, 16), np.float32), device=device)
    labels = Tensor(rng.integers(0, 10, 32), device=device)
    model = models.build(name, image_size=16).to(device)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model(images).cross_entropy(labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


@pytest.mark.slow
def test_a_net_of_pixels_learns(rng: np.random.Generator, device: str) -> None:
    """Which pixels of noise are bright: a class for each, at a size that halves unevenly."""
    images = Tensor(rng.standard_normal((4, 1, 11, 13)).astype(np.float32), device=device)
    bright = Tensor((images.numpy()[:, 0] > 0).astype(np.int64), device=device)
    model = models.build("unet", 2, 1, (11, 13)).to(device)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(15):
        optimizer.zero_grad()
        logits = model(images).permute(0, 2, 3, 1).reshape(-1, 2)
        logits.cross_entropy(bright.reshape(-1)).backward()
        optimizer.step()
    guess = model(images).numpy().argmax(axis=1)
    assert (guess == bright.numpy()).mean() > 0.9
