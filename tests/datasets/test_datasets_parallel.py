"""Files worked on side by side: in order, in threads or in processes, and what goes wrong there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygrad_cupy.datasets import parallel, picture_folder
from tinygrad_cupy.datasets.parallel import CHUNK, in_parallel
from tinygrad_cupy.datasets.picture_form import PictureForm
from tinygrad_cupy.datasets.processes import Processes

COUNT = 3 * CHUNK + 5


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "thread_count", lambda: 2)


@pytest.fixture(params=["threads", "one thread", "processes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether work is given to processes."""
    way: str = request.param
    monkeypatch.setattr(parallel, "WORTH_A_THREAD", -1.0 if way == "threads" else 1e9)
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", -1.0 if way == "processes" else 1e9)
    return way == "processes"


@pytest.mark.one_in(2)
def test_results_come_in_order_and_progress_is_told(way: bool) -> None:
    told: list[tuple[int, int]] = []
    found = in_parallel(abs, range(-COUNT, 0), lambda *of: told.append(of), apart=way)
    assert list(found) == [*range(COUNT, 0, -1)]
    assert told == [(CHUNK, COUNT), (2 * CHUNK, COUNT), (3 * CHUNK, COUNT), (COUNT, COUNT)]
    assert list(in_parallel(abs, [], apart=way)) == []


@pytest.mark.one_in(2)
def test_an_error_ends_it(way: bool) -> None:
    found = in_parallel(int, ["1"] * CHUNK + ["2", "x"] + ["3"] * CHUNK, apart=way)
    seen: list[int] = []
    with pytest.raises(ValueError, match="invalid literal for int"):
        seen.extend(found)
    assert seen in ([], [1] * CHUNK) or len(seen) <= CHUNK


@pytest.mark.one_in(2)
def test_it_may_be_left_in_the_middle(way: bool) -> None:
    found = in_parallel(abs, range(COUNT), apart=way)
    assert [next(found) for _ in range(CHUNK + 2)] == [*range(CHUNK + 2)]
    assert isinstance(found, Iterator)
    found.close()  # type: ignore[attr-defined]
    assert list(found) == []


def test_a_process_that_dies_is_done_without() -> None:
    with Processes(1) as processes:
        assert processes.run(abs, [-1, 2]) == [1, 2]
        processes._all[0].kill()
        assert processes.run(abs, [-3, 4]) == [3, 4]
        assert processes.run(abs, [-5]) == [5]
    assert processes._all[0].wait() != 0


def test_where_no_process_starts_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with Processes(2) as processes:
        assert processes.run(abs, [-1, 2]) == [1, 2]


@pytest.mark.one_in(2)
def test_pictures_are_read_the_same_by_every_way(
    way: bool, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Also a large one, which processes leave to this one, and one that is broken."""
    pixels = rng.integers(0, 256, (CHUNK + 9, 5, 7, 3), np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(len(pixels))]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    Image.new("RGB", (1200, 900), (9, 90, 200)).save(paths[-2])
    paths[-1].write_bytes(b"x")
    reader = picture_folder._Reader(PictureForm((5, 7)), (5, 7), 3)
    *small, large, broken = in_parallel(reader, paths, apart=way)
    for (found, colour, problem), image in zip(small, pixels, strict=False):
        np.testing.assert_array_equal(found, image.transpose(2, 0, 1))
        assert (colour, problem) == (True, "")
    assert large[0] is not None
    np.testing.assert_array_equal(large[0][:, 2, 3], [9, 90, 200])
    assert broken[2].startswith(f"[{paths[-1]}] cannot be read as a picture: expected one of")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="needs /proc")
def test_no_process_stays() -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    def interrupted() -> None:
        with Processes(2) as processes:
            assert len(children() - before) == 2
            assert processes.run(abs, [-1]) == [1]
            raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert children() <= before
