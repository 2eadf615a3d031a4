"""Libraries that are written against the array API take our tensors, and are differentiated.

SciPy reads SCIPY_ARRAY_API when it is imported, so each call runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHECK = """
import warnings
import numpy as np
import tinygrad_cupy as tg

{setup}
x = np.random.default_rng(0).standard_normal((20, 3))
call = lambda x: {call}
warnings.simplefilter("error", tg.GradientDroppedWarning)
leaf = tg.Tensor(x, requires_grad={differentiated})
found = call(leaf)
np.testing.assert_allclose(found.detach().numpy(), call(x), rtol=1e-10, atol=1e-12)
assert not leaf.requires_grad or tg.gradcheck(call, [leaf], order=1)
"""

SCIPY = {
    "logsumexp": ("import scipy.special", "scipy.special.logsumexp(x, axis=0)"),
    "rfft": ("import scipy.fft", "abs(scipy.fft.rfft(x, axis=0))"),
    "zscore": ("import scipy.stats", "scipy.stats.zscore(x, axis=0)"),
    "skew": ("import scipy.stats", "scipy.stats.skew(x, axis=0)"),
}
SKLEARN = {
    "MinMaxScaler": (
        "from sklearn.preprocessing import MinMaxScaler",
        "MinMaxScaler().fit_transform(x)",
    ),
    "Ridge": (
        "from sklearn.linear_model import Ridge",
        "Ridge(solver='svd').fit(x, x[:, 0] * x[:, 1]).coef_",
    ),
    "rbf_kernel": (
        "from sklearn.metrics.pairwise import rbf_kernel",
        "rbf_kernel(x)",
    ),
}


# These write in place into what their gradients need, or divide by 0 what they write over later.
VALUES = {
    "Normalizer": (
        "from sklearn.preprocessing import Normalizer",
        "Normalizer().fit_transform(x)",
    ),
    "PCA": (
        "from sklearn.decomposition import PCA",
        "abs(PCA(2, svd_solver='full').fit_transform(x))",
    ),
    "StandardScaler": (
        "from sklearn.preprocessing import StandardScaler",
        "StandardScaler().fit_transform(x)",
    ),
}


def run(setup: str, call: str, differentiated: bool = True) -> None:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    text = CHECK.format(setup=setup, call=call, differentiated=differentiated)
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCIPY))
def test_scipy_in_its_array_mode(name: str) -> None:
    setup, call = SCIPY[name]
    run(setup, call)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SKLEARN, *VALUES])
def test_scikit_learn_in_its_array_mode(name: str) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install scikit-learn")
    setup, call = (SKLEARN | VALUES)[name]
    enabled = f"import sklearn\nsklearn.set_config(array_api_dispatch=True)\n{setup}"
    run(enabled, call, differentiated=name in SKLEARN)
