"""Downloads, from servers on this machine: resumed, checked, and passed on to the next mirror."""

import contextlib
import gzip
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.idx_files import expect_files, isolate, small_mnist, write_gzipped
from tinygrad_cupy import datasets
from tinygrad_cupy.datasets import DataError, DownloadError, download, mnist_files
from tinygrad_cupy.datasets.download import UnreachableError
from tinygrad_cupy.datasets.part import remove_abandoned

CONTENT = bytes(range(256)) * 400


@dataclass
class Mirror:
    """A server on 127.0.0.1 and how it behaves."""

    files: dict[str, bytes]
    status: int | None = None  # answer everything with this error
    ends_after: int | None = None  # close the connection after so many bytes of a body
    waits: float = 0.0  # and keep it open for so many seconds before
    ranges: bool = True
    shift: int = 0  # answer a range that starts this many bytes too late
    piece: int = 0  # send so many bytes at a time, with a rest of `waits` seconds between
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").rstrip("/")

    def gets(self) -> list[tuple[str, str | None]]:
        return [(path, wanted) for method, path, wanted in self.requests if method == "GET"]


def handler_of(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            self.answer(mirror.files.get(self.path[1:], b""))

        def answer(self, body: bytes) -> None:
            wanted = self.headers.get("Range")
            mirror.requests.append((self.command, self.path[1:], wanted))
            status = mirror.status or (200 if self.path[1:] in mirror.files else 404)
            start = 0
            if status == 200 and wanted and mirror.ranges and self.command == "GET":
                start = int(wanted.removeprefix("bytes=").rstrip("-")) + mirror.shift
                status = 206 if start < len(body) else 416
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            rest = body[start:] if status in (200, 206) else b""
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            rest = rest[: mirror.ends_after]
            step = mirror.piece or len(rest) or 1
            with contextlib.suppress(ConnectionError):
                for place in range(0, len(rest), step):
                    self.wfile.write(rest[place : place + step])
                    time.sleep(mirror.waits)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


Serve = Callable[..., Mirror]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(files: dict[str, bytes], **behaviour: Any) -> Mirror:
        mirror = Mirror(files, **behaviour)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(mirror))
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return mirror

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def check(content: bytes, path: Path) -> None:
    if content != CONTENT:
        raise DataError(f"[{path}] {len(content)} wrong bytes")


def fetch(folder: Path, *mirrors: Mirror) -> None:
    download.fetch({"f": check}, folder, [mirror.url for mirror in mirrors])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"f": CONTENT})
    fetch(tmp_path / "new" / "folder", mirror)
    assert (tmp_path / "new" / "folder" / "f").read_bytes() == CONTENT
    assert names(tmp_path / "new" / "folder") == ["f"]
    assert mirror.requests == [("HEAD", "f", None), ("GET", "f", None)]
    fetch(tmp_path / "new" / "folder", mirror)
    assert len(mirror.requests) == 2


