"""The benchmarks count, tabulate and run."""

import importlib
import importlib.util
import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_cupy.nn import models

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("net", models.MNIST)
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
    filled = tables.fill(page, "h200")
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


STEP = {"precision": "tf32", "limit_share": 0.1, "peak_bytes": None, "us": 1.0, "impl": "ours"}


def step_rows(module: Any) -> list[dict[str, Any]]:
    """A row of ours for each net, batch and precision that a whole run measures."""
    train_step = module("train_step")
    cells = {cell[1:] for group in train_step.plan(train_step.parse([])) for cell in group}
    return [
        STEP | dict(zip(("net", "batch", "precision"), cell, strict=True)) for cell in sorted(cells)
    ]


def write_set(module: Any, folder: Path, name: str, date: str, **changes: Any) -> None:
    report = module("report")
    content = report.facts(f"measure {name}", f"NVIDIA {name}", {}) | {"date": date}
    content |= {"rows": step_rows(module)} | changes
    for _, suffix, *_ in module("all").PLAN:
        report.write(folder / f"{name}{suffix}.json", content)


def test_tables_without_a_set_are_of_the_newest_complete_one(module: Any, tmp_path: Path) -> None:
    tables = module("tables")
    write_set(module, tmp_path, "h200", "2026-01-01")
    write_set(module, tmp_path, "h100", "2026-01-02")
    write_set(module, tmp_path, "a100", "2026-01-03", rows=step_rows(module)[:-1])
    assert tables.newest_set(tmp_path) == "h100"
    (tmp_path / "h100_ops.json").unlink()
    assert tables.newest_set(tmp_path) == "h200"


def test_two_sets_stand_on_one_page(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = module("tables")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    write_set(module, tmp_path, "h200", "2026-01-01")
    write_set(module, tmp_path, "h100", "2026-01-02")
    marks = ("h200_tf32", "h100_tf32", "summary")
    page = "".join(f"<!-- table {mark} -->\n<!-- end -->\n" for mark in marks)
    parts = tables.fill(page, "h200").split("<!-- end -->")
    assert ["measure h100" in part for part in parts] == [False, True, False, False]
    assert ["measure h200" in part for part in parts] == [True, False, False, False]
    assert ["results/h200.json" in part for part in parts] == [True, False, True, False]
    nets = [line.split("|")[1].strip() for line in parts[2].splitlines() if " 128 " in line]
    assert nets == ["small", "medium", "deep"]


def test_merged_rows_keep_the_versions_and_the_commit_of_their_run(
    module: Any, tmp_path: Path
) -> None:
    report, tables = module("report"), module("tables")
    row = STEP | {"net": "small", "batch": 32}
    facts = report.facts("command", "NVIDIA H200", {"jax": "1.2"}) | {"commit": "first"}
    report.write(tmp_path / "x.json", facts | {"rows": [row]})
    kept = report.kept_rows(tmp_path / "x.json")
    facts |= {"commit": "second", "versions": {"torch": "3.4"}}
    rows = [*kept, row | {"precision": "bf16"}]
    first, second = tables.source(facts | {"rows": rows}, "x.json", rows).splitlines()
    assert first.startswith("tf32: NVIDIA H200")
    assert "commit first, jax 1.2: `command`" in first
    assert second.startswith("bf16: NVIDIA H200")
    assert "commit second, torch 3.4: `command`" in second
    front = tables.origin(facts | {"rows": rows}, "x.json", rows)
    assert "commit first; NVIDIA H200, " in front
    assert "commit second (`benchmarks/results/x.json` has versions and commands)" in front


def test_memory_is_compared_with_the_smaller_of_pytorchs_graphs(module: Any) -> None:
    peaks = {"ours": 1e6, "torch-graph": 3e6, "torch-graph-cl": 2e6}
    rows = [{"impl": impl, "peak_bytes": peak} for impl, peak in peaks.items()]
    assert module("tables")._memory(rows) == "1.0 / 2.0"
    assert module("tables")._memory(rows[:1]) == "1.0 / ?"


def test_an_h100s_memory_is_slower_than_an_h200s(module: Any) -> None:
    seconds = module("limits").seconds
    h100, h200 = (
        seconds("small", 8192, "tf32", f"NVIDIA {card}") for card in ("H100 80GB HBM3", "H200")
    )
    assert h100 / h200 == pytest.approx(4.3 / 3.0)
    assert seconds("small", 8192, "tf32") == h200


def test_answers_to_requests_sent_ahead_are_told_apart(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processes = module("processes")
    fake = tmp_path / "python"
    fake.write_text("""#!/bin/sh
printf '{"versions": {}}\\n{"cells": []}\\n{"se'
read hello && read prepare && read time
printf 'conds": 1}\\n'
read more
""")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    worker = processes.Worker("fake", "cpu", None, None)
    try:
        worker.send("prepare")
        assert worker.receive(10.0) == {"cells": []}
        assert worker.facts == {"versions": {}}
        assert worker.ask("time", 10.0) == {"seconds": 1}
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--device cpu --impls ours,tensorflow", "[--impls] expected some of ours,"),
        ("--device cpu --skip x", "[--skip] expected some of ours,"),
        ("--device cpu --nets big", "[--nets] expected some of small,medium,deep, got 'big'"),
        ("--device cpu --peers x", "[--peers] expected some of torch,jax, got 'x'"),
        ("--precisions fp64", "[--precisions] expected some of tf32,bf16,fp32, got 'fp64'"),
        ("--device cpu --precisions fp32,bf16", "[--precisions] expected fp32, ours has no other"),
        ("--device cpu --batches 0", "[--batches] expected at least 1, got 0"),
        ("--device cpu --impls jax-jit --peers torch", "[--impls] expected one for the other"),
        ("--device tpu", '[device] expected "cpu", "cuda" or "cuda:N", got \'tpu\''),
        ("--device cuda:99", "[device] "),
    ],
)
def test_mistaken_options_are_told_in_a_line(
    module: Any, capsys: pytest.CaptureFixture[str], words: str, text: str
) -> None:
    train_step = module("train_step")
    assert train_step.run(train_step.parse(words.split()), "command") == 2
    said = capsys.readouterr().err
    assert said.startswith(text)
    assert said.count("\n") == 1


