"""Code for architectures that CuPy does not name: compiled once, kept, and errors that tell why."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinygrad_cupy.backend.cubin import cubin


class Compiler:
    """What `cubin` asks of NVRTC; "compiles" by putting options and code into one file."""

    class NVRTCError(RuntimeError):
        pass

    def __init__(self) -> None:
        self.alive: dict[int, list[bytes]] = {}
        self.compiled = 0

    def getVersion(self) -> tuple[int, int]:  # noqa: N802
        return 13, 0

    def createProgram(self, code: str, name: str, headers: Any, names: Any) -> int:  # noqa: N802
        self.alive[len(self.alive)] = [code.encode()]
        return len(self.alive) - 1

    def compileProgram(self, program: int, options: tuple[str, ...]) -> None:  # noqa: N802
        self.compiled += 1
        if b"error" in self.alive[program][0]:
            raise self.NVRTCError("NVRTC_ERROR_COMPILATION")
        self.alive[program].extend(option.encode() for option in options)

    def getCUBIN(self, program: int) -> bytes:  # noqa: N802
        return b"\n".join(self.alive[program])

    def getProgramLog(self, program: int) -> str:  # noqa: N802
        return "kernels.cu(1): error: expected a declaration"

    def destroyProgram(self, program: int) -> None:  # noqa: N802
        del self.alive[program]


pytestmark = pytest.mark.usefixtures("own_cache")


def test_what_is_compiled_is_kept() -> None:
    nvrtc = Compiler()
    first = cubin(nvrtc, "sm_90a", "code", ("-DA=1",))
    assert first.read_bytes().splitlines()[:2] == [b"code", b"-arch=sm_90a"]
    assert cubin(nvrtc, "sm_90a", "code", ("-DA=1",)) == first
    assert nvrtc.compiled == 1
    others = [
        ("sm_100a", "code", ("-DA=1",)),
        ("sm_90a", "code", ()),
        ("sm_90a", "other", ("-DA=1",)),
    ]
    assert len({first, *(cubin(nvrtc, *other) for other in others)}) == 4
    assert not nvrtc.alive


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[:9], lambda data: data[:9] + bytes(len(data) - 9)],
    ids=["empty", "half", "zeros at the end"],
)
def test_what_is_damaged_is_compiled_again(damage: Callable[[bytes], bytes]) -> None:
    nvrtc = Compiler()
    path = cubin(nvrtc, "sm_90a", "code", ())
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert cubin(nvrtc, "sm_90a", "code", ()).read_bytes() == whole
    assert cubin(nvrtc, "sm_90a", "code", ()) == path
    assert nvrtc.compiled == 2


@pytest.mark.skipif(os.name != "posix", reason="asks for POSIX permissions")
def test_a_cache_of_another_user_is_done_without(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted, me = cubin(Compiler(), "sm_90a", "code", ()), os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    nvrtc = Compiler()
    assert cubin(nvrtc, "sm_90a", "code", ()) != planted
    assert nvrtc.compiled == 1
    (said,) = caplog.messages
    assert said.startswith(f"[cache] compiled code cannot be kept in {own_cache / 'cuda'}, and is ")


def test_where_there_is_no_place_at_all(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkstemp", full)
    if hasattr(os, "memfd_create"):
        assert cubin(Compiler(), "sm_90a", "code", ()).read_bytes().startswith(b"code")
        monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(RuntimeError, match=r"^\[cuda\] there is no place for compiled kernels: "):
        cubin(Compiler(), "sm_90a", "code", ())


def test_what_cannot_be_compiled_says_why_and_leaves_nothing(own_cache: Path) -> None:
    nvrtc = Compiler()
    with pytest.raises(RuntimeError, match=r"sm_90a.*NVRTC_ERROR_COMPILATION\n.*a declaration"):
        cubin(nvrtc, "sm_90a", "error", ())
    assert not nvrtc.alive
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cubin(Compiler(), "sm_90a", "code", ()).read_bytes().startswith(b"code")
