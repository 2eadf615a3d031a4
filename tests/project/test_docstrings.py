"""The examples in docstrings run and give what they show, and whatever users call has one.

They presume three lines: ``import numpy as np``, ``import tinygrad_cupy as tg`` and
``from tinygrad_cupy import Tensor, datasets, nn``, a seed of 0, and new tensors on the CPU. Lines
marked ``# doctest: +SKIP`` need a network.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, datasets, nn

# Every public class and function of these has an example. Methods of tensors need none, nor does
# what is NumPy's or SciPy's by its name (tg.numpy, tg.special and so on): what it does is known.
WITH_EXAMPLES = (
    "tinygrad_cupy",
    "tinygrad_cupy.datasets",
    "tinygrad_cupy.distributed",
    "tinygrad_cupy.nn",
    "tinygrad_cupy.nn.augment",
    "tinygrad_cupy.nn.init",
    "tinygrad_cupy.nn.metrics",
    "tinygrad_cupy.nn.models",
    "tinygrad_cupy.nn.optim",
    "tinygrad_cupy.nn.schedules",
)
# Of these, what examples there are.
OTHERS = ("fft", "integrate", "interop", "linalg", "ndimage", "optimize", "signal", "sparse")

PRINTED: Any = {
    "precision": 8,
    "floatmode": "maxprec",
    "linewidth": 75,
    "sign": "-",
    "suppress": False,
}


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """The classes and functions that a module has for users; of no ``__all__``, its own."""
    for name, value in inspect.getmembers(module):
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if name in getattr(module, "__all__", ()) or (
            not hasattr(module, "__all__")
            and value.__module__ == module.__name__
            and not name.startswith("_")
        ):
            yield name, value


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_everything_public_has_an_example(name: str) -> None:
    found = dict(public(importlib.import_module(name)))
    assert found
    without = {key for key, x in found.items() if ">>>" not in (x.__doc__ or "")}
    # Exceptions and warnings are shown by what raises them.
    assert not {key for key in without if not _is_raised(found[key])}


def _is_raised(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


@pytest.mark.parametrize("name", [*WITH_EXAMPLES, *(f"tinygrad_cupy.{name}" for name in OTHERS)])
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_the_examples_run(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name.endswith("datasets"):  # which keep there what they read; others, what was compiled
        request.getfixturevalue("own_cache")
    given = {"np": np, "tg": tg, "nn": nn, "datasets": datasets, "Tensor": Tensor}
    if name.endswith("interop"):
        given["torch"] = pytest.importorskip("torch")
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for key, x in public(module) for test in finder.find(x, key, False, given)]
    alone = doctest.DocTestParser().get_doctest(module.__doc__ or "", given, name, None, None)
    wrong: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    with np.printoptions(**PRINTED):
        for example in [alone, *examples]:
            tg.manual_seed(0)
            tg.set_default_device("cpu")
            tg.set_precision("tf32")
            runner.run(example, out=wrong.append)
    assert not wrong, "".join(wrong)
