"""The examples run as they stand, and find what they look for."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from support import cuda_emulator
from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import CudaSource

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs an example as from a shell, and gives its names; it must leave a picture."""

    def running(name: str, *words: str) -> dict[str, Any]:
        out = tmp_path / "picture.png"
        monkeypatch.setattr(sys, "argv", [name, "--device", device, "--out", str(out), *words])
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        plt.close("all")
        assert plt.imread(out).std() > 0.05
        return names

    return running


@pytest.mark.slow
def test_noise_goes_and_edges_stay(run: Any) -> None:
    found = run("total_variation", "--steps", "40")
    assert found["before"] < 17
    assert found["after"] > 24


@pytest.mark.slow
def test_a_photograph_is_denoised_to_the_end(run: Any) -> None:
    assert run("total_variation")["after"] > 25.5


@pytest.mark.slow
def test_a_gaussian_process_draws_the_mountain(run: Any) -> None:
    found = run("gaussian_process")
    assert found["explained"] > 0.87
    inside = abs(found["height"] - found["truth"]) < 1.96 * found["spread"]
    assert 0.88 < inside.mean() < 0.97
    _, slope = found["objective"](found["theta"].numpy())
    assert abs(slope).max() < 1  # the likelihood of 1,000 points is at its top


@pytest.mark.slow
def test_the_likelihood_has_the_slope_that_differences_have(run: Any) -> None:
    found = run("gaussian_process", "--points", "60")
    theta, step = np.array([0.3, -0.2, 0.1, -1.5]), 1e-5
    _, slope = found["objective"](theta)
    for i, row in enumerate(step * np.eye(4)):
        ends = [found["objective"](theta + sign * row)[0] for sign in (1, -1)]
        assert slope[i] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


