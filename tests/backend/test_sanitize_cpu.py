"""The C files under the compiler's sanitizers: nothing that is not theirs is read or written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sanitize_cpu

OUTSIDE = """
import ctypes, numpy as np
from tinygrad_cupy.backend.c_source import CSource

class Sizes(ctypes.Structure):
    _fields_ = [("n", ctypes.c_int64)]

CSource({beside!r}, "outside.c").run("outside", Sizes(), 1, (np.zeros(3, np.float32),))
"""


@pytest.fixture
def watched(tmp_path: Path) -> dict[str, str]:
    found = sanitize_cpu.environment(tmp_path)
    if found is None:
        pytest.skip("needs a C compiler with AddressSanitizer")
    return found


@pytest.mark.slow
def test_a_step_outside_of_an_array_is_reported(watched: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "outside.c").write_text(
        "void outside(void *s, const Share *share, float *x, float *scratch) { x[3] = 1; }\n"
        "TASK(outside, 1)\n"
    )
    script = OUTSIDE.format(beside=str(tmp_path / "x.py"))
    done = subprocess.run(
        [sys.executable, "-c", script], env=watched, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


@pytest.mark.slow
def test_no_report(watched: dict[str, str]) -> None:
    sanitize_cpu.compile_all(watched)
    command = [sys.executable, "-m", "pytest", *sanitize_cpu.arguments()]
    done = subprocess.run(command, env=watched, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