def test_a_peer_that_is_not_installed_is_one_failure_that_says_how_to_install_it(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_step = module("train_step")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    bench = train_step.Bench(train_step.parse(["--device", "cpu"]), "command")
    for group in train_step.plan(bench.options):
        assert [cell.impl for cell in bench.installed(group)] == ["ours"]
    assert [failure["impl"] for failure in bench.failures] == ["torch"]
    assert 'pip install -e ".[peers]"' in capsys.readouterr().err


def test_a_process_of_torch_compile_ends_when_it_was_measured(module: Any) -> None:
    """Those of other implementations only drop the cell: their next one is waiting."""
    train_step = module("train_step")

    class Process:
        alive, asked = True, ""

        def ask(self, do: str, **_: Any) -> Any:
            self.asked = do
            return {"steps": 1, "seconds": 1e-3}

        def close(self) -> None:
            self.alive = False

    bench = train_step.Bench(train_step.parse(["--device", "cpu", "--rounds", "1"]), "command")
    impls = ("ours", "torch-graph", "torch-compile")
    cells = [train_step.Cell(impl, "small", 128, "tf32") for impl in impls]
    told = {"losses": [2.0, 1.0, 1.0], "seconds": 1.0, "peak_bytes": None, "data_bytes": 0}
    for cell in cells:
        bench.workers[train_step.process_of(cell)], bench.ready[cell] = Process(), dict(told)
    bench.measure(cells)
    found = [bench.workers[train_step.process_of(cell)] for cell in cells]
    assert [process.alive for process in found] == [True, True, False]
    assert [process.asked for process in found] == ["drop", "drop", "time"]
    assert len(bench.rows) == 3


def test_help_leaves_the_pages_alone(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables, page = module("tables"), tmp_path / "README.md"
    page.write_text("<!-- table summary -->\nold\n<!-- end -->")
    monkeypatch.setattr(tables, "PAGES", [page])
    monkeypatch.setattr(sys, "argv", ["tables", "--help"])
    with pytest.raises(SystemExit, match="0"):
        tables.main()
    assert "old" in page.read_text()


@pytest.mark.peers
@pytest.mark.slow
def test_jax_pools_as_its_reduce_window_does(module: Any) -> None:
    jax = pytest.importorskip("jax")
    pool, lax = module("steps_jax").pool, jax.lax
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 3)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((2, 3, 2, 3)).astype(np.float32)

    def reference(x: Any) -> Any:
        return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    np.testing.assert_array_equal(pool(x), reference(x))
    gradients = [jax.grad(lambda x, f=f: (f(x) * weight).sum())(x) for f in (pool, reference)]
    np.testing.assert_array_equal(*gradients)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("net", models.MNIST)
def test_the_loss_of_jax_falls_as_ours_does(module: Any, net: str) -> None:
    pytest.importorskip("jax")
    cells = module("cells")
    digits, ends = cells.read_digits(), []
    kinds = {"ours": "ours", "jax-jit": "jax"}
    if net == "small":  # XLA's convolutions inside a loop take minutes on a CPU
        kinds["jax-scan"] = "jax"
    for impl, kind in kinds.items():
        runner = getattr(module(f"steps_{kind}"), kind.capitalize())
        losses = runner(cells.Cell(impl, net, 32, "fp32"), digits, "cpu").losses(24)
        assert np.mean(losses[-8:]) < 0.95 * losses[0]
        ends.append(np.mean(losses[-8:]))
    np.testing.assert_allclose(ends[1:], ends[0], rtol=0.15, atol=0.02)


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


@pytest.mark.peers
@pytest.mark.slow
def test_problems_of_science_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "science.json"
    command = [
        sys.executable, "-m", "benchmarks.science", "--device", "cpu", "--scale", "0.05",
        "--rounds", "1", "--sample-ms", "1", "--skip", "torch-compile", "--out", str(out),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    rows = json.loads(out.read_text())["rows"]
    assert [row["problem"] for row in rows] == [
        "Gaussian process", "phase retrieval", "heat equation", "mixture",
    ]  # fmt: skip
    assert all({"ours", "torch-eager"} <= set(row["ms"]) for row in rows)
    assert all(row["difference"] < 1e-3 and "x" in row for row in rows)


@pytest.mark.peers
@pytest.mark.parametrize(
    "net",
    [  # the others are made of `models`, which are compared with PyTorch's themselves
        "lenet",
        pytest.param("mlp", marks=pytest.mark.slow),
        pytest.param("lstm", marks=pytest.mark.slow),
        pytest.param("airbench", marks=pytest.mark.slow),
    ],
)
def test_nets_of_the_wide_suite_have_the_same_weights_and_losses(module: Any, net: str) -> None:
    pytest.importorskip("torch")
    wide, cells = module("wide"), module("cells")
    shapes = [
        {name: tuple(value.shape) for name, value in make().state_dict().items()}
        for make in (wide.NETS[net].ours, wide.NETS[net].theirs)
    ]
    assert shapes[0] == shapes[1]
    found = []
    for impl in ("ours-eager", "torch-eager"):
        cell = cells.Cell(impl, net, 2, "fp32")
        found.append(cells.runner_of(cell)(cell, None, "cpu").losses(1))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_the_wide_suite_is_planned_with_each_nets_batches(module: Any) -> None:
    train_step = module("train_step")
    groups = train_step.plan(train_step.parse(["--suite", "wide"]))
    assert {cell.net for group in groups for cell in group} == set(module("wide").NETS)
    assert {cell[2:] for cell in groups[0]} == {(1024, "tf32")}
    assert {group[0].batch for group in groups if group[0].net == "resnet50"} == {64}
    with_compile = {cell.net for group in groups for cell in group if cell.impl == "torch-compile"}
    assert with_compile == {"resnet18", "airbench"}
    words = ["--suite", "wide", "--cells", "mlp:8:bf16,lenet:4:tf32"]
    named = train_step.plan(train_step.parse(words))
    impls = ["ours", "torch-graph", "torch-graph-cl"]
    assert named == [
        [train_step.Cell(impl, "mlp", 8, "bf16") for impl in impls[:2]],
        [train_step.Cell(impl, "lenet", 4, "tf32") for impl in impls],
    ]


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("chain", "elementwise"),
        ("cupy_add__float32_float32_float32", "elementwise"),
        ("cupy_copy__float32_float32", "copies"),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<float>", "copies"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float>", "normalization"),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32", "convolutions and products"),
        ("void at::native::max_pool_backward_nhwc<float>", "others"),
    ],
)
def test_kinds_of_kernels_are_told_by_their_names(module: Any, kernel: str, kind: str) -> None:
    assert module("kernels").kind_of(kernel) == kind


