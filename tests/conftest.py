"""Fixtures and settings that every test file shares.

`device`  the device of a test, "cpu" or (in `pytest -m gpu`) "cuda:0"; also the default device
          while the test runs. Tests that do not name it run with the CPU as the default.
`place`   the same for tests of `jit`: a CPU that pretends to capture, or a GPU.
`torch_device`  the same device for tests that use it from PyTorch, skipped where that sees no GPU.
`rng`     a NumPy generator with a fresh seed, printed when the test fails; set
          TINYGRAD_CUPY_TEST_SEED to repeat that run.
`no_collector`  without garbage collection: what is left over stays, and is counted.
`own_cache`  this package's cache folder, an empty one for the test alone.
`mnist_dir`  the folder of the real MNIST, from $TINYGRAD_CUPY_DATA.

Hypothesis draws fresh examples at every run and prints how to repeat a failure; the profile
(HYPOTHESIS_PROFILE, "fast" or "ci") says how many: support/examples.py.
"""

import gc
import os
import secrets
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

import tinygrad_cupy as tg
from support import graph_stand_in, peers
from support.examples import grows, register_profiles
from tinygrad_cupy import backend
from tinygrad_cupy.backend import cache

register_profiles()
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark comparisons, the slow ones of a test's parameters, and what the profile "ci" changes.

    A comparison is every test of a file that imports a library through peers.py.
    """
    names = vars(getattr(item, "module", None) or object)
    if not {"import_torch", "torch", "import_jax", "jax"}.isdisjoint(names):
        item.add_marker(pytest.mark.peers)
    share = item.get_closest_marker("one_in")
    if share is not None:
        asked = (item.nodeid.partition("[")[0], _device_of(item))
        if _ASKED[asked] % share.args[0]:
            item.add_marker(pytest.mark.slow)
        _ASKED[asked] += 1
    slow = item.get_closest_marker("slow")
    if slow is not None and slow.kwargs.get("rest"):
        return
    if grows(getattr(item, "obj", None)) or item.get_closest_marker("hypothesis"):
        item.add_marker(pytest.mark.growing)


_ASKED: Counter[tuple[str, str | None]] = Counter()  # parameters of a test on a device, until now


def _device_of(item: pytest.Item) -> str | None:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return next((str(parameters[key]) for key in ("device", "place") if key in parameters), None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without the collector, which goes through all of them time and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Tests that collect garbage need not look through all the tests there are."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    _forget_settings_of_other_parameters(item)
    if item.get_closest_marker("gpu") and not backend.cuda_available():
        pytest.skip('needs a CUDA device and CuPy: pip install -e ".[dev,cuda12]"')


def _forget_settings_of_other_parameters(item: pytest.Item) -> None:
    """Put back the settings that a test was written with.

    Hypothesis's plugin puts others around them for each of a test's parameters: of a thousand
    parameters the last has settings that recur a thousand deep.
    """
    test = getattr(item, "obj", None)
    test = getattr(test, "__func__", test)
    settings = getattr(test, "_hypothesis_internal_use_settings", None)
    if settings is not None:
        kept = vars(test).setdefault("_settings_as_written", settings)
        test._hypothesis_internal_use_settings = kept  # type: ignore[union-attr]


# Where there is no GPU no test is made for it: half of all tests would be, to be left out.
ON_GPU = [pytest.param("cuda:0", marks=pytest.mark.gpu)] if backend.cuda_available() else []


# One value per module, not per test, so that Hypothesis tests may ask for it.
@pytest.fixture(scope="module", params=["cpu", *ON_GPU])
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["stand-in", *ON_GPU])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device on which `jit` captures, in earnest or in play; the default device."""
    if request.param == "stand-in":
        graph_stand_in.install(monkeypatch)
        return "cpu"
    backend.set_default_device(request.param)
    return str(request.param)


@pytest.fixture
def torch_device(device: str) -> str:
    """The device of a test of ours and PyTorch's together."""
    if device != "cpu" and not peers.import_torch().cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return device


@pytest.fixture(autouse=True)
def _same_start(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts from seed 0, from true float32 products and from the device it asked for."""
    uses_device = "device" in request.fixturenames
    backend.set_default_device(request.getfixturevalue("device") if uses_device else "cpu")
    tg.manual_seed(0)
    tg.set_precision("fp32")
    yield
    tg.set_precision("tf32")
    backend.set_default_device(None)


@pytest.fixture
def rng() -> np.random.Generator:
    given = os.environ.get("TINYGRAD_CUPY_TEST_SEED")
    seed = int(given) if given else secrets.randbits(32)
    print(f"rng: repeat with TINYGRAD_CUPY_TEST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache.cache_dir()


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    folder = os.environ.get("TINYGRAD_CUPY_DATA")
    if not folder:
        pytest.skip("needs the real MNIST: set TINYGRAD_CUPY_DATA to its folder")
    return Path(folder)
