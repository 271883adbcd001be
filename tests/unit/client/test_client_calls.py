"""What a program does with a `Client` and its handles."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

import wfctl
from support.fake_backend import STARTED_AT, FakeBackend, entry
from support.waiting import until
from wfctl.client import Client, WorkflowHandle
from wfctl.client.connection import _Places
from wfctl.errors import (
    InvalidArgumentError,
    InvalidPayloadError,
    NotFinishedError,
    PayloadTooLargeError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    RunOutcomeError,
    RunTerminatedError,
    RunTimedOutError,
    UnknownQueryError,
    UnknownWorkflowTypeError,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfctl.protocol.views import Outcome
from wfctl.values.status import CLOSED, Status
from wfd.server import Server


def last(backend: FakeBackend, kind: type[Any]) -> Any:
    return [call for call in backend.calls if isinstance(call, kind)][-1]


def test_the_command_line_half_is_imported_without_asyncio() -> None:
    code = "import sys, wfctl.client.blocking, wfctl.client.faults; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_client_and_handle_are_public_names() -> None:
    assert wfctl.Client is Client
    assert wfctl.WorkflowHandle is WorkflowHandle


async def test_a_client_is_awaited_or_entered(server: Server) -> None:
    client = await Client.connect(socket=str(server.path))
    assert (await client.workflows()).items == []
    await client.close()
    await client.close()
    async with await Client.connect(server.path) as client, Client.connect(server.path) as other:
        assert not any(await asyncio.gather(client.list(), other.list()))


async def test_start_sends_what_it_was_given_and_returns_a_handle(client: Client, backend: FakeBackend) -> None:
    handle = await client.start(
        "Order",
        workflow_id="order-1",
        workflow_input={"amount": 5, "at": datetime(2026, 1, 2, tzinfo=UTC)},
        workflow_timeout=timedelta(minutes=5),
        if_running="use",
        if_closed="fail",
    )
    assert handle.workflow_id == "order-1"
    assert handle.run_info is not None
    assert handle.run_info.workflow_type == "Order"
    assert handle.run_info.started_at_ms == STARTED_AT
    sent = last(backend, calls.Start)
    assert (sent.workflow_type, sent.workflow_id, sent.timeout_ms, sent.if_running, sent.if_closed) == (
        "Order",
        "order-1",
        300_000,
        "use",
        "fail",
    )
    assert bytes(sent.input) == b'{"amount":5,"at":"2026-01-02T00:00:00Z"}'


async def test_start_without_an_id_gets_one(client: Client) -> None:
    assert (await client.start("Order")).workflow_id == "made-0"


async def test_errors_are_their_own_classes(client: Client) -> None:
    with pytest.raises(UnknownWorkflowTypeError) as caught:
        await client.start("Unknown")
    assert caught.value.hint == "wfctl workflows"
    await client.start("Order", workflow_id="a")
    with pytest.raises(WorkflowAlreadyRunning):
        await client.start("Order", workflow_id="a")


async def test_what_cannot_be_sent_is_refused_before_it_is(client: Client, backend: FakeBackend) -> None:
    with pytest.raises(InvalidArgumentError, match="control character"):
        await client.start("Order", workflow_id="a\nb")
    with pytest.raises(InvalidArgumentError, match="control character"):
        await client.start("Or\udc80der")
    with pytest.raises(InvalidPayloadError, match="input of workflow 'Order'"):
        await client.start("Order", workflow_input={"x": object()})
    with pytest.raises(PayloadTooLargeError, match="the limit is 1,048,576"):
        await client.start("Order", workflow_input="x" * (1 << 20))
    with pytest.raises(InvalidArgumentError, match="workflow_timeout must be a timedelta"):
        await client.start("Order", workflow_timeout=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="workflow ID is empty"):
        client.handle("")
    with pytest.raises(InvalidArgumentError, match="at is too far away: 0001-01-01"):
        await client.start("Order", at=datetime.min)
    with pytest.raises(InvalidArgumentError, match="since must be a datetime or a timedelta, not str"):
        await client.list(since="15m")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="until is too far away"):
        await client.schedules.create("s", "Order", cron="@daily", until=datetime.min)
    with pytest.raises(
        InvalidArgumentError, match="overlap is one of skip, queue, allow, cancel, terminate, not 'bad'"
    ):
        await client.schedules.create("s", "Order", cron="@daily", overlap="bad")  # type: ignore[arg-type]
    assert backend.calls == []


WRONG: dict[str, tuple[Callable[[Client], Awaitable[Any]], str]] = {
    "at too early": (lambda c: c.start("Order", at=datetime.min), "at is too far away"),
    "at of a day": (lambda c: c.start("Order", at=date(2031, 1, 1)), "at must be a datetime, not date"),  # type: ignore[arg-type]
    "at of a text": (lambda c: c.start("Order", at="x"), "at must be a datetime, not str 'x'"),  # type: ignore[arg-type]
    "delay": (lambda c: c.start("Order", delay=timedelta.max), "delay is over 100 years"),
    "timeout": (lambda c: c.start("Order", workflow_timeout=timedelta.max), "workflow_timeout is over 100 years"),
    "wait": (lambda c: c.handle("a").result(timedelta.max), "timeout is over 100 years"),
    "negative": (lambda c: c.start("Order", delay=timedelta.min), "delay is negative"),
    "since too early": (lambda c: c.list(since=datetime.min), "since is too far away"),
    "since of a text": (lambda c: c.list(since="5m"), "since must be a datetime or a timedelta, not str '5m'"),  # type: ignore[arg-type]
    "age too early": (lambda c: c.purge(older_than=datetime.min), "older_than is too far away"),
    "age of a number": (lambda c: c.purge(older_than=5), "older_than must be a datetime or a timedelta, not int"),  # type: ignore[arg-type]
    "status": (lambda c: c.list(status=5), "status is a text or several, not int 5"),  # type: ignore[arg-type]
    "statuses": (lambda c: c.count(status=[[]]), "unknown status"),  # type: ignore[list-item]
    "limit of a text": (lambda c: c.list(limit="x"), "limit must be a whole number and not negative, not 'x'"),  # type: ignore[arg-type]
    "limit below zero": (lambda c: c.list(limit=-1), "limit must be a whole number and not negative, not -1"),
    "type": (lambda c: c.list(workflow_type=3), "workflow_type is a text or several, not int 3"),  # type: ignore[arg-type]
    "type of no text": (lambda c: c.purge(workflow_type="\ud800"), "workflow type '.*' has a control character"),
    "reason": (lambda c: c.handle("a").cancel("no\ud800"), r"'cancel' has a lone surrogate \(U\+D800\) at position 3"),
    "event ID": (lambda c: c.handle("a").send("e", event_id="\ud800"), "'send' has a lone surrogate"),
    "note": (lambda c: c.schedules.pause("s", note="\ud800"), "'schedule_pause' has a lone surrogate"),
    "object": (lambda c: c.handle("a").cancel(object()), "parameters of 'cancel'"),  # type: ignore[arg-type]
    "overlap": (
        lambda c: c.schedules.create("s", "Order", cron="* * * * *", overlap="x"),  # type: ignore[arg-type]
        "overlap is one of skip, queue, allow, cancel, terminate, not 'x'",
    ),
    "until": (
        lambda c: c.schedules.create("s", "Order", cron="* * * * *", until=datetime.min),
        "until is too far away",
    ),
    "file": (lambda c: c.check(5), "a file to check: expected str"),  # type: ignore[arg-type]
    "file of a backup": (lambda c: c.backup(5), "the file of a backup: expected str"),  # type: ignore[arg-type]
    "run": (lambda c: c.tree(5), "a run is an ID, a handle or a run of a list, not int 5"),  # type: ignore[arg-type]
    "run ID": (lambda c: anext(c.tail("")), "workflow ID is empty"),
    "runs": (lambda c: anext(c.changes([])), "a run is an ID, a handle or a run of a list, not list"),  # type: ignore[arg-type]
    "depth": (lambda c: c.tree(depth="x"), "parameters of 'tree'"),  # type: ignore[arg-type]
    "expand": (lambda c: c.tree(expand=5), "expand is a text or several, not int 5"),  # type: ignore[arg-type]
    "kind": (lambda c: anext(c.tail(kinds="task.faild")), "did you mean 'task.failed'"),
    "kinds": (lambda c: anext(c.tail(kinds=5)), "kinds is a text or several, not int 5"),  # type: ignore[arg-type]
    "last": (lambda c: anext(c.tail(last=-1)), "parameters of 'tail'"),
    "every": (lambda c: anext(c.changes(every=timedelta(seconds=-1))), "every is negative"),
    "until now": (lambda c: c.handle("a").wait("waitin"), "unknown status 'waitin'; did you mean 'waiting'"),
    "records": (lambda c: c.handle("a").history(limit=-1), "limit must be a whole number and not negative"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_argument_that_cannot_be_what_it_stands_for_is_named(
    client: Client, backend: FakeBackend, wrong: str
) -> None:
    call, why = WRONG[wrong]
    await client.start("Order", workflow_id="a")
    asked = len(backend.calls)
    with pytest.raises(InvalidArgumentError, match=why):
        await call(client)
    assert len(backend.calls) == asked
    assert await client.list()


async def test_statuses_may_be_named_together(client: Client, backend: FakeBackend) -> None:
    await client.start("Order", workflow_id="a")
    await client.start("Order", workflow_id="b")
    backend.close("b")
    assert [run.workflow_id for run in await client.list(status="open")] == ["a"]
    assert [run.workflow_id for run in await client.list(status="closed")] == ["b"]
    await client.list(status=["closed", "stuck", "failed"])
    assert set(last(backend, calls.List).statuses) == {*CLOSED, Status.STUCK}
    assert len(last(backend, calls.List).statuses) == len(CLOSED) + 1


async def test_run_starts_waits_and_returns_the_result(client: Client, backend: FakeBackend) -> None:
    waiting = asyncio.ensure_future(client.run("Order", workflow_id="a", timeout=timedelta(minutes=1)))
    await until(lambda: "a" in backend.runs)
    backend.close("a", result={"paid": True})
    assert await waiting == {"paid": True}


@dataclasses.dataclass
class Receipt:
    amount: float
    at: datetime


async def test_a_result_is_converted_to_the_asked_type(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    backend.close("a", result={"amount": 5, "at": "2026-01-02T00:00:00Z"})
    assert await handle.result(type=Receipt) == Receipt(5.0, datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(InvalidPayloadError, match="result of run 'a'"):
        await handle.result(type=int)


@pytest.mark.parametrize(
    ("status", "error", "exit_status"),
    [
        (Status.FAILED, RunFailedError, 10),
        (Status.CANCELLED, RunCancelledError, 11),
        (Status.TERMINATED, RunTerminatedError, 12),
        (Status.TIMED_OUT, RunTimedOutError, 13),
    ],
)
async def test_a_run_that_did_not_complete_raises_how_it_ended(
    client: Client, backend: FakeBackend, status: Status, error: type[RunOutcomeError], exit_status: int
) -> None:
    handle = await client.start("Order", workflow_id="a")
    backend.close("a", status)
    with pytest.raises(error) as caught:
        await handle.result()
    assert type(caught.value) is error
    assert caught.value.exit_status == exit_status
    detail = caught.value.detail
    assert (detail["run_id"], detail["workflow_id"], detail["status"]) == (handle.run_info.id, "a", status.value)  # type: ignore[union-attr]
    if status is Status.FAILED:
        assert "CardDeclined: limit exceeded" in caught.value.message
        assert detail["error"]["type"] == "CardDeclined"


async def test_a_result_that_is_not_there_in_time_leaves_the_run_alone(client: Client) -> None:
    handle = await client.start("Order", workflow_id="a")
    with pytest.raises(NotFinishedError, match="is running") as caught:
        await handle.result(timeout=timedelta(milliseconds=10))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.detail["status"] == "running"


async def test_a_handle_by_id_is_that_id_and_never_one_that_begins_like_it(
    client: Client, backend: FakeBackend
) -> None:
    await client.start("Order", workflow_id="order-10")
    handle = client.handle("order-1")
    assert handle.run_info is None
    with pytest.raises(RunNotFoundError, match="no run 'order-1'"):
        await handle.send("pay")
    await client.start("Order", workflow_id="order-11")
    with pytest.raises(RunNotFoundError):
        await handle.terminate()
    assert not [call for call in backend.calls if isinstance(call, calls.Send | calls.Terminate)]
    await client.start("Order", workflow_id="order-1")
    assert (await handle.send("pay")).workflow_id == "order-1"


async def test_send_cancel_and_terminate_name_the_run(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    run_id = backend.runs["a"].run_id
    assert (await handle.send("pay", {"by": "card"})).dispatched
    sent = last(backend, calls.Send)
    assert (sent.id, sent.event, bytes(sent.payload)) == (run_id, "pay", b'{"by":"card"}')
    with pytest.raises(InvalidPayloadError, match="payload of event 'pay'"):
        await handle.send("pay", float("nan"))
    assert (await handle.cancel(reason="enough")).changed
    assert last(backend, calls.Cancel) == calls.Cancel(id=run_id, exact=True, reason="enough")
    assert (await client.handle("a").terminate()).status is Status.TERMINATED
    assert last(backend, calls.Terminate) == calls.Terminate(id=run_id, exact=True, reason=None)


async def test_children_are_meant_only_where_it_is_said(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    await handle.cancel(children=True)
    assert last(backend, calls.Cancel).children is True
    await handle.terminate("enough", children=True)
    assert (last(backend, calls.Terminate).reason, last(backend, calls.Terminate).children) == ("enough", True)
    await handle.terminate()
    assert last(backend, calls.Terminate).children is False


async def test_a_query_is_answered_as_plain_data_or_as_the_asked_type(client: Client, backend: FakeBackend) -> None:
    @dataclasses.dataclass
    class Money:
        amount: float

    handle = await client.start("Order", workflow_id="a")
    backend.close("a")
    assert await handle.query("total") == {"amount": 5}
    assert await client.handle("a").query("total", {"currency": "EUR"}, type=Money) == Money(5)
    asked = last(backend, calls.Query)
    assert (asked.id, asked.name, bytes(asked.input)) == (backend.runs["a"].run_id, "total", b'{"currency":"EUR"}')
    with pytest.raises(InvalidPayloadError, match="answer of run 'a' to query 'total'"):
        await handle.query("total", type=int)


async def test_a_query_that_cannot_be_asked_is_named(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    with pytest.raises(UnknownQueryError) as caught:
        await handle.query("totl")
    assert caught.value.detail["known"] == ["total"]
    asked = len(backend.calls)
    with pytest.raises(InvalidArgumentError, match="query name is empty"):
        await handle.query("")
    with pytest.raises(InvalidPayloadError, match="arguments of query 'total'"):
        await handle.query("total", float("nan"))
    assert len(backend.calls) == asked


async def test_describe_gives_plain_data_and_learns_the_run(client: Client) -> None:
    await client.start("Order", workflow_id="a")
    handle = client.handle("a")
    described = await handle.describe()
    assert (described.input, described.result, described.store) == ({"amount": 5}, None, {"paid": True})
    assert (described.inbox[0].event, described.inbox[0].payload) == ("paid", {"by": "card"})
    assert handle.run_info is not None
    assert handle.run_info.id == described.run.run_id
    assert "'a'" in repr(handle)


async def test_history_is_whole_however_many_pages_it_has(client: Client) -> None:
    handle = await client.start("Order", workflow_id="a")
    assert [one.seq for one in await handle.history()] == [1, 2, 3, 4, 5]


async def test_watch_gives_entries_as_they_happen_until_the_end(
    client: Client, backend: FakeBackend, server: Server
) -> None:
    handle = await client.start("Order", workflow_id="a")
    seen = []
    watching = handle.watch(children=True)
    first = asyncio.ensure_future(anext(watching))
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(entry(1))
    seen.append((await first).seq)
    for item in (entry(2), entry(3), None):
        backend.streams[0].queue.put_nowait(item)
    seen += [one.seq async for one in watching]
    assert seen == [1, 2, 3]
    await until(lambda: server.connections == 1)


async def test_leaving_a_watch_ends_it_at_the_daemon(client: Client, backend: FakeBackend, server: Server) -> None:
    handle = await client.start("Order", workflow_id="a")
    watching = handle.watch()
    first = asyncio.ensure_future(anext(watching))
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(entry(1))
    await first
    await watching.aclose()  # type: ignore[attr-defined]
    await until(lambda: backend.streams[0].closed and server.connections == 1)


async def test_a_slow_watcher_holds_the_daemon_back_but_not_other_calls(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    watching = handle.watch()
    first = asyncio.ensure_future(anext(watching))
    await until(lambda: backend.streams)
    stream = backend.streams[0]
    count = 5_000
    for seq in range(count):
        stream.queue.put_nowait(entry(seq, data={"text": "x" * 1_000}))
    stream.queue.put_nowait(None)
    assert (await first).seq == 0
    for _ in range(30):
        await handle.send("pay")
    assert stream.taken < count
    assert [one.seq async for one in watching] == list(range(1, count))


async def test_list_fetches_all_pages_and_filters(client: Client, backend: FakeBackend) -> None:
    for number in range(8):
        await client.start("Order", workflow_id=f"order-{number}")
    assert len(await client.list()) == 8
    assert len(await client.list(limit=4)) == 4
    assert await client.list(limit=0) == []
    backend.close("order-3")
    since = datetime(2026, 1, 2, tzinfo=UTC)
    parent = client.handle("order-0")
    found = await client.list(status="completed", workflow_type="Order", parent=parent, since=since)
    assert [run.workflow_id for run in found] == ["order-3"]
    asked = last(backend, calls.List)
    assert asked.statuses == [Status.COMPLETED]
    assert asked.types == ["Order"]
    assert asked.parent == backend.runs["order-0"].run_id
    assert asked.since_ms == round(since.timestamp() * 1_000)
    await client.list(status=[Status.RUNNING, "waiting"], workflow_type=["A", "B"], since=timedelta(hours=1))
    assert last(backend, calls.List).types == ["A", "B"]
    with pytest.raises(InvalidArgumentError, match="did you mean 'completed'"):
        await client.list(status="complete")


async def test_workflows_tells_types_and_problems(client: Client) -> None:
    assert (await client.workflows()).problems[0].module == "flows.py"


async def test_a_thousand_calls_at_a_time_all_come_back(client: Client) -> None:
    handles = await asyncio.gather(*(client.start("Order", workflow_id=f"o{number}") for number in range(1_000)))
    assert [handle.workflow_id for handle in handles] == [f"o{number}" for number in range(1_000)]


async def test_a_cancelled_wait_is_given_up_at_the_daemon_too(client: Client, backend: FakeBackend) -> None:
    handle = await client.start("Order", workflow_id="a")
    waiting = asyncio.ensure_future(handle.result())
    await until(lambda: client._link._connection._calls)  # type: ignore[union-attr]
    await client.workflows()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: backend.cancelled == ["a"])
    assert await client.list()


@pytest.fixture
async def crowded(server: Server, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client that waits for as many results at once as it does: two, of the run "a"."""
    monkeypatch.setattr("wfctl.client.connection.MAX_RESULTS", 2)
    async with Client.connect(server.path) as client:
        handle = await client.start("Order", workflow_id="a")
        waiting = [asyncio.ensure_future(handle.result()) for _ in range(2)]
        await until(lambda: not client._link._connection._results.free)  # type: ignore[union-attr]
        yield client
        backend.close("a", result=5)
        assert await asyncio.gather(*waiting) == [5, 5]