def test_two_commits_are_compared_in_turns(module: Any) -> None:
    against, turns = module("against"), []

    class Process:
        closed = 0

        def __init__(self, name: str, times: list[float], losses: list[float]) -> None:
            self.name, self.times, self.losses = name, iter(times), losses

        def send(self, do: str, **_: Any) -> None:
            pass

        def receive(self, timeout: float) -> Any:
            return {"cells": [{"losses": self.losses}]}

        def ask(self, do: str, **_: Any) -> Any:
            if do == "time":
                turns.append(self.name)
                return {"seconds": next(self.times)}
            return {"steps": 4}

        def close(self) -> None:
            Process.closed += 1

    def start() -> dict[str, Any]:
        return {
            "before": Process("before", [1.0, 2.0, 4.0], [2.0, 1.0]),
            "now": Process("now", [1.1, 2.0, 6.0], [2.0, 1.5]),
        }

    cell = module("cells").Cell("ours", "small", 32, "fp32")
    row = against.compare(start, cell, 2, 3, 0.1)
    assert turns == ["before", "now", "now", "before", "before", "now"] * 2
    assert (row["ratio"], row["us"], row["us_before"]) == (1.1, 2e6, 2e6)
    assert row["ratio_of_shortest"] == 1.1
    assert not row["same_losses"]
    assert Process.closed == 4
    with pytest.raises(SystemExit):
        against.parse(["nowhere"])


