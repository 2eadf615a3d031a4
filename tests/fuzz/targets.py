"""What reads files of others, good files for it, and what must hold of whatever it answers."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import struct
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features
from safetensors.numpy import save

from tinygrad_cupy import nn
from tinygrad_cupy.command.errors import CommandError
from tinygrad_cupy.command.picture_input import FRAMED, SCALED, Framing
from tinygrad_cupy.command.predict import predict
from tinygrad_cupy.command.run_folder import METRICS, RECORD, RECORD_FORMAT, WEIGHTS
from tinygrad_cupy.command.run_record import Record
from tinygrad_cupy.command.settings import RunSettings, TrainSettings
from tinygrad_cupy.datasets import DataError, picture_cache
from tinygrad_cupy.datasets.idx import check_sha256, decompress, read_idx
from tinygrad_cupy.datasets.picture import no_pillow_warnings
from tinygrad_cupy.datasets.picture_folder import decode
from tinygrad_cupy.datasets.picture_form import PictureForm
from tinygrad_cupy.datasets.tar import read_members

from .mutate import Rng, damaged, strange_json

SIDE = 28
FORMS = (PictureForm((SIDE, SIDE), 1, "stretch"), PictureForm((SIDE, 2 * SIDE), 3, "fit"))
FRAMING = Framing(drawn=True, light_ink=True, box=20, by_mass=False)


@dataclass(frozen=True)
class Target:
    """A reader: `make` a damaged file's bytes, `judge` what becomes of the file.

    `judge` returns whether the file was read, or raises `ours` for one that was refused; any other
    exception is a fault, `AssertionError` for an answer that is wrong.
    """

    make: Callable[[Rng], bytes]
    judge: Callable[[Path], bool]
    ours: type[Exception]


# --- IDX and gzip -------------------------------------------------------------------------------


def _idx(folder: Path) -> Target:
    values = np.random.default_rng(0).integers(0, 256, (6, 9, 11), np.uint8)
    plain = struct.pack(">BBBBIII", 0, 0, 8, 3, *values.shape) + values.tobytes()
    members = gzip.compress(plain[:200]) + gzip.compress(plain[200:])
    good = [plain, gzip.compress(plain, mtime=0), gzip.compress(plain, 1, mtime=0), members]
    good.append(gzip.compress(plain + bytes(1 << 20), mtime=0))
    sha256 = hashlib.sha256(plain).hexdigest()

    def judge(path: Path) -> bool:
        found = read_idx(path, 3)
        # Read once more, by the description of the format.
        stored = path.read_bytes()
        content = gzip.decompress(stored) if stored[:2] == b"\x1f\x8b" else stored
        assert content[:4] == b"\0\0\x08\x03"
        shape = struct.unpack(">3I", content[4:16])
        assert found.shape == shape
        assert found.tobytes() == content[16:]
        check_sha256(decompress(stored, path), sha256, path)
        assert np.array_equal(found, values)
        return True

    return Target(lambda rng: damaged(rng, good[rng.integers(len(good))], good), judge, DataError)


# --- pictures -----------------------------------------------------------------------------------


def good_pictures() -> list[bytes]:
    """A small picture of every format and mode that is read."""
    ramp = np.linspace(0, 1, 40 * 36).reshape(40, 36)
    page = np.zeros((40, 36), np.uint8)
    page[6:30, 12:20] = 220
    gray, exif = Image.fromarray(page), Image.Exif()
    exif[0x0112] = 6
    colour = Image.merge("RGB", [gray, gray.rotate(90).resize(gray.size), gray])
    clear = colour.copy()
    clear.putalpha(gray)
    deep = Image.fromarray((ramp * 65535).astype(np.uint16))
    floats = Image.fromarray(ramp.astype(np.float32))
    palette = colour.convert("P", palette=Image.Palette.ADAPTIVE)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((image, "PNG", {}) for image in (gray, colour, clear, deep, palette)),
        (gray.convert("1"), "PNG", {}),
        (clear.convert("LA"), "PNG", {"exif": exif}),
        (palette, "PNG", {"transparency": 0}),
        (gray, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True, "quality": 50}),
        (colour.convert("CMYK"), "JPEG", {}),
        (palette, "GIF", {}),
        (palette, "GIF", {"save_all": True, "append_images": [palette.rotate(5)]}),
        *((image, "BMP", {}) for image in (gray, colour, palette, gray.convert("1"))),
        *((image, "TIFF", {}) for image in (gray, colour, clear, deep, floats, palette)),
        (colour, "TIFF", {"compression": "tiff_lzw", "exif": exif}),
        (deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (colour, "TIFF", {"compression": "jpeg"}),
        (gray.convert("1"), "TIFF", {"compression": "group4"}),
        (floats, "TIFF", {"compression": "packbits"}),
        (colour.convert("CMYK"), "TIFF", {"compression": "tiff_lzw"}),
        *((image, "PPM", {}) for image in (gray, colour, gray.convert("1"), floats)),
    ]
    if features.check("webp"):
        kinds += [(clear, "WEBP", {"lossless": True}), (colour, "WEBP", {"exif": exif})]
        kinds.append((clear, "WEBP", {"save_all": True, "append_images": [clear.rotate(5)]}))
    if features.check("avif"):
        kinds += [(colour, "AVIF", {"exif": exif}), (clear, "AVIF", {"subsampling": "4:4:4"})]
    return [*(_packed(*kind) for kind in kinds), *_rare_pictures(page)]


def _packed(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _rare_pictures(page: np.ndarray) -> Iterator[bytes]:
    """What pillow reads and does not write: runs of 8 and 4 bits in BMP, plain and deep PPM."""
    height, width = page.shape
    for bits, kind in ((8, 1), (4, 2)):
        colours = b"".join(
            bytes([n * 255 // ((1 << bits) - 1)] * 3 + [0]) for n in range(1 << bits)
        )
        rows = b"".join(b"\5\1\0\2\1\1\0\4\1\2\3\4\11\7\0\0" for _ in range(height)) + b"\0\1"
        start = 54 + len(colours)
        yield (
            struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
            + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(rows), 0, 0, 0, 0)
            + colours
            + rows
        )
    size = f"{width} {height}".encode()
    yield b"P2 " + size + b" 255\n" + " ".join(map(str, page.ravel())).encode()
    yield b"P1 " + size + b"\n" + b"".join(b"1" if n > 99 else b"0" for n in page.ravel())
    yield b"P5 " + size + b" 1023\n" + page.astype(">u2").tobytes()


def _damaged_picture(good: list[bytes]) -> Callable[[Rng], bytes]:
    return lambda rng: damaged(rng, good[rng.integers(len(good))], good)


def _pictures(folder: Path) -> Target:
    good = good_pictures()

    def judge(path: Path) -> bool:
        with no_pillow_warnings():
            for form in FORMS:
                image = decode(path, form)
                assert image.shape == (form.channels, *(form.size or ()))
                assert image.dtype == np.uint8
        return True

    return Target(_damaged_picture(good), judge, DataError)


# --- predict ------------------------------------------------------------------------------------


DESCRIPTION: dict[str, Any] = {
    "dataset": "digits",
    "dataset_reason": "The embedded digits, as asked.",
    "model": "small",
    "classes": list("0123456789"),
    "image_shape": [1, SIDE, SIDE],
    "pictures": FRAMED,
    "framing": FRAMING.as_dict(),
    "resize": "fit",
    "mean": [0.25],
    "std": [0.5],
    "skipped": [["train/a/x.txt", "not a picture's ending"]],
    "test_accuracy": 0.5,
    "versions": {"python": "3.11"},
}


def _run(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_text(json.dumps({**DESCRIPTION, **changes}))
    (folder / WEIGHTS).write_bytes(save(nn.models.build("small").state_dict()))
    return folder


def _answers(run: Path, picture: Path) -> bool:
    """True when the run answers, with probabilities; raises CommandError when it says it cannot."""
    out, problem = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(out):
            predict(run, [picture], as_json=True)
    except CommandError as error:
        problem = error
    answers = json.loads(out.getvalue()) if out.getvalue() else []
    if problem:
        assert [answer["error"] for answer in answers] in ([], [str(problem)])
        raise problem
    (answer,) = answers
    assert 0 <= answer["runner_up_probability"] <= answer["probability"] <= 1.000001
    return True


def _predict(folder: Path) -> Target:
    runs = [_run(folder / FRAMED), _run(folder / SCALED, pictures=SCALED, framing=None)]

    def judge(path: Path) -> bool:
        for run in runs:
            _answers(run, path)
        return True

    return Target(_damaged_picture(good_pictures()), judge, CommandError)


def _of_run(folder: Path, name: str, make: Callable[[Rng], bytes]) -> Target:
    """A run folder in which the damaged file takes the place of `name`."""
    run = _run(folder)
    picture = folder / "page.png"
    Image.fromarray(np.eye(SIDE, dtype=np.uint8) * 255).save(picture)

    def judge(path: Path) -> bool:
        shutil.copyfile(path, run / name)
        return _answers(run, picture)

    return Target(make, judge, CommandError)


def _safetensors(folder: Path) -> Target:
    states = [nn.models.build(name).state_dict() for name in ("small", "deep")]
    half = {name: array.astype(np.float16) for name, array in states[0].items()}
    good = [save(states[0])] * 3 + [save(states[1])[:20_000], save(half)]

    def make(rng: Rng) -> bytes:
        content = good[rng.integers(len(good))]
        if rng.random() < 0.3:  # numbers that are none
            changed = bytearray(content)
            at = int(rng.integers(len(changed) - 4)) & ~3
            changed[at : at + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, -3e38, 1e-45]))
            return bytes(changed)
        return damaged(rng, content, good)

    return _of_run(folder, WEIGHTS, make)


def _metrics(folder: Path) -> Target:
    text = json.dumps(DESCRIPTION).encode()

    def make(rng: Rng) -> bytes:
        if rng.random() < 0.7:
            return strange_json(rng, DESCRIPTION).encode(errors="surrogatepass")
        return damaged(rng, text, [text, b"[" * 9999, b'{"a":' * 9999, b"9" * 5000, b"NaN"])

    return _of_run(folder, METRICS, make)


# --- the cache of decoded pictures --------------------------------------------------------------


def _cache(folder: Path) -> Target:
    images = np.random.default_rng(0).integers(0, 256, (5, 1, SIDE, SIDE), np.uint8)
    kept = folder / "kept.npz"
    picture_cache.write(kept, images)
    good, others = kept.read_bytes(), []
    for array in (images[:3], images.astype(np.float32), np.array([{}], dtype=object)):
        packed = io.BytesIO()
        np.savez_compressed(packed, images=array, allow_pickle=True)
        others.append(packed.getvalue())

    def make(rng: Rng) -> bytes:
        content = damaged(rng, good, others)
        if rng.random() < 0.3:  # as somebody would who knows how the hash is made
            body = damaged(rng, [good[: -picture_cache.DIGEST], *others][rng.integers(4)], others)
            return body + picture_cache.digest_of(kept, body)
        return content

    def judge(path: Path) -> bool:
        shutil.copyfile(path, kept)
        found = picture_cache.read(kept, len(images), FORMS[0])
        if found is None:
            raise DataError("damaged, to be decoded again")
        content = kept.read_bytes()
        assert content[-picture_cache.DIGEST :] == picture_cache.digest_of(
            kept, content[: -picture_cache.DIGEST]
        )
        assert (found.shape, found.dtype) == (images.shape, images.dtype)
        if content == good:
            assert np.array_equal(found, images)
        return True

    return Target(make, judge, DataError)


# --- archives -----------------------------------------------------------------------------------


def _tar(folder: Path) -> Target:
    files = {f"set/{name}": bytes([number]) * 700 * number for number, name in enumerate("abc", 1)}
    sizes = {name: len(content) for name, content in files.items()}
    plain = [packed_tar(files, kind) for kind in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT)]
    packed = [gzip.compress(archive, mtime=0) for archive in plain]

    def make(rng: Rng) -> bytes:
        if rng.random() < 0.7:  # or the checksum of gzip refuses nearly all
            return gzip.compress(damaged(rng, plain[int(rng.integers(2))], plain), mtime=0)
        return damaged(rng, packed[int(rng.integers(2))], packed)

    def judge(path: Path) -> bool:
        found = read_members(path.read_bytes(), sizes, path)
        assert {name: len(content) for name, content in found.items()} == sizes
        return True

    return Target(make, judge, DataError)


def packed_tar(files: dict[str, bytes], kind: int) -> bytes:
    """An archive of these files and a folder."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
        folder = tarfile.TarInfo("set")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1e9 + 0.5  # what needs a PAX header
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


