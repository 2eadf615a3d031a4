"""Devices by name, arrays between them, and kernels for both kinds of arrays."""

from __future__ import annotations

import importlib.metadata
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import backend
from tinygrad_cupy.backend import cuda_source, devices, install
from tinygrad_cupy.backend.install import how_to_install


def fake_cupy(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A machine with that many CUDA devices, as far as names of devices are concerned."""
    runtime = SimpleNamespace(getDeviceCount=lambda: count)
    module = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(devices, "import_cupy", lambda: module)
    monkeypatch.setattr(devices, "cuda_available", lambda: count > 0)


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, count=2)
    names = ["cpu", "cuda", "cuda:0", "cuda:1"]
    full = ["cpu", "cuda:0", "cuda:0", "cuda:1"]
    assert [backend.normalize_device(name) for name in names] == full


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpu", ""),
        ("cud", "; did you mean 'cuda'?"),
        ("CPU", ""),
        ("cuda:x", "; did you mean 'cuda'?"),
        ("", ""),
    ],
)
def test_a_name_that_is_no_device(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^\[device\]") as raised:
        backend.normalize_device(name)
    text = f'[device] expected "cpu", "cuda" or "cuda:N", got {name!r}'
    assert str(raised.value).startswith(text)
    assert str(raised.value).endswith(hint)


def test_cuda_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(devices, "import_cupy", backend.import_cupy.__wrapped__)
    monkeypatch.setattr(devices, "cuda_available", lambda: False)
    with pytest.raises(RuntimeError) as raised:
        tg.Tensor([1.0]).to("cuda")
    text = str(raised.value)
    assert text.startswith("[device] CUDA was asked for, but CuPy cannot be imported (")
    assert text.endswith(how_to_install("cuda12", "cuda13"))


@pytest.mark.parametrize(
    ("from_an_index", "text"),
    [
        (True, 'pip install "tinygrad-cupy[cuda12]" or pip install "tinygrad-cupy[cuda13]"'),
        (
            False,
            'pip install ".[cuda12]" or pip install ".[cuda13]" in the folder of its source code',
        ),
    ],
)
def test_the_name_of_the_package_is_advised_where_an_index_has_it(
    monkeypatch: pytest.MonkeyPatch, from_an_index: bool, text: str
) -> None:
    record = None if from_an_index else '{"url": "file:///somewhere", "dir_info": {}}'
    installed = SimpleNamespace(read_text={"direct_url.json": record}.get)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: installed)
    monkeypatch.setattr(install, "_from_an_index", install._from_an_index.__wrapped__)
    assert how_to_install("cuda12", "cuda13") == text


def test_cuda_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, count=0)
    with pytest.raises(RuntimeError) as raised:
        tg.set_default_device("cuda")
    assert str(raised.value) == "[device] 'cuda' was asked for, but CuPy sees no CUDA device"


def test_a_device_beyond_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, count=2)
    with pytest.raises(ValueError, match=r"^\[device\]") as raised:
        backend.normalize_device("cuda:2")
    assert str(raised.value) == "[device] 'cuda:2' was asked for, but there are 2 CUDA devices"


def test_the_default_device(monkeypatch: pytest.MonkeyPatch) -> None:
    tg.set_default_device(None)
    monkeypatch.delenv("TINYGRAD_CUPY_DEVICE", raising=False)
    fake_cupy(monkeypatch, count=1)
    assert tg.default_device() == "cuda:0"
    fake_cupy(monkeypatch, count=0)
    assert tg.default_device() == "cpu"
    fake_cupy(monkeypatch, count=1)
    monkeypatch.setenv("TINYGRAD_CUPY_DEVICE", "cpu")
    assert tg.default_device() == "cpu"
    monkeypatch.setenv("TINYGRAD_CUPY_DEVICE", "tpu")
    with pytest.raises(ValueError, match="got 'tpu'"):
        tg.default_device()
    tg.set_default_device("cpu")  # stronger than the environment
    assert tg.default_device() == "cpu"


def test_new_tensors_go_to_the_default_device(device: str) -> None:
    assert tg.Tensor([1.0]).device == tg.Tensor.zeros(2).device == tg.default_device() == device


def test_arrays_between_devices(device: str) -> None:
    host = np.arange(3.0)
    array = backend.to_device(host, device)
    assert backend.device_of(array) == device
    assert backend.to_device(array, device) is array
    assert backend.is_cuda(array) == (device != "cpu")
    assert backend.array_module(array).__name__ == ("numpy" if device == "cpu" else "cupy")
    back = backend.to_numpy(array)
    assert isinstance(back, np.ndarray)
    back[0] = 9
    assert backend.to_numpy(array).tolist() == [0.0, 1.0, 2.0]


def test_what_has_no_elements_shares_no_memory(device: str) -> None:
    x = backend.to_device(np.arange(3.0), device)
    assert backend.may_share_memory(x[1:], x)
    assert not backend.may_share_memory(x[:0], x)
    assert not backend.may_share_memory(x, x.copy())


def test_full(device: str) -> None:
    array = backend.full((2, 3), 1.5, np.float64, device)
    assert backend.device_of(array) == device
    assert array.dtype == np.float64
    assert backend.to_numpy(array).tolist() == [[1.5] * 3] * 2


def test_a_kernel_asks_the_first_array() -> None:
    class OnGpu:
        __cuda_array_interface__: Any = {}  # noqa: RUF012

    kernel = backend.Kernel(cpu=lambda *a: ("cpu", len(a)), cuda=lambda *a: ("cuda", len(a)))
    assert kernel(np.ones(1), 2) == ("cpu", 2)
    assert kernel(OnGpu(), 2, 3) == ("cuda", 3)


@pytest.mark.gpu
def test_an_elementwise_kernel() -> None:
    scale = backend.Elementwise("T x, T by", "T out", "out = x * by", "test_scale")
    x = tg.Tensor([1.0, 2.0], device="cuda").data
    assert backend.to_numpy(scale(x, np.float32(3))).tolist() == [3.0, 6.0]


class Device:
    """A GPU that knows which threads use it."""

    def __init__(self) -> None:
        self.users: list[str] = []

    def __enter__(self) -> None:
        self.users.append(threading.current_thread().name.partition("_")[0])

    def __exit__(self, *_: Any) -> None:
        pass


class Compiler:
    """What `CudaSource` asks of CuPy; "compiles" code by keeping it, and waits while it may not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file.cu").write_text("code")
        self.file = backend.CudaSource(str(tmp_path / "beside.py"), "file.cu")
        self.compiled: list[tuple[str, str]] = []  # thread and what is particular to the kernels
        self.may_go_on, self.begun = threading.Event(), threading.Semaphore(0)
        self.device = Device()  # the current one
        cuda = SimpleNamespace(Device=lambda: self.device)
        module = SimpleNamespace(cuda=cuda, RawModule=self.module)
        monkeypatch.setattr(cuda_source, "import_cupy", lambda: module)
        self.pool = ThreadPoolExecutor(1, "compiler")
        monkeypatch.setattr(cuda_source, "_compilers", lambda: self.pool)

    def module(self, code: str, options: tuple[str, ...]) -> SimpleNamespace:
        def compile_it() -> None:
            thread = threading.current_thread().name.partition("_")[0]
            if thread == "compiler":
                self.begun.release()
                assert self.may_go_on.wait(10)
            self.compiled.append((thread, options[-1]))
            if options[-1] == "-Dwrong":
                raise RuntimeError("expected a declaration")

        return SimpleNamespace(compile=compile_it, get_function=lambda name: (name, options[-1]))

    def begin(self, *defines: str) -> None:
        """Prepare these kernels, each by itself; the first of them is being compiled then."""
        for define in defines:
            self.file.prepare((define,))
        assert self.begun.acquire(timeout=10)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiler:
    return Compiler(monkeypatch, tmp_path)


def test_prepared_kernels_are_compiled_once_elsewhere(compiler: Compiler) -> None:
    compiler.begin("A", "A")
    threading.Timer(0.05, compiler.may_go_on.set).start()
    assert compiler.file.kernel("first", ("A",)) == ("first", "-DA")
    assert compiler.file.kernel("second", ("A",)) == ("second", "-DA")
    compiler.file.prepare(("A",))
    compiler.pool.shutdown()
    assert compiler.compiled == [("compiler", "-DA")]


def test_prepared_kernels_are_for_the_gpu_that_was_in_use(compiler: Compiler) -> None:
    first = compiler.device
    compiler.begin("A")
    compiler.device = Device()
    compiler.may_go_on.set()
    compiler.file.kernel("kernel", ("A",))
    compiler.file.kernel("kernel", ("B",))
    assert first.users == ["compiler"]
    assert compiler.device.users == ["MainThread"]


def test_threads_that_want_what_is_being_compiled_wait_for_it(compiler: Compiler) -> None:
    compiler.begin("A")
    with ThreadPoolExecutor(4) as users:
        found = [users.submit(compiler.file.kernel, "kernel", ("A",)) for _ in range(4)]
        compiler.file.prepare(("A",))
        threading.Timer(0.05, compiler.may_go_on.set).start()
    assert [one.result() for one in found] == [("kernel", "-DA")] * 4
    compiler.pool.shutdown()
    assert compiler.compiled == [("compiler", "-DA")]


def test_a_program_that_is_ending_prepares_nothing(compiler: Compiler) -> None:
    compiler.pool.shutdown()
    compiler.file.prepare(("A",))
    assert compiler.file.kernel("kernel", ("A",)) == ("kernel", "-DA")
    assert compiler.compiled == [("MainThread", "-DA")]


def test_kernels_whose_turn_has_not_come_are_compiled_here(compiler: Compiler) -> None:
    compiler.begin("A", "B")
    assert compiler.file.kernel("kernel", ("B",)) == ("kernel", "-DB")
    compiler.may_go_on.set()
    assert compiler.file.kernel("kernel", ("A",)) == ("kernel", "-DA")
    assert compiler.compiled == [("MainThread", "-DB"), ("compiler", "-DA")]


def test_prepared_kernels_that_are_wrong_say_so_when_wanted(compiler: Compiler) -> None:
    compiler.may_go_on.set()
    compiler.begin("wrong")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="expected a declaration"):
            compiler.file.kernel("kernel", ("wrong",))
    assert len(compiler.compiled) == 2


