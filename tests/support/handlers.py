"""A worker's executor in this process: handlers run for real, the test plays the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from wfctl.protocol.channel import LogLine, Logs, Op, OpDone, OpRecord, RunStep, StepDone, StepRaised, StepStuck
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values import runinfo
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, RunInfo, started
from wfd.worker import branches
from wfd.worker.execute import HIDDEN, Executor

encode = msgspec.json.encode
END = (StepDone, StepRaised, StepStuck)


class Desk:
    """Plays the daemon to one executor. `sent` holds all that came; `next()` waits for one more message. A task that is told of
    at once comes as its beginning and its end, as slower ones do: a test may let it crash between them."""

    def __init__(self, *workflows: Workflow, project: str = ".") -> None:
        loop = asyncio.get_running_loop()
        branches.follow(loop)
        self.sent: list[Any] = []
        self.logged: list[LogLine] = []
        self.records: list[OpRecord] = []
        self.committed = 0
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._workflows = {one.workflow_type: one for one in workflows}
        self.executor = Executor(self._workflows, Sources(project, hidden=HIDDEN), self._take, loop)
        self._token = 0

    def _take(self, message: Any) -> None:
        if isinstance(message, Logs):
            self.logged += message.lines
        for one in apart(message):
            self.sent.append(one)
            self._queue.put_nowait(one)

    @property
    def lines(self) -> list[str]:
        return [line.message for line in self.logged]

    async def next(self, kind: Any = object) -> Any:
        """The next message of `kind`; others are passed over."""
        while True:
            message = await asyncio.wait_for(self._queue.get(), 10)
            if isinstance(message, kind):
                return message

    def begin(
        self,
        kind: str,
        handler: str,
        kwargs: Any = None,
        *,
        workflow_type: str = "Order",
        store: Mapping[str, Any] | None = None,
        ops: Sequence[OpRecord] = (),
        parent: ParentInfo | None = None,
        logged: Sequence[LogLine] = (),
        cancel: bool = False,
        step: int = 1,
    ) -> int:
        """Send RunStep; its token."""
        self._token += 1
        run = RunInfo("RUN-1", "one", workflow_type, parent, "RUN-1")
        held = {key: encode(value) for key, value in (store or {}).items()}
        marks = b"".join(line.mark() for line in logged)
        message = RunStep(
            self._token, workflow_type, runinfo.encode(run), kind, handler, encode(kwargs or {}), held, list(ops), marks,
            cancel, step,
        )  # fmt: skip
        self.executor.receive(message)
        return self._token

    def reply(self, op: Op, value: Any = None) -> OpRecord:
        """Commit `op` with `value`, and answer it: what was recorded."""
        record = self.commit(op, value)
        self.executor.receive(OpDone(op.token, op.op, encode(value)))
        return record

    def commit(self, op: Op, value: Any = None) -> OpRecord:
        """Record `op` without an answer, as a daemon does that dies right after."""
        record = recorded(op, value)
        at = next((at for at, known in enumerate(self.records) if known.key == op.key), None)
        if op.kind == "resume" or not msgspec.json.decode(op.args).get("recorded", True):
            return record
        self.committed += 1
        record = msgspec.structs.replace(record, place=self.committed)
        if at is None:
            self.records.append(record)
        else:
            self.records[at] = record
        return record

    async def finish(self, *given: Any, crash_after: int | None = None, **options: Any) -> Any:
        """Run a step to its end with every operation committed as it comes; the final message.

        With `crash_after` N: returns None when N operations were committed, the last one unanswered.
        """
        self.begin(*given, **options)
        count = 0
        while True:
            message = await self.next((Op, *END))
            if not isinstance(message, Op):
                return message
            value = self.value(message)
            count += 1
            if count == crash_after:
                self.commit(message, value)
                self.executor.cancel_all()
                return None
            self.reply(message, value)

    def value(self, op: Op) -> Any:
        args = msgspec.json.decode(op.args)
        match op.kind:
            case "child":
                info = RunInfo(f"RUN-{args['workflow_id']}", args["workflow_id"], op.name)
                return msgspec.Raw(started(runinfo.encode(info)))
            case "now":
                return 1_700_000_000_000 + len(self.records)
            case "random" | "uuid":
                return args["value"]
            case "task" | "task_completed" | "task_failed" | "task_attempt_failed" | "sleep" | "resume":
                return None
        return {"outcome": "queued"}

    def ops(self) -> list[Op]:
        return [message for message in self.sent if isinstance(message, Op)]


def apart(message: Any) -> list[Any]:
    """`message`, or the two messages that stand for it."""
    if not isinstance(message, Op) or message.kind != "task_at_once":
        return [message]
    args = msgspec.json.decode(message.args)
    begun = {name: args.pop(name) for name in ("arguments", "attempt")}
    return [
        Op(message.token, message.op - 1, message.key, "task", message.name, encode(begun)),
        Op(message.token, message.op, message.key, "task_completed", message.name, encode(args)),
    ]


def recorded(op: Op, value: Any) -> OpRecord:
    """What the daemon would keep of `op`."""
    args = msgspec.json.decode(op.args)
    match op.kind:
        case "task":
            return OpRecord(op.key, b"null", open=True, attempts=args["attempt"] - 1)
        case "task_attempt_failed":
            return OpRecord(op.key, b"null", open=True, attempts=args["attempt"])
        case "task_completed":
            return OpRecord(op.key, encode(args["result"]), attempts=args["attempts"])
        case "task_failed":
            failure = msgspec.convert(args["failure"], Failure)
            return OpRecord(op.key, b"null", attempts=args["attempts"], failure=failure)
        case "sleep":
            return OpRecord(op.key, b"null", open=True)
    return OpRecord(op.key, encode(value))
