"""Who reads what a command prints that goes on: `wfctl tail -f | head -1` ends when `head` does, not when the next line comes."""

from __future__ import annotations

import os
import select
import stat
import threading

from wfctl.cli import exit
from wfctl.cli.screen import Screen


def end_with_reader(screen: Screen) -> None:
    """From here on end this process, without a word, as soon as nobody can read any more what `screen` writes into a pipe."""
    try:
        fd = screen.stream.fileno()
        mode = os.fstat(fd).st_mode
    except OSError:
        return  # not of a process of its own
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        threading.Thread(target=_end, args=(fd,), daemon=True).start()


def _end(fd: int) -> None:
    gone = select.poll()
    gone.register(fd, 0)  # nothing but what is always told: that the other end is closed
    gone.poll()
    # As the signal would that other programs get for it; what waits to be written is for nobody, and the daemon needs no farewell.
    os._exit(exit.OK)
