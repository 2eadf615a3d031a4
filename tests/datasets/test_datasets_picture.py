"""The one reader of pictures: depths, opacity, orientation, and files that mean no good."""

import contextlib
import io
import os
import re
import struct
import sys
import threading
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from tinygrad_cupy.command.errors import CommandError
from tinygrad_cupy.command.picture_input import Framing, read_picture
from tinygrad_cupy.datasets import DataError, files, picture
from tinygrad_cupy.datasets.picture import PictureError, read_gray
from tinygrad_cupy.datasets.picture_folder import decode
from tinygrad_cupy.datasets.picture_form import PictureForm, shaped, size_and_colour

DIGITS = Framing(drawn=True, light_ink=True, box=20, by_mass=True)
GRAY = PictureForm((28, 28), 1, "stretch")
RAMP = np.linspace(0, 1, 28 * 28).reshape(28, 28)


def packed(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: np.ndarray, order: Literal["<", ">"] = "<", **tags: int) -> bytes:
    """An uncompressed TIFF file of one strip, from the description of the format."""
    height, width = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    entries = {
        256: width, 257: height, 258: values.itemsize * 8, 259: 1, 262: tags.get("photo", 1),
        273: 0, 277: 1, 278: height, 279: values.nbytes, 339: kind,
    }  # fmt: skip
    if "tile" in tags:
        entries |= {322: tags["tile"], 323: tags["tile"]}
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    rows = [struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())]
    directory = struct.pack(order + "H", len(rows)) + b"".join(rows) + bytes(4)
    return head + directory + values.astype(values.dtype.newbyteorder(order)).tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + _crc(kind + content)


def _crc(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


def png(width: int, height: int, rows: bytes, depth: int = 8, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def scaled(content: bytes, side: int) -> np.ndarray:
    """(side, side), gray."""
    return shaped(content, PictureForm((side, side), 1, "stretch")).reshape(side, side)


def refused(content: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        read_gray(content)
    return str(caught.value)


# --- what a value means -------------------------------------------------------------------------


DEPTHS = {
    "float TIFF": (tiff(RAMP.astype(np.float32)), RAMP),
    "float TIFF, big-endian": (tiff(RAMP.astype(np.float32), ">"), RAMP),
    "16 bits, little-endian": (tiff((RAMP * 65535).astype(np.uint16)), RAMP),
    "16 bits, big-endian": (tiff((RAMP * 65535).astype(np.uint16), ">"), RAMP),
    "16 bits, signed": (tiff((RAMP * 32767).astype(np.int16)), RAMP),
    "16 bits, white is 0": (tiff((RAMP * 65535).astype(np.uint16), photo=0), 1 - RAMP),
    "32 bits": (tiff((RAMP * (2**32 - 1)).astype(np.uint32)), RAMP),
    "32 bits, signed": (tiff((RAMP * (2**31 - 1)).astype(np.int32)), RAMP),
    "8 bits, white is 0": (tiff((RAMP * 255).astype(np.uint8), photo=0), 1 - RAMP),
    "16-bit PNG": (packed(Image.fromarray((RAMP * 65535).astype(np.uint16))), RAMP),
    "16 bits that hold 8": (packed(Image.fromarray((RAMP * 255).astype(np.uint16))), RAMP / 257),
    "16-bit PGM": (
        b"P5 28 28 65535\n" + (RAMP * 65535).astype(">u2").tobytes(), RAMP
    ),
    "10-bit PGM": (b"P5 28 28 1023\n" + (RAMP * 1023).astype(">u2").tobytes(), RAMP),
    "8-bit PNG": (packed(Image.fromarray((RAMP * 255).astype(np.uint8))), RAMP),
    "nearly black": (packed(Image.fromarray((RAMP * 5).astype(np.uint8))), RAMP * 5 / 255),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPTHS)
def test_every_depth_is_scaled_by_its_type(tmp_path: Path, kind: str) -> None:
    content, expected = DEPTHS[kind]
    path = tmp_path / "picture"
    path.write_bytes(content)
    trained = decode(path, GRAY)
    np.testing.assert_allclose(trained[0] / 255, expected, atol=1.01 / 255)
    again, inverted = read_picture(path, None, GRAY)
    np.testing.assert_array_equal(again, trained.astype(np.float32) / 255)
    assert not inverted


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (RAMP.astype(np.float32) * 9, "expected values from 0 to 1 (F), got values from 0 to 9"),
        (RAMP.astype(np.float32) - 0.5, "got values from -0.5 to 0.5"),
        (np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32), "got values from nan to nan"),
        (np.where(RAMP > 0.5, np.inf, RAMP).astype(np.float32), "got values from 0 to inf"),
        ((RAMP * 999 - 9).astype(np.int16), "from 0 to 32,767 (I), got values from -9 to 990"),
    ],
)
def test_values_that_have_no_place_in_the_range(values: np.ndarray, text: str) -> None:
    assert text in refused(tiff(values))


