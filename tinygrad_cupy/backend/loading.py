"""Compiled libraries as Python finds them: looked at before the system's loader believes them."""

from __future__ import annotations

import ctypes
import struct
import sys

from .cache import in_memory, on_disk


def load(name: str, data: bytes, mark: str) -> ctypes.CDLL:
    """The library that these bytes are, and no other that lies under the same name meanwhile.

    It must have the symbol ``mark``. Raises ``OSError``.
    """
    check_library(data)
    failure = OSError("there is no place to load it from")
    for place in (in_memory, on_disk):
        try:
            library = ctypes.CDLL(str(place(name, data)))
        except OSError as error:
            failure = error
            continue
        if hasattr(library, mark):
            return library
        failure = OSError("it is the library of other sources")
    raise failure


def check_library(data: bytes) -> None:
    """Raise ``OSError`` for an ELF file of another machine, and for one that is cut short.

    The system's loader would believe its header, and the process end with a bus error.
    """
    if sys.platform != "linux":
        return
    try:
        with open("/proc/self/exe", "rb") as file:
            own = file.read(20)
    except OSError:
        own = data[:20]
    if data[:4] != b"\x7fELF" or data[4:6] != own[4:6] or data[18:20] != own[18:20]:
        raise OSError("it is no library for this machine")
    order = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    try:
        at, sections = struct.unpack_from(
            order + ("2Q" if wide else "2I"), data, 32 if wide else 28
        )
        sizes = struct.unpack_from(order + "4H", data, 54 if wide else 42)
        ends = [sections + sizes[2] * sizes[3], at + sizes[0] * sizes[1]]
        for segment in range(at, ends[1], sizes[0] or 1):
            offset, size = (
                struct.unpack_from(order + "8xQ16xQ", data, segment)
                if wide
                else struct.unpack_from(order + "4xI8xI", data, segment)
            )
            ends.append(offset + size)
    except struct.error:
        ends = [len(data) + 1]
    if max(ends) > len(data):
        raise OSError("it is cut short")
