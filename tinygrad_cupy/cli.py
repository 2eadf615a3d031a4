"""The entry point of the command `tinygrad-cupy`: its exit codes, and the one line of an error.

What is imported before `main` begins is, beside the engine, only what answers a signal; options
and help are in tinygrad_cupy.command.options, the work in the modules beside it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import folders
from .backend.ranks import ranks
from .command import signals, terminal
from .command.errors import CommandError, Interrupted
from .printing import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error is one line on stderr.

    0: success; 1: error, or standard output that could not be written; 2: wrong usage; 130, 143,
    129: Ctrl-C, SIGTERM, SIGHUP. With ``--debug`` an error is raised.
    """
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        with terminal.guarded(), signals.Stop() as stop:
            folders.forget_placed()
            try:
                return _finished(_run(words), stop)
            except BaseException as error:
                stop.busy = True
                placed = folders.release_all()
                return _failed(error, stop, placed, "--debug" in words)
            finally:
                stop.busy = True
                stop.ignore_at_exit(now=arguments is None)
    except KeyboardInterrupt:  # before signals were looked after, or when they no longer were
        with suppress(OSError, ValueError):
            return _fail("interrupted: nothing was written", Interrupted.exit_code)
        return Interrupted.exit_code


def _run(words: Sequence[str]) -> int:
    """Parse the words, then do what they ask for outside of the parser, which hides some errors."""
    from .command.options import app

    asked = app(words, prog_name="tinygrad-cupy", standalone_mode=False)
    if callable(asked):
        asked()
        return 0
    if asked == Interrupted.exit_code:  # how the parser reports Ctrl-C
        raise KeyboardInterrupt
    return int(asked or 0)


def _finished(code: int, stop: signals.Stop) -> int:
    problem = terminal.output_problem()
    if stop.asked:  # too late, or where a library caught it
        return _fail(f"{signals.WORDS[stop.asked]}: when all was done", 128 + stop.asked)
    if problem is None:
        return code
    # A reader that has seen enough, such as `head`, need not be told.
    told = "" if terminal.reader_left() else f"error: cannot write to standard output: {problem}"
    return _fail(told, code or 1)


def _failed(error: BaseException, stop: signals.Stop, placed: Sequence[Path], debug: bool) -> int:
    number = getattr(error, "number", 0) or stop.asked
    if isinstance(error, Interrupted) or number or _is_abort(error):
        number = number or int(signal.SIGINT)
        written = f"what was written is in {', '.join(map(str, placed))}"
        text = str(error) if isinstance(error, Interrupted) else ""
        text = text or (written if placed else "nothing was written")
        return _fail(f"{signals.WORDS[number]}: {text}", 128 + number)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if debug or not isinstance(error, Exception):
        raise error
    return _fail(*_described(error))


def _is_abort(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort"  # typer's


def _described(error: Exception) -> tuple[str, int]:
    """The line that a user reads, and the exit code."""
    if isinstance(error, CommandError):
        return f"error: {error}", error.exit_code
    usage: Any = error  # typer's own errors; their base class has moved between its versions
    if hasattr(usage, "format_message"):
        text = usage.format_message()  # empty when help was shown for want of a subcommand
        return text and f"error: {text}", usage.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        return f"error: {os.fsdecode(error.filename)!r}: {error.strerror}", 1
    # The engine's and the datasets' own texts start with the name of the thing in brackets.
    if isinstance(error, OSError) or str(error).startswith("["):
        return f"error: {error}", 1
    return f"error: unexpected {type(error).__name__}: {error} (--debug shows where)", 1


def _fail(text: str, code: int) -> int:
    world = ranks.world
    if world is not None and world.size > 1:
        world.leave(text)
        if world.rank:  # the first says it, or the one that then waits in vain
            return code
    if text and sys.stderr is not None:
        print(printable(text), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