def test_floats_may_overshoot_by_what_a_filter_adds() -> None:
    gray, _ = read_gray(tiff(np.array([[-0.003, 1.003]], np.float32)))
    np.testing.assert_array_equal(np.asarray(gray), [[0, 1]])


MODES: dict[str, tuple[Image.Image, list[int]]] = {
    "1": (Image.new("1", (2, 2), 1), [255]),
    "L": (Image.new("L", (2, 2), 7), [7]),
    "LA": (Image.new("LA", (2, 2), (7, 128)), [130, 131]),
    "P": (Image.new("RGB", (2, 2), (9, 9, 9)).convert("P", palette=Image.Palette.ADAPTIVE), [9]),
    "RGB": (Image.new("RGB", (2, 2), (255, 0, 0)), [76]),
    "RGBA": (Image.new("RGBA", (2, 2), (0, 0, 0, 64)), [191]),
    "clear": (Image.new("RGBA", (2, 2), (0, 0, 0, 0)), [255]),
    "CMYK": (Image.new("CMYK", (2, 2), (0, 0, 0, 155)), [100]),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_gray_on_white(mode: str) -> None:
    image, expected = MODES[mode]
    found = scaled(packed(image, "TIFF" if mode in ("CMYK", "LA") else "PNG"), 2)
    assert set(found.ravel().tolist()) <= set(expected)


@pytest.mark.parametrize(("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("P", 0), ("1", 0)])
def test_a_colour_that_means_nothing_is_there(mode: str, key: object) -> None:
    found = scaled(packed(Image.new(mode, (2, 2)), transparency=key), 2)
    assert (found == 255).all()


def test_a_16_bit_value_that_means_nothing_is_there() -> None:
    rows = b"\0" + struct.pack(">2H", 5, 40)
    gray, opacity = read_gray(png(2, 1, rows, 16, chunk(b"tRNS", struct.pack(">H", 5))))
    assert opacity is not None
    np.testing.assert_array_equal(np.asarray(opacity), [[0, 255]])
    np.testing.assert_allclose(np.asarray(gray), [[5 / 65535, 40 / 65535]])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, kind: str, turn: int) -> None:
    """For every way to hold a camera: a light corner that comes back to the top left."""
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"pillow without {kind}")
    upright = np.zeros((32, 24), np.uint8)
    upright[:8, :12] = 255
    # How the camera's sensor saw it, by EXIF's definition of where row 0 and column 0 are.
    seen = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(np.ascontiguousarray(seen))
    path = tmp_path / "turned"
    path.write_bytes(packed(image.convert("RGB"), kind, exif=exif, quality=95))
    form = PictureForm(None, 1)
    assert size_and_colour(path.read_bytes()) == ((32, 24), True)
    trained = decode(path, form)
    np.testing.assert_allclose(trained[0].astype(int), upright, atol=30)
    predicted, _ = read_picture(path, None, form)
    np.testing.assert_array_equal(predicted, trained.astype(np.float32) / 255)


# --- files that mean no good --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PCX", "JPEG2000", "SGI", "PDF", "EPS"])
def test_only_listed_formats_are_opened(kind: str) -> None:
    content = packed(Image.new("RGB", (16, 16)), kind)
    if kind == "PPM":
        assert scaled(content, 16).shape == (16, 16)
    else:
        assert refused(content) == (
            "expected one of PNG, JPEG, GIF, BMP, TIFF, WEBP, AVIF, PPM, got something else"
        )


@pytest.mark.skipif(sys.platform == "win32", reason="a script that has no ending")
def test_no_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\necho 10.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "x.png"
    path.write_bytes(packed(Image.new("L", (9, 9)), "EPS"))
    with pytest.raises(DataError, match="expected one of PNG"):
        decode(path, GRAY)
    with pytest.raises(CommandError, match="expected one of PNG"):
        read_picture(path, DIGITS, GRAY)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (png(9_400, 9_400, b"", 1), "9,400 x 9,400"),
        (png(5_793, 5_793, b""), "5,793 x 5,793"),
        (png(70_000, 1, b""), "70,000 x 1"),
        (tiff(np.zeros((2, 2), np.uint8), tile=40_000), "40,000 x 40,000"),
        (b"P5 9000 9000 255\n", "9,000 x 9,000"),
    ],
)
def test_pictures_that_are_too_large(content: bytes, size: str) -> None:
    assert refused(content) == (
        f"expected 1 to 33,554,432 pixels and no side longer than 65,535, got {size}"
    )


