"""`tinygrad-cupy train` as one of several ranks: the first writes and shows, the others compute."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import backend
from ..backend.ranks import may_be_several, ranks
from ..nn import Checkpoints, together
from . import experiment, run_folder
from .errors import CommandError
from .progress import CtrlC
from .run_record import Record

if TYPE_CHECKING:
    from .experiment import Data
    from .settings import RunSettings, TrainSettings

T = TypeVar("T")


def begin(device: str) -> bool:
    """Find the other ranks, if a launcher started some; whether this is the first of all.

    device: what was asked for, "auto", "cpu" or a GPU, of which each rank takes its own
    """
    if not may_be_several():
        return True
    from .. import distributed

    try:
        distributed.init("cpu" if device == "cpu" else None)
    except distributed.LaunchError as error:
        raise CommandError(str(error).removeprefix("[distributed] ")) from error
    return distributed.rank() == 0


def refuse(command: str) -> None:
    """Raise CommandError where a launcher started several of a command that is for one process."""
    if may_be_several():
        raise CommandError(f"{command} is for one process: train runs on several")


def device_of(asked: TrainSettings) -> str:
    """The device of a run; of several ranks each has its own."""
    return backend.default_device() if together.several() else asked.resolve_device()


def after_the_first(read: Callable[[], T]) -> T:
    """Read data: the first rank does so before the others, so that it is fetched once."""
    if not together.several():
        return read()
    if together.is_first():
        found = read()
        ranks.world.exchange("data read", None)
        return found
    ranks.world.exchange("data read", None)
    return read()


def check_alike(settings: RunSettings, data: Data) -> None:
    """Raise MismatchError where ranks would train other things."""
    if together.several():
        facts: dict[str, Any] = {
            name: repr(value) for name, value in sorted(vars(settings).items()) if name != "device"
        }
        facts |= {"the data set": data.name, "its counts": list(data.counts.values())}
        ranks.world.check_alike("settings", facts)


def follow(asked: TrainSettings, resume: bool, given: Collection[str]) -> None:
    """The run of a rank that is not the first, which does and writes what a run leaves."""
    live = Path(ranks.world.exchange("run folder", None)[0])
    record = Record.read(live) if resume else None
    if record is not None:
        asked = record.merged(asked, given)
    data = after_the_first(lambda: experiment.load_data(asked, lambda done, total: None))
    settings = asked.resolve(data.train, device_of(asked))
    check_alike(settings, data)
    with CtrlC(silent=True) as ctrl_c:
        checkpoints = Checkpoints(live / run_folder.CHECKPOINTS)  # the first writes them
        experiment.execute(settings, data, [ctrl_c], checkpoints=checkpoints)
