"""One worker process, seen from the daemon: its life, its last words, and the steps it has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import IO, Any

import wfctl
from wfctl.errors import reason
from wfctl.protocol.channel import GiveBack, Importing, Load, Pong, ToWorker
from wfctl.protocol.frames import CHANNEL, OTHER_DAEMON
from wfd.config import Config
from wfd.runtime.environment import of_workers
from wfd.runtime.exits import describe_exit
from wfd.runtime.interpreter import ASK_VERSION, REMEDY, knows_no_safe_path, too_old
from wfd.supervisor.contract import WorkerInfo
from wfd.supervisor.link import CROWD_BYTES, Link

log = logging.getLogger("wfd.worker")
LAST_WORDS = 12
# How long what it printed at the very end may take to get here. A program that a handler started may hold the pipe open for
# as long as it likes, and goes on being read.
LAST_WORDS_S = 0.5
_LONGEST_LINE = 1 << 16


class Worker:
    """A process of generation `generation`. `steps` are the tokens it has; `leaving` takes no more of them. `source` is the hash
    of what it has loaded. It is of no generation, and idles, until it is told what to `load`. `importing` is whose code it runs to
    do so, if it has said that, and `importing_since` when it began with that module (epoch ms); it is killed
    where that has not ended after `endless_ms`.

    `received(worker, messages)` gets what it says, `ended(worker, why)` is called once, when the process is reaped.
    """

    def __init__(
        self,
        config: Config,
        received: Callable[[Worker, list[Any]], None],
        ended: Callable[[Worker, str], None],
    ) -> None:
        self.generation = 0
        self.source = ""
        self.steps: set[int] = set()
        self.handed = 0
        self.ready = False
        self.leaving = False
        self.pid = 0
        self.started_at = 0
        self.importing: Importing | None = None
        self.importing_since = self.endless_ms = 0
        self.config = config
        # To nobody, as long as it has not started.
        self.send: Callable[[ToWorker], None] = lambda _: None
        # Nearly never, so that one need not look at what it has not read.
        self.crowded = False
        self._received = received
        self._ended = ended
        self._link: Link | None = None
        # Where it is asked for what it has not begun, though it may be blocked.
        self._beside: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._words: deque[str] = deque(maxlen=LAST_WORDS)
        self._reaper: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self.killed_for = ""
        # Why its interpreter cannot run any worker, where it is known.
        self.unfit = ""
        self.heard = True
        # When the ping was sent that it has not answered, and since when it is known to be blocked (epoch ms).
        self.pinged_at: int | None = None
        self.blocked_at: int | None = None
        # What it said last of those that wait for a thread, and since when they have waited for long (epoch ms).
        self.pong = Pong(0)
        self.held_at: int | None = None

    @property
    def _python(self) -> str:
        return str(self.config.python or sys.executable)

    async def start(self) -> None:
        """Start the process; OSError where the interpreter cannot be run."""
        pairs = (ours, theirs), (beside, theirs_beside) = socket.socketpair(), socket.socketpair()
        # A pipe of our own: asyncio's keeps `wait` from returning for as long as anybody holds it.
        reading, writing = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._python, "-P", "-m", "wfd.worker",
                "--fd", str(theirs.fileno()), "--beside", str(theirs_beside.fileno()),
                "--channel", str(CHANNEL),
                stdin=asyncio.subprocess.DEVNULL, stdout=writing, stderr=asyncio.subprocess.STDOUT,
                pass_fds=(theirs.fileno(), theirs_beside.fileno()), cwd=self.config.project, env=of_workers(),
            )  # fmt: skip
        except BaseException:
            for one, _ in pairs:
                one.close()
            os.close(reading)
            raise
        finally:
            for _, one in pairs:
                one.close()
            os.close(writing)
        self.pid = self._process.pid
        loop = asyncio.get_running_loop()
        # At once: whoever gives up waiting for the rest of this still wants to know when the process is gone.
        self._reaper = loop.create_task(self._reap(self._process, os.fdopen(reading, "rb", 0)))
        try:
            self._beside = await self._connect(beside, lambda _: None, lambda _: None)
        except BaseException:
            ours.close()
            raise
        self._link = await self._connect(ours, self._hung_up, self._crowd)
        self.send = self._link.send

    async def _connect(
        self, ours: socket.socket, lost: Callable[[Exception | None], None], crowded: Callable[[bool], None]
    ) -> Link:
        ours.setblocking(False)
        _, link = await asyncio.get_running_loop().create_unix_connection(
            lambda: Link(partial(self._received, self), lost, crowded), sock=ours
        )
        return link

    def _crowd(self, crowded: bool) -> None:
        self.crowded = crowded

    def load(self, load: Load) -> None:
        """What it is for, once it has started."""
        self.generation = load.generation
        self.send(load)

    def imports(self, importing: Importing, now: int) -> None:
        if self.importing is None or self.importing.module != importing.module:
            self.importing_since = now
        self.importing = importing

    def give_back(self, steps: list[tuple[int, int]]) -> None:
        """Ask for those of these that it has not begun, by number and token; it may be blocked."""
        if self._beside is not None and not self._beside.unsent_bytes:
            self._beside.send(GiveBack(steps=steps))

    def hear(self, on: bool) -> None:
        """Read what it says, or leave it unread; then nobody can tell whether it is blocked."""
        self.heard, self.pinged_at = on, None
        if self._link is not None:
            self._link.hear(on)

    @property
    def full(self) -> bool:
        """It does not read what it is told."""
        return self._link is not None and self._link.unsent_bytes > CROWD_BYTES

    def info(self, now: int, generation: int, handlers: tuple[str, ...]) -> WorkerInfo:
        blocked_ms = 0 if self.blocked_at is None else max(now - self.blocked_at, 1)
        held = self.pong if self.held_at is not None else Pong(0)
        return WorkerInfo(
            self.pid, generation, len(self.steps), self.started_at, blocked_ms, handlers,
            held.held, held.held_tasks, held.held_ms,
        )  # fmt: skip

    def kill(self, why: str) -> None:
        """SIGKILL. `why` becomes the reason that its steps were lost for."""
        self.killed_for = self.killed_for or why
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            # Not the process's own send_signal: that looks first whether it has ended, and if so keeps how from `_reap`.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _hung_up(self, error: Exception | None) -> None:
        # A worker without its channel is of no use, and could still be running handlers nobody hears.
        if error is not None and not self.leaving:
            log.error("worker %d: %s", self.pid, reason(error))
        # No reason is given for it: how the process ended by itself, if it did, is what the log and the run should say.
        self._signal(signal.SIGKILL)

    async def _reap(self, process: asyncio.subprocess.Process, output: IO[bytes]) -> None:
        self._listener = asyncio.get_running_loop().create_task(self._listen(output))
        code = await process.wait()
        await asyncio.wait({self._listener}, timeout=LAST_WORDS_S)
        for link in filter(None, (self._link, self._beside)):
            link.close()
        if not self.killed_for and knows_no_safe_path(self._words):
            self.unfit = await self._too_old()
        self._ended(self, self.killed_for or describe_exit(code))

    async def _too_old(self) -> str:
        try:
            asked = await asyncio.create_subprocess_exec(
                self._python, *ASK_VERSION, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            return ""
        said, _ = await asked.communicate()
        return too_old(self._python, said.decode("utf-8", "replace"))

    async def _listen(self, output: IO[bytes]) -> None:
        printed = asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(printed), output
        )
        try:
            while True:
                try:
                    line = await printed.readline()
                except ValueError:  # a line over the stream's limit: its head is lost, the rest is read on
                    continue
                if not line:
                    return
                text = line.decode("utf-8", "replace").rstrip()
                self._words.append(text)
                log.info("[%d] %s", self.pid, text)
        finally:
            transport.close()

    @property
    def last_words(self) -> list[str]:
        """The last lines it printed."""
        return list(self._words)

    def unloaded(self, why: str) -> str:
        """What is wrong with one that ended before it had loaded anything, as `why` tells."""
        last = f" ({self._words[-1]})" if self._words and not self.killed_for else ""
        return self.unfit or f"the worker ended before it had loaded anything: {why}{last}"

    @property
    def remedy(self) -> str:
        """What to do about one that ended before it had loaded anything."""
        if self.unfit:
            return REMEDY
        if any(line.endswith(OTHER_DAEMON) for line in self._words):
            return f"wfctl down && wfctl up, or {self._python} -m pip install wfctl=={wfctl.__version__}"
        if any("No module named" in line and ("wfd" in line or "wfctl" in line) for line in self._words):
            return "install wfctl for the interpreter that [workflows] python names: pip install wfctl"
        return "wfctl logs"

    async def gone(self) -> None:
        """Returns when the process has been reaped."""
        if self._reaper is not None:
            await asyncio.shield(self._reaper)
