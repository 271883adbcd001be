"""An in-memory host of `Context`: operations are answered by a function and recorded in a list."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, NoReturn

import msgspec

from wfctl.errors import ErrorData, UsageError, from_data
from wfctl.sdk.directive import Next
from wfctl.sdk.port import StepUnwind
from wfctl.sdk.replay import Replay
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, RunInfo, encode, started


class Recorded(msgspec.Struct, frozen=True):
    key: str
    value: bytes = b"null"
    error: ErrorData | None = None
    open: bool = False
    attempts: int = 0
    failure: Failure | None = None


class Asked(msgspec.Struct, frozen=True):
    """An operation that reached the host: what a worker would send to the daemon."""

    kind: str
    name: str
    args: Any


def child_info(asked: Asked, parent: RunInfo) -> RunInfo:
    """The run that a host starts for operation `child`."""
    above = ParentInfo(parent.id, parent.workflow_id, parent.workflow_type)
    return RunInfo(f"RUN-{asked.args['workflow_id']}", asked.args["workflow_id"], asked.name, above, parent.id)


class MemoryOps:
    """Implements `wfctl.sdk.port.Ops`. `answer(asked)` gives an operation's value (plain data), or raises its error."""

    def __init__(
        self,
        workflow: Workflow,
        *others: Workflow,
        store: Mapping[str, bytes] | None = None,
        records: Iterable[Recorded] = (),
        parent: ParentInfo | None = None,
        answer: Callable[[Asked], Any] | None = None,
    ) -> None:
        self.run = RunInfo("RUN-1", "one", workflow.workflow_type, parent, "RUN-1")
        self.workflow = workflow
        self.types: dict[str, Workflow] = {one.workflow_type: one for one in (workflow, *others)}
        self.sources = Sources(".")
        self.asked: list[Asked] = []
        self.records: list[Recorded] = list(records)
        self.lines: list[tuple[str, str]] = []
        self.shown: list[tuple[int | float, int | float | None, str]] = []
        self.step = 3
        self.cleans_up = self.closed = False
        self.handed_out: list[Coroutine[Any, Any, Any]] = []
        self._replay = Replay.of(self.records)
        self._store = dict(store or {})
        self._answer = answer or self._default

    @property
    def next(self) -> Next:
        return Next(self.workflow, self.sources)

    @property
    def replaying(self) -> bool:
        return bool(self._replay.unasked)

    async def load(self, key: str) -> bytes | None:
        return self._store.get(key)

    def keys(self) -> Iterable[str]:
        return self._store.keys()

    async def perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> bytes:
        key, record = await self.find(kind, name, content)
        if record is None:
            value = await self.tell(kind, name, key, arguments())
            self.records.append(Recorded(key, value))
            return value
        if record.error is not None:
            raise from_data(record.error)
        return record.value

    def fresh(self, kind: str, name: str, content: bytes) -> None:
        """It is for `find` to say."""

    async def find(self, kind: str, name: str, content: bytes, place: str = "") -> tuple[str, Recorded | None]:
        key = self._replay.key(self._replay.base(kind, name, content))
        return key, self._replay.take(key)

    async def tell(self, kind: str, name: str, key: str, arguments: bytes) -> bytes:
        asked = Asked(kind, name, msgspec.json.decode(arguments))
        self.asked.append(asked)
        return msgspec.json.encode(self._answer(asked))

    def begin(self, name: str, key: str, arguments: bytes) -> None:
        self.asked.append(Asked("task", name, msgspec.json.decode(arguments)))

    def waits(self, key: str) -> None:
        """Its beginning is known at once."""

    def left(self, name: str, key: str) -> None:
        """Nothing is recorded of it."""

    def log(self, level: str, message: str, *, new: bool = False) -> None:
        self.lines.append((level, message))

    def progress(self, done: int | float, total: int | float | None, note: str) -> None:
        self.shown.append((done, total, note))

    def refuse(self) -> NoReturn:
        raise UsageError("a task, or a step that is over, uses the context")

    def stuck(self, reason: str) -> NoReturn:
        raise StepUnwind(reason)

    def _default(self, asked: Asked) -> Any:
        match asked.kind:
            case "child":
                return msgspec.Raw(started(encode(child_info(asked, self.run))))
            case "now":
                return 1_700_000_000_123
            case "random" | "uuid":
                return asked.args["value"]
        return {"outcome": "queued"}
