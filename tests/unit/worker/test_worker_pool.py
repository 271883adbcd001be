"""The threads of plain `def` handlers: who waits for an operation keeps nobody from beginning, and goes on whoever computes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.handlers import Desk
from support.waiting import until
from wfctl import Directive, Workflow
from wfctl.protocol.channel import AbandonStep, CancelStep, GiveBack, Op, Ping, Pong, StepDone, StepGone, StepRaised
from wfd.worker import pool

wf = Workflow("Order")
begun: list[str] = []
gate = threading.Event()


@wf.start()
def asks(ctx: Any) -> Directive:
    begun.append("asks")
    ctx.send("other", "first")
    begun.append("goes on")
    ctx.send("other", "second")
    return ctx.next.complete()


@wf.step()
def blocks(ctx: Any) -> Directive:
    begun.append("blocks")
    gate.wait(10)
    return ctx.next.complete()


@wf.step()
def returns(ctx: Any) -> Directive:
    return ctx.next.complete(threading.current_thread().name)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wfctl-handler"]


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """At most two of its handlers compute at a time."""
    monkeypatch.setattr(pool, "COMPUTING", 2)
    await until(lambda: not threads())  # of other tests
    begun.clear()
    gate.clear()
    desk = Desk(wf)
    yield desk
    gate.set()
    desk.executor.cancel_all()
    desk.executor.close()


async def two_that_block(desk: Desk) -> list[int]:
    blocked = [desk.begin("step", "blocks") for _ in range(2)]
    await until(lambda: begun.count("blocks") == 2)
    return blocked


async def turns(number: int = 50) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_those_that_wait_for_an_operation_keep_no_other_from_beginning(desk: Desk) -> None:
    tokens = {desk.begin("start", "asks") for _ in range(5)}
    assert {(await desk.next(Op)).token for _ in tokens} == tokens


async def test_one_that_has_its_answer_goes_on_whoever_computes(desk: Desk) -> None:
    desk.begin("start", "asks")
    first = await desk.next(Op)
    await two_that_block(desk)
    desk.reply(first)
    assert (await desk.next(Op)).key != first.key


async def test_while_enough_compute_the_next_ones_begin_as_others_end_or_wait(desk: Desk) -> None:
    await two_that_block(desk)
    waiting = [desk.begin("start", "asks"), desk.begin("step", "returns"), desk.begin("start", "asks")]
    await turns()
    assert begun == ["blocks"] * 2
    gate.set()
    assert {(await desk.next(Op)).token for _ in range(2)} == {waiting[0], waiting[2]}
    # Its thread may be later with it than the next one with its operation.
    await until(lambda: waiting[1] in [message.token for message in desk.sent if isinstance(message, StepDone)])


@pytest.mark.parametrize("before", [True, False], ids=["at once", "in line"])
async def test_one_that_is_cancelled_before_it_has_begun_begins_to_clean_up(desk: Desk, before: bool) -> None:
    await two_that_block(desk)
    token = desk.begin("start", "asks")
    if not before:
        await turns()
    desk.executor.receive(CancelStep(token))
    raised = await desk.next(StepRaised)
    assert (raised.token, raised.cancelled) == (token, True)
    assert begun == ["blocks", "blocks", "asks"]


@pytest.mark.parametrize("before", [True, False], ids=["at once", "in line"])
async def test_one_that_is_abandoned_before_it_has_begun_is_gone_at_once(desk: Desk, before: bool) -> None:
    await two_that_block(desk)
    token = desk.begin("start", "asks")
    if not before:
        await turns()
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    assert begun == ["blocks", "blocks"]


async def test_those_that_wait_for_a_thread_are_told_of_with_those_that_have_one(desk: Desk) -> None:
    desk.executor.receive(Ping(1))
    assert await desk.next(Pong) == Pong(1, 2)
    blocked = await two_that_block(desk)
    for _ in range(3):
        desk.begin("step", "returns")
    await turns()
    desk.executor.receive(Ping(2))
    pong = await desk.next(Pong)
    assert (pong.number, pong.room, pong.held, pong.held_tasks, pong.by) == (2, 0, 3, 0, blocked)
    assert pong.held_ms >= 0


async def test_those_that_have_not_begun_are_given_back_when_others_can_take_them(desk: Desk) -> None:
    await two_that_block(desk)
    waiting = [desk.begin("start", "asks") for _ in range(3)]
    await turns()
    desk.executor.receive(GiveBack(2))
    assert [await desk.next() for _ in range(2)] == [StepGone(token) for token in waiting[:2]]
    gate.set()
    assert (await desk.next(Op)).token == waiting[2]
    assert begun.count("asks") == 1


async def test_one_that_is_cancelled_while_it_waits_is_not_given_back(desk: Desk) -> None:
    await two_that_block(desk)
    token = desk.begin("start", "asks")
    await turns()
    desk.executor.receive(CancelStep(token), GiveBack(2))
    assert (await desk.next(StepRaised)).token == token


async def test_a_thread_serves_one_handler_after_the_other_until_the_worker_ends(desk: Desk) -> None:
    for _ in range(3):
        desk.begin("step", "returns")
        assert (await desk.next(StepDone)).value == b'"wfctl-handler"'
    assert len(threads()) == 1
    desk.executor.close()
    await until(lambda: not threads())
    assert threads() == []


async def test_no_more_threads_are_kept_than_are_wanted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEPT", 1)
    await two_that_block(desk)
    gate.set()
    await desk.next(StepDone)
    await desk.next(StepDone)
    await until(lambda: len(threads()) == 1)
    assert len(threads()) == 1


async def test_where_the_system_allows_no_more_threads_a_handler_waits_for_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def scarce(thread: threading.Thread) -> None:
        if len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(pool, "RETRY_S", 0)
    monkeypatch.setattr(threading.Thread, "start", scarce)
    desk.begin("step", "returns")
    assert (await desk.next()).value == b'"wfctl-handler"'
    assert [record.getMessage() for record in caplog.records] == [
        "plain `def` handlers wait: can't start new thread; let the system allow this process more threads"
    ]
