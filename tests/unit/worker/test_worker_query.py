"""Queries: they read a run's store, answer, and can change nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from wfctl import Context, Directive, QueryFailedError, RunInfo, RunNotFoundError, Workflow
from wfctl.protocol.channel import Answered, Check, Checked, Query
from wfd.worker import query

wf = Workflow("Order")
gate = threading.Event()


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal


@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event("go")


@wf.event()
async def go(ctx: Context) -> Directive:
    return ctx.next.complete()


@wf.query()
async def total(ctx: Context, factor: int = 1) -> Decimal:
    """The sum of the lines."""
    ctx.logger.info("asked for %d", factor)
    lines = await ctx.store.get("lines", list[Line])
    return sum((line.price for line in lines), Decimal(0)) * factor


@wf.query(name="first line")
def first(ctx: Any) -> Any:
    assert threading.current_thread() is not threading.main_thread()
    return {"line": ctx.store.get("lines", list[Line])[0], "by": ctx.run.workflow_id}


@wf.query()
async def changes(ctx: Context, how: str) -> None:
    match how:
        case "put":
            ctx.store.put("a", 1)
        case "delete":
            ctx.store.delete("a")
        case "next":
            ctx.next.complete()
        case "start":
            await ctx.start("Order", "x")
        case "send":
            await ctx.send("x", "go")
        case "now":
            await ctx.now()
        case "sleep":
            await ctx.sleep(timedelta(seconds=1))
        case "forgotten":
            ctx.now()  # type: ignore[unused-coroutine]


@wf.query()
def changes_in_a_thread(ctx: Any, how: str) -> None:
    if how == "put":
        ctx.store.put("a", 1)
    ctx.uuid4()


@wf.query()
async def raises(ctx: Context) -> Any:
    return {}["missing"]


@wf.query()
async def unwritable(ctx: Context) -> Any:
    return object()


@wf.query()
async def unawaited(ctx: Context, how: str) -> Any:
    return ctx.store.get("lines") if how == "store" else [ctx.now()]


@wf.query()
async def meets_errors(ctx: Context, how: str) -> Any:
    match how:
        case "absent":
            await ctx.store.get("count")
        case "type":
            await ctx.store.get("lines", int)
        case "other":
            raise RunNotFoundError("no such run")
        case "failed":
            raise QueryFailedError("its own")


@wf.query()
async def never(ctx: Context) -> None:
    await asyncio.Event().wait()


@wf.query()
def never_in_a_thread(ctx: Context) -> None:
    gate.wait(10)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    gate.clear()
    desk = Desk(wf)
    yield desk
    gate.set()
    desk.executor.close()


STORE = {"lines": b'[{"sku":"a","price":"1.10"},{"sku":"b","price":"2"}]'}


async def ask(desk: Desk, name: str, kwargs: Any = None, workflow_type: str = "Order") -> Answered:
    run = RunInfo("RUN-1", "one", workflow_type)
    desk.executor.receive(Query(7, run, name, msgspec.json.encode(kwargs or {}), STORE))
    answer = await desk.next(Answered)
    assert isinstance(answer, Answered)
    assert answer.call == 7
    return answer


async def test_a_query_reads_the_store_and_answers_with_what_it_returns(desk: Desk) -> None:
    assert (await ask(desk, "total")).value == b'"3.10"'
    assert (await ask(desk, "total", {"factor": 2})).value == b'"6.20"'
    first_line = msgspec.json.decode((await ask(desk, "first line")).value)
    assert first_line == {"line": {"sku": "a", "price": "1.10"}, "by": "one"}


async def test_a_query_is_described_like_any_handler() -> None:
    spec = wf.describe().handler("query", "total")
    assert spec is not None
    assert (spec.signature(), spec.doc) == ("(factor: int = 1)", "The sum of the lines.")


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("put", "ctx.store.put('a', ...)"), ("delete", "ctx.store.delete('a')"), ("next", "ctx.next.complete"),
        ("start", "ctx.start()"), ("send", "ctx.send()"), ("now", "ctx.now()"), ("sleep", "ctx.sleep()"),
    ],
)  # fmt: skip
async def test_whatever_changes_something_is_refused_by_name(desk: Desk, how: str, what: str) -> None:
    answer = await ask(desk, "changes", {"how": how})
    assert answer.error is not None
    assert (
        f"query 'changes' of workflow 'Order' raised UsageError: a query changes nothing, so it cannot use {what} ("
        in (answer.error.message)
    )
    assert answer.error.hint == "read ctx.store and return the answer; to change a run, send it an event"
    assert answer.error.code == "query_failed"


async def test_an_operation_that_a_query_forgets_to_await_makes_no_noise(desk: Desk) -> None:
    assert (await ask(desk, "changes", {"how": "forgotten"})).value == b"null"


@pytest.mark.parametrize(("how", "what"), [("put", "ctx.store.put('a', ...)"), ("uuid", "ctx.uuid4()")])
async def test_a_plain_query_changes_nothing_either(desk: Desk, how: str, what: str) -> None:
    answer = await ask(desk, "changes_in_a_thread", {"how": how})
    assert answer.error is not None
    assert what in answer.error.message


async def test_an_exception_is_the_answer_with_its_line(desk: Desk) -> None:
    answer = await ask(desk, "raises")
    assert answer.error is not None
    assert "query 'raises' of workflow 'Order' raised KeyError: 'missing' (" in answer.error.message
    assert answer.error.detail["frame"].endswith(" in raises")
    assert answer.error.code == "query_failed", "it is no bug of wfctl"
    assert answer.error.hint is not None
    assert "Traceback" in answer.error.detail["traceback"]


async def test_an_answer_that_json_cannot_hold_is_refused_by_name(desk: Desk) -> None:
    answer = await ask(desk, "unwritable")
    assert answer.error is not None
    assert "answer of query 'unwritable' of workflow 'Order' holds a builtins.object" in answer.error.message
    assert answer.error.code == "query_failed", "who asks has done nothing wrong"
    assert answer.error.detail["frame"].endswith(" in unwritable")


@pytest.mark.filterwarnings("ignore:coroutine .Store.get. was never awaited:RuntimeWarning")
@pytest.mark.parametrize("how", ["store", "operation"])
async def test_an_answer_that_a_query_forgot_to_await_is_told_so(desk: Desk, how: str) -> None:
    answer = await ask(desk, "unawaited", {"how": how})
    assert answer.error is not None
    assert (answer.error.code, answer.error.hint) == ("query_failed", "is an `await` missing?")


@pytest.mark.parametrize(
    ("how", "said", "hint"),
    [
        ("absent", "StoreKeyNotFoundError: the store has no key 'count'", "it has: lines; ctx.store.get('count', default=...)"),
        ("type", "InvalidPayloadError: store value 'lines': expected int", "correct the handler"),
        ("other", "RunNotFoundError: no such run", "correct the handler"),
        ("failed", "QueryFailedError: its own", "correct the handler"),
    ],
)  # fmt: skip
async def test_an_error_of_wfctl_in_the_handler_is_no_mistake_of_who_asks(
    desk: Desk, how: str, said: str, hint: str
) -> None:
    answer = await ask(desk, "meets_errors", {"how": how})
    assert answer.error is not None
    assert (answer.error.code, answer.error.exit) == ("query_failed", 1)
    assert f"query 'meets_errors' of workflow 'Order' raised {said}" in answer.error.message
    assert answer.error.detail["frame"] in answer.error.message
    assert hint in (answer.error.hint or "")


@pytest.mark.parametrize("name", ["never", "never_in_a_thread"])
async def test_a_query_that_takes_too_long_is_answered_so(
    desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "QUERY_TIMEOUT_S", 0.001)
    answer = await ask(desk, name)
    assert answer.error is not None
    assert "took longer than 0.001 seconds" in answer.error.message
    assert answer.error.code == "query_failed"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (("totl",), "unknown_query", "did you mean 'total'"),
        (("total", {"factor": "much"}), "invalid_payload", "factor"),
        (("total", None, "Ordr"), "unknown_type", "did you mean 'Order'"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_what_can(
    desk: Desk, given: tuple[Any, ...], code: str, message: str
) -> None:
    answer = await ask(desk, *given)
    assert answer.error is not None
    assert answer.error.code == code
    assert message in answer.error.message


async def test_check_binds_the_arguments_of_a_query(desk: Desk) -> None:
    desk.executor.receive(Check(1, "Order", "query", "total", b"null", {"factor": "2"}))
    desk.executor.receive(Check(2, "Order", "query", "totl", b"null", {}))
    good, bad = await desk.next(Checked), await desk.next(Checked)
    assert good.kwargs == b'{"factor":2}'
    assert (bad.call, bad.error.code) == (2, "unknown_query")


async def test_log_lines_of_a_query_are_the_workers_and_not_the_runs(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "wfctl.query"):
        await ask(desk, "total")
    assert "one: asked for 1" in caplog.text
    assert desk.lines == []


async def test_a_worker_that_is_asked_is_not_idle_and_forgets_its_queries_with_the_daemon(desk: Desk) -> None:
    desk.executor.receive(Query(1, RunInfo("RUN-1", "one", "Order"), "never", b"{}", {}))
    assert not desk.executor.idle
    desk.executor.cancel_all()
    while not desk.executor.idle:
        await asyncio.sleep(0)
    assert desk.sent == []
