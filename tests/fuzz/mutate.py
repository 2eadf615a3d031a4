"""Damage to the bytes of a file, and to the values of a JSON text."""

from __future__ import annotations

import copy
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

Rng = np.random.Generator

# Numbers at which sizes, signs and offsets turn over.
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(rng: Rng, content: bytes, others: Sequence[bytes]) -> bytes:
    """`content` damaged in one to four places; `others` lend pieces."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        _damage(rng, changed, others[int(rng.integers(len(others)))])
    if changed.startswith(b"\x89PNG") and rng.random() < 0.5:
        return with_png_checksums(bytes(changed))  # or nothing behind them would ever be reached
    return bytes(changed)


def _damage(rng: Rng, content: bytearray, other: bytes) -> None:
    size = len(content)
    # Half of all damage is done to the first 200 bytes, where headers are.
    at = int(rng.integers(min(size, 200) if rng.random() < 0.5 else size)) if size else 0
    length = int(2 ** rng.uniform(0, 10))
    kind = rng.integers(9)
    if kind == 0 and size:
        content[at] ^= 1 << rng.integers(8)
    elif kind == 1 and size:
        content[at] = rng.integers(256)
    elif kind == 2:
        width = int(rng.choice([1, 2, 4, 8]))
        number = int(rng.choice(NUMBERS)) & ((1 << 8 * width) - 1)
        ends = number.to_bytes(width, "little"), number.to_bytes(width, "big")
        content[at : at + width] = ends[int(rng.integers(2))]
    elif kind == 3:
        del content[at:]
    elif kind == 4:
        del content[at : at + length]
    elif kind == 5:
        content[at:at] = rng.bytes(length)
    elif kind == 6:
        content[at:at] = content[at : at + length]
    elif kind == 7:
        content[at : at + length] = bytes([rng.choice([0, 255])]) * length
    else:
        start = int(rng.integers(len(other))) if other else 0
        content[at : at + length] = other[start : start + length]


def with_png_checksums(content: bytes) -> bytes:
    """The same PNG file, each part's checksum set right."""
    fixed, start = bytearray(content), 8
    while start + 12 <= len(fixed):
        length = int.from_bytes(fixed[start : start + 4], "big")
        end = start + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[start + 4 : end]))
        start = end + 4
    return bytes(fixed)


STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 28, 129, 2**31, 2**63, 10**300, 0.5, 1e308, -0.0, "", "small",
    "framed", "\x1b[2J", "\ud800", "a" * 1000, [], {}, [1, 28, 28], [4, 128, 128], ["a", "b"],
    [[[[[]]]]], {"box": 20}, float("nan"), float("inf"),
)  # fmt: skip


def strange_json(rng: Rng, value: Any) -> str:
    """The JSON text of `value` after one to three of its values were replaced, dropped or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.integers(1, 4)):
        _make_strange(rng, value)
    return json.dumps(value)


def _make_strange(rng: Rng, value: Any) -> None:
    """Descend to a random place and change it."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = keys[rng.integers(len(keys))]
        if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.6:
            value = value[key]
            continue
        kind = rng.integers(4)
        if kind == 0:
            del value[key]
        elif kind == 1 and isinstance(value, list):
            value += value[: int(2 ** rng.uniform(0, 14))]
        elif kind == 2:
            value[key] = copy.deepcopy(value[keys[rng.integers(len(keys))]])
        else:
            value[key] = copy.deepcopy(STRANGE[rng.integers(len(STRANGE))])
        return
