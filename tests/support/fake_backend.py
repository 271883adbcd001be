"""A backend without an engine: for tests of the socket and of the client, which must not care what a run is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wfctl.errors import (
    AmbiguousIdError,
    ConflictError,
    RunNotFoundError,
    UnknownQueryError,
    UnknownWorkflowTypeError,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls, views
from wfctl.values.failure import Failure
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import Status
from wfd.runtime.lock import StateLock
from wfd.runtime.promise import Promise
from wfd.server import Server

STARTED_AT = 1_700_000_000_000
T = TypeVar("T")


def promised(work: Coroutine[Any, Any, T]) -> Promise[T]:
    """What comes of `work`, which ends where that is given up."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    promise: Promise[T] = Promise(loop, None, lambda _: task.cancel() and None)

    def ended(task: asyncio.Task[T]) -> None:
        if task.cancelled() or (error := task.exception()) is not None:
            promise.end(None if task.cancelled() else error)
        else:
            promise.value = task.result()
            promise.end()

    task.add_done_callback(ended)
    return promise


class FakeStream:
    """Entries from a queue; None ends it."""

    def __init__(self, backend: FakeBackend, answer: Any) -> None:
        self.answer = answer
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False
        self.taken = 0
        backend.streams.append(self)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        item = await self.queue.get()
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        self.taken += 1
        return item

    async def aclose(self) -> None:
        self.closed = True