def test_a_damaged_file_is_replaced(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "f").write_bytes(b"damaged")
    fetch(tmp_path, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"f": CONTENT}, ends_after=70_000)
    text = (
        f"[f] no mirror served it intact "
        f"({mirror.host}: the connection ended after 70000 of 102400 bytes)"
    )
    with pytest.raises(DownloadError, match=re.escape(text)):
        fetch(tmp_path, mirror)
    assert [name.endswith(".part") for name in names(tmp_path)] == [True]
    mirror.requests.clear()
    mirror.ends_after = None
    fetch(tmp_path, mirror)
    assert mirror.gets() == [("f", "bytes=70000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]


def test_the_next_mirror_continues(tmp_path: Path, serve: Serve) -> None:
    first, second = serve({"f": CONTENT}, ends_after=70_000), serve({"f": CONTENT})
    fetch(tmp_path, first, second)
    assert second.gets() == [("f", "bytes=70000-")]
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("behaviour", [{"ranges": False}, {"shift": 7}])
def test_a_server_that_cannot_resume(
    tmp_path: Path, serve: Serve, behaviour: dict[str, Any]
) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT[:1000])
    mirror = serve({"f": CONTENT}, **behaviour)
    fetch(tmp_path, mirror)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_part_that_is_complete_is_taken(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    fetch(tmp_path, serve({"f": CONTENT}))
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("stale", [b"x" * 1000, CONTENT + b"more"])
def test_a_part_of_another_file_is_dropped(tmp_path: Path, serve: Serve, stale: bytes) -> None:
    (tmp_path / "f.part").write_bytes(stale)
    fetch(tmp_path, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]


def test_corrupt_bytes_send_us_to_the_next_mirror(tmp_path: Path, serve: Serve) -> None:
    corrupt, good = serve({"f": b"corrupt"}), serve({"f": CONTENT})
    fetch(tmp_path, corrupt, good)
    assert corrupt.gets() == [("f", None)]
    assert good.gets() == [("f", None)]
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_what_every_mirror_answered_is_in_the_error(tmp_path: Path, serve: Serve) -> None:
    corrupt, gone = serve({"f": b"corrupt"}), serve({})
    failing = serve({"f": CONTENT}, status=503)
    text = (
        f"[f] no mirror served it intact ({corrupt.host}: [{tmp_path / 'f'}] 7 wrong bytes; "
        f"{gone.host}: HTTP 404 Not Found; {failing.host}: HTTP 503 Service Unavailable)"
    )
    with pytest.raises(DownloadError, match=re.escape(text)):
        fetch(tmp_path, corrupt, gone, failing)
    assert names(tmp_path) == []


def test_a_mirror_that_is_down_is_passed_over(tmp_path: Path, serve: Serve) -> None:
    down = Mirror({}, url="http://127.0.0.1:9/")
    fetch(tmp_path, down, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_no_mirror_can_be_reached(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path / "f", *(Mirror({}, url=f"http://127.0.0.1:{port}/") for port in (7, 9)))
    assert time.monotonic() - start < 5
    assert re.fullmatch(
        r"\[f\] no mirror can be reached "
        r"\(127\.0\.0\.1:7: .*refused.*; 127\.0\.0\.1:9: .*refused.*\)",
        str(caught.value),
    )
    assert not (tmp_path / "f").exists()


def test_a_name_lookup_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*arguments: Any, **options: Any) -> None:
        release.wait(30)
        raise OSError("released")

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    monkeypatch.setattr(download, "CONTACT_SECONDS", 0.2)
    start = time.monotonic()
    text = r"no mirror can be reached \(h:1: no answer within 0.2 seconds; h:2: no answer"
    with pytest.raises(DownloadError, match=text):
        fetch(tmp_path, Mirror({}, url="http://h:1/"), Mirror({}, url="http://h:2/"))
    assert time.monotonic() - start < 2
    release.set()


def test_the_decision_falls_within_ten_seconds() -> None:
    assert download.CONTACT_SECONDS < 10


def test_a_folder_that_cannot_be_written(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "file").write_bytes(b"")
    text = f"[{tmp_path / 'file'}] cannot keep a download here: "
    with pytest.raises(DownloadError, match=re.escape(text)):
        fetch(tmp_path / "file", serve({"f": CONTENT}))


def test_mnist_is_downloaded_into_the_cache(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    mirror = serve({f"{name}.gz": gzip.compress(content) for name, content in files.items()})
    monkeypatch.setattr(mnist_files, "MIRRORS", (mirror.url,))
    cache = tmp_path / "cache" / "tinygrad_cupy" / "mnist"
    train, test = datasets.mnist()
    assert (len(train), len(test)) == (12, 5)
    assert names(cache) == sorted(f"{name}.gz" for name in files)
    mirror.requests.clear()
    datasets.mnist()
    assert mirror.requests == []
    (cache / "t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    datasets.mnist()
    assert mirror.gets() == [("t10k-labels-idx1-ubyte.gz", None)]


def test_a_damaged_plain_file_in_the_cache_gives_way_to_a_download(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    files = small_mnist(rng)
    expect_files(monkeypatch, files)
    mirror = serve({f"{name}.gz": gzip.compress(content) for name, content in files.items()})
    monkeypatch.setattr(mnist_files, "MIRRORS", (mirror.url,))
    cache = write_gzipped(tmp_path / "cache" / "tinygrad_cupy" / "mnist", files)
    (cache / "t10k-labels-idx1-ubyte.gz").unlink()
    (cache / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    assert len(datasets.mnist()[1]) == 5


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        r"^\[train-images-idx3-ubyte\.gz\] no mirror can be reached \(127\.0\.0\.1:9: .*\); "
        r"put the four files into a folder and name it as data_dir \(--data-dir\) "
        r"or in \$TINYGRAD_CUPY_DATA$"
    )
    with pytest.raises(DownloadError, match=text):
        datasets.mnist()


def test_a_mirror_that_stands_still_is_left(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    stuck = serve({"f": CONTENT}, ends_after=70_000, waits=1.0)
    good = serve({"f": CONTENT})
    fetch(tmp_path, stuck, good)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert good.gets() == [("f", "bytes=70000-")]


@contextlib.contextmanager
def answering(reply: bytes) -> Iterator[Mirror]:
    """A server that answers HEAD with success and every GET with these very bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    asked = b""
                    while b"\r\n\r\n" not in asked:
                        asked += connection.recv(9999)
                    head = asked.startswith(b"HEAD")
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if head else reply)

        threading.Thread(target=serve, daemon=True).start()
        yield Mirror({}, url=f"http://127.0.0.1:{listening.getsockname()[1]}/")
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\0\xff not HTTP\r\n\r\n",
        b"HTTP/1.1 9999999999999999999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: ²\r\n\r\nx".encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx",
        b"HTTP/1.1 206 P\r\nContent-Range: bytes " + b"9" * 5000 + b"-/*\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 F\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 F\r\nLocation: http://a..b/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 F\r\nLocation: http://x:99999/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 F\r\nLocation: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 F\r\nLocation: /f\r\nContent-Length: 0\r\n\r\n",  # for ever
        b"HTTP/1.1 401 U\r\nWWW-Authenticate: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 416 R\r\nContent-Length: 0\r\n\r\n",
    ],
)
# urllib leaves the socket of a redirect behind where the new address is no host's name.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_a_mirror_answers_the_next_is_asked(
    tmp_path: Path, serve: Serve, reply: bytes
) -> None:
    with answering(reply) as odd:
        fetch(tmp_path, odd, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]


def test_what_a_server_says_is_printed_without_control_characters(tmp_path: Path) -> None:
    reply = b"HTTP/1.1 500 \x1b[31mred\r\nContent-Length: 0\r\n\r\n"
    with answering(reply) as odd, pytest.raises(DownloadError) as caught:
        fetch(tmp_path, odd)
    assert "HTTP 500 ?[31mred" in str(caught.value)


@pytest.mark.parametrize("says_how_long", [True, False])
def test_a_mirror_that_sends_too_much_is_given_up(
    tmp_path: Path, serve: Serve, says_how_long: bool
) -> None:
    length = b"Content-Length: 2000000\r\n" if says_how_long else b""
    reply = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + bytes(2_000_000)
    got = "2000000" if says_how_long else "more"
    with answering(reply) as endless:
        text = f"{endless.host}: expected 200000 bytes at most, got {got}"
        with pytest.raises(DownloadError, match=re.escape(text)):
            download.fetch({"f": check}, tmp_path, [endless.url], most_bytes=200_000)
        assert names(tmp_path) == []
        good = serve({"f": CONTENT})
        download.fetch({"f": check}, tmp_path, [endless.url, good.url], most_bytes=200_000)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_mirror_that_trickles_is_left(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    trickle, good = serve({"f": CONTENT}, piece=100, waits=0.05), serve({"f": CONTENT})
    start = time.monotonic()
    fetch(tmp_path, trickle, good)
    assert time.monotonic() - start < 3
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_headers_that_trickle_are_not_waited_for(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_SECONDS", 0.2)
    done = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                while not done.wait(0.05):
                    self.wfile.write(b"H")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    slow = Mirror({}, url=f"http://127.0.0.1:{server.server_port}/")
    fetch(tmp_path, slow, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT
    done.set()
    server.shutdown()
    server.server_close()


def test_everything_ends_after_a_while(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST_SECONDS", 0.3)
    slow = [serve({"f": CONTENT}, piece=5000, waits=0.1) for _ in range(2)]
    start = time.monotonic()
    with pytest.raises(DownloadError, match=r"the download took longer than 0\.3 seconds"):
        fetch(tmp_path, *slow)
    assert time.monotonic() - start < 3


FIRST_RUN = """
import sys
from pathlib import Path
from tinygrad_cupy.datasets import DataError, download
def check(content, path):
    if len(content) != 102_400:
        raise DataError(f"[{path}] {len(content)} bytes")
download.fetch({"f": check}, Path(sys.argv[1]), [sys.argv[2]])
"""


@pytest.mark.slow
def test_processes_that_download_at_once_do_not_meet(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"f": CONTENT}, piece=8000, waits=0.02)
    command = [sys.executable, "-c", FIRST_RUN, str(tmp_path), mirror.url]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    assert [(run.communicate()[1], run.returncode) for run in running] == [(b"", 0)] * 3
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert names(tmp_path) == ["f"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="parts are locked by flock")
def test_what_a_killed_process_left_is_taken_up(tmp_path: Path, serve: Serve) -> None:
    mirror = serve({"f": CONTENT}, piece=8000, waits=0.02)
    command = [sys.executable, "-c", FIRST_RUN, str(tmp_path), mirror.url]
    with subprocess.Popen(command) as run:
        while not any(path.stat().st_size > 8000 for path in tmp_path.glob("f.*.part")):
            assert run.poll() is None
            time.sleep(0.005)
        run.kill()
    (left,) = (path.stat().st_size for path in tmp_path.glob("f.*.part"))
    (tmp_path / "f.older.part").write_bytes(CONTENT[:10])
    mirror.requests.clear()
    fetch(tmp_path, mirror)
    assert mirror.gets() == [("f", f"bytes={left}-")]
    assert names(tmp_path) == ["f"]


def test_names_that_are_no_files_are_not_read(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "elsewhere").write_bytes(b"keep")
    (tmp_path / "f.link.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "f.folder.part").mkdir()
    os.mkfifo(tmp_path / "f.pipe.part")
    os.mkfifo(tmp_path / "f")
    fetch(tmp_path, serve({"f": CONTENT}))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "elsewhere").read_bytes() == b"keep"


def test_no_network_is_told_from_a_mirror_that_fails(tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(UnreachableError):
        fetch(tmp_path, Mirror({}, url="http://127.0.0.1:9/"))
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, serve({}))
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    ("error", "silent"),
    [
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), True),
        (urllib.error.URLError(OSError("Tunnel connection failed: 403 Forbidden")), True),
        (TimeoutError("timed out"), True),
        (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate")), False),
        (http.client.BadStatusLine("\x15\x03"), False),
    ],
)
def test_somebody_else_in_place_of_all_mirrors_is_more_than_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, silent: bool
) -> None:
    def answer(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with pytest.raises(DownloadError, match="no mirror can be reached") as caught:
        fetch(tmp_path, Mirror({}, url="http://a/"), Mirror({}, url="http://b/"))
    assert isinstance(caught.value, UnreachableError) == silent


@pytest.mark.skipif(os.name == "nt", reason="parts are locked by flock")
def test_a_part_that_cannot_be_removed_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f.x.part").write_bytes(b"x")

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    remove_abandoned(tmp_path / "f")
    assert names(tmp_path) == ["f.x.part"]
