"""Compilers that fail, hang or lie, and libraries in the cache that are not what they should be."""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from tinygrad_cupy import Tensor
from tinygrad_cupy.backend import c_source, cache, compiling, loading
from tinygrad_cupy.kernels.conv import native

pytestmark = pytest.mark.skipif(
    os.name != "posix" or shutil.which("cc") is None, reason="needs a C compiler"
)

CC = "cc"
FORWARD = f'exec {CC} "$@"\n'
MACROS = f'case "$*" in *-dM*) {FORWARD.strip()};; esac\n'
TARGET = "for word; do target=$word; done\n"  # what comes after -o


@pytest.fixture
def source(tmp_path: Path, own_cache: Path) -> Path:
    """A C file that no cache knows."""
    path = tmp_path / "one.c"
    path.write_text("long long one(void) { return 1; }\n")
    return path


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiling, "_targets", {})
    monkeypatch.setattr(compiling.Compilation, "waited_in_vain", False)
    monkeypatch.delenv("TINYGRAD_CUPY_CC", raising=False)
    cache.say_once.cache_clear()
    yield
    compiling._end_running()


class UseCompiler(Protocol):
    """Makes a shell script the compiler, under settings of compiling.py; gives its path."""

    def __call__(self, script: str, named: bool = False, **settings: object) -> str: ...


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseCompiler:
    def use(script: str, named: bool = False, **settings: object) -> str:
        path = tmp_path / "compiler"
        path.write_text(f"#!/bin/sh\n{script}")
        path.chmod(0o755)
        for name, value in settings.items():
            monkeypatch.setattr(compiling, name, value)
        monkeypatch.setattr(compiling, "compiler", lambda: str(path))
        if named:
            monkeypatch.setenv("TINYGRAD_CUPY_CC", str(path))
        return str(path)

    return use


def new(source: Path) -> c_source.CSource:
    return c_source.CSource(str(source), source.name)


