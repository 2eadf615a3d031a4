"""Ctrl-C, SIGTERM and SIGHUP: they end the command without a traceback and without leftovers."""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

WORDS = {
    int(getattr(signal, name)): word
    for name, word in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if hasattr(signal, name)  # Windows has no SIGHUP
}
BOUNCE = 1.0  # seconds in which a signal repeated is the same one: what it started is ending


class Stopped(KeyboardInterrupt):
    """Raised wherever the program is; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stop:
    """``with Stop() as stop``: a signal raises `Stopped`, and `asked` is its number (else 0).

    patient: the first signal is only noted, the next one raises.

    While `busy` is set every signal is only noted. SIGHUP and SIGTERM that the parent process had
    ignored (nohup) stay so. In threads other than the main one nothing happens: Python gives
    signals to that one alone.
    """

    def __init__(self, patient: bool = False) -> None:
        self.patient = patient
        self.busy = False
        self.asked = 0
        self._raised_at = -BOUNCE
        self._before: dict[int, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
            for number in WORDS:
                before = signal.getsignal(number)
                if number == signal.SIGINT or before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._before:
            sys.unraisablehook = self._hook

    def ignore_at_exit(self, now: bool) -> None:
        """Nothing is left to stop while the interpreter ends; `now`: nor from here to there."""
        if not self._before:  # not the main thread
            return
        atexit.unregister(_ignore)
        atexit.register(_ignore)
        if now:
            self._before = dict.fromkeys(self._before, signal.SIG_IGN)
            _ignore()

    def noted(self) -> None:
        """Called when the first signal is only noted, wherever the program is."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = not self.asked, self.asked or number
        now = time.monotonic()
        if self.busy or now - self._raised_at < BOUNCE:
            return
        if self.patient and first:
            self.noted()
            return
        self._raised_at = now
        raise Stopped(number)

    def _unraisable(self, problem: Any) -> None:
        """Python drops what is raised in a destructor or a callback of its own: do it again."""
        if not issubclass(problem.exc_type, Stopped):
            self._hook(problem)
            return
        self._raised_at = -BOUNCE
        again = threading.Timer(0.05, _raise_in_main_thread, [self.asked])
        again.daemon = True
        again.start()


def _raise_in_main_thread(number: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # wakes it up as well
    else:
        signal.raise_signal(number)


def _ignore() -> None:
    for number in WORDS:
        signal.signal(number, signal.SIG_IGN)
