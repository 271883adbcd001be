"""The daemon as a whole: what it is made of, in which order that starts and stops, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import wfctl
from wfctl.errors import DaemonAlreadyRunningError, WfctlError
from wfctl.protocol.views import ProblemView
from wfctl.values.causes import cannot, lost_link
from wfctl.values.project import real_config
from wfctl.values.states import former_state, note_state
from wfd.config import Config
from wfd.engine.backend import Backend
from wfd.engine.code import problem_views
from wfd.engine.engine import Engine
from wfd.engine.retention import Retention
from wfd.reload.reloader import Reloader
from wfd.runtime.clock import SystemClock
from wfd.runtime.files import check_files, most_files
from wfd.runtime.ids import IdSource
from wfd.runtime.lifecycle import Service, Services
from wfd.runtime.lock import StateLock
from wfd.runtime.logs import DaemonLog
from wfd.runtime.ousted import Ousted
from wfd.server import Server
from wfd.server.connections import Connections
from wfd.server.endpoint import answers
from wfd.server.reachable import Reachable
from wfd.store.connect import wal_of
from wfd.store.silence import Silence
from wfd.store.store import Store
from wfd.store.upkeep import Upkeep
from wfd.supervisor import Supervisor, Takeover

log = logging.getLogger("wfd.daemon")

DRAIN_MS = 10_000
# Longer than any disk takes that is not at its end: `wfctl down` waits for 5 s after the steps.
LAST_ANSWERS_S = 1.0
# A daemon that holds the lock but does not answer is starting or stopping; how long the next one waits for it.
LOCK_PATIENCE_S = 5.0
LOCK_POLL_S = 0.02
# New objects before the collector looks for garbage, and how often it looks through the older ones with them. A daemon makes many
# that live for a commit and few that are garbage only the collector can find: at Python's 700 an eighth of all its time went there.
GC_THRESHOLDS = (50_000, 20, 20)
_FOREVER_MS = 100 * 365 * 86_400_000


class Began(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a start went: what is wrong with the project's code, the database where it was made just now, and then the state folder
    of the start before, where that is another one and has a database."""

    problems: list[ProblemView]
    new_database: str | None = None
    former_state: str | None = None


