"""The benchmarks count, tabulate and run."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cupy.nn import models

ROOT = Path(__file__).parent.parent


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_a_step_of_medium_needs_71_6_million_operations_and_0_7_megabytes_per_image(
    module: Any,
) -> None:
    limits = module("limits")
    assert limits.flops("medium", 10) == 10 * 71_565_312
    per_image = limits.traffic("medium", 2, "tf32") - limits.traffic("medium", 1, "tf32")
    assert per_image == pytest.approx(0.7e6, rel=0.05)


@pytest.mark.parametrize("net", models.NAMES)
def test_the_described_nets_have_the_parameters_of_the_models(module: Any, net: str) -> None:
    counted = sum(work.parameters for work in module("limits").layers_of(net))
    assert counted == sum(parameter.size for parameter in models.build(net).parameters())


def test_tables_are_filled_between_their_marks_from_the_result_files(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables, report = module("tables"), module("report")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    common = {"net": "small", "batch": 32, "precision": "fp32", "limit_share": None}
    rows = [
        {"impl": impl, "us": us, "peak_bytes": None, **common}
        for impl, us in (("ours", 500.0), ("torch-eager", 1000.0))
    ]
    report.write(tmp_path / "cpu.json", report.facts("command", None, {}) | {"rows": rows})
    page = "a\n<!-- table cpu -->\nold\n<!-- end -->\nb\n<!-- table ops -->\nkept\n<!-- end -->\n"
    filled = tables.fill(page)
    assert "| small | 32 | **0.5** | **1.0** | 2.00× |" in filled
    assert "old" not in filled
    assert "kept" in filled
    assert filled.startswith("a\n<!-- table cpu -->\n| net |")


def test_a_recorded_command_does_not_name_this_machines_folders(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["x", "--data-dir", "/home/me/mnist", "--out", "/home/me/x.json", "--rounds", "3"]
    monkeypatch.setattr(sys, "argv", words)
    command = module("report").command("ops")
    assert command == "python -m benchmarks.ops --data-dir DIR --out FILE --rounds 3"


@pytest.mark.slow
def test_the_train_step_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    command = [
        sys.executable, "-m", "benchmarks.train_step", "--device", "cpu", "--nets", "small",
        "--batches", "32", "--impls", "ours,ours-eager", "--rounds", "2", "--sample-ms", "20",
        "--out", str(out),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    content = json.loads(out.read_text())
    assert [row["impl"] for row in content["rows"]] == ["ours", "ours-eager"]
    assert not content["failures"]
    assert {"device", "date", "commit", "versions", "command", "rows"} <= set(content)
