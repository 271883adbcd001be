"""Tasks: recorded side effects, retried, resumed, and never done again once recorded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from spec.conftest import Serve
from support.history import kinds, records
from support.waiting import until
from wfctl import Context, Directive, RetryPolicy, RunFailedError, Workflow, current_task, task


class Declined(Exception):
    pass


@dataclass
class Receipt:
    txn: str
    amount: float


async def test_a_recorded_task_is_not_done_again_when_its_step_runs_again(serve: Serve) -> None:
    done: list[str] = []
    gate = asyncio.Event()

    @task
    async def charge(amount: float) -> Receipt:
        done.append(current_task().idempotency_key)
        return Receipt("txn-1", amount)

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        receipt = await charge(9.5)
        assert isinstance(receipt, Receipt)
        await gate.wait()
        return ctx.next.complete(receipt)

    env = await serve(wf)
    handle = await env.client.start("W")
    await until(lambda: done)
    await env.store.writer.flush()
    await until(lambda: env.workers.running)
    for _ in range(3):
        env.workers.lose()
    gate.set()
    assert await handle.result(type=Receipt) == Receipt("txn-1", 9.5)
    assert len(set(done)) == 1
    [completed] = await records(handle, "task.completed")
    assert completed["result"] == {"txn": "txn-1", "amount": 9.5}


async def test_a_task_is_tried_again_as_its_policy_says(serve: Serve) -> None:
    attempts: list[int] = []

    @task(retry=RetryPolicy(attempts=3, delay=timedelta(seconds=10), backoff=2, jitter=0))
    async def charge() -> str:
        attempts.append(current_task().attempt)
        if len(attempts) < 3:
            raise Declined("not yet")
        return "paid"

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete(await charge())

    env = await serve(wf)
    handle = await env.client.start("W")
    await until(lambda: attempts == [1])
    await _committed(env, handle, "task.attempt_failed", 1)
    env.clock.advance(9_999)
    assert attempts == [1]
    env.clock.advance(1)
    await until(lambda: attempts == [1, 2])
    await _committed(env, handle, "task.attempt_failed", 2)
    env.clock.advance(20_000)
    assert await handle.result() == "paid"
    assert attempts == [1, 2, 3]


async def _committed(env: object, handle: object, kind: str, times: int) -> None:
    """Until the history has so many records of that kind; time stands still meanwhile."""
    while (await kinds(handle)).count(kind) < times:  # type: ignore[arg-type]
        await asyncio.sleep(0)


async def test_a_crash_between_attempts_resumes_at_the_right_attempt_with_the_same_key(serve: Serve) -> None:
    seen: list[tuple[int, str]] = []

    @task(retry=RetryPolicy(attempts=3, delay=timedelta(hours=1), jitter=0))
    async def charge() -> str:
        info = current_task()
        seen.append((info.attempt, info.idempotency_key))
        if info.attempt == 1:
            raise Declined("not yet")
        return "paid"

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete(await charge())

    env = await serve(wf)
    handle = await env.client.start("W")
    await _committed(env, handle, "task.attempt_failed", 1)
    env.workers.lose()
    await _committed(env, handle, "step.interrupted", 1)
    await until(lambda: env.workers.running)
    assert [attempt for attempt, _ in seen] == [1]
    # The new execution asks to go on before its delay is over, and is answered when it is.
    for _ in range(50):
        await asyncio.sleep(0)
    await env.store.writer.flush()
    env.clock.advance(3_600_000)
    assert await handle.result() == "paid"
    assert [attempt for attempt, _ in seen] == [1, 2]
    assert len({key for _, key in seen}) == 1


async def test_an_error_is_compensated_and_the_compensation_replays(serve: Serve) -> None:
    did: list[str] = []
    gate = asyncio.Event()

    @task
    async def charge() -> None:
        did.append("charge")
        raise Declined("limit")

    @task
    def refund(why: str) -> str:
        did.append("refund")
        return why

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await charge()
        except Declined as error:
            why = await refund(str(error))
            await gate.wait()
            return ctx.next.complete(why)
        return ctx.next.complete("charged")

    env = await serve(wf)
    handle = await env.client.start("W")
    await _committed(env, handle, "task.completed", 1)
    env.workers.lose()
    gate.set()
    assert await handle.result() == "limit"
    assert did == ["charge", "refund"]


async def test_the_last_failure_reaches_the_handler_and_fails_the_run(serve: Serve) -> None:
    @task(retry=RetryPolicy(attempts=2, delay=timedelta(0), jitter=0))
    async def charge() -> None:
        raise Declined("never")

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await charge()
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError, match="Declined: never"):
        await handle.result()
    assert [kind for kind in await kinds(handle) if kind.startswith("task.")] == [
        "task.started", "task.attempt_failed", "task.started", "task.failed",
    ]  # fmt: skip
    told = [entry.data for entry in await handle.history() if "failed" in entry.kind and entry.kind.startswith("task.")]
    assert [(data["attempt"], data["max_attempts"]) for data in told] == [(1, 2), (2, 2)]


async def test_a_sleep_outlives_a_crash_and_ends_on_time(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.sleep(timedelta(days=1))
        return ctx.next.complete((await ctx.now()).isoformat())

    env = await serve(wf)
    begun = env.now
    handle = await env.client.start("W")
    await _committed(env, handle, "sleep.recorded", 1)
    env.clock.advance(12 * 3_600_000)
    env.workers.lose()
    await _committed(env, handle, "step.interrupted", 1)
    for _ in range(50):
        await asyncio.sleep(0)
    env.clock.advance(12 * 3_600_000)
    assert await handle.result() == (begun + timedelta(days=1)).isoformat()
    assert (await kinds(handle)).count("sleep.recorded") == 1


async def test_retries_that_outlive_the_steps_timeout_say_so(serve: Serve) -> None:
    @task(retry=RetryPolicy(attempts=5, delay=timedelta(minutes=10), max_delay=timedelta(minutes=10), jitter=0))
    async def charge() -> None:
        raise Declined("not yet")

    wf = Workflow("W")

    @wf.start(timeout=timedelta(minutes=1))
    async def begin(ctx: Context) -> Directive:
        await charge()
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W")
    await _committed(env, handle, "task.attempt_failed", 1)
    env.clock.advance(60_000)
    with pytest.raises(RunFailedError, match=r"waited for attempt 2, due in 9m: its retries outlive the step"):
        await handle.result()