@pytest.mark.parametrize("side", [13_370, 20_000])  # of one it warns
def test_pictures_that_pillow_finds_too_large(side: int) -> None:
    assert refused(png(side, side, b"", 1)) == "expected at most 33,554,432 pixels, got more"


def test_a_jpeg_file_of_many_scans() -> None:
    content = packed(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    assert scaled(content, 64).shape == (64, 64)
    assert refused(content[:-2] + 60 * last + content[-2:]) == (
        f"expected at most 50 scans in a JPEG file, got {content.count(bytes([255, 218])) + 60}"
    )


def test_a_strip_that_is_named_many_times() -> None:
    content = tiff(np.zeros((8, 8), np.uint8))
    entry = content.index(struct.pack("<HHI", 273, 4, 1))  # where strips begin
    many = np.full(1000, 8, "<u4").tobytes()
    content = content[: entry + 4] + struct.pack("<II", 1000, len(content)) + content[entry + 12 :]
    rows = content.index(struct.pack("<HHII", 278, 4, 1, 8))
    content = content[: rows + 8] + struct.pack("<I", 7) + content[rows + 12 :]
    assert refused(content + many) == "expected parts that cover the picture once, got more of them"


def test_a_png_file_whose_checksums_are_wrong() -> None:
    """Pixels that are not the ones that were written are not read."""
    good = png(4, 4, b"\0\1\2\3\4" * 4)
    pixels = scaled(good, 4)
    for position in range(8, len(good)):
        for bit in range(8):
            content = bytearray(good)
            content[position] ^= 1 << bit
            with contextlib.suppress(PictureError):
                np.testing.assert_array_equal(scaled(bytes(content), 4), pixels)
    flipped = bytearray(good)
    flipped[good.index(b"IDAT") + 8] ^= 1
    assert refused(bytes(flipped)) == (
        "expected an intact PNG file, the checksum of b'IDAT' is wrong"
    )
    assert refused(good[:50]) == "expected a whole PNG file, it ends in the middle of b'IDAT'"


def test_text_that_is_much_larger_than_its_file() -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 22)))
    assert "Decompressed data too large" in refused(png(1, 1, b"\0\0", 8, bomb))


@pytest.mark.parametrize(
    "damage", [RuntimeError("x"), struct.error("x"), MemoryError(), KeyError()]
)
def test_whatever_a_decoder_raises_is_one_kind_of_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Exception
) -> None:
    def load(self: object) -> None:
        raise damage

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    path = tmp_path / "x.png"
    path.write_bytes(packed(Image.new("L", (9, 9))))
    reason = str(damage) or type(damage).__name__
    with pytest.raises(DataError, match=re.escape(f"] cannot be read as a picture: {reason}")):
        decode(path, GRAY)
    with pytest.raises(CommandError, match=f"as a picture: {reason}"):
        read_picture(path, DIGITS, GRAY)


def test_an_empty_picture() -> None:
    assert refused(b"P5 0 9 255\n")
    assert refused(b"")


def test_what_is_decoded_at_a_time_is_bounded() -> None:
    room, inside, most = picture._Room(10), 0, 0
    lock = threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        with room.of(4):
            with lock:
                inside += 4
                most = max(most, inside)
            threading.Event().wait(0.005)
            with lock:
                inside -= 4

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 8)
    with room.of(10):
        pass


# --- files --------------------------------------------------------------------------------------


def test_files_that_are_none_are_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, text in (
        (tmp_path / "pipe", "expected a regular file, got a FIFO"),
        (Path("/dev/zero"), "expected a regular file, got a device"),
        (tmp_path, "Is a directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / "none", "No such file or directory"),
    ):
        with pytest.raises(OSError, match=text):
            files.read_file(path, 10)
        with pytest.raises(DataError, match=re.escape(f"[{path}] cannot be read: {text}")):
            decode(path, GRAY)


def test_files_of_a_size_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(11))
    assert files.read_file(path, 11) == bytes(11)
    with pytest.raises(OSError, match="expected at most 10 bytes, got 11"):
        files.read_file(path, 10)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_a_file_that_holds_more_than_it_says() -> None:
    with pytest.raises(OSError, match="expected at most 10 bytes, got 11 or more"):
        files.read_file(Path("/proc/self/maps"), 10)
