"""The machine's own C compiler: which one it is, and what it makes of sources, in good time.

A compiler may crash, say much or nothing, or hang: it works in a thread of its own, and who waits
for the library goes on without it when that takes too long. What is late serves the next process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import IO

from .cache import keep, kept, private_folder, remove, say_once, temporary_folder
from .loading import load
from .workers import Flag

PATIENCE = 2.0  # seconds that a compiler is waited for
AT_WORK = 15.0  # and one that uses the processor meanwhile
HOPELESS = 0.25  # and any, once another library was waited for in vain
TIMEOUT = 120.0  # seconds after which a compiler is ended
MOST_SAID = 1 << 20  # bytes that a compiler may print

# For this very processor; on arm64 older Clangs know only this name. A compiler that refuses it, as
# one for another machine does, compiles for every processor of its kind.
NATIVE = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread"),
    *("-fno-math-errno", "-fno-trapping-math"),  # or conditions are not made into vectors
)


class CompileError(RuntimeError):
    """What the compiler said, or what is wrong with what it made."""


class EndedError(CompileError):
    """It was ended, for another try would end no better."""


@functools.cache
def compiler() -> str | None:
    """The C compiler to use, with its options, as a shell takes them; None where there is none.

    ``$TINYGRAD_CUPY_CC`` names another one than ``cc``, or none if it is empty. RuntimeError if the
    one named is not there.
    """
    wanted = os.environ.get("TINYGRAD_CUPY_CC")
    if wanted == "" or (wanted is None and os.name != "posix"):
        return None
    words = [wanted or "cc"]
    if shutil.which(words[0]) is None:
        with contextlib.suppress(ValueError):  # a quote that is not closed
            words = shlex.split(words[0]) or words
    found = shutil.which(words[0])
    if found is None and wanted:
        raise RuntimeError(f"[TINYGRAD_CUPY_CC] expected a C compiler, found no {wanted!r}")
    return found and shlex.join([found, *words[1:]])


class Compilation:
    """A library on its way, from the cache folder or from the compiler.

    ``library`` or ``error`` is there once ``wait`` says so.
    """

    waited_in_vain = False  # for any

    def __init__(self, name: str, sources: Sequence[Path], macros: Sequence[str] = ()) -> None:
        self.name, self.sources, self.macros = name, sources, macros
        self.library: ctypes.CDLL | None = None
        self.error: Exception | None = None
        self.process_id = os.getpid()
        self._over = Flag()
        self._claimed = allocate_lock()
        self._compiler: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self._folder: Path | None = None

    def begin(self) -> None:
        """Start it, if that was not done yet."""
        if self._over.is_up or self._claimed.locked():
            return
        try:
            threading.Thread(target=self._run, name="tinygrad_cupy-cc", daemon=True).start()
        except RuntimeError:  # the system gives no thread, or the program ends
            self._run()

    def wait(self) -> bool:
        """Whether it is over; False after a word, and for good, if that takes too long."""
        begun = time.monotonic()
        patience = HOPELESS if Compilation.waited_in_vain else PATIENCE
        idle = 0  # how often it was found so: it may end while it is looked at
        while not self._over.wait(0.1):
            waited = time.monotonic() - begun
            idle = 0 if waited < patience or self._is_at_work() else idle + 1
            if waited < AT_WORK and idle < 3:
                continue
            Compilation.waited_in_vain = True
            say_once(
                f"[native] {compiler()} is not done after "
                f"{PATIENCE if waited < AT_WORK else AT_WORK:g} seconds: in this process NumPy "
                "does what C would ($TINYGRAD_CUPY_CC names another compiler, or none if empty)"
            )
            return False
        return True

    def _is_at_work(self) -> bool:
        compiler, age = self._compiler, time.monotonic() - self._since
        return compiler is None or age < 0.5 or _cpu_seconds(compiler.pid) > 0.02 * age

    def _run(self) -> None:
        if not self._claimed.acquire(blocking=False):
            return
        try:
            self.library = self._obtain()
        except Exception as error:
            self.error = error
        finally:
            self._over.hoist()

    def _obtain(self) -> ctypes.CDLL:
        """The library of the sources, made if it is not kept in the cache folder.

        Its name comes from the sources, the flags, and what the compiler says of itself and of the
        processor: a cache folder may be shared by machines of several kinds.
        """
        command, macros = self._target(shlex.split(compiler() or ""))
        code = "".join(f"#define {macro.replace('=', ' ', 1)}\n" for macro in self.macros).encode()
        code += b"".join(path.read_bytes() for path in self.sources)
        parts = [" ".join(command).encode(), macros, code]
        parts.append(EXTENSION_SUFFIXES[0].encode())  # names the C library
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
        mark = f"tinygrad_cupy_{key}"
        found = kept("native", key, ".so")
        if found is not None:
            try:
                return load(self.name, found[1], mark)
            except OSError:  # it is what was stored, and of no use here
                remove(found[0])
        made = self._made(command, code + f"\nint {mark};\n".encode())
        try:
            library = load(self.name, made, mark)
        except OSError as error:
            raise CompileError(f"what it made cannot be loaded: {error}") from error
        keep("native", key, ".so", made)
        return library

    def _target(self, words: list[str]) -> tuple[list[str], bytes]:
        """The compiler with its flags, and all macros that it has predefined."""
        known = " ".join(words)
        if known not in _targets:
            try:
                _targets[known] = self._macros([*words, NATIVE, *FLAGS])
            except CompileError as error:
                if "native" not in str(error):
                    raise
                _targets[known] = self._macros([*words, *FLAGS])
        return _targets[known]

    def _macros(self, command: list[str]) -> tuple[list[str], bytes]:
        return command, self._said([*command, "-dM", "-E", "-x", "c", os.devnull])

    def _made(self, command: list[str], code: bytes) -> bytes:
        """The library, compiled beside where it is kept, or where there is room for it."""
        failure: Exception = CompileError("there is no folder to compile in")
        places: tuple[Callable[[], Path], ...] = (
            lambda: private_folder("native"),
            temporary_folder,
        )
        for place in places:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix=".making-", dir=place()))
            except OSError:
                continue
            try:
                path = self._folder / "library.so"
                self._said([*command, "-x", "c", "-", "-o", str(path)], code)
                return path.read_bytes()
            except EndedError:
                raise
            except OSError as error:
                failure = CompileError(f"it made no library: {error}")
            except CompileError as error:
                failure = error
            finally:
                remove(self._folder)
                self._folder = None
        raise failure

    def _said(self, command: list[str], given: bytes = b"") -> bytes:
        """What the compiler prints. Raises CompileError with what it says of its failure."""
        environment = {**os.environ, "TMPDIR": str(self._folder)} if self._folder else None
        with _file(given) as source, _file() as out, _file() as err:
            with _starting:
                if _ending:
                    raise EndedError("the program ends")
                self._since = time.monotonic()
                self._compiler = process = subprocess.Popen(
                    command, stdin=source, stdout=out, stderr=err, env=environment,
                    start_new_session=True,
                )  # fmt: skip
                _running.add(self)
            try:
                _watch(process, out, err)
            finally:
                self._end()
                _running.discard(self)
                self._compiler = None
            if process.returncode:
                err.seek(0)
                said = err.read(1 << 14).decode(errors="replace").strip()
                raise CompileError(said or f"exit status {process.returncode}, without a word")
            out.seek(0)
            return out.read()

    def _end(self) -> None:
        """End the compiler, and what it has started."""
        process = self._compiler
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


_targets: dict[str, tuple[list[str], bytes]] = {}  # by compiler
_running: set[Compilation] = set()
_starting = threading.Lock()
_ending = False


@atexit.register
def _end_all() -> None:
    """A program that ends does not wait for its compilers."""
    global _ending
    with _starting:
        _ending = True
    _end_running()


def _end_running() -> None:
    for compilation in tuple(_running):
        if compilation.process_id == os.getpid():  # not those of the parent of a fork
            compilation._end()
            if compilation._folder is not None:
                remove(compilation._folder)


def _forget() -> None:
    global _starting
    _starting = threading.Lock()
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _file(content: bytes = b"") -> IO[bytes]:
    """A file without a name, in memory where there are such; it stands at its beginning."""
    try:
        handle = os.memfd_create("tinygrad_cupy")
    except (AttributeError, OSError):
        handle, name = tempfile.mkstemp()
        os.unlink(name)
    file = os.fdopen(handle, "w+b")
    file.write(content)
    file.seek(0)
    return file


def _watch(process: subprocess.Popen[bytes], *printed: IO[bytes]) -> None:
    """Wait for the end of a compiler that neither hangs nor prints for ever; else EndedError."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            return
        if time.monotonic() > deadline:
            raise EndedError(f"it was not done after {TIMEOUT:g} seconds")
        if any(os.fstat(file.fileno()).st_size > MOST_SAID for file in printed):
            raise EndedError(f"it printed more than {MOST_SAID} bytes")


def _cpu_seconds(session: int) -> float:
    """Processor time of all processes of a session; 0 where the system does not say."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(map(int, fields[11:15]))  # its own and its children's
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0
