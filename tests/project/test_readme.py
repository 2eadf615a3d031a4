"""The README's code runs as it stands, and says what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def _output(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_example_learns_the_digits(tmp_path: Path) -> None:
    assert len(EXAMPLES[0].strip().splitlines()) <= 15
    said = _output(EXAMPLES[0], tmp_path)
    match = re.fullmatch(r"(\d+\.\d)% of the test digits right\n", said)
    assert match is not None, said
    assert float(match[1]) > 93


def test_the_second_example_gives_second_derivatives(tmp_path: Path) -> None:
    said = _output(EXAMPLES[1], tmp_path)
    values = [float(value) for value in said.strip(" []\n").split()]
    # d²/dx² tanh x = -2 tanh x · (1 - tanh² x), odd, at -2, -1, 0, 1, 2
    assert values == pytest.approx([0.13621868, 0.63970001, 0, -0.63970001, -0.13621868], abs=1e-6)


def test_the_third_example_transforms_functions(tmp_path: Path) -> None:
    code = EXAMPLES[2] + "print(forces.shape, stiffness.shape)"
    assert _output(code, tmp_path) == "(100, 3) (100, 3, 3)\n"


@pytest.mark.slow
def test_the_captured_step_runs_where_the_first_example_ends(tmp_path: Path) -> None:
    code = "import tinygrad_cupy as tg\n" + EXAMPLES[0] + EXAMPLES[3] + "print(step(x, y).item())"
    assert float(_output(code, tmp_path).splitlines()[-1]) > 0


def test_pictures_and_links_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert len(found) > 5
    for target in found:
        if "://" not in target:
            assert (ROOT / target).exists(), target