def test_numbers_that_both_languages_know_are_macros(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of a file, then those of a launch; blocks have as many threads as the kernels know."""
    (tmp_path / "file.cu").write_text("code")
    options: list[tuple[str, ...]] = []
    launched: list[tuple[Any, ...]] = []

    def module(code: str, options_: tuple[str, ...]) -> SimpleNamespace:
        assert code.endswith("code")
        assert "typedef long long i64;" in code
        options.append(options_)
        run = lambda grid, block, arguments, shared_mem: launched.append((grid, block))  # noqa: E731
        return SimpleNamespace(compile=lambda: None, get_function=lambda name: run)

    cupy = SimpleNamespace(
        cuda=SimpleNamespace(Device=Device), RawModule=lambda code, options: module(code, options)
    )
    monkeypatch.setattr(cuda_source, "import_cupy", lambda: cupy)
    file = backend.CudaSource(
        str(tmp_path / "beside.py"), "file.cu", threads=128, defines=("MASKED=4",)
    )
    file.launch("kernel", file.blocks(129), (), defines=("WIDTH=2",))
    file.launch("kernel", (3, 2), (), block=64, defines=("WIDTH=2",))
    for none in (0, (3, 0)):  # CuPy would launch one block
        file.launch("kernel", none, (), defines=("WIDTH=2",))
    assert options == [("-std=c++17", "-DTHREADS=128", "-DMASKED=4", "-DWIDTH=2")]
    assert launched == [((2,), (128,)), ((3, 2), (64,))]


@pytest.mark.gpu
def test_prepared_kernels_run(tmp_path: Path) -> None:
    """Those of an architecture that is named as well."""
    source = 'extern "C" __global__ void fill(int* x) { x[threadIdx.x] = VALUE; }'
    (tmp_path / "fill.cu").write_text(source)
    cupy = backend.import_cupy()
    own = f"sm_{cupy.cuda.Device().compute_capability}"
    for arch in (None, own):
        file = backend.CudaSource(str(tmp_path / "beside.py"), "fill.cu", arch=arch)
        file.prepare(("VALUE=7",))
        file.prepare(("VALUE=wrong",))
        x = cupy.zeros(5, np.int32)
        file.launch("fill", 1, (x,), block=5, defines=("VALUE=7",))
        assert x.tolist() == [7] * 5
        with pytest.raises(Exception, match="wrong"):
            file.kernel("fill", ("VALUE=wrong",))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_types_store_and_convert(dtype: str, device: str) -> None:
    x = tg.Tensor([1.0, 2.5], requires_grad=True)
    narrow = x.astype(dtype)
    assert narrow.dtype.name == dtype
    assert narrow.requires_grad
    wide = narrow.astype("float32")
    assert wide.tolist() == [1.0, 2.5]
    (wide * wide).sum().backward()
    assert x.grad is not None
    assert (x.grad.dtype.name, x.grad.tolist()) == ("float32", [2.0, 5.0])
    assert backend.device_of(narrow.data) == device