def library_of(source: Path, own_cache: Path) -> Path:
    """The only library in the cache, just compiled."""
    assert new(source).size("one") == 1
    (path,) = (own_cache / "native").iterdir()
    return path


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- libraries ----------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        lambda data: data[:18] + b"\xb7\x01" + data[20:],
        lambda data: data[:4000] + bytes([data[4000] ^ 1]) + data[4001:],
    ],
    ids=["empty", "half", "zeros at the end", "other machine", "a bit"],
)
def test_a_damaged_library_is_compiled_again(
    damage: Callable[[bytes], bytes], source: Path, own_cache: Path
) -> None:
    path = library_of(source, own_cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert library_of(source, own_cache).read_bytes() == whole


@pytest.mark.skipif(sys.platform != "linux", reason="asks for ELF files")
def test_the_header_tells_what_the_loader_would_stumble_over(source: Path, own_cache: Path) -> None:
    data = library_of(source, own_cache).read_bytes()
    loading.check_library(data)
    for cut in (64, len(data) // 2, len(data) - 1):
        with pytest.raises(OSError, match="it is cut short"):
            loading.check_library(data[:cut])
    for other in (
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n",
        bytes(len(data)),
        data[:18] + b"\1\2" + data[20:],
    ):
        with pytest.raises(OSError, match="it is no library for this machine"):
            loading.check_library(other)


def test_a_library_that_was_loaded_does_not_change_with_its_file(
    source: Path, own_cache: Path
) -> None:
    file = new(source)
    assert file.size("one") == 1
    (path,) = (own_cache / "native").iterdir()
    with path.open("r+b") as opened:
        opened.truncate(0)  # a library that was mapped from here would end the process now
    assert file.size("one") == 1


def test_a_cache_that_is_full_costs_a_word_and_no_library(
    source: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_cache.parent.mkdir()
    own_cache.touch()  # in the way
    for _ in range(2):
        assert new(source).size("one") == 1
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"[cache] compiled code cannot be kept in {own_cache}")


def test_a_cache_that_can_only_be_read_is_read(
    source: Path, use: UseCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = source.with_name("count")
    use(f"echo >> {shlex.quote(str(counted))}\n{FORWARD}")
    assert new(source).size("one") == 1

    def read_only(*_: object, **__: object) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkdtemp", read_only)
    monkeypatch.setattr("tempfile.mkstemp", read_only)
    assert new(source).size("one") == 1
    assert len(counted.read_text()) == 2  # its macros, and one library


# --- compilers that fail --------------------------------------------------------------------------

LIARS = {
    "crashes": ("kill -SEGV $$", "exit status -11, without a word"),
    "says why": ("echo 'no licence' >&2; exit 3", "no licence"),
    "makes nothing": ("exit 0", "it made no library: "),
    "makes an empty file": (MACROS + TARGET + ': > "$target"', "it is no library"),
    "makes garbage": (MACROS + TARGET + 'head -c 9999 /dev/zero > "$target"', "it is no library"),
    "is cut short": (
        f'{CC} "$@" || exit\n' + MACROS + TARGET + 'head -c 9999 "$target" > "$target.half"\n'
        'mv "$target.half" "$target"',
        "it is cut short",
    ),
    "compiles something else": (
        MACROS + TARGET + f"echo 'int x;' | {CC} -shared -fPIC -x c - -o \"$target\"",
        "it is the library of other sources",
    ),
    "prints for ever": ("exec yes", "it printed more than 10000 bytes"),
    "is never done": ("exec sleep 60", "it was not done after 0.3 seconds"),
}


@pytest.mark.one_in(5)
@pytest.mark.skipif(sys.platform != "linux", reason="asks for ELF files")
@pytest.mark.parametrize("named", [False, True], ids=["cc", "named"])
@pytest.mark.parametrize(("script", "reason"), LIARS.values(), ids=LIARS.keys())
def test_a_compiler_that_fails_says_why_and_numpy_works(
    script: str,
    reason: str,
    named: bool,
    source: Path,
    own_cache: Path,
    use: UseCompiler,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings: dict[str, object] = {"FLAGS": ("-shared", "-fPIC")}
    if "not done" in reason:
        settings["TIMEOUT"] = 0.3
    if "printed" in reason:
        settings["MOST_SAID"] = 10_000
    path = use(script, named, **settings)
    if named:
        for _ in range(2):
            with pytest.raises(RuntimeError) as caught:
                _ = new(source).library
            text = str(caught.value)
            assert text.startswith(f"[TINYGRAD_CUPY_CC] {path} cannot compile one.c: ")
            assert reason in text
    else:
        assert new(source).library is None
        (said,) = caplog.messages
        assert said.startswith(f"[native] {path} cannot compile one.c, NumPy does its work: ")
        assert reason in said
    assert not [found for found in own_cache.rglob("*") if found.is_file()]


def test_a_compiler_may_come_with_options_and_lie_in_a_folder_with_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my tools"
    folder.mkdir()
    (folder / "cc").symlink_to(shutil.which(CC) or "")
    find = compiling.compiler.__wrapped__
    for wanted, expected in (
        (f"{folder}/cc", [f"{folder}/cc"]),
        (f"'{folder}/cc' -g -DA='1 2'", [f"{folder}/cc", "-g", "-DA=1 2"]),
        ("cc -g", [shutil.which("cc"), "-g"]),
    ):
        monkeypatch.setenv("TINYGRAD_CUPY_CC", wanted)
        assert shlex.split(find() or "") == expected
    (folder / "text").touch()
    for wanted in ("no-such-compiler -g", "cc 'unclosed", " ", str(folder), str(folder / "text")):
        monkeypatch.setenv("TINYGRAD_CUPY_CC", wanted)
        with pytest.raises(RuntimeError) as caught:
            find()
        expected_text = f"[TINYGRAD_CUPY_CC] expected a C compiler, found no {wanted!r}"
        assert str(caught.value) == expected_text


def test_a_compiler_that_knows_no_native_processor_compiles_for_all(
    source: Path, use: UseCompiler, caplog: pytest.LogCaptureFixture
) -> None:
    counted = source.with_name("count")
    use(
        f"echo >> {shlex.quote(str(counted))}\n"
        f'case "$*" in *=native*) echo "unknown value \'native\'" >&2; exit 1;; esac\n{FORWARD}'
    )
    assert new(source).size("one") == 1
    other = source.with_name("two.c")
    other.write_text("long long one(void) { return 2; }\n")
    assert new(other).size("one") == 2
    assert caplog.messages == []
    assert len(counted.read_text()) == 4  # once in vain, its macros, and two libraries


# --- compilers that take their time ---------------------------------------------------------------


def test_a_compiler_that_hangs_is_not_waited_for_and_serves_the_next_process(
    source: Path,
    own_cache: Path,
    use: UseCompiler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    go = source.with_name("go")
    os.mkfifo(go)
    path = use(f"{MACROS}read -r word <{shlex.quote(str(go))}\n{FORWARD}", PATIENCE=0.6)
    file, other = new(source), new(source)
    begun = time.monotonic()
    assert file.library is None
    assert other.library is None  # a second one is not waited for as long
    assert time.monotonic() - begun < 5
    assert caplog.messages == [
        f"[native] {path} is not done after 0.6 seconds: in this process NumPy does what C would "
        "($TINYGRAD_CUPY_CC names another compiler, or none if empty)"
    ]
    go.write_text("go\n")
    wait_until(lambda: list((own_cache / "native").glob("*.so")))
    assert file.library is None  # a run has the same bits throughout
    monkeypatch.setattr(compiling.Compilation, "waited_in_vain", False)  # the next process
    assert new(source).size("one") == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_a_compiler_that_is_at_work_is_waited_for(
    source: Path, use: UseCompiler, caplog: pytest.LogCaptureFixture
) -> None:
    use(f"{MACROS}i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done\n{FORWARD}", PATIENCE=0.1)
    assert new(source).size("one") == 1
    assert caplog.messages == []


def test_a_program_that_ends_takes_its_compiler_along(source: Path, own_cache: Path) -> None:
    script = (
        "from tinygrad_cupy.backend import c_source, compiling\n"
        "compiling.PATIENCE = 0.2\n"
        f"assert c_source.CSource({str(source)!r}, 'one.c').library is None\n"
    )
    path, pids = source.with_name("compiler"), source.with_name("pids")
    path.write_text(f"#!/bin/sh\n{MACROS}sleep 60 &\necho $$ $! > {shlex.quote(str(pids))}\nwait\n")
    path.chmod(0o755)
    begun = time.monotonic()
    environment = os.environ | {"TINYGRAD_CUPY_CC": str(path), "XDG_CACHE_HOME": str(own_cache)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert time.monotonic() - begun < 30
    for pid in map(int, pids.read_text().split()):
        wait_until(functools.partial(_has_ended, pid))
    assert [path for path in own_cache.rglob(".*") if path.name.startswith(".making")] == []


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:  # one that has ended may wait for somebody to ask how
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_an_interrupt_while_a_library_is_compiled_costs_nothing(
    source: Path, use: UseCompiler
) -> None:
    use(f"{MACROS}sleep 0.3\n{FORWARD}")
    file = new(source)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            _ = file.library
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert file.size("one") == 1


# --- without threads, in forked children, at once -------------------------------------------------


@pytest.mark.skipif(compiling.compiler() is None, reason="needs a C compiler")
def test_one_thread_does_everything_where_the_others_cannot_be_compiled(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Tensor(rng.standard_normal((40, 3, 9, 9), np.float32), requires_grad=True)
    w = Tensor(rng.standard_normal((4, 3, 3, 3), np.float32), requires_grad=True)
    results: list[list[bytes]] = []
    for _ in range(2):
        y = x.conv2d(w, padding=1)
        x.grad = w.grad = None
        (y * y).sum().backward()
        assert x.grad is not None
        assert w.grad is not None
        results.append([y.numpy().tobytes(), x.grad.numpy().tobytes(), w.grad.numpy().tobytes()])
        monkeypatch.setattr(c_source, "_threads", lambda: None)
    assert native._file.library is not None
    assert results[0] == results[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_another_thread_compiles(source: Path, use: UseCompiler) -> None:
    use(f"{MACROS}sleep 0.4\n{FORWARD}")
    file = new(source)
    compile_it = threading.Thread(target=lambda: file.library)
    compile_it.start()
    children = []
    for _ in range(3):
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if file.size("one") == 1 else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    compile_it.join()
    assert file.size("one") == 1


USE = (
    "import ctypes, sys\n"
    "from pathlib import Path\n"
    "from tinygrad_cupy.backend import compiling\n"
    "compiling.PATIENCE = compiling.AT_WORK = 60.0\n"
    "found = compiling.Compilation('one.c', [Path(sys.argv[1])])\n"
    "found.begin()\n"
    "assert found.wait() and found.library.one() == 1\n"
)


@pytest.mark.slow
def test_first_runs_at_once_and_killed_ones_leave_a_cache_that_works(
    source: Path, own_cache: Path, rng: np.random.Generator
) -> None:
    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", USE, str(source)])

    for process in [begin() for _ in range(4)]:
        assert process.wait() == 0
    folder = own_cache / "native"
    assert len(list(folder.iterdir())) == 1
    for _ in range(30):
        shutil.rmtree(folder, ignore_errors=True)  # it need not be there yet
        process = begin()
        time.sleep(float(rng.uniform(0.3, 1.5)))
        process.kill()
        process.wait()
    assert begin().wait() == 0
    old = time.time() - cache.ABANDONED - 60
    for left in folder.iterdir():
        os.utime(left, (old, old))
    assert begin().wait() == 0
    (path,) = folder.iterdir()
    library = ctypes.CDLL(str(path))
    assert library.one() == 1