async def test_the_result_of_a_closed_run_waits_for_nobody_who_waits(crowded: Client, backend: FakeBackend) -> None:
    closed = await crowded.start("Order", workflow_id="b")
    backend.close("b", result=7)
    asking = [asyncio.ensure_future(closed.result(timeout)) for timeout in (None, timedelta(0), timedelta(hours=1))]
    await until(lambda: all(one.done() for one in asking))
    assert [one.result() for one in asking] == [7, 7, 7]


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(milliseconds=10)])
async def test_the_time_for_a_result_is_over_also_where_others_wait_before_it(
    crowded: Client, timeout: timedelta
) -> None:
    asking = asyncio.ensure_future(crowded.handle("a").result(timeout))
    await until(asking.done)
    assert isinstance(asking.exception(), NotFinishedError)


async def test_one_more_result_is_waited_for_when_there_is_room_with_the_time_that_is_left(
    crowded: Client, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[calls.Result] = []
    answer = backend.result

    async def result(call: calls.Result) -> Outcome:
        asked.append(call)
        return await answer(call)

    monkeypatch.setattr(backend, "result", result)
    other = await crowded.start("Order", workflow_id="b")
    third = asyncio.ensure_future(other.result(timedelta(hours=1)))
    await until(lambda: asked)
    assert await crowded.workflows()
    assert [call.wait for call in asked] == [False]
    backend.close("a", result=5)
    await until(lambda: len(asked) == 2)
    assert asked[1].wait
    assert 0 < (asked[1].timeout_ms or 0) <= 3_600_000
    backend.close("b", result=7)
    assert await third == 7


async def test_who_gives_up_as_it_gets_a_place_or_before_leaves_it_to_the_next() -> None:
    places = _Places(1)
    await places.take()
    early, late, last = [asyncio.ensure_future(places.take()) for _ in range(3)]
    await asyncio.sleep(0)
    early.cancel()
    places.leave()
    late.cancel()  # it has the place, and has not gone on with it
    await last
    assert early.cancelled()
    assert late.cancelled()
    assert places.free == 0
    places.leave()
    assert places.free == 1
