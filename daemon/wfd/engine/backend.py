"""The engine as the server sees it: one method a verb. Commands change runs, the rest reads what is committed."""

from __future__ import annotations

import os
from collections.abc import Callable

import wfctl
from wfctl.protocol import calls, views
from wfctl.protocol.channel import Problem
from wfd.config import Config
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.retries import Retries
from wfd.engine.streams import Tail, Watch


class Backend:
    """`on_down(drain_ms)` is called when a client asks the daemon to stop; it must only begin that."""

    def __init__(self, engine: Engine, config: Config, on_down: Callable[[int], None]) -> None:
        self._engine = engine
        self._config = config
        self._on_down = on_down
        self._started_at = engine.clock.now_ms()
        commands = Commands(engine)
        self.start = commands.start
        self.send = commands.send
        self.cancel = commands.cancel
        self.terminate = commands.terminate
        self.retry = Retries(engine, commands).retry
        self.result = commands.result
        self.query = commands.query
        self.get = engine.reads.get
        self.list = engine.reads.list
        self.history = engine.reads.history
        self.tree = engine.reads.tree

    async def status(self, call: calls.GetStatus) -> views.StatusView:
        engine, config = self._engine, self._config
        workers, catalog = engine.workers, engine.workers.catalog
        return views.StatusView(
            pid=os.getpid(),
            version=wfctl.__version__,
            project=str(config.project),
            config=str(config.file),
            socket=str(config.socket),
            database=str(config.database),
            database_bytes=engine.store.size_bytes(),
            log=str(config.log),
            started_at=self._started_at,
            now=engine.clock.now_ms(),
            generation=catalog.generation,
            source_hash=catalog.source_hash,
            python=catalog.python or str(config.python),
            counts=await engine.reads.counts(),
            workers=[
                views.WorkerView(
                    pid=w.pid,
                    generation=w.generation,
                    steps=w.steps,
                    started_at=w.started_at,
                    blocked_ms=w.blocked_ms,
                    handlers=list(w.handlers),
                )
                for w in workers.workers()
            ],
            queued_steps=workers.queued,
            problems=problem_views(catalog.problems),
            settings=config.described(),
            draining=engine.draining,
            storage_error=None if engine.failure is None else engine.failure.message,
            rev=engine.hub.rev,
        )

    async def workflows(self, call: calls.Workflows) -> calls.WorkflowList:
        catalog = self._engine.workers.catalog
        open_runs = await self._engine.reads.open_runs_by_type()
        return calls.WorkflowList(
            items=[
                views.WorkflowView(
                    spec=spec,
                    generation=catalog.generation,
                    source_hash=catalog.source_hash,
                    loaded_at=catalog.loaded_at,
                    open_runs=open_runs.get(name, 0),
                )
                for name, spec in sorted(catalog.types.items())
            ],
            problems=problem_views(catalog.problems),
        )

    async def down(self, call: calls.Down) -> calls.Ok:
        self._on_down(call.drain_ms)
        return calls.Ok()

    def tail(self, call: calls.Tail) -> Tail:
        return Tail(self._engine.reads, self._engine.hub, call)

    def watch(self, call: calls.Watch) -> Watch:
        return Watch(self._engine.reads, self._engine.hub, self._engine.clock, call)


def problem_views(problems: tuple[Problem, ...]) -> list[views.ProblemView]:
    return [
        views.ProblemView(
            module=p.module, message=p.message, file=p.file, line=p.line, hint=p.hint, traceback=p.traceback
        )
        for p in problems
    ]
