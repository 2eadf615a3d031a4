"""What docs/many-gpus.md gives a cluster is read by the programs that are meant to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "many-gpus.md").read_text(encoding="utf-8")


def _block(language: str, word: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return next(str(text) for text in found if word in text)


def test_the_batch_script_is_bash() -> None:
    script = _block("bash", "#SBATCH")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = re.findall(r"^#SBATCH (--[a-z-]+)", script, re.MULTILINE)
    assert len(options) == script.count("#SBATCH")
    assert "srun --kill-on-bad-exit=1 tinygrad-cupy train" in script


def test_the_manifest_is_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(_block("yaml", "MPIJob"))
    assert job["kind"] == "MPIJob"
    replicas = job["spec"]["mpiReplicaSpecs"]
    container = replicas["Launcher"]["template"]["spec"]["containers"][0]
    ranks = int(container["command"][container["command"].index("-n") + 1])
    assert ranks == replicas["Worker"]["replicas"] * job["spec"]["slotsPerWorker"]


def test_what_n_gpus_would_cost_is_printed() -> None:
    words = [sys.executable, "-m", "benchmarks.scaling_out", "--predict"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    share = re.search(r"^deep @ 1024 .*?([0-9.]+) +([0-9.]+) +([0-9.]+)", printed, re.MULTILINE)
    assert share is not None
    # 939 µs, the all-reduce of 351 kB over 4 GPUs, between 16 and 21 µs, and for each of two
    # layers of batch norm two exchanges of 15 µs with a launch of 2.5
    assert float(share[3]) == pytest.approx(100 * 939 / (939 + 17.5 + 70), abs=0.2)
    for row in re.findall(r"^(\w+ @ \d+) .*", printed, re.MULTILINE):
        assert f"| {row} |" in PAGE
