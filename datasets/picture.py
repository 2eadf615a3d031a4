"""One reader of pictures, for training and for `predict`: what is opened, how large it may be, and
how it becomes gray or RGB. `picture_form` scales what is read here.

Files are not trusted. Only the formats below are tried (pillow knows others, one of which starts
Ghostscript), and a picture is refused by what its header says, before it takes memory. Shapes:
H rows, W columns.
"""

from __future__ import annotations

import io
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from tinygrad_cupy.printing import printable

# What is opened, and under which names it counts as a picture in a folder.
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

MAX_BYTES = 1 << 27  # of a file
MAX_PIXELS = 1 << 25  # of a picture, and of all that are decoded at a time: 20 bytes each at most
MAX_SIDE = 65_535
SMALL = 1 << 20  # pixels or bytes that may be decoded in many processes at a time
MAX_BANDS = 6  # of a TIFF file, each of which may have strips of its own
MAX_SCANS = 50  # of a JPEG file; each goes over the whole picture, in no bytes to speak of

_BITS, _WHITE_IS_ZERO, _SAMPLE_FORMAT, _ORIENTATION = 258, 262, 339, 0x0112  # TIFF's tags
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SIGNED, _FLOAT = 2, 3  # TIFF's sample formats
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
    """What cannot be read as a picture; the text says why, not which file."""


class NotHereError(Exception):
    """A picture is too large for a process that helps another: it is read there (`stay_small`)."""


def read_gray(content: bytes) -> tuple[Image.Image, Image.Image | None]:
    """The picture in a file's bytes, upright: gray, and its opacity (mode "L") if it has any.

    Gray is of mode "L", or of mode "F" and from 0 to 1 where the file has more than 8 bits a value:
    divided by the largest value that the file's type can hold, whatever this picture holds. Of
    several frames it is the first. Raises PictureError.
    """
    with opened(content) as image:
        image.load()
        turn = turn_of(image)
        gray, alpha = gray_and_opacity(image)
    if turn is not None:
        gray, alpha = gray.transpose(turn), alpha and alpha.transpose(turn)
    return gray, alpha


@contextmanager
def opened(content: bytes) -> Iterator[ImageFile.ImageFile]:
    """The picture in a file's bytes, its header read and found good, with room to decode it.

    Whatever goes wrong meanwhile is raised as PictureError.
    """
    try:
        _check_scans(content)
        _check_png(content)
        with Image.open(io.BytesIO(content), formats=tuple(FORMATS)) as image:
            _check_size(image)
            if image.width * image.height > _limits.here or len(content) > _limits.here:
                raise NotHereError
            with _room.of(image.width * image.height):
                yield image
    except (PictureError, NotHereError):
        raise
    except UnidentifiedImageError:
        raise PictureError(f"expected one of {', '.join(FORMATS)}, got something else") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"expected at most {MAX_PIXELS:,} pixels, got more") from None
    except Exception as error:  # pillow's decoders let many kinds through, struct.error for one
        raise PictureError(printable(error) or type(error).__name__) from error


def turn_of(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """What makes a picture upright, by its EXIF orientation. Decodes a PNG file."""
    return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))


def is_gray(image: Image.Image) -> bool:
    """Whether a picture's mode has no room for colour."""
    return image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")


