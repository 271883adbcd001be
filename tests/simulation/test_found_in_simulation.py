"""What random worlds have found in the product, each told once more by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from support.checker import broken_promises
from wfctl import Context, Directive, RunClosedError, RunTimedOutError, Workflow
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo, encode
from wfd.core import state, stimuli as s
from wfd.core.decide import decide, open_run
from wfd.core.invariants import violations
from wfd.core.state import Raw
from wfd.runtime.clock import ManualClock
from wfd.supervisor.alone import ALONE_MS
from wfd.supervisor.contract import Handler, StepOrder
from wfd.supervisor.steps import Steps
from wfd.testing import WorkflowEnvironment


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    waits = Workflow("Waits")

    @waits.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event(timeout=timedelta(seconds=10))

    @waits.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    sends = Workflow("Sends")

    @sends.start()
    async def send(ctx: Context) -> Directive:
        try:
            await ctx.send("late", "finish")
        except RunClosedError:
            return ctx.next.complete("refused")
        return ctx.next.complete("sent")

    async with WorkflowEnvironment([waits, sends]) as env:
        yield env


async def test_an_event_that_meets_a_wait_whose_time_is_up_is_refused_and_the_end_of_the_run_kept(
    env: WorkflowEnvironment,
) -> None:
    late = await env.client.start("Waits", workflow_id="late")
    await env.settle()
    env.clock._now += 10_000  # the time is up, and its timer has not fired yet
    assert await env.client.run("Sends") == "refused"
    with pytest.raises(RunTimedOutError):
        await late.result()
    assert (await late.describe()).run.status == "timed_out"
    assert broken_promises(env.store.path) == []


def test_no_run_ends_before_it_began_although_the_clock_was_set_back() -> None:
    run = open_run(
        key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b"{}"), timeout_ms=None,
        parent=None, now=5_000,
    ).run  # fmt: skip
    ended = decide(run, s.TerminateAsked(), 2_000).run
    assert violations(ended) == []
    assert isinstance(ended.phase, state.Closed)
    assert ended.phase.at == 5_000


class _Worker:
    """Takes steps, and never ends one."""

    pid = 1
    full, crowded, handed = False, False, 0
    held_at: int | None = None

    def __init__(self) -> None:
        self.steps: set[int] = set()
        self.generation, self.source = 1, "g1"
        self.given: list[int] = []

    def send(self, message: channel.ToWorker) -> None:
        if isinstance(message, channel.RunStep):
            self.given.append(message.token)

    def kill(self, why: str) -> None:
        self.steps.clear()


def _order(token: int, *, alone: bool = False) -> StepOrder:
    run = RunInfo("R", "w", "W")
    message = channel.RunStep(token, "W", encode(run), "step", "s", b"{}", {}, [])
    return StepOrder(token, message, run, Handler("W", "s"), alone=alone)


async def test_a_step_that_lost_its_workers_and_now_only_waits_does_not_hold_up_the_others() -> None:
    clock, worker = ManualClock(), _Worker()
    steps = Steps(clock, lambda _: [worker])
    steps.run(_order(1, alone=True))
    steps.run(_order(2))
    steps.run(_order(3, alone=True))
    assert worker.given == [1]
    clock.advance(ALONE_MS)
    assert worker.given == [1, 3, 2]
    steps.run(_order(4))
    assert worker.given == [1, 3, 2, 4]


async def test_a_step_that_lost_its_workers_does_not_wait_for_ever_for_one_without_others() -> None:
    clock, worker = ManualClock(), _Worker()
    steps = Steps(clock, lambda _: [worker])
    steps.run(_order(1))
    steps.run(_order(2, alone=True))
    steps.run(_order(3))
    assert worker.given == [1]
    clock.advance(ALONE_MS)
    assert worker.given == [1, 2, 3]
