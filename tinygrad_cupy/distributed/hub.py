"""The hub: a thread of rank 0 to which every rank keeps a line, beside MPI and NCCL.

It carries what is small and rare (who is there, whether all are alike, the key of a NCCL
communicator, figures of an epoch), and it notices what the others would wait for in vain: a rank
whose line breaks has died, one that says nothing is stopped, one that stays behind hangs. Then all
end, and one of them says why.

A message is its length (8 bytes), a letter and a body:

    H  hello: token and rank         from a rank, first
    B  beat: how many collectives it has begun, and which is the last
    X  a part of an exchange; comes back with the parts of all ranks
    F  failed: why
    D  done: the rank's program has ended well
    P  (to a rank) the hub lives
    E  (to a rank) end: why
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from . import wire

HEAD = struct.Struct("!Qc")
BEAT = 0.25  # seconds between two
FAREWELL = 2.0  # seconds that a rank which is done may be missed before that is an error


class Line:
    """A socket that carries messages; sending is for any thread, receiving for one."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lock = threading.Lock()

    def send(self, kind: bytes, body: bytes = b"") -> None:
        with self._lock:
            self.socket.sendall(HEAD.pack(len(body), kind) + body)

    def receive(self) -> tuple[bytes, bytes]:
        """Kind and body; ConnectionError where the other end is gone."""
        size, kind = HEAD.unpack(self._exactly(HEAD.size))
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            part = self.socket.recv(min(size - len(found), 1 << 20))
            if not part:
                raise ConnectionError("the line was closed")
            found += part
        return bytes(found)

    def close(self) -> None:
        self.socket.close()


class Rank:
    """What the hub knows of a rank."""

    def __init__(self, line: Line, said: dict[str, Any]) -> None:
        now = time.monotonic()
        self.line, self.said = line, said  # "rank", "pid", "host"
        self.heard = self.moved = now
        self.begun, self.last = 0, ""
        self.behind_since: float | None = None
        self.done, self.why = False, ""
        self.parts: dict[int, tuple[str, bytes]] = {}
        self.buffer = bytearray()

    @property
    def name(self) -> str:
        return f"rank {self.said['rank']} (process {self.said['pid']} on {self.said['host']})"


class Server:
    """The hub itself. `failed(text)` is called, in its thread, for the first thing that goes wrong;
    every rank is told before.
    """

    def __init__(
        self, size: int, token: str, timeout: float, silence: float, failed: Callable[[str], None]
    ) -> None:
        self.size, self.token, self.timeout, self.silence = size, token, timeout, silence
        self.failed = failed
        self.ranks: dict[int, Rank] = {}
        self.ended = False
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def listen(self, port: int = 0) -> int:
        """The port."""
        self.socket.bind(("", port))
        self.socket.listen(min(self.size + 8, 4096))
        self.thread = threading.Thread(target=self._run, name="distributed hub", daemon=True)
        self.thread.start()
        return int(self.socket.getsockname()[1])

    def all_done(self) -> bool:
        """Whether every rank has ended well."""
        return len(self.ranks) == self.size and all(one.done for one in self.ranks.values())

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.socket, selectors.EVENT_READ)
        looked = 0.0
        while not self.ended:
            for key, _ in self.selector.select(BEAT):
                if key.fileobj is self.socket:
                    self._welcome()
                elif key.data is not None:
                    self._read(key.data)
            if not self.ended and time.monotonic() - looked >= BEAT:
                looked = time.monotonic()
                self._look(looked)

    def _welcome(self) -> None:
        sock, _ = self.socket.accept()
        sock.settimeout(5.0)
        line = Line(sock)
        try:
            kind, body = line.receive()
            said = wire.unpack(body)
            if kind != b"H" or said["token"] != self.token:
                raise ValueError("a stranger")
        except (OSError, ValueError, KeyError, TypeError):
            line.close()
            return
        sock.settimeout(None)
        rank = Rank(line, said)
        self.ranks[int(said["rank"])] = rank
        self.selector.register(sock, selectors.EVENT_READ, rank)

    def _read(self, rank: Rank) -> None:
        try:
            part = rank.line.socket.recv(1 << 20)
        except OSError:
            part = b""
        if not part:
            self.selector.unregister(rank.line.socket)
            if not rank.done:
                self._fail(
                    f"{rank.name} died without a word: it was killed (out of memory?) or crashed"
                )
            return
        rank.buffer += part
        while len(rank.buffer) >= HEAD.size:
            size, kind = HEAD.unpack_from(rank.buffer)
            if len(rank.buffer) < HEAD.size + size:
                break
            body = bytes(rank.buffer[HEAD.size : HEAD.size + size])
            del rank.buffer[: HEAD.size + size]
            self._take(rank, kind, body)

    def _take(self, rank: Rank, kind: bytes, body: bytes) -> None:
        rank.heard = time.monotonic()
        if kind == b"B":
            begun, last = wire.unpack(body)
            if begun != rank.begun:
                rank.begun, rank.last, rank.moved = begun, last, rank.heard
        elif kind == b"X":
            number, label, part = wire.unpack(body)
            rank.parts[number] = label, part
            self._exchange(number)
        elif kind == b"F":
            self._fail(f"{rank.name} failed: {body.decode(errors='replace')}")
        elif kind == b"D":
            rank.done, rank.why = True, body.decode(errors="replace")

    def _exchange(self, number: int) -> None:
        found = [rank for rank in self.ranks.values() if number in rank.parts]
        labels = {rank.parts[number][0] for rank in found}
        if len(labels) > 1:
            self._fail(differing({rank.name: rank.parts[number][0] for rank in found}))
        elif len(found) == self.size:
            parts = [self.ranks[r].parts.pop(number)[1] for r in range(self.size)]
            body = wire.pack([number, parts])
            for rank in found:
                self._send(rank, b"X", body)

    def _look(self, now: float) -> None:
        most = max((rank.begun for rank in self.ranks.values()), default=0)
        ahead = [rank for rank in self.ranks.values() if rank.begun == most]
        for rank in list(self.ranks.values()):
            if rank.done:
                if rank.begun < most and now - rank.heard > FAREWELL:
                    why = f" ({rank.why})" if rank.why else ""
                    self._fail(
                        f"{rank.name} has ended its program{why}, and {ahead[0].name} waits for it "
                        f"in collective {most}, {ahead[0].last}"
                    )
                continue
            if now - rank.heard > self.silence:
                self._fail(
                    f"{rank.name} has given no sign of life for {now - rank.heard:.0f} seconds: it "
                    "is stopped, or its machine is gone"
                )
                return
            if rank.begun == most:
                rank.behind_since = None
            elif rank.behind_since is None or rank.moved > rank.behind_since:
                rank.behind_since = now
            elif now - rank.behind_since > self.timeout:
                self._fail(
                    f"{rank.name} hangs: for {now - rank.behind_since:.0f} seconds it has not come "
                    f"to collective {most}, {ahead[0].last}, in which {ahead[0].name} waits"
                )
                return
            self._send(rank, b"P")
        if len(ahead) > 1 and all(now - rank.moved > 2 for rank in ahead):
            said = {rank.name: rank.last for rank in ahead}
            if len(set(said.values())) > 1:
                self._fail(differing(said))

    def _fail(self, text: str) -> None:
        if self.ended:
            return
        self.ended = True
        for rank in self.ranks.values():
            self._send(rank, b"E", text.encode())
        self.failed(text)

    def _send(self, rank: Rank, kind: bytes, body: bytes = b"") -> None:
        with contextlib.suppress(OSError):  # its end is noticed where its line is read
            rank.line.send(kind, body)


