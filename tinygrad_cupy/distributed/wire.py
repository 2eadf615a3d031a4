"""Values as bytes between ranks: JSON with arrays. Unlike a pickle it can run nothing."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from ..backend.dtypes import resolve_dtype

LENGTH = struct.Struct("!Q")


def pack(value: Any) -> bytes:
    """Numbers, strings, None, bytes, NumPy arrays, and lists, tuples and dicts of these."""
    blobs: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {"d": [[str(key), plain(one)] for key, one in value.items()]}
        if isinstance(value, list | tuple):
            return {"t" if isinstance(value, tuple) else "l": [plain(one) for one in value]}
        if isinstance(value, bytes):
            blobs.append(value)
            return {"b": len(value)}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                raise TypeError(f"[distributed] expected numbers to send, got {value.dtype}")
            blobs.append(np.ascontiguousarray(value).tobytes())
            return {"a": [value.dtype.name, list(value.shape), len(blobs[-1])]}
        if isinstance(value, np.generic):
            return value.item()
        return value

    text = json.dumps(plain(value)).encode()
    return b"".join([LENGTH.pack(len(text)), text, *blobs])


def unpack(data: bytes | memoryview) -> Any:
    """What `pack` was given."""
    view = memoryview(data)
    size = LENGTH.unpack_from(view)[0]
    place = LENGTH.size + size

    def take(count: int) -> memoryview:
        nonlocal place
        place += count
        return view[place - count : place]

    def value(found: Any) -> Any:
        if not isinstance(found, dict):
            return found
        ((kind, content),) = found.items()
        if kind == "d":
            return {key: value(one) for key, one in content}
        if kind == "b":
            return bytes(take(content))
        if kind == "a":
            name, shape, count = content
            return np.frombuffer(bytearray(take(count)), resolve_dtype(name)).reshape(shape)
        listed = [value(one) for one in content]
        return tuple(listed) if kind == "t" else listed

    return value(json.loads(bytes(view[LENGTH.size : LENGTH.size + size])))
