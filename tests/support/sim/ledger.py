"""Who was told what, and when: each word that leaves the engine is held against the disk at that very moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from support.sim.clock import SimClock
from support.sim.disk import Disk
from support.sim.loop import Loop
from wfctl.protocol import calls, channel
from wfctl.protocol.views import Outcome
from wfctl.values.runinfo import RunInfo, decode
from wfctl.values.status import Status
from wfd.core import records as r, state
from wfd.core.operations import folded
from wfd.core.state import OpResult

_ADDRESS = re.compile(r" object at 0x[0-9a-f]+")


class Execution(msgspec.Struct, frozen=True):
    """Whom an execution number belongs to. `since` is the record that began its step."""

    key: int
    step: int
    attempt: int
    since: int


class Request(msgspec.Struct):
    """A client's command. `answer` is what it was told, `error` why not; neither: nobody knows what became of it."""

    call: calls.Call
    client: int
    answer: Any = None
    error: Exception | None = None


class Ledger:
    """`broken(what)` hears of every promise that does not hold."""

    def __init__(self, disk: Disk, clock: SimClock, loop: Loop, broken: Callable[[str], None]) -> None:
        self._disk = disk
        self._clock = clock
        self._loop = loop
        self._broken = broken
        self.executions: dict[int, Execution] = {}
        self.requests: list[Request] = []
        self.trace: list[str] | None = None

    def holds(self, rule: bool, what: str) -> None:
        if not rule:
            self._broken(what)

    def note(self, what: str, *parts: object) -> None:
        """A line of the trace, if there is one; `parts` are put into it only then."""
        if self.trace is not None:
            line = _ADDRESS.sub("", what.format(*parts) if parts else what)
            self.trace.append(f"{self._loop.now_us / 1000:12.3f} {line}")

    # -- steps ---------------------------------------------------------------------------------

    def dispatched(self, message: channel.RunStep) -> int:
        """A step goes to a worker: it is on disk, with all that the message holds."""
        disk, run = self._disk, decode(message.run)
        number = len(self.executions) + 1
        name = f"{run.workflow_id} step {message.step} attempt {run.attempt}"
        self.note(f"dispatch {name} {message.kind} {message.handler} token {message.token} as #{number}")
        key = disk.run_ids.get(run.id)
        phase = None if key is None else disk.phase(key)
        if key is None or not isinstance(phase, state.Stepping):
            self._broken(f"{name} is dispatched, and is not on disk")
            return number
        self.executions[number] = Execution(key, message.step, run.attempt, phase.since)
        at = (phase.step, phase.attempt, phase.handler if phase.kind != "start" else message.handler)
        self.holds(
            at == (message.step, run.attempt, message.handler),
            f"{name} is dispatched, the disk is at step, attempt {at}",
        )
        store = {name: value.encode() for name, value in disk.store.get(key, {}).items()}
        if store != message.store:
            self._broken(f"{name} gets the store {message.store}, on disk is {store}")
        ops = {op.key: (op.value, op.error, op.open, op.attempts, op.failure) for op in message.ops}
        known = self._ops(key, phase.since)
        on_disk = {op.key: (bytes(op.value), op.error, op.open, op.attempts, op.failure) for op in known.values()}
        if ops != on_disk:
            self._broken(f"{name} gets the operations {ops}, on disk is {on_disk}")
        cancelling = disk.runs[key].status == Status.CANCELLING
        self.holds(cancelling or not message.cancel, f"{name} is dispatched as cancelled, which is not on disk")
        return number

    def _ops(self, key: int, since: int) -> dict[str, OpResult]:
        """The operations of one step that are on disk."""
        records = []
        for _, record in self._disk.records(key, since):
            if isinstance(record, r.StepStarted) or (isinstance(record, r.RunResumed) and record.from_step is not None):
                break
            records.append(record)
        return folded(records)

    def answered(self, order: channel.RunStep, op: channel.Op, done: channel.OpDone) -> None:
        """A handler gets the outcome of its operation: it is on disk, and is what is told."""
        run = decode(order.run)
        name = f"{run.workflow_id} step {order.step} {op.kind} {op.key}"
        key = self._disk.run_ids[run.id]
        if op.kind == "child_result":
            child = msgspec.json.decode(done.value)
            ended = [record.KIND for _, record in self._disk.records(self._disk.run_ids[child["run_id"]])]
            self.holds(f"run.{child['status']}" in ended, f"{name}: told {child['status']}, on disk it never was")
            if self._disk.runs[key].status == Status.CANCELLING and not op.key.startswith("~"):
                return  # it is the cancellation that is recorded
        since = next(
            row.seq
            for row, record in self._disk.records(key)
            if (isinstance(record, r.StepStarted) and record.step == order.step)
            or (isinstance(record, r.RunResumed) and record.from_step is not None and _number(record) == order.step)
        )
        known = self._ops(key, since).get(op.key)
        if known is None:
            self._broken(f"{name} is answered, and is not on disk")
            return
        if known.due_at is not None and op.kind != "task":
            self.holds(known.due_at <= self._clock.now_ms(), f"{name} is answered before its time")
        elif op.kind not in ("resume", "task") and (bytes(known.value), known.error) != (done.value, done.error):
            self._broken(f"{name} is told {done}, on disk is {known}")

    def task_runs(self, order: channel.RunStep, key: str) -> None:
        run = decode(order.run)
        key_of_run = self._disk.run_ids[run.id]
        since = self._disk.phase(key_of_run)
        known = self._ops(key_of_run, since.since).get(key) if isinstance(since, state.Stepping) else None
        self.holds(
            known is None or known.open or not isinstance(since, state.Stepping) or since.step != order.step,
            f"{run.workflow_id} step {order.step}: task {key} runs, and has its result already",
        )

    def queried(self, run: RunInfo, shown: dict[str, bytes]) -> None:
        """A query sees a store that is, or was, on disk."""
        key = self._disk.run_ids[run.id]
        store: dict[str, bytes] = {}
        seen = [dict(store)]
        for _, record in self._disk.records(key):
            if isinstance(record, r.StepCompleted | r.RunResumed):
                for name in record.deleted:
                    store.pop(name, None)
                store.update({name: bytes(value) for name, value in record.put.items()})
                seen.append(dict(store))
        self.holds(shown in seen, f"{run.workflow_id} is asked with a store that never was on disk")

    def said(self, token: int, message: channel.ToDaemon) -> None:
        self.note("token {} says {}", token, message)

    # -- clients -------------------------------------------------------------------------------

    def acknowledged(self, call: calls.Call, answer: Any) -> None:
        """The answer to a command leaves the daemon: what it says is on disk."""
        self.note("answer {} {}", type(call).__name__, answer)
        disk = self._disk
        match answer:
            case calls.Started(run=run):
                row = disk.runs.get(disk.run_ids.get(run.id, 0))
                self.holds(row is not None and row.workflow_id == run.workflow_id, f"{run} is started, not on disk")
            case calls.Sent(run_id=run_id):
                assert isinstance(call, calls.Send)
                self.holds(self._received(run_id, call), f"{call} is acknowledged, and not on disk")
            case calls.Changed(run_id=run_id, changed=True):
                row = disk.runs[disk.run_ids[run_id]]
                wanted = r.RunCancelRequested if isinstance(call, calls.Cancel) else r.RunTerminated
                done = any(isinstance(record, wanted) for _, record in disk.records(row.key))
                self.holds(done, f"{call} is acknowledged, and not on disk")
            case calls.Retried(run_id=run_id, dry_run=False, step=step, attempt=attempt):
                done = any(
                    isinstance(record, r.RunResumed)
                    and (_number(record) or step, record.attempt) == (step or 0, attempt)
                    for _, record in disk.records(disk.run_ids[run_id])
                )
                self.holds(done or step is None, f"{call} is acknowledged with {answer}, and not on disk")
            case Outcome(run_id=run_id, status=status):
                self._outcome(disk.run_ids[run_id], status, answer)

    def _received(self, run_id: str, call: calls.Send) -> bool:
        key = self._disk.run_ids.get(run_id, 0)
        records = [record for _, record in self._disk.records(key) if isinstance(record, r.EventReceived)]
        return [record.name for record in records if bytes(record.payload) == bytes(call.payload)] == [call.event]

    def _outcome(self, key: int, status: Status, answer: Outcome) -> None:
        row = self._disk.runs[key]
        if status.closed:
            ended = any(f"run.{status}" == record.KIND for _, record in self._disk.records(key))
            self.holds(ended, f"told {answer}, on disk it is {row.status} and never was")
        elif status is Status.STUCK:
            stuck = [record.reason for _, record in self._disk.records(key) if isinstance(record, r.RunStuck)]
            self.holds(answer.stuck_reason in stuck, f"told {answer}, on disk it never was")


def _number(record: r.RunResumed) -> int:
    return record.phase.step if isinstance(record.phase, state.Stepping) else 0
