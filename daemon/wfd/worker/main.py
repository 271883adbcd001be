"""A worker process, from its start to its exit.

    python -P -m wfd.worker --fd N [--beside M] [--channel KIND]

`N` is the inherited end of a socketpair, and `M` of another one: there a thread is asked for steps that have not begun, which
it gives back though the loop may be blocked. The first message is `Load`; the modules are imported before there is an event
loop, as in a script. `Stop` lets the running steps finish, then the exit status is 0. When the daemon is gone the process
ends at once: a new daemon runs the steps again, and nothing of theirs should happen twice for long.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import wfctl
from wfctl.errors import IncompatibleError
from wfctl.protocol.channel import GiveBack, Importing, Load, StepGone, ToWorker, Trial, to_worker_frames
from wfctl.protocol.frames import CHANNEL, OTHER_DAEMON, FrameBuffer, pack
from wfd.worker import branches
from wfd.worker.execute import HIDDEN, Executor
from wfd.worker.fence import Fence
from wfd.worker.link import Link
from wfd.worker.load import run_load
from wfd.worker.rehearse import Rehearser
from wfd.worker.trialloop import TrialLoop

GC_THRESHOLDS = (20_000, 20, 20)
_READ_BYTES = 1 << 16
# How long handlers get for their `finally` once the daemon is gone, and how long a blocked loop gets to notice.
LAST_WORDS_S = 0.05
BLOCKED_S = 1.0
# How long threads may go on when all steps are done and the process is to end, and what is registered to be done at exit may take.
LAST_THREADS_S = 1.0


def main(argv: list[str] | None = None) -> NoReturn:
    parser = argparse.ArgumentParser(prog="wfd.worker", description="Runs handlers for wfd, which starts it.")
    parser.add_argument("--fd", type=int, required=True, help="the inherited end of the channel's socketpair")
    parser.add_argument("--beside", type=int, help="the inherited end of a second one")
    parser.add_argument("--channel", type=int, default=CHANNEL, help="of which kind that is")
    options = parser.parse_args(argv)
    if options.channel != CHANNEL:
        parser.exit(2, f"wfctl {wfctl.__version__} is installed here, and {OTHER_DAEMON}\n")
    try:
        channel = socket.socket(fileno=options.fd)
        beside = None if options.beside is None else socket.socket(fileno=options.beside)
    except OSError as error:
        parser.error(f"--fd {options.fd}: {error.strerror}; a worker is started by the daemon, not by hand")
    fence = Fence()
    _settle_in(channel, beside, fence)
    status = _work(channel, fence)
    # Threads that the user's code has started hold the process no longer than this.
    threading.Thread(target=_end, args=(status,), name="wfctl-end", daemon=True).start()
    sys.exit(status)


def _settle_in(channel: socket.socket, beside: socket.socket | None, fence: Fence) -> None:
    # A program that a handler starts must not hold the channel open after this process.
    for one in filter(None, (channel, beside)):
        one.set_inheritable(False)
    channel.setblocking(True)
    # Ctrl-C in the terminal is meant for the daemon, which drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What handlers print goes the way of their stderr, into the daemon's log; line by line.
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    # Cached bytecode is recognised by whole seconds and size, so a quick edit would run the code of before.
    sys.dont_write_bytecode = True
    threading.Thread(target=_watch, args=(channel.fileno(), beside, fence), name="wfctl-watch", daemon=True).start()


def _watch(fd: int, beside: socket.socket | None, fence: Fence) -> None:
    """End the process when the daemon is gone even if an import or a handler blocks the loop's thread; till then, give back
    what has not begun."""
    poller = select.poll()
    poller.register(fd, getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    if beside is not None:
        poller.register(beside, select.POLLIN)
    asked = to_worker_frames()
    while True:
        for ready, events in poller.poll():
            if ready == fd:
                if events & ~select.POLLIN:
                    threading.Event().wait(BLOCKED_S)
                    _leave(0)
            elif beside is not None and not _gives_back(beside, asked, fence):
                poller.unregister(beside)


def _gives_back(beside: socket.socket, asked: FrameBuffer, fence: Fence) -> bool:
    """Answer what is asked there; False where nobody asks any more."""
    try:
        data = beside.recv(_READ_BYTES)
        gone = [
            StepGone(token)
            for message in asked.feed(data)
            if isinstance(message, GiveBack)
            for number, token in message.steps
            if fence.give_back(number)
        ]
        if gone:
            beside.sendall(pack(*gone))
    except (OSError, IncompatibleError):
        return False
    return bool(data)


def _end(status: int) -> None:
    threading.Event().wait(LAST_THREADS_S)
    _leave(status)


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    # Not sys.exit: a handler's thread that is still going would hold the process. Only `Stop` ends it the gentle way.
    os._exit(status)


def _work(channel: socket.socket, fence: Fence) -> int:
    frames = to_worker_frames()
    # A worker may be started long before it is told what to load: what costs time and needs nothing of that comes first.
    _loop_factory()
    first = _first_messages(channel, frames)
    if not first:
        return 0
    load, *rest = first
    if not isinstance(load, Load):
        print(f"wfd.worker: the first message is {type(load).__name__}, not Load", file=sys.stderr)
        return 6
    modules, sources, answer = run_load(load, HIDDEN, partial(_say, channel))
    # Only now, so that a module's own basicConfig counts.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        channel.sendall(pack(answer))
    except OSError:
        return 0
    # What is imported stays. Looking through the young ones at each 700 would cost a tenth of what short steps take.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    loop = TrialLoop() if isinstance(load, Trial) else _loop_factory()()
    asyncio.set_event_loop(loop)
    worker = _Worker(channel, rest, frames, loop)
    if isinstance(loop, TrialLoop):
        return worker.run(Rehearser(modules.workflows, sources, worker.send, loop))
    return worker.run(Executor(modules.workflows, sources, worker.send, loop, fence=fence))


def _say(channel: socket.socket, importing: Importing) -> None:
    # The daemon is gone, or will not hear: what is loaded then makes no difference, and `_watch` ends the process.
    with contextlib.suppress(OSError, UnicodeEncodeError):
        channel.sendall(pack(importing))


def _first_messages(channel: socket.socket, frames: FrameBuffer) -> list[Any]:
    messages: list[Any] = []
    while not messages:
        try:
            data = channel.recv(_READ_BYTES)
            messages = frames.feed(data)
        except (OSError, IncompatibleError) as error:
            print(f"wfd.worker: {error}", file=sys.stderr)
            return []
        if not data:
            return []
    return messages


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # the project's interpreter may not have it
        return asyncio.new_event_loop
    return uvloop.new_event_loop


class _Worker:
    """The running part: the loop, the channel's end on it, and the exit status."""

    def __init__(
        self, channel: socket.socket, early: list[ToWorker], frames: FrameBuffer, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._channel = channel
        self._early = early
        self._loop = loop
        self._link = Link(self._lost, frames, loop)
        self._executor: Executor | None = None
        self.send = self._link.send

    def run(self, executor: Executor) -> int:
        self._executor = executor
        branches.follow(self._loop)
        serving = self._loop.create_task(self._serve())
        while not serving.done():
            try:
                self._loop.run_until_complete(serving)
            except (SystemExit, KeyboardInterrupt):
                # A task that a handler created ended so; asyncio lets that out of the loop, but it is the handler's failure.
                if serving.done():
                    raise
        executor.close()
        return serving.result()

    async def _serve(self) -> int:
        assert self._executor is not None
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._executor.on_stopped = self._stopped
        link = self._link
        link.receive = self._executor.receive
        await self._loop.create_unix_connection(lambda: link, sock=self._channel)
        link.receive(*self._early)
        status = await self._ended
        await link.finish()
        return status

    def _stopped(self) -> None:
        if not self._ended.done():
            self._ended.set_result(0)

    def _lost(self) -> None:
        assert self._executor is not None
        self._executor.cancel_all()
        self._loop.call_later(LAST_WORDS_S, _leave, 0)
