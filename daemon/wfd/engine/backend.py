"""The engine as the server sees it: one method a verb. Commands change runs, the rest reads what is committed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

import wfctl
from wfctl.errors import UsageError
from wfctl.protocol import calls, views
from wfctl.values.status import Status
from wfd.config import Config
from wfd.engine.backups import Backup
from wfd.engine.check import Checker
from wfd.engine.code import problem_views
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.retries import Retries
from wfd.engine.scheduling import Scheduling
from wfd.engine.sending import Sending
from wfd.engine.streams import Tail, Watch
from wfd.supervisor import Takeover
from wfd.supervisor.contract import Shortage


class Backend:
    """`on_down(drain_ms)` is called when a client asks the daemon to stop; it must only begin that. `reload` loads the code again,
    where there are files to load. `config` is what counts now."""

    def __init__(
        self,
        engine: Engine,
        config: Config,
        on_down: Callable[[int], None],
        reload: Callable[[], Awaitable[Takeover]] | None = None,
    ) -> None:
        self._engine = engine
        self.config = config
        self._on_down = on_down
        self._reload = reload
        self._started_at = engine.clock.now_ms()
        commands = Commands(engine)
        self.start = commands.start
        self.starting = commands.starting
        self.send = Sending(engine, commands).send
        self.cancel = commands.cancel
        self.terminate = commands.terminate
        self.retry = Retries(engine, commands).retry
        self.result = commands.result
        self.closing = commands.closing
        self.query = commands.query
        self.check = Checker(
            engine.store.reader, engine.reads, engine.clock, config, lambda: engine.workers.catalog
        ).check
        self.ids = engine.reads.ids
        self.count = engine.reads.count
        self.history = engine.reads.history
        self.tree = engine.reads.tree
        self.purge = engine.purges.purge
        schedules = Scheduling(engine, commands)
        self.schedule_add = schedules.add
        self.schedule_list = schedules.list
        self.schedule_show = schedules.show
        self.schedule_next = schedules.next
        self.schedule_pause = schedules.pause
        self.schedule_run = schedules.run
        self.schedule_remove = schedules.remove

    async def status(self, call: calls.GetStatus) -> views.StatusView:
        engine, config = self._engine, self.config
        workers, catalog = engine.workers, engine.workers.catalog
        shortages = workers.shortages().values()
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
                    held=w.held,
                    held_tasks=w.held_tasks,
                    held_ms=w.held_ms,
                )
                for w in workers.workers()
            ],
            queued_steps=workers.queued + len(engine.memory.parked),
            oldest_queued_at=workers.oldest_queued_at,
            loading_ms=workers.loading_ms,
            problems=problem_views(catalog.problems),
            settings=config.described(),
            draining=engine.draining,
            storage_error=engine.store.writer.silent or None if engine.failure is None else engine.failure.message,
            displaced=engine.store.displaced,
            rev=engine.hub.rev,
            full=[*engine.pressure.lines(), *dict.fromkeys(one.why for one in shortages if one.full)],
            no_worker=list(dict.fromkeys(one.why for one in shortages if not one.full)),
            wal_bytes=engine.store.log_bytes(),
            log_readers=engine.store.log_readers,
            unreadable=list(engine.memory.aside.values()),
            schedules=engine.schedules.summary(),
        )

    async def get(self, call: calls.Get) -> views.RunDetail:
        detail = await self._engine.reads.get(call)
        return msgspec.structs.replace(detail, run=self._with_why(detail.run, self._engine.workers.shortages()))

    async def list(self, call: calls.List) -> calls.RunPage:
        page = await self._engine.reads.list(call)
        shortages = self._engine.workers.shortages()
        return msgspec.structs.replace(page, items=[self._with_why(run, shortages) for run in page.items])

    def _with_why(self, run: views.RunView, shortages: Mapping[str, Shortage]) -> views.RunView:
        """`run`, and whether its step waits for its turn or for a worker, which no row tells."""
        executions = self._engine.executions
        if run.status is not Status.RUNNING:
            return run
        if (limit := executions.waits_for_turn(run.run_id, run.workflow_type)) is not None:
            return msgspec.structs.replace(run, limit=limit)
        if executions.waits_for_worker(run.run_id):
            short = shortages.get(run.workflow_type)
            return msgspec.structs.replace(run, no_worker="" if short is None else short.why)
        return run

    async def workflows(self, call: calls.Workflows) -> calls.WorkflowList:
        catalog = self._engine.workers.catalog
        open_runs, lacking = await self._engine.reads.open_needs(catalog)
        demand = {name: self._engine.executions.demand(name) for name in catalog.types}
        return calls.WorkflowList(
            items=[
                views.WorkflowView(
                    spec=spec if call.shapes else spec.plainly(),
                    generation=(owner := catalog.owner_of(name)).number,
                    source_hash=owner.source_hash,
                    loaded_at=owner.loaded_at,
                    open_runs=open_runs.get(name, 0),
                    missing=lacking.get(name, []),
                    limit=demand[name].limit,
                    executing=demand[name].executing,
                    waiting=demand[name].waiting,
                )
                for name, spec in sorted(catalog.types.items())
            ],
            problems=problem_views(catalog.problems),
            unloaded=[
                views.UnloadedView(workflow_type=name, open_runs=count)
                for name, count in sorted(open_runs.items())
                if name not in catalog.types
            ],
        )

    async def reload(self, call: calls.Reload) -> calls.Reloaded:
        """Load the code and the configuration as they are now, and say what that did to each type."""
        if self._reload is None:
            raise UsageError("there are no files to load again here", hint="WorkflowEnvironment.load(workflows)")
        # Whoever asked may leave: the load goes on.
        done = await asyncio.shield(self._reload())
        # Who asks by hand may have mended what no file of the project says, such as a library.
        self._engine.code.resume_soon()
        catalog = done.catalog
        return calls.Reloaded(
            generation=catalog.generation,
            source_hash=catalog.source_hash,
            types=[
                calls.ReloadedType(
                    workflow_type=name,
                    change=str(fate),
                    generation=owner.number if (owner := catalog.owners.get(name)) is not None else 0,
                    source_hash=owner.source_hash if owner is not None else "",
                    loaded_at=catalog.since.get(name),
                )
                for name, fate in sorted(done.fates.items())
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

    def backup(self, call: calls.Backup) -> Backup:
        return Backup(self._engine.store.copy(Path(call.path), force=call.force))
