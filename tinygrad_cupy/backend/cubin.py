"""CUDA code for an architecture that CuPy does not name by itself, compiled by NVRTC and kept.

CuPy compiles for ``sm_90``; what only Hopper has (wgmma) needs ``sm_90a``. Kernels compiled here
lie in this package's cache folder, as those that CuPy compiles lie in CuPy's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .cache import in_memory, keep, kept, on_disk

OPTIONS = ("-ftz=true", "-default-device")  # as CuPy gives them


def cubin(nvrtc: Any, arch: str, code: str, options: tuple[str, ...]) -> Path:
    """The file with the machine code of ``code``, made if it is not there yet or is damaged.

    ``nvrtc`` is `cupy.cuda.nvrtc`. Raises ``RuntimeError`` with what the compiler said, or where
    there is no place at all for the file.
    """
    given = (f"-arch={arch}", *OPTIONS, *options)
    key = "\0".join([str(nvrtc.getVersion()), *given, code])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    found = kept("cuda", name, ".cubin")
    if found is not None:
        return found[0]
    made = _compiled(nvrtc, code, given)
    return keep("cuda", name, ".cubin", made) or _of_this_process(made)


def _of_this_process(made: bytes) -> Path:
    try:
        return on_disk(".cubin", made)
    except OSError:
        pass
    try:
        return in_memory("cubin", made)
    except OSError as error:
        raise RuntimeError(f"[cuda] there is no place for compiled kernels: {error}") from error


def _compiled(nvrtc: Any, code: str, options: tuple[str, ...]) -> bytes:
    program = nvrtc.createProgram(code, "kernels.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        made: bytes = nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(
            f"[cuda] NVRTC cannot compile for {options[0]}: {error}\n{nvrtc.getProgramLog(program)}"
        ) from error
    finally:
        nvrtc.destroyProgram(program)
    return made