# --- runs that go on ----------------------------------------------------------------------------


def _checkpoint(folder: Path) -> Target:
    """Either file of the last checkpoint of two; what is read is the one before, or is right."""
    kept = nn.Checkpoints(folder, tell=lambda text: None)
    weight = np.arange(300, dtype=np.float32)
    for epoch in (1, 2):
        kept.write(lambda epoch=epoch: ({"epoch": epoch}, {"weight": weight * epoch}))  # type: ignore[misc]
    files = [folder / f"0000002.{kind}" for kind in ("json", "safetensors")]
    good = [file.read_bytes() for file in files]

    def judge(path: Path) -> bool:
        content = path.read_bytes()
        which = int(not content.lstrip().startswith(b"{"))
        files[which].write_bytes(content)
        try:
            saved = nn.Checkpoints(folder, tell=lambda text: None).load()
        finally:
            files[which].write_bytes(good[which])
        assert saved is not None
        np.testing.assert_array_equal(saved.arrays["weight"], weight * saved.figures["epoch"])
        return True

    return Target(lambda rng: damaged(rng, good[rng.integers(2)], good), judge, nn.CheckpointError)


RECORD_OF_A_RUN: dict[str, Any] = {
    "format": RECORD_FORMAT,
    "version": 1,
    "asked": asdict(TrainSettings(dataset="digits", model="small")),
    "settings": asdict(
        RunSettings(
            dataset="digits", model="small", epochs=3, batch_size=128, lr=0.002, optimizer="adam",
            seed=0, device="cpu", val_fraction=0.1, patience=None, jit=True,
        )
    ),
    "data": {"name": "digits"},
}  # fmt: skip


def _record(folder: Path) -> Target:
    good = json.dumps(RECORD_OF_A_RUN).encode()

    def make(rng: Rng) -> bytes:
        if rng.random() < 0.5:
            return damaged(rng, good, [good])
        return strange_json(rng, RECORD_OF_A_RUN).encode("utf-8", "surrogatepass")

    def judge(path: Path) -> bool:
        shutil.copyfile(path, folder / RECORD)
        record = Record.read(folder)
        assert record is not None
        settings = TrainSettings(model="small", epochs=4)
        record.merged(settings, ("model", "epochs"))
        return True

    return Target(make, judge, CommandError)


# What is fuzzed, by name; each keeps what it needs in an empty folder.
TARGETS: dict[str, Callable[[Path], Target]] = {
    "idx": _idx,
    "pictures": _pictures,
    "predict": _predict,
    "safetensors": _safetensors,
    "metrics": _metrics,
    "cache": _cache,
    "tar": _tar,
    "checkpoint": _checkpoint,
    "record": _record,
}
