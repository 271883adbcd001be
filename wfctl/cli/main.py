"""The entry point of `wfctl`: signals in, exit code out. What lies between is `wfctl.cli.app`."""

from __future__ import annotations

import gc
import os
import signal
import sys

TYPE_CHECKING = False  # as typing's, which completion does without
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

STARTUP_OBJECTS = 100_000


class Terminated(BaseException):
    """SIGTERM, or the terminal is gone. An exception, so that what holds the terminal or a socket lets go of it."""


def main() -> NoReturn:
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_missing()
    # Starting makes many objects and no garbage: looking for some while at it takes a tenth of the whole time.
    gc.set_threshold(STARTUP_OBJECTS)
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _terminated)
    try:
        # Whoever started this may have kept a Ctrl-C back until it is understood here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if sys.argv[1:2] == ["__complete"]:
            from wfctl.cli.complete import run as execute
        else:
            from wfctl.cli.app import execute

        code = execute(sys.argv[1:])
    except (KeyboardInterrupt, Terminated) as cut:
        from wfctl.cli import exit

        code = exit.TERMINATED if isinstance(cut, Terminated) else exit.INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass  # nobody reads it any more
    # All is written. To take the interpreter apart in order would cost as much as many a command does.
    os._exit(code)


def _open_missing() -> None:
    """Where the caller has closed a standard stream (`>&-`) it is the null device: no socket of ours takes its number, and nobody
    who writes to it has to ask first."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    main()