def test_the_first_step_whose_bits_differ_is_told(module: Any) -> None:
    same_bits, nan = module("same_bits"), float("nan")
    assert same_bits.first_difference([2.0, 1.0], [2.0, 1.0]) is None
    assert same_bits.first_difference([2.0, 1.0, 0.5], [2.0, 1.5, 0.5]) == 2
    assert same_bits.first_difference([2.0, nan], [2.0, nan]) == 2
    row = {
        "net": "mlp", "batch": 8, "precision": "bf16", "steps": 2, "first_difference": 2,
        "differ": ["model.0.weight"], "arrays": 9, "first_loss": 2.0, "last_loss": 1.0,
        "seconds": 3.0,
    }  # fmt: skip
    assert "DIFFERS from step 2 on, 1 of 9 arrays, model.0.weight first" in same_bits.line(row)
    assert same_bits.line(row | {"first_difference": None, "differ": []}).count("same bits") == 1


@pytest.mark.slow
def test_captured_steps_are_compared_with_eager_ones(tmp_path: Path) -> None:
    out = tmp_path / "bits.json"
    command = [
        sys.executable, "-m", "benchmarks.same_bits", "--device", "cpu", "--nets", "lenet",
        "--precisions", "fp32,bf16", "--batch", "4", "--steps", "3", "--out", str(out),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    rows = json.loads(out.read_text())["rows"]
    assert {(row["net"], row["precision"]) for row in rows} == {
        ("lenet", "fp32"),
        ("lenet", "bf16"),
    }
    assert all(row["first_difference"] is None and row["differ"] == [] for row in rows)


def test_a_bit_that_differs_is_an_exit_code(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same_bits = module("same_bits")

    def main(wrong: str) -> Any:
        def trained(cell: Any, steps: int, *_: Any) -> Any:
            weight = np.ones(3, np.float32)
            if cell.impl == wrong:
                weight.view(np.uint32)[1] ^= 1
            return [2.0] * steps, {"model.weight": weight}

        monkeypatch.setattr(same_bits, "trained", trained)
        monkeypatch.setattr(
            same_bits, "ProcessPoolExecutor", lambda jobs, **_: ThreadPoolExecutor(jobs)
        )
        words = ["same_bits", "--device", "cpu", "--nets", "lenet", "--precisions", "fp32"]
        monkeypatch.setattr(sys, "argv", [*words, "--jobs", "1"])
        return same_bits.main()

    assert main("none") == 0
    assert main("ours") == 1
    assert "DIFFERS, 1 of 1 arrays, model.weight first" in capsys.readouterr().out


def test_no_run_is_begun_after_its_time(module: Any) -> None:
    processes, begun = module("processes"), []

    def task(number: int) -> int:
        begun.append(number)
        time.sleep(0.05)
        if number == 1:
            raise ValueError("one")
        return number

    runs = [(number,) for number in range(9)]
    with ThreadPoolExecutor(9) as pool:
        every = dict(processes.side_by_side(pool, 2, math.inf, task, runs))
        assert [done.result() for (n,), done in sorted(every.items()) if n != 1] == [
            0,
            *range(2, 9),
        ]
        assert str(every[1,].exception()) == "one"
        begun.clear()
        end = time.monotonic() + 0.02
        found = dict(processes.side_by_side(pool, 2, end, task, runs))
    assert sorted(begun) == [0, 1]
    assert [n for (n,), done in sorted(found.items()) if done is None] == list(range(2, 9))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--precisions", "fp16"], "expected some of ('fp32', 'tf32', 'bf16'), got 'fp16'"),
        (["--jobs", "0"], "[--jobs] expected 1 or more, got 0"),
    ],
)
def test_what_bits_cannot_be_compared_of_is_named(
    module: Any, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module("same_bits").parse(words)
    assert text in capsys.readouterr().err


def test_precisions_are_compared_with_fp32_seed_by_seed(module: Any) -> None:
    reached = {"fp32": (0.99, 0.98), "autocast-bf16": (0.991, 0.982)}
    rows = [
        {
            "what": "parity", "impl": "ours", "net": "small", "precision": precision,
            "seed": seed, "accuracy": accuracy,
        }
        for precision, each in reached.items()
        for seed, accuracy in enumerate(each)
    ]  # fmt: skip
    found = list(module("accuracy").differences(rows))
    assert found == ["small autocast-bf16 - fp32: +0.150 points +- 0.100"]


def test_a_wide_net_starts_cold_at_its_smallest_batch(module: Any) -> None:
    cell_of = module("coldstart").cell_of
    assert cell_of("ours", "resnet50", "bf16")[1:] == ("resnet50", 64, "bf16")
    assert cell_of("ours", "small", "tf32")[1:] == ("small", 128, "tf32")


def test_starts_of_two_commits_are_compared_in_turns(module: Any) -> None:
    turns: list[tuple[str, int]] = []

    def start(name: str, turn: int) -> float:
        turns.append((name, turn))
        return {"before": [1.0, 2.0, 4.0], "now": [1.1, 2.0, 6.0]}[name][turn]

    row = module("starts").compare(start, 3)
    expected = [("before", 0), ("now", 0), ("now", 1), ("before", 1), ("before", 2), ("now", 2)]
    assert turns == expected
    assert row == {
        "seconds": 2.0, "seconds_before": 2.0, "ratio": 1.1, "ratio_of_shortest": 1.1,
    }  # fmt: skip