class Daemon:
    """One project's daemon. `start` returns when it accepts, `run` when it has been asked to stop and has stopped."""

    def __init__(self, config: Config, *, stderr: bool) -> None:
        self.config = config
        clock = SystemClock()
        lock = StateLock(config.lock)
        self.log = DaemonLog(config.log, stderr=stderr)
        store = Store(config.database, durability=config.durability, held=lambda: lock.descriptors)
        self._workers = Supervisor(config, clock)
        self._engine = Engine(store, self._workers, clock, IdSource(clock), crash_limit=config.crash_limit)
        self._workers.listen(self._engine)
        self._retention = Retention(self._engine.purges, clock, config.retention)
        self._reloader = Reloader(config, self._workers, self._configured)
        self._backend = Backend(self._engine, config, self.request_stop, self._reloader.begin)
        connections = Connections(self._engine.left)
        self._engine.eased = connections.eased
        server = Server(
            config.socket,
            self._backend,
            lock,
            version=wfctl.__version__,
            schema=store.schema_version,
            project=str(config.project),
            pressure=self._engine.pressure,
            connections=connections,
            files=most_files(),
        )
        # Started from the top, stopped from the bottom: nobody is let in before all is there, what is under way is
        # committed before the store closes, and the lock is the last to go.
        self._state = _State(config, lock, self.log)
        self._services = Services(
            [
                ("state", self._state),
                ("store", _Database(config, self._state, store)),
                ("upkeep", Upkeep(store, clock)),
                ("silence", Silence(store, clock)),
                ("workers", self._workers),
                ("engine", self._engine),
                ("retention", self._retention),
                ("server", server),
                ("reachable", Reachable(server, clock)),
                ("reloader", self._reloader),
                ("ousted", Ousted(lock, clock, lambda: self.request_stop(0))),
            ]
        )
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()

    async def start(self) -> Began:
        """Start everything; the problems of the project's code are no reason not to."""
        await self._services.start()
        problems, state = problem_views(self._workers.catalog.problems), self._state
        if not state.new:
            return Began(problems)
        return Began(problems, str(self.config.database), None if state.former is None else str(state.former))

    async def run(self, ready: Callable[[Began], None]) -> None:
        """Start, call `ready`, serve until asked to stop, and stop. Asked before it is ready, it stops without `ready`."""
        starting = asyncio.ensure_future(self.start())
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return
            ready(starting.result())
            await asked
            await self._drain()
        finally:
            asked.cancel()
            await self._services.stop()

    def reload(self) -> None:
        """Load the code and the configuration as they are now, as `wfctl reload` does."""
        self._reloader.begin().add_done_callback(self._reloaded)

    def _reloaded(self, loaded: asyncio.Future[Takeover]) -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            self._engine.code.resume_soon()

    def _configured(self, config: Config) -> None:
        self._backend.config = config
        self._engine.executions.crash_limit = config.crash_limit
        self._retention.configured(config.retention)

    def request_stop(self, drain_ms: int) -> None:
        """Begin to stop: running steps get `drain_ms`. Asked again, the earlier end counts."""
        if not self._asked.is_set():
            self._engine.draining = True
            log.info("stopping; running steps get %s s", f"{drain_ms / 1_000:g}")
            self._asked.set()
        if drain_ms <= 0:
            self._hurry.set()
        else:
            asyncio.get_running_loop().call_later(drain_ms / 1_000, self._hurry.set)

    async def _drain(self) -> None:
        drained = asyncio.ensure_future(self._workers.drain(_FOREVER_MS))
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({drained, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            log.warning("some steps have not finished; they run again from their top when the daemon is up again")
        for task in (drained, hurry):
            task.cancel()
        await asyncio.gather(drained, hurry, return_exceptions=True)
        # The last steps have been heard; who waits for what they did is told once that is on disk.
        with contextlib.suppress(WfctlError, TimeoutError):
            async with asyncio.timeout(LAST_ANSWERS_S):
                await self._engine.committed(self._engine.batch())

    def signalled(self, number: int) -> None:
        """SIGTERM or SIGINT: the first drains, a second stops at once."""
        log.info("got %s", signal.Signals(number).name)
        self.request_stop(0 if self._asked.is_set() else DRAIN_MS)


class _State(Service):
    """The state directory, the lock on it, and the log in it."""

    def __init__(self, config: Config, lock: StateLock, daemon_log: DaemonLog) -> None:
        super().__init__()
        self._config = config
        self._lock = lock
        self._log = daemon_log
        # Whether there was no database yet, and where the one is that this project had before, if it had one.
        self.new = False
        self.former: Path | None = None

    async def _start(self) -> None:
        _make_private(self._config)
        await self._take_lock()
        try:
            self._log.open()
        except BaseException:
            self._lock.release()
            raise
        config = self._config
        self.new = not _has_content(config.database)
        self.former = former_state(config.file, config.state) if self.new else None
        log.info("wfd %s, pid %d, for %s", wfctl.__version__, os.getpid(), config.file)

    async def _stop(self) -> None:
        log.info("stopped")
        self._log.close()
        self._lock.release()

    async def _take_lock(self) -> None:
        """`wfctl down` returns when the socket is gone, a moment before the lock is: `down && up` must not trip over that."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LOCK_PATIENCE_S
        while True:
            try:
                self._lock.acquire(self._config.socket, real_config(self._config.file))
                return
            except DaemonAlreadyRunningError as error:
                holder = error.detail.get("socket")
                if loop.time() >= end or (holder is not None and answers(holder)):
                    raise
            await asyncio.sleep(LOCK_POLL_S)


class _Database(Service):
    """The store. Says of a database that it is a new one: who has named another `state` would else take all runs for lost."""

    def __init__(self, config: Config, state: _State, store: Store) -> None:
        super().__init__()
        self._config = config
        self._state = state
        self._store = store

    async def _start(self) -> None:
        await self._store.start()
        config, former = self._config, self._state.former
        if self._state.new:
            log.info("made a new database: %s", config.database)
        if former is not None:
            log.warning(
                "the runs that this project had are not in it: they are in %s, its state folder before; "
                "to go on with them, name that as `state` in %s again, then wfctl down && wfctl up",
                former, config.file.name,
            )  # fmt: skip
        note_state(config.file, config.state)

    async def _stop(self) -> None:
        await self._store.stop()


def _has_content(path: Path) -> bool:
    """False also for a file without any tables: whoever made it came no further, or the log that held all is gone. Of what
    cannot be looked at, the store tells."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
        log = wal_of(path)
        # The schema's version, of the header of an SQLite file.
        return any(header[60:64]) or (bool(header) and (not header.startswith(b"SQLite") or log.exists()))
    except OSError as error:
        return not isinstance(error, FileNotFoundError)


def _make_private(config: Config) -> None:
    state = config.state
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        if (lost := lost_link(state)) is not None:
            raise lost from None
        away = "move what is there away, or name another `state` in wfctl.toml"
        raise cannot("make the state directory", state, error, otherwise=away) from None
    except OSError as error:
        other = "name another `state` in wfctl.toml"
        raise cannot("make the state directory", state, error, otherwise=other) from None


def serve(config: Config, ready: Callable[[Began], None], *, stderr: bool) -> None:
    """Run the daemon of `config` on a loop of its own until it has stopped. Raises what kept it from starting."""
    check_files()
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, ready, stderr))


async def _serve(config: Config, ready: Callable[[Began], None], stderr: bool) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unhandled)
    daemon = Daemon(config, stderr=stderr)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.signalled, number)
    terminal = stderr and sys.stderr.isatty()
    loop.add_signal_handler(signal.SIGHUP, _hung_up, daemon, terminal)

    def accepted(began: Began) -> None:
        # What is here now stays, and what comes is mostly gone before it could be part of a cycle.
        gc.freeze()
        ready(began)
        log.info("ready")

    await daemon.run(accepted)


def _hung_up(daemon: Daemon, terminal: bool) -> None:
    # Who closes the terminal that a daemon was started in ends it; elsewhere the signal means "look again", as usual.
    if terminal:
        daemon.log.leave_stderr()
        daemon.signalled(signal.SIGHUP)
    else:
        log.info("got SIGHUP: the code is loaded again")
        daemon.reload()


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("%s", context.get("message", "unhandled error"), exc_info=error if error is not None else False)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not to be had everywhere; asyncio's own loop does the same, slower
        return None
    return uvloop.new_event_loop