def gray_and_opacity(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Those of a picture of any mode, see `read_gray`. Raises PictureError, or pillow's errors."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_gray(image)
    if not image.has_transparency_data:
        return image.convert("L"), None
    if image.mode not in ("L", "LA", "RGBA", "P", "PA"):
        image = image.convert("RGBA")
    gray, alpha = image.convert("LA").split()
    return gray, alpha


def colour_and_opacity(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """RGB with 8 bits a value, and the opacity (mode "L") if there is any. Raises pillow's errors.

    pillow keeps the upper 8 bits of 16.
    """
    if not image.has_transparency_data:
        return image.convert("RGB"), None
    whole = image.convert("RGBA")
    return whole.convert("RGB"), whole.getchannel("A")


@contextmanager
def no_pillow_warnings() -> Iterator[None]:
    """Keep pillow's remarks on files that it reads all the same from the user, in all threads."""
    logger, silence = logging.getLogger("PIL"), logging.NullHandler()
    logger.addHandler(silence)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        logger.removeHandler(silence)


def _deep_gray(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    top, signed = _range(image, tags)
    if values.dtype == np.int32 and not signed:
        values = values.view(np.uint32)
    low, high = values.min(), values.max()
    spare = top / 255 if image.mode == "F" else 0  # filters overshoot
    if not (-spare <= low and high <= top + spare):
        raise PictureError(
            f"expected values from 0 to {top:,} ({image.mode}), got values from {low:g} to {high:g}"
        )
    gray = np.clip(np.divide(values, top, dtype=np.float32, casting="unsafe"), 0, 1)
    if tags.get(_WHITE_IS_ZERO) == 0:
        gray = 1 - gray
    alpha = None
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.fromarray(gray), alpha


def _range(image: Image.Image, tags: Mapping[int, Any]) -> tuple[int, bool]:
    """The largest value that the file's type holds, 1 for floats, and whether it has a sign."""
    if image.mode == "F":
        return 1, True
    if _BITS not in tags:  # PNG and PPM: pillow scales what has other ranges
        return 65_535, False
    bits, kind = (int(np.ravel(tags.get(tag, 1))[0]) for tag in (_BITS, _SAMPLE_FORMAT))
    return (1 << bits - (kind == _SIGNED)) - 1, kind == _SIGNED


def _check_size(image: ImageFile.ImageFile) -> None:
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_LENGTH, 1)
    for width, height in (image.size, tile):
        if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise PictureError(
                f"expected 1 to {MAX_PIXELS:,} pixels and no side longer than {MAX_SIDE:,}, "
                f"got {width:,} x {height:,}"
            )
    if len(image.tile) > 1:  # a TIFF file may name one strip a thousand times
        parts = [tile.extents for tile in image.tile if tile.extents]
        area = sum((right - left) * (low - high) for left, high, right, low in parts)
        if area > MAX_BANDS * image.width * image.height:
            raise PictureError("expected parts that cover the picture once, got more of them")


def _check_scans(content: bytes) -> None:
    if content.startswith(b"\xff\xd8") and (scans := content.count(b"\xff\xda")) > MAX_SCANS:
        raise PictureError(f"expected at most {MAX_SCANS} scans in a JPEG file, got {scans:,}")


def _check_png(content: bytes) -> None:
    """Check the checksums of the parts of a PNG file that pixels come from; pillow does not."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return
    view, start, kind = memoryview(content), 8, b""
    while kind != b"IEND" and start + 12 <= len(view):
        kind, end = bytes(view[start + 4 : start + 8]), start + 8 + _number(view[start:])
        if end + 4 > len(view):
            raise PictureError(f"expected a whole PNG file, it ends in the middle of {kind!r}")
        matters = kind[:1].isupper() or kind in (b"tRNS", b"eXIf")
        if matters and zlib.crc32(view[start + 4 : end]) != _number(view[end:]):
            raise PictureError(f"expected an intact PNG file, the checksum of {kind!r} is wrong")
        start = end + 4


def _number(view: memoryview) -> int:
    return int.from_bytes(view[:4], "big")


class _Room:
    """Lets pictures in as long as all that are in have at most so many pixels together."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._change = threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: pixels <= self._free)
            self._free -= pixels
        try:
            yield
        finally:
            with self._change:
                self._free += pixels
                self._change.notify_all()


_room = _Room(MAX_PIXELS)


class _Limits:
    here = MAX_BYTES  # pixels, and bytes of a file


_limits = _Limits()


def stay_small() -> None:
    """Leave large pictures to the process that this one helps: there they share `_room`."""
    _limits.here = SMALL
