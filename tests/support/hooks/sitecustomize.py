"""Loaded by Python at the start of the daemon and its workers when a test puts this folder on their PYTHONPATH.

Puts named points (support.crashpoints) around commits, dispatches and answers, and changes constants that are too slow for
a test. The product knows nothing of it.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

SETTINGS = "WFCTL_TEST_SETTINGS"  # module:NAME=integer ...


def _around(owner: type, name: str, point: str) -> None:
    """Points `point.before` and `point.after` around a method."""
    from support.crashpoints import hit

    original: Callable[..., Any] = getattr(owner, name)

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        hit(f"{point}.before")
        outcome = original(self, *args, **kwargs)
        hit(f"{point}.after")
        return outcome

    setattr(owner, name, wrapped)


def _sent(link: type, points: dict[type, str]) -> None:
    """`point.before` when a message is queued at a link, `point.after` when it has left the process."""
    from support.crashpoints import hit

    send: Callable[..., Any] = link.send  # type: ignore[attr-defined]

    def wrapped(self: Any, message: Any) -> None:
        point = points.get(type(message))
        if point is None:
            send(self, message)
            return
        hit(f"{point}.before")
        send(self, message)
        loop = asyncio.get_running_loop()
        # The link writes in the next turn of the loop, uvloop at the end of that turn.
        loop.call_soon(loop.call_soon, loop.call_soon, hit, f"{point}.after")

    link.send = wrapped  # type: ignore[attr-defined]


def _daemon() -> None:
    from support.crashpoints import hit
    from wfctl.protocol.channel import OpDone, RunStep
    from wfctl.protocol.frames import FrameWriter
    from wfd.store.writer import Writer

    _around(Writer, "_commit", "commit")
    tell = Writer._tell_all

    def told(self: Writer, works: Any, error: Any) -> None:
        if any(work.unit for work in works):
            hit("committed.before")
        tell(self, works, error)

    Writer._tell_all = told  # type: ignore[method-assign]
    _sent(FrameWriter, {RunStep: "dispatch", OpDone: "answer"})


def _writer() -> None:
    from wfd.store.database import Database

    _around(Database, "commit", "written")


def _worker() -> None:
    from support.crashpoints import hit
    from wfctl.protocol.channel import Op, StepDone
    from wfd.worker.execute import Executor
    from wfd.worker.link import Link
    from wfd.worker.live import LiveOps

    _around(Executor, "_run", "taken")
    _sent(Link, {Op: "asked", StepDone: "done"})
    answer = LiveOps.answer

    def answered(self: LiveOps, message: Any) -> None:
        hit("answered.before")
        answer(self, message)
        # After the handler has gone on to its next await.
        asyncio.get_running_loop().call_soon(hit, "answered.after")

    LiveOps.answer = answered  # type: ignore[method-assign]


def _settings(packages: tuple[str, ...] = ("",)) -> None:
    for setting in os.environ.get(SETTINGS, "").split():
        where, value = setting.split("=")
        module, name = where.split(":")
        if not module.startswith(packages):
            continue
        found = importlib.import_module(module)
        assert hasattr(found, name), setting
        setattr(found, name, int(value))


_program = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
if _program == "wfd":
    _settings()
    _daemon()
elif _program == "wfd.store.apart":
    _settings()
    _writer()
elif _program == "wfd.worker":
    _settings(("wfd.worker.", "wfctl.sdk."))
    _worker()
