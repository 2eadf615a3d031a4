"""Fourier transforms beside the records' samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cupy import Tensor, backend


def test_half_spectra_whose_last_axis_has_one_element(device: str) -> None:
    """cuFFT leaves that axis out, and would take half of the axis before it for enough."""
    rng = np.random.default_rng(0)
    x: Any = rng.standard_normal((2, 3, 1)) + 1j * rng.standard_normal((2, 3, 1))
    for axes in ((1, 2), (0, 1, 2), (0, 2)):
        sizes: Any = [x.shape[i] for i in axes[:-1]] + [1]
        given: Any = Tensor(backend.to_device(x, device))
        found: Any = np.fft.irfftn(given, sizes, axes)
        np.testing.assert_allclose(found.numpy(), np.fft.irfftn(x, sizes, axes), atol=1e-12)
        given = Tensor(backend.to_device(x.real.copy(), device))
        found = np.fft.rfftn(given, axes=axes)
        np.testing.assert_allclose(found.numpy(), np.fft.rfftn(x.real, axes=axes), atol=1e-12)
