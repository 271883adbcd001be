"""Answering queries: a query handler on a run's committed store, whatever the run is doing, also when it has closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

from wfctl.errors import InvalidPayloadError, QueryFailedError, WfctlError
from wfctl.protocol.channel import Answered, Query
from wfctl.sdk import current
from wfctl.sdk.checks import query_of, workflow_of
from wfctl.sdk.directive import Next
from wfctl.sdk.failure import describe_exception
from wfctl.sdk.handler import Handler
from wfctl.sdk.port import StepUnwind
from wfctl.sdk.query import BlockingQueryContext, NoNext, QueryContext, refuse_in_query
from wfctl.sdk.sources import Sources
from wfctl.sdk.surroundings import discard_unawaited
from wfctl.sdk.threads import Threads
from wfctl.sdk.workflow import Workflow
from wfctl.values.codec import encode
from wfctl.values.runinfo import RunInfo
from wfd.worker.fitting import Misfit, arguments

QUERY_TIMEOUT_S = 10.0

_log = logging.getLogger("wfctl.query")


class QueryOps:
    """`wfctl.sdk.port.Ops` of a query: the store can be read, and every operation is refused."""

    cleans_up = closed = False
    replaying = False
    step = 0

    def __init__(self, message: Query, workflow: Workflow, types: Mapping[str, Workflow], sources: Sources) -> None:
        self.run: RunInfo = message.run
        self.workflow = workflow
        self.types = types
        self.sources = sources
        self.next: Next = NoNext()  # type: ignore[assignment]
        self.handed_out: list[Coroutine[Any, Any, Any]] = []
        self._store = message.store

    async def load(self, key: str) -> bytes | None:
        return self._store.get(key)

    def keys(self) -> Iterable[str]:
        return self._store.keys()

    async def perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> bytes:
        refuse_in_query(_WORDS.get(kind, "ctx.{}()").format(kind))

    def fresh(self, kind: str, name: str, content: bytes) -> None:
        """It is for `find` to say."""

    async def find(self, kind: str, name: str, content: bytes, place: str = "") -> NoReturn:
        refuse_in_query(f"task {name.rpartition('.')[2]!r}" if kind == "task" else f"ctx.{kind}()")

    async def tell(self, kind: str, name: str, key: str, arguments: bytes) -> bytes:
        refuse_in_query(kind)

    def begin(self, name: str, key: str, arguments: bytes) -> None:
        refuse_in_query(name)

    def waits(self, key: str) -> None:
        refuse_in_query(key)

    def left(self, name: str, key: str) -> None:
        refuse_in_query(name)

    def log(self, level: str, message: str, *, new: bool = False) -> None:
        # Not into the run's log, which is part of the run.
        _log.log(logging.getLevelName(level.upper()), "%s: %s", self.run.workflow_id, message)

    def progress(self, done: int | float, total: int | float | None, note: str) -> None:
        refuse_in_query("ctx.progress()")

    def refuse(self) -> NoReturn:
        refuse_in_query("a task")

    def stuck(self, reason: str) -> NoReturn:
        raise StepUnwind(reason)


_WORDS = {
    "child": "ctx.start()",
    "parent_event": "ctx.send_to_parent()",
    "event": "ctx.send()",
    "uuid": "ctx.uuid4()",
}


class _Unanswered(QueryFailedError):
    """Of a query whose handler raised nothing: it took too long, or what it returned cannot be sent."""


async def answer(message: Query, types: Mapping[str, Workflow], sources: Sources, threads: Threads) -> Answered:
    """Run the query's handler and encode what it returns; every error becomes part of the answer.

    What is wrong with the question keeps its own code. What the handler raises is never the mistake of who asked, of whatever
    class it is: that is a QueryFailedError.
    """
    try:
        workflow = workflow_of(types, message.run.workflow_type)
        handler = query_of(workflow, message.name)
        given = arguments(handler, message.kwargs)
    except WfctlError as error:
        return Answered(message.call, error=error.to_data())
    except Misfit as error:
        return Answered(message.call, error=InvalidPayloadError(error.reason).to_data())
    try:
        value = await _run(handler, QueryOps(message, workflow, types, sources), given, threads)
        return Answered(message.call, _encoded(handler, value, sources))
    except asyncio.CancelledError:
        raise
    except _Unanswered as error:
        return Answered(message.call, error=error.to_data())
    except BaseException as error:
        return Answered(message.call, error=_raised(message, error, sources).to_data())


def _raised(message: Query, error: BaseException, sources: Sources) -> QueryFailedError:
    failure = describe_exception(error, sources)
    at = f" ({failure.frame})" if failure.frame else ""
    return QueryFailedError(
        f"query {message.name!r} of workflow {message.run.workflow_type!r} raised {failure}{at}",
        hint=failure.hint or "correct the handler, then ask again; with -o json this has the traceback",
        type=failure.type,
        frame=failure.frame,
        traceback=failure.traceback,
    )


def _encoded(handler: Handler, value: Any, sources: Sources) -> bytes:
    try:
        return encode(value, f"answer of {handler.label}")
    except WfctlError as error:
        frame = sources.place(handler.file, handler.line, handler.function.__name__)
        raise _Unanswered(f"{error.message} ({frame})", hint=error.hint, frame=frame) from None


async def _run(handler: Handler, ops: QueryOps, given: dict[str, Any], threads: Threads) -> Any:
    try:
        async with asyncio.timeout(QUERY_TIMEOUT_S) as limit:
            loop = asyncio.get_running_loop()
            if handler.is_async:
                current.step.set(current.CurrentStep(ops, loop, threads, ops.handed_out))
                try:
                    return await handler.function(QueryContext(ops), **given)
                finally:
                    discard_unawaited(ops.handed_out)
            made: list[Any] = []
            step = current.CurrentStep(ops, loop, threads, made)
            current.step.set(step)
            blocking = BlockingQueryContext(ops, step.wait)
            value, error = await threads.run(
                partial(handler.function, blocking, **given), f"wfctl-query {handler.name}"
            )
    except TimeoutError:
        if limit.expired():
            raise _Unanswered(
                f"{handler.label} took longer than {QUERY_TIMEOUT_S:g} seconds",
                hint="a query reads the store and returns; what takes long belongs into a step",
            ) from None
        raise
    if error is not None:
        raise error
    return value
