"""The benchmark of several GPUs, by ranks on the CPU, its table and its picture."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.ranks import ROOT, command, environment, needs_mpi

IMPLS = ("ours", "ddp", "ddp-graph")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@needs_mpi
@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("strong", [False, True])
def test_ranks_are_measured_beside_pytorchs(module: Any, tmp_path: Path, strong: bool) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "h200_x2.json"
    words = [
        "-m", "benchmarks.scaling_out", "--device", "cpu", "--cells", "lenet:8,small:8", "--impls",
        ",".join(IMPLS), "--seconds", "0.1", "--out", out, *["--strong"] * strong,
    ]  # fmt: skip
    subprocess.run(command(2, *words), cwd=ROOT, env=environment(), check=True, timeout=300)
    content = json.loads(out.read_text())
    assert [row["net"] for row in content["rows"]] == ["lenet", "small"]
    assert [row["us"] for row in module("scaling_out")._kept(out)] == [
        row["us"] for row in content["rows"]
    ]
    for row in content["rows"]:
        assert set(row["us"]) == {"alone", *IMPLS}
        assert (row["ranks"], row["strong"]) == (2, strong)
        assert row["share"] == pytest.approx(row["us"]["alone"] / row["us"]["ours"], rel=1e-2)
        assert row["over_ddp"] > 0
        assert row["predicted_share"] < 1
    first = content["rows"][0]["first_losses"]  # without dropout, of the same weights and parts
    assert first["ours"] == pytest.approx(first["ddp"], rel=1e-5)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(module("tables"), "RESULTS", tmp_path)
    table = module("tables").fill("<!-- table h200_x2 -->\n<!-- end -->", "h200")
    monkey.undo()
    assert f"| lenet @ 8{' of all' * strong} |" in table
    module("pictures").ranks(content, tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--impls", "ours,jax"], "[--impls] expected some of ours, ddp, ddp-graph, ddp-graph-cl"),
        (["--cells", "large:3"], "[--cells] expected NET:BATCH, as medium:128, got 'large:3'"),
        (["--cells", "lenet:0"], "[--cells] expected NET:BATCH, as medium:128, got 'lenet:0'"),
        (["--cells", "medium"], "[--cells] expected NET:BATCH, as medium:128, got 'medium'"),
    ],
)
def test_what_ranks_cannot_measure_is_named(
    module: Any, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module("scaling_out").parse(words)
    assert text in capsys.readouterr().err


def test_batches_that_ranks_do_not_divide_are_not_measured(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, distributed = module("scaling_out"), module("scaling_out").tg.distributed
    for name, value in {"init": True, "size": 2, "rank": 0}.items():
        monkeypatch.setattr(distributed, name, lambda *_, value=value, **__: value)
    words = ["--device", "cpu", "--impls", "ours", "--strong", "--cells", "lenet:8,lenet:7"]
    monkeypatch.setattr(sys, "argv", ["scaling_out", *words])
    with pytest.raises(SystemExit, match=r"that 2 ranks divide, got lenet:7$"):
        out.main()


def test_rows_of_other_forms_are_kept_and_rows_without_ours_are_shown(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = {"net": "small", "batch": 128, "ranks": 2, "alone_us": 67.7}
    row = {
        "net": "lenet", "batch": 8, "ranks": 2, "strong": False, "precision": "tf32",
        "us": {"alone": 50.0, "ddp": 100.0}, "predicted_share": 0.5,
    }  # fmt: skip
    head = {"device": "2 x H200", "date": "2026-11-30", "commit": "0", "versions": {}}
    file = tmp_path / "h200_x2.json"
    file.write_text(json.dumps(head | {"command": "x", "rows": [old, row]}))
    assert [kept["net"] for kept in module("scaling_out")._kept(file)] == ["small", "lenet"]
    monkeypatch.setattr(module("tables"), "RESULTS", tmp_path)
    assert "| lenet @ 8 | 50.0 | 100 |  | 50 % |  |" in module("tables").x2("h200")


def test_exchanges_of_batch_norms_are_counted(module: Any) -> None:
    cost, work = module("ranks_cost"), module("scaling_out").work_of("deep")
    assert work == cost.STEPS["deep"][1]
    assert work.norms == (32, 64)
    assert cost.exchanges(work, 1) == 0
    without = cost.exchanges(work._replace(norms=()), 2)
    assert cost.exchanges(work, 2) - without == pytest.approx(4 * (15e-6 + cost.LAUNCH))


def test_nothing_of_pytorchs_is_imported_for_a_prediction() -> None:
    code = (
        "import sys; sys.argv = ['x', '--predict']; from benchmarks import scaling_out; "
        "scaling_out.main(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
