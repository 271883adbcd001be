"""The process that writes the database for the daemon, which starts it and holds the other end of its channel.

    python -P -m wfd.store.apart --fd N --setting JSON [--daemon VERSION]

It ends with the daemon: at the end of the channel, and where the system can do that, at once and in whatever it does.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import signal
import socket
import sqlite3
import sys

import msgspec

import wfctl
from wfd.store.database import Database, Setting
from wfd.store.places import Frames, frame

_PR_SET_PDEATHSIG = 1
_CONFIG_SINGLETHREAD = 1
_CONFIG_MEMSTATUS = 9
# It holds nothing that refers to itself; what a commit makes is gone with the commit.
_GC_THRESHOLD = 100_000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="wfd.store.apart", description="Writes the database for wfd, which starts it."
    )
    parser.add_argument("--fd", type=int, required=True, help="the inherited end of the channel's socketpair")
    parser.add_argument("--setting", required=True, help="which file, and how it is written")
    parser.add_argument("--daemon", metavar="VERSION", help="the version of the daemon that starts it")
    options = parser.parse_args(argv)
    if options.daemon not in (None, wfctl.__version__):
        # A newer one would bring the schema to what the daemon does not know.
        parser.exit(
            2,
            f"wfctl {wfctl.__version__} is installed here, and the daemon is {options.daemon}: wfctl down && wfctl up\n",
        )
    try:
        channel = socket.socket(fileno=options.fd)
        setting = msgspec.json.decode(options.setting, type=Setting)
    except (OSError, msgspec.MsgspecError) as error:
        parser.error(f"{error}; this is started by the daemon, not by hand")
    # They are meant for the daemon, which stops what it has started in its order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _end_with_parent()
    use_alone()
    channel.setblocking(True)
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    _serve(channel, Database(setting))
    return 0


def use_alone() -> None:
    """Spare what a process of one thread has no use for. To be called before a connection is opened."""
    # Python looks for methods that adapt whatever is no number or text: at each None, if nothing is found here. This gives None
    # for None, and costs less than a function of our own.
    sqlite3.register_adapter(type(None), dict[None, None]().get)
    if sys.platform != "linux":
        return
    import ctypes

    # SQLite's locks, and its count of the memory it has, which is kept under one. A Python that has SQLite inside names no file of
    # it, or not these functions. What came along with Python (a tracer, say) may use SQLite here too, from a thread even.
    with contextlib.suppress(OSError, AttributeError, ImportError):
        library = ctypes.CDLL(sys.modules["_sqlite3"].__file__)
        configure = library.sqlite3_config
        if library.sqlite3_memory_used() or len(sys._current_frames()) > 1:
            return
        library.sqlite3_shutdown()
        configure(_CONFIG_SINGLETHREAD)
        configure(_CONFIG_MEMSTATUS, 0)
        library.sqlite3_initialize()


def _serve(channel: socket.socket, database: Database) -> None:
    frames = Frames(channel)
    # A broken channel is the end of the daemon, as its end is.
    with contextlib.suppress(ConnectionError):
        while requests := frames.take():
            reply = database.obey(*requests)
            channel.sendall(frame(reply) * len(requests))


def _end_with_parent() -> None:
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