def differing(said: dict[str, str]) -> str:
    """What an error says of ranks that do different things at one place."""
    groups: dict[str, list[str]] = {}
    for name, what in said.items():
        groups.setdefault(what, []).append(name)
    parts = [f"{', '.join(names)}: {what}" for what, names in groups.items()]
    return "the ranks do different things at the same place: " + "; ".join(parts)


class Client:
    """A rank's line to the hub. `ended(text)` is called, in a thread, when the hub says so or is
    gone; text is None in the latter case.
    """

    def __init__(
        self,
        address: tuple[str, int],
        hello: dict[str, Any],
        silence: float,
        ended: Callable[[str | None], None],
        patience: float,
    ) -> None:
        self.silence, self.ended = silence, ended
        self.begun, self.last = 0, ""
        self.heard = time.monotonic()
        self.closed = False
        self.why = ""  # it leaves, where that is no good end
        self._exchanges = 0
        self._results: dict[int, list[bytes]] = {}
        self._arrived = threading.Condition()
        self.line = Line(_connected(address, patience))
        self.line.send(b"H", wire.pack(hello))
        for target in (self._listen, self._beat):
            threading.Thread(target=target, name="distributed line", daemon=True).start()

    def begin(self, what: str) -> None:
        """Note that this rank begins a collective."""
        self.begun += 1
        self.last = what

    def exchange(self, what: str, value: Any) -> list[Any]:
        """What each rank gave, in their order."""
        self.begin(what)
        self._exchanges += 1
        number = self._exchanges
        self.line.send(b"X", wire.pack([number, what, wire.pack(value)]))
        with self._arrived:
            while number not in self._results:
                self._arrived.wait(1.0)  # so that Ctrl-C comes through
            parts = self._results.pop(number)
        return [wire.unpack(part) for part in parts]

    def close(self) -> None:
        """Say that the program has ended well."""
        self.closed = True
        self.tell(b"B", wire.pack([self.begun, self.last]))
        self.tell(b"D", self.why.encode())

    def tell(self, kind: bytes, body: bytes = b"") -> None:
        """Send, if the hub is there."""
        with contextlib.suppress(OSError):
            self.line.send(kind, body)

    def _listen(self) -> None:
        try:
            while True:
                kind, body = self.line.receive()
                self.heard = time.monotonic()
                if kind == b"X":
                    number, parts = wire.unpack(body)
                    with self._arrived:
                        self._results[number] = parts
                        self._arrived.notify_all()
                elif kind == b"E":
                    self.ended(body.decode())
                    return
        except OSError:
            if not self.closed:
                self.ended(None)

    def _beat(self) -> None:
        while not self.closed:
            self.tell(b"B", wire.pack([self.begun, self.last]))
            time.sleep(BEAT)
            if not self.closed and time.monotonic() - self.heard > self.silence:
                self.ended(None)
                return


def _connected(address: tuple[str, int], patience: float) -> socket.socket:
    """Rank 0 may begin later than others."""
    until = time.monotonic() + patience
    while True:
        try:
            sock = socket.create_connection(address, timeout=patience)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            sock.settimeout(None)
            return sock