@pytest.mark.slow
def test_weather_is_forecast(run: Any) -> None:
    found = run("spectral_pde")
    truth, forecast, window = found["truth"], found["forecast"], found["options"].window
    error = np.linalg.norm(forecast - truth, axis=1) / np.linalg.norm(truth, axis=1)
    assert error[window // 2 : window].mean() < 0.35  # noise: 0.4 of 1.3
    assert error[:window].max() < 0.7
    assert error[-1] > 0.7  # chaos


@pytest.mark.slow
def test_a_net_learns_the_shock_wave(run: Any) -> None:
    assert run("physics_informed_net")["error"] < 0.02


@pytest.mark.slow
def test_a_filter_finds_its_own_parameters(run: Any) -> None:
    found = run("kalman_filter")
    np.testing.assert_allclose(found["found"], found["truth"], atol=0.15)  # of log10
    raw, filtered = (
        np.hypot(*(places - found["track"]).T).mean()
        for places in (found["seen"].numpy(), found["means"][:, :2])
    )
    assert filtered < 0.6 * raw
    q, r = np.unravel_index(found["costs"].argmin(), found["costs"].shape)[::-1]
    assert abs(found["q"][q] - found["found"][0]) < 0.15  # the map's top is where the climb ends
    assert abs(found["r"][r] - found["found"][1]) < 0.1


@pytest.mark.slow
def test_a_planet_and_its_blurs_are_found(run: Any) -> None:
    found = run("blind_deconvolution")
    assert found["after"] < 0.45 * found["before"]
    guessed = found["expose"](found["root"], found["phases"])[1].detach().numpy()
    true = found["air"].numpy()
    errors = np.linalg.norm(guessed - true, axis=(1, 2)) / np.linalg.norm(true, axis=(1, 2))
    assert np.median(errors) < 0.15  # the phases of one or two are stuck where another fits as well


# --- nets ---------------------------------------------------------------------------------------

FEW = ("--dataset", "digits", "--images", "200", "--epochs")


def test_a_net_of_plain_operations_learns(run: Any) -> None:
    found = run("mnist_from_scratch", *FEW, "3")
    assert found["losses"][-1] < 0.7 * found["losses"][0]
    assert found["accuracy"] > 0.3


@pytest.mark.slow
def test_a_net_of_plain_operations_learns_to_the_end(run: Any) -> None:
    assert run("mnist_from_scratch")["accuracy"] > 0.95


def test_a_u_net_takes_noise_away(run: Any) -> None:
    found = run("unet_denoising", *FEW, "1")
    assert found["after"] > found["before"] + 2


@pytest.mark.slow
def test_a_u_net_takes_noise_away_to_the_end(run: Any) -> None:
    found = run("unet_denoising")
    assert found["after"] > found["before"] + 9


def test_two_numbers_say_something_of_a_digit(run: Any) -> None:
    assert run("autoencoder", *FEW, "3")["told"] > 0.13  # one of ten by chance


@pytest.mark.slow
def test_two_numbers_tell_digits_apart(run: Any) -> None:
    assert run("autoencoder")["told"] > 0.45


@pytest.mark.slow
def test_colors_are_painted(run: Any) -> None:
    found = run("character_lstm", "--paint", "red", "dark blue")
    assert found["error"] < 0.06
    red, blue = found["painted"](["red", "dark blue"])
    assert red[0] > red[1:].max() + 0.2
    assert blue[2] > blue[:2].max() + 0.1
    assert len(found["shown"]) == 40
    assert not set(found["shown"][:-2]) & set(found["names"])


def test_a_gpt_begins_to_sort(run: Any) -> None:
    losses = run("small_gpt", "--steps", "15")["losses"]
    assert losses[-1] < losses[0] - 0.4


@pytest.mark.slow
def test_a_gpt_sorts(run: Any) -> None:
    found = run("small_gpt")
    assert found["right"] > 0.9
    net, text = found["net"], found["written"][:3, :-1]
    before = net.digit(text) + net.place.weight[: text.shape[1]]
    weights = net.blocks[0].attention(before)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    _, _, values = net.blocks[0].heads(before)
    queries, keys, _ = net.blocks[0].heads(before)
    seen = queries.scaled_dot_product_attention(keys, values, is_causal=True)
    np.testing.assert_allclose(weights @ values.numpy(), seen.numpy(), atol=1e-4)


def test_digits_are_misread_after_an_attack(run: Any) -> None:
    found = run("adversarial_digits", *FEW, "2")
    plain, _ = found["curves"]
    assert plain[3] < 0.7 * plain[0]
    assert abs(found["moved"] - found["x"]).max().item() < found["LIMIT"] + 1e-6


@pytest.mark.slow
def test_a_net_withstands_attacks(run: Any) -> None:
    plain, hardened = run("adversarial_digits")["curves"]
    assert min(plain[0], hardened[0]) > 0.93
    assert hardened[3] > plain[3] + 0.2


def test_spots_draw_a_photograph(run: Any) -> None:
    found = run("custom_kernel", "--spots", "60", "--steps", "30", "--size", "32")
    assert found["losses"][-1] < 0.3 * found["losses"][0]
    spots = Tensor(found["spots"].numpy()[:3].astype(np.float64), requires_grad=True)
    if found["options"].device == "cpu":
        assert found["picture_of"].gradcheck(spots, order=1)


@pytest.mark.slow
def test_spots_draw_a_photograph_to_the_end(run: Any) -> None:
    assert run("custom_kernel")["decibels"] > 21


@pytest.mark.slow
@pytest.mark.skipif(cuda_emulator.compiler() is None, reason="no compiler of C++20")
def test_the_kernels_of_spots_do_what_numpy_does(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = run("custom_kernel", "--device", "cpu", "--steps", "1", "--spots", "5", "--size", "16")
    source = tmp_path / "spots.cu"
    source.write_text((EXAMPLES / "custom_kernel.cu").read_text())
    cuda_emulator.install(monkeypatch, tmp_path)
    kernels = CudaSource(str(tmp_path / "spots.py"), "spots.cu")
    spots, grad = found["spots"].numpy(), np.random.default_rng(0).random((16, 16, 3), np.float32)
    picture, slopes = np.empty_like(grad), np.empty_like(spots)
    sizes = np.int32(len(spots)), np.int32(16)
    kernels.launch("draw", -(-256 // cuda_emulator.THREADS), (spots, picture, *sizes))
    np.testing.assert_allclose(picture, found["draw"](spots), rtol=1e-4, atol=1e-5)
    kernels.launch("draw_backward", len(spots), (grad, spots, slopes, np.int32(16)))
    expected = found["draw_backward"](grad, picture, spots)
    np.testing.assert_allclose(slopes, expected, rtol=1e-4, atol=1e-4)


def write_colours(folder: Path, side: int) -> None:
    """Reddish and greenish noise, 16 pictures each to train on and to test with."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, colour in (("red", 0), ("green", 1)):
            (folder / part / name).mkdir(parents=True)
            for i in range(16):
                picture = rng.integers(0, 120, (side, side, 3), np.uint8)
                picture[..., colour] += 100
                Image.fromarray(picture).save(folder / part / name / f"{i}.png")


def test_a_net_learns_from_folders_of_pictures(
    device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_colours(tmp_path, 16)
    words = ["cifar10", str(tmp_path), "--device", device, "--batch", "8", "--epochs", "6"]
    monkeypatch.setattr(sys, "argv", [*words, "--width", "4"])
    found = runpy.run_path(str(EXAMPLES / "cifar10.py"), run_name="__main__")
    assert found["accuracy"] > 0.9
    assert found["train"].images.shape == (32, 3, 16, 16)


def test_the_fastest_recipe_learns_from_folders_of_pictures(run: Any, tmp_path: Path) -> None:
    write_colours(tmp_path, 32)
    words = (str(tmp_path), "--batch", "8", "--width", "4")
    found = run("fast_cifar10", *words)
    assert found["accuracy"] > 0.9
    assert found["net"][0].weight.shape == (24, 3, 2, 2)
