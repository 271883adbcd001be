"""What goes on with the next daemon, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.fake_backend import FakeBackend, entry
from support.waiting import until
from wfctl.client import Client
from wfctl.client.patience import HEALTHY_S, LONGEST_DELAY_S, SHORTEST_DELAY_S, Patience
from wfctl.errors import DaemonDownError, InvalidArgumentError, NotFinishedError, UsageError
from wfctl.protocol import calls, views
from wfd.server import Server

HOUR = timedelta(hours=1)


@pytest.fixture
async def patient(server: Server) -> AsyncIterator[Client]:
    async with Client.connect(server.path, reconnect=HOUR) as client:
        await client.start("Order", workflow_id="a")
        yield client


@pytest.fixture
def tails(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> list[calls.Tail]:
    """Those that the backend was asked for."""
    asked: list[calls.Tail] = []
    answer = backend.tail

    def tail(call: calls.Tail) -> Any:
        asked.append(call)
        return answer(call)

    monkeypatch.setattr(backend, "tail", tail)
    return asked


async def again(server: Server) -> None:
    await server.stop()
    await server.start()


async def test_a_tail_goes_on_with_the_next_daemon_after_the_last_entry_that_it_gave(
    patient: Client, backend: FakeBackend, server: Server, tails: list[calls.Tail]
) -> None:
    tail = patient.tail("a", follow=True, last=5)
    first = asyncio.ensure_future(anext(tail))
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(entry(3))
    assert (await first).rev == tail.rev == 3
    second = asyncio.ensure_future(anext(tail))
    await again(server)
    await until(lambda: len(backend.streams) == 2)
    for item in (entry(4), entry(0), None):  # the one without a place is progress
        backend.streams[1].queue.put_nowait(item)
    assert [(await second).rev, *[one.rev async for one in tail]] == [4, 0]
    run_id = backend.runs["a"].run_id
    assert tails == [
        calls.Tail(ids=[run_id], exact=True, follow=True, last=5),
        calls.Tail(ids=[run_id], exact=True, follow=True, since_rev=3),
    ]
    # What the end says: it has looked further than its last entry.
    assert tail.rev == 9
    assert [one.workflow_id for one in tail.outcomes] == ["a"]


async def test_a_stream_that_a_stopping_daemon_ended_early_goes_on_with_the_next_one(
    patient: Client, backend: FakeBackend
) -> None:
    tail = patient.tail("a", follow=True)
    first = asyncio.ensure_future(anext(tail))
    await until(lambda: backend.streams)
    backend.streams[0].answer = calls.TailEnd(rev=7, outcomes=[backend.runs["a"]])
    backend.streams[0].queue.put_nowait(None)
    await until(lambda: len(backend.streams) == 2)
    backend.streams[1].queue.put_nowait(entry(8))
    assert (await first).rev == 8


async def test_a_watch_of_a_handle_goes_on_too_and_stays_with_its_run(
    patient: Client, backend: FakeBackend, server: Server, tails: list[calls.Tail]
) -> None:
    watching = patient.handle("a").watch(children=True)
    first = asyncio.ensure_future(anext(watching))
    await until(lambda: backend.streams)
    old = backend.runs.pop("a")
    await patient.start("Order", workflow_id="b")
    backend.runs["a"] = backend.runs["b"]
    await again(server)
    await until(lambda: len(backend.streams) == 2)
    backend.streams[1].queue.put_nowait(entry(1))
    assert (await first).rev == 1
    assert [call.ids for call in tails] == [[old.run_id]] * 2


async def test_changes_go_on_with_the_next_daemon_after_the_last_notice(
    patient: Client, backend: FakeBackend, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.fake_backend import FakeStream

    asked: list[calls.Watch] = []

    def watch(call: calls.Watch) -> FakeStream:
        asked.append(call)
        return FakeStream(backend, None)

    monkeypatch.setattr(backend, "watch", watch)
    changes = patient.changes(every=timedelta(seconds=1))
    first = asyncio.ensure_future(anext(changes))
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(views.WatchItem(rev=5))
    assert (await first).rev == 5
    second = asyncio.ensure_future(anext(changes))
    await again(server)
    await until(lambda: len(backend.streams) == 2)
    backend.streams[1].queue.put_nowait(views.WatchItem(rev=6))
    assert (await second).rev == 6
    await changes.aclose()
    whole = calls.Watch(every_ms=1_000, changes=True, exact=True)
    assert asked == [whole, calls.Watch(every_ms=1_000, changes=True, exact=True, since_rev=5)]
    await until(lambda: backend.streams[1].closed)


async def test_a_result_is_waited_for_across_a_restart(patient: Client, backend: FakeBackend, server: Server) -> None:
    handle = patient.handle("a")
    waits = [asyncio.ensure_future(one) for one in (handle.result(), handle.result(HOUR), handle.wait())]
    await until(lambda: len(patient._link._connection._calls) == 3)  # type: ignore[union-attr]
    await again(server)
    backend.close("a", result=5)
    *results, outcome = await asyncio.gather(*waits)
    assert (*results, outcome.status) == (5, 5, "completed")


async def test_the_time_for_a_result_is_over_also_where_there_is_no_daemon(patient: Client, server: Server) -> None:
    waiting = asyncio.ensure_future(patient.handle("a").result(timedelta(milliseconds=300)))
    await until(lambda: patient._link._connection._calls)  # type: ignore[union-attr]
    await server.stop()
    with pytest.raises((DaemonDownError, NotFinishedError)):
        await waiting


async def test_other_calls_do_not_wait_for_a_daemon(patient: Client, server: Server) -> None:
    await server.stop()
    with pytest.raises(DaemonDownError):
        await patient.list()
    with pytest.raises(DaemonDownError):
        await patient.handle("a").send("pay")


async def test_a_client_that_is_closed_while_it_looks_for_a_daemon_looks_no_more(
    patient: Client, backend: FakeBackend, server: Server
) -> None:
    following = asyncio.ensure_future(anext(patient.tail(follow=True)))
    await until(lambda: backend.streams)
    await server.stop()
    await patient.close()
    with pytest.raises(UsageError, match="this client is closed"):
        await following


async def test_how_long_a_daemon_may_be_away_is_a_duration(server: Server) -> None:
    with pytest.raises(InvalidArgumentError, match="reconnect must be a timedelta"):
        Client.connect(server.path, reconnect=5)  # type: ignore[arg-type]


async def test_a_reload_tells_what_became_of_the_code(
    client: Client, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = calls.Reloaded(
        generation=2, source_hash="abc", types=[calls.ReloadedType(workflow_type="Order", change="broken")],
        problems=[views.ProblemView(module="flows.py", message="is wrong")],
    )  # fmt: skip

    async def reload(call: calls.Reload) -> calls.Reloaded:
        return done

    monkeypatch.setattr(backend, "reload", reload, raising=False)
    assert await client.reload() == done


def test_patience_is_for_a_while_after_the_daemon_was_lost() -> None:
    patience = Patience(10.0)
    assert not patience.over(100.0)
    assert patience.lost(began=0.0, now=100.0)
    # One that accepts and hangs up at once has not come back.
    assert not patience.lost(began=105.0, now=105.0 + HEALTHY_S)
    assert not patience.over(109.9)
    assert patience.over(110.0)
    assert patience.lost(began=111.0, now=200.0)
    assert not patience.over(209.9)


def test_the_delay_grows_while_the_daemon_is_away_and_begins_anew_when_it_was_there() -> None:
    patience = Patience(10.0)
    patience.lost(0.0, 100.0)
    delays = [patience.delay_s() for _ in range(6)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (SHORTEST_DELAY_S, LONGEST_DELAY_S)
    patience.lost(150.0, 200.0)
    assert patience.delay_s() == SHORTEST_DELAY_S


def test_without_patience_the_first_loss_is_the_last() -> None:
    patience = Patience(0.0)
    patience.lost(0.0, 100.0)
    assert patience.over(100.0)