class FakeBackend:
    """Runs close when a test says so (`close`). `gate` holds every start back; `finished` counts those that got through."""

    def __init__(self) -> None:
        self.runs: dict[str, views.Outcome] = {}
        self.calls: list[calls.Call] = []
        self.streams: list[FakeStream] = []
        self.gate: asyncio.Event | None = None
        self.finished = 0
        self.cancelled: list[str] = []
        self.downs = 0
        self._closed: dict[str, asyncio.Event] = {}

    def close(self, workflow_id: str, status: Status = Status.COMPLETED, result: Any = None) -> None:
        outcome = self.runs[workflow_id]
        error = Failure("CardDeclined", "limit exceeded") if status is Status.FAILED else None
        self.runs[workflow_id] = msgspec.structs.replace(
            outcome, status=status, result=msgspec.Raw(msgspec.json.encode(result)), error=error
        )
        self._closed[workflow_id].set()

    def _find(self, id: str) -> views.Outcome:
        for outcome in self.runs.values():
            if id in (outcome.workflow_id, outcome.run_id):
                return outcome
        near = [outcome for workflow_id, outcome in self.runs.items() if workflow_id.startswith(id)]
        if len(near) > 1:
            raise AmbiguousIdError(f"{id!r} is the start of several workflow IDs")
        if not near:
            raise RunNotFoundError(f"no run {id!r}", id=id)
        return near[0]

    async def status(self, call: calls.GetStatus) -> views.StatusView:
        raise ZeroDivisionError("a bug")

    async def start(self, call: calls.Start) -> calls.Started:
        self.calls.append(call)
        if self.gate is not None:
            await self.gate.wait()
        if call.workflow_type == "Unknown":
            raise UnknownWorkflowTypeError("unknown workflow type 'Unknown'", hint="wfctl workflows")
        workflow_id = call.workflow_id or f"made-{len(self.runs)}"
        if workflow_id in self.runs and call.if_running == "fail":
            raise WorkflowAlreadyRunning(f"workflow ID {workflow_id!r} has an open run", run_id="R")
        run_id = f"R{len(self.runs):025}"
        self.runs.setdefault(
            workflow_id,
            views.Outcome(
                run_id=run_id, workflow_id=workflow_id, workflow_type=call.workflow_type, status=Status.RUNNING
            ),
        )
        self._closed.setdefault(workflow_id, asyncio.Event())
        self.finished += 1
        found = self.runs[workflow_id]
        info = RunInfo(found.run_id, workflow_id, call.workflow_type, started_at_ms=STARTED_AT)
        return calls.Started(run=info, status=found.status, existing=found.run_id != run_id)

    async def send(self, call: calls.Send) -> calls.Sent:
        self.calls.append(call)
        run = self._find(call.id)
        return calls.Sent(run_id=run.run_id, workflow_id=run.workflow_id, dispatched=True)

    async def get(self, call: calls.Get) -> views.RunDetail:
        run = self._find(call.id)
        return views.RunDetail(
            run=self._view(run),
            input=msgspec.Raw(b'{"amount":5}'),
            store={"paid": msgspec.Raw(b"true")},
            inbox=[views.InboxView(1, "paid", msgspec.Raw(b'{"by":"card"}'), STARTED_AT)],
            history_entries=3,
        )

    def _view(self, run: views.Outcome) -> views.RunView:
        return views.RunView(
            run_id=run.run_id,
            workflow_id=run.workflow_id,
            workflow_type=run.workflow_type,
            status=run.status,
            started_at=STARTED_AT,
        )

    async def list(self, call: calls.List) -> calls.RunPage:
        self.calls.append(call)
        wanted = [run for run in self.runs.values() if not call.statuses or run.status in call.statuses]
        begin = int(call.after or 0)
        page = wanted[begin : begin + min(call.limit, 3)]
        end = begin + len(page)
        return calls.RunPage(
            items=[self._view(run) for run in page], next=str(end) if end < len(wanted) else None, total=len(wanted)
        )

    async def history(self, call: calls.History) -> calls.HistoryPage:
        run = self._find(call.id)
        items = [entry(seq, run) for seq in range(call.after_seq + 1, min(call.after_seq + 2, 5) + 1)]
        last = items[-1].seq
        return calls.HistoryPage(run=self._view(run), items=items, next=last if last < 5 else None)

    def starting(self, call: calls.Start) -> Promise[calls.Started] | None:
        return promised(self.start(call)) if call.workflow_type == "Order" else None

    def closing(self, call: calls.Result) -> Promise[views.Outcome] | None:
        run = self.runs.get(call.id)
        plain = call.wait and call.timeout_ms is None and run is not None and run.status.open
        return promised(self.result(call)) if plain else None

    async def result(self, call: calls.Result) -> views.Outcome:
        run = self._find(call.id)
        if call.wait:
            try:
                await asyncio.wait_for(
                    self._closed[run.workflow_id].wait(), None if call.timeout_ms is None else call.timeout_ms / 1_000
                )
            except TimeoutError:
                pass
            except asyncio.CancelledError:
                self.cancelled.append(run.workflow_id)
                raise
        return self.runs[run.workflow_id]

    async def cancel(self, call: calls.Cancel) -> calls.Changed:
        return self._change(call.id, Status.CANCELLING, call)

    async def terminate(self, call: calls.Terminate) -> calls.Changed:
        return self._change(call.id, Status.TERMINATED, call)

    def _change(self, id: str, status: Status, call: calls.Call) -> calls.Changed:
        self.calls.append(call)
        run = self._find(id)
        return calls.Changed(run_id=run.run_id, workflow_id=run.workflow_id, status=status, changed=run.status.open)

    async def retry(self, call: calls.Retry) -> calls.Retried:
        self.calls.append(call)
        run = self._find(call.id)
        if run.status.open:
            raise ConflictError(f"run {run.workflow_id!r} is {run.status}", hint=f"wfctl show {run.workflow_id}")
        return calls.Retried(
            run_id=f"N{run.run_id[1:]}" if call.new else run.run_id, workflow_id=call.workflow_id or run.workflow_id,
            old_run_id=run.run_id, was=run.status, status=Status.RUNNING, new=call.new, dry_run=call.dry_run,
            handler="pay", step=2, attempt=2, kept=["task 'charge'"], dropped=["task 'ship'"], stored=["paid"],
            requeued=["paid"],
        )  # fmt: skip

    async def query(self, call: calls.Query) -> calls.QueryAnswer:
        self.calls.append(call)
        run = self._find(call.id)
        if call.name != "total":
            raise UnknownQueryError(f"no query {call.name!r}", query=call.name, known=["total"])
        return calls.QueryAnswer(run_id=run.run_id, workflow_id=run.workflow_id, value=msgspec.Raw(b'{"amount":5}'))

    async def tree(self, call: calls.GetTree) -> views.Tree:
        return views.Tree(rev=1, now=STARTED_AT, roots=[])

    async def workflows(self, call: calls.Workflows) -> calls.WorkflowList:
        return calls.WorkflowList(items=[], problems=[views.ProblemView(module="flows.py", message="is not there")])

    async def down(self, call: calls.Down) -> calls.Ok:
        self.downs += 1
        return calls.Ok()

    def tail(self, call: calls.Tail) -> FakeStream:
        """As of runs that close; a test that means otherwise gives the stream another answer."""
        named = [run for run in self.runs.values() if run.run_id in call.ids]
        ended = [msgspec.structs.replace(run, status=Status.COMPLETED) for run in named]
        return FakeStream(self, calls.TailEnd(rev=9, outcomes=ended))

    def watch(self, call: calls.Watch) -> FakeStream:
        raise RunNotFoundError(f"no run {call.id!r}", id=call.id)


def entry(seq: int, run: views.Outcome | None = None, data: dict[str, Any] | None = None) -> views.HistoryEntry:
    run_id, workflow_id = (run.run_id, run.workflow_id) if run is not None else ("R", "w")
    return views.HistoryEntry(
        rev=seq, run_id=run_id, workflow_id=workflow_id, seq=seq, at=STARTED_AT, kind="step.started", data=data or {}
    )


def held_lock(folder: Path) -> StateLock:
    lock = StateLock(folder / "lock")
    lock.acquire(folder / "wfd.sock")
    return lock


def server_for(backend: FakeBackend, folder: Path, lock: StateLock, **options: Any) -> Server:
    """A server in `folder`, which must be private."""
    return Server(folder / "wfd.sock", backend, lock, version="9.9.9", schema=1, project=str(folder), **options)
