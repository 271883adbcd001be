"""Log lines when a step is repeated: one that was logged before is left out, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, RetryPolicy, Workflow, task
from wfctl.protocol.channel import LogLine, StepDone

wf = Workflow("Order")
# What an execution says beside what the one before it has said.
first: list[str] = []
last: list[str] = []
failures = 0


@wf.start()
async def around_a_task(ctx: Context) -> Directive:
    @task
    async def work() -> None:
        ctx.logger.info("in the task")
        ctx.logger.info("in the task, again")

    tell(ctx, first)
    await work()
    ctx.logger.info("after it")
    tell(ctx, last)
    return ctx.next.complete()


@wf.step()
async def many_alike(ctx: Context) -> Directive:
    @task
    async def charge(item: int) -> None:
        ctx.logger.info("charging")

    for item in range(3 + len(last)):
        await charge(item)
        ctx.logger.info("charged")
    return ctx.next.complete()


@wf.step()
async def in_branches(ctx: Context) -> Directive:
    async def branch(name: str) -> None:
        ctx.logger.info(f"{name} begins")
        await ctx.send("other", name)
        ctx.logger.info(f"{name} ends")

    await asyncio.gather(*map(branch, first))
    return ctx.next.complete()


@wf.step()
async def tries(ctx: Context) -> Directive:
    @task(retry=RetryPolicy(attempts=2, jitter=0))
    async def flaky(item: int) -> None:
        global failures
        failures += 1
        if failures % 2:
            raise ConnectionError("busy")

    for item in range(1 + len(last)):
        await flaky(item)
    return ctx.next.complete()


@wf.step()
def in_a_thread(ctx: Any) -> Directive:
    tell(ctx, first)
    ctx.logger.info("begun")
    ctx.send("other", "note")
    tell(ctx, last)
    return ctx.next.complete()


def tell(ctx: Context, lines: list[str]) -> None:
    for line in lines:
        ctx.logger.info(line)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    global failures
    failures = 0
    first.clear()
    last.clear()
    desk = Desk(wf)
    yield desk
    desk.executor.close()


async def again(desk: Desk, kind: str, handler: str) -> list[str]:
    """What a second execution adds, which begins with the records and the lines of the first."""
    before = len(desk.logged)
    assert isinstance(await desk.finish(kind, handler, ops=desk.records, logged=desk.logged), StepDone)
    return desk.lines[before:]


async def test_lines_of_a_task_that_does_not_run_again_hide_none_of_its_handlers(desk: Desk) -> None:
    await desk.finish("start", "around_a_task")
    assert desk.lines == ["in the task", "in the task, again", "after it"]
    last[:] = ["new line 1", "new line 2"]
    assert await again(desk, "start", "around_a_task") == last


@pytest.mark.parametrize(("kind", "handler"), [("start", "around_a_task"), ("step", "in_a_thread")])
async def test_a_line_that_only_a_later_execution_says_is_shown_and_no_other_is_repeated(
    desk: Desk, kind: str, handler: str
) -> None:
    await desk.finish(kind, handler)
    first[:] = ["resuming"]
    assert await again(desk, kind, handler) == ["resuming"]


async def test_lines_that_are_alike_are_left_out_as_often_as_they_were_logged(desk: Desk) -> None:
    await desk.finish("step", "many_alike")
    last[:] = ["one more", "and one"]
    assert await again(desk, "step", "many_alike") == ["charging", "charged"] * 2


async def test_the_order_in_which_branches_log_is_no_matter(desk: Desk) -> None:
    first[:] = ["a", "b", "c"]
    await desk.finish("step", "in_branches")
    assert len(desk.lines) == 6
    first.reverse()
    assert await again(desk, "step", "in_branches") == []


async def test_an_attempt_that_fails_now_is_told_of_though_one_like_it_was(desk: Desk) -> None:
    await desk.finish("step", "tries")
    assert len(desk.lines) == 1
    last[:] = ["one more"]
    assert await again(desk, "step", "tries") == desk.lines[:1]


async def test_a_task_that_was_cut_short_says_again_what_it_does_again(desk: Desk) -> None:
    await desk.finish("start", "around_a_task", crash_after=1)
    assert await again(desk, "start", "around_a_task") == ["in the task", "in the task, again", "after it"]


def test_a_line_is_known_by_its_level_and_its_text() -> None:
    line = LogLine(1, "info", "paid ü")
    assert line.mark() == LogLine(2, "info", "paid ü").mark()
    assert len({line.mark(), LogLine(1, "error", "paid ü").mark(), LogLine(1, "info", "paid").mark()}) == 3
