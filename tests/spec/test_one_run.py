"""What a program asks of one run beside its result: a part of its history, until it stands so, whether it could be started."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from spec.conftest import Serve
from wfctl import (
    Context,
    Directive,
    InvalidArgumentError,
    InvalidPayloadError,
    NotFinishedError,
    RunStuckError,
    Workflow,
)
from wfctl.errors import RunNotFoundError, ScheduleNotFoundError, UnknownWorkflowTypeError
from wfctl.values.status import Status

HOUR = timedelta(hours=1)


def desk() -> Workflow:
    wf = Workflow("Desk")

    @wf.start()
    async def begin(ctx: Context, notes: int = 0) -> Directive:
        for number in range(notes):
            ctx.logger.info("note %d", number)
            await ctx.now()
        return ctx.next.wait_for_event()

    @wf.event()
    async def done(ctx: Context, answer: int = 0) -> Directive:
        return ctx.next.complete(answer)

    return wf


def lacking() -> Workflow:
    """The same without what an open run needs."""
    wf = Workflow("Desk")

    @wf.start()
    async def other(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    return wf


# -- history -------------------------------------------------------------------------------------


async def test_a_part_of_a_history_is_named_by_the_numbers_of_its_records(serve: Serve) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk", workflow_input={"notes": 5})
    await env.settle()
    numbers = [entry.seq for entry in await handle.history()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [entry.seq for entry in await handle.history(limit=3)] == [1, 2, 3]
    assert [entry.seq for entry in await handle.history(after=3, limit=2)] == [4, 5]
    assert [entry.seq for entry in await handle.history(limit=3, newest=True)] == numbers[-3:]
    assert [entry.seq for entry in await handle.history(before=4)] == [1, 2, 3]
    assert [entry.seq for entry in await handle.history(before=4, limit=2, newest=True)] == [2, 3]
    assert await handle.history(limit=0) == []
    with pytest.raises(InvalidArgumentError, match="limit must be a whole number"):
        await handle.history(limit=-1)


async def test_a_part_of_a_history_is_the_same_however_many_pages_it_takes(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk", workflow_input={"notes": 9})
    await env.settle()
    wanted = [
        {"logs": True}, {"newest": True}, {"limit": 7}, {"limit": 7, "newest": True, "logs": True}, {"after": 2, "before": 11},
    ]  # fmt: skip
    whole = [await handle.history(**words) for words in wanted]  # type: ignore[arg-type]
    monkeypatch.setattr("wfctl.client.handle._PAGE", 2)
    assert [await handle.history(**words) for words in wanted] == whole  # type: ignore[arg-type]
    assert [entry.kind for entry in whole[0]].count("log") == 9


# -- waiting -------------------------------------------------------------------------------------


async def test_a_run_is_waited_for_until_it_stands_as_asked(serve: Serve) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk")
    assert (await handle.wait("waiting", "stuck")).status is Status.WAITING
    assert (await handle.wait("open")).status is Status.WAITING
    await handle.send("done", {"answer": 5})
    outcome = await handle.wait()
    assert (outcome.status, msgspec.json.decode(outcome.result)) == (Status.COMPLETED, 5)
    # It has closed, and will not be so any more.
    assert (await handle.wait("waiting")).status is Status.COMPLETED


async def test_a_wait_that_is_over_before_the_run_stands_so_says_how_it_stands(serve: Serve) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk")
    await handle.wait("waiting")
    with pytest.raises(NotFinishedError, match="it is waiting"):
        await handle.wait("stuck", timeout=timedelta(0))
    with pytest.raises(NotFinishedError):
        await handle.wait(timeout=timedelta(milliseconds=10))
    with pytest.raises(InvalidArgumentError, match="unknown status 'waitin'; did you mean 'waiting'"):
        await handle.wait("waitin")


async def test_a_stuck_run_is_waited_for_or_an_error_as_its_caller_wants(serve: Serve) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk", workflow_id="d")
    await env.settle()
    env.load([lacking()])
    await handle.send("done", {"answer": 5}, allow_unknown=True)
    with pytest.raises(RunStuckError, match="run 'd' is stuck: ") as caught:
        await handle.result(fail_if_stuck=True)
    assert caught.value.detail["status"] == "stuck"
    assert (await handle.wait("stuck")).stuck_reason
    waiting = asyncio.ensure_future(handle.result())
    await env.settle()
    assert not waiting.done()
    env.load([desk()])
    assert await waiting == 5
    assert await env.client.handle("d").result(fail_if_stuck=True) == 5


# -- what could be -------------------------------------------------------------------------------


async def test_a_start_can_be_tried_without_starting_anything(serve: Serve) -> None:
    env = await serve(desk())
    handle = await env.client.start("Desk", workflow_id="d", workflow_input={"notes": 1}, dry_run=True)
    assert (handle.workflow_id, handle.run_info) == ("d", None)
    assert await env.client.list() == []
    with pytest.raises(RunNotFoundError):
        await handle.describe()
    with pytest.raises(InvalidPayloadError):
        await env.client.start("Desk", workflow_input={"nots": 1}, dry_run=True)


async def test_what_handlers_take_and_queries_answer_is_told_as_json_schema(serve: Serve) -> None:
    wf = desk()

    @wf.query()
    async def total(ctx: Context, unit: str = "EUR") -> dict[str, int]:
        """What it comes to."""
        return {}

    env = await serve(wf)
    start, event, query = await env.client.schemas("Desk")
    assert (start.kind, start.takes["properties"]) == ("start", {"notes": {"type": "integer"}})
    assert (event.kind, event.name, [*event.takes["properties"]], event.answers) == ("event", "done", ["answer"], None)
    assert (query.name, query.doc, query.takes["additionalProperties"]) == ("total", "What it comes to.", False)
    assert query.answers is not None
    assert query.answers["additionalProperties"] == {"type": "integer"}
    with pytest.raises(UnknownWorkflowTypeError, match="did you mean 'Desk'"):
        await env.client.schemas("Desks")


async def test_a_schedule_can_be_tried_and_its_times_told_before_there_is_one(serve: Serve) -> None:
    env = await serve(desk())
    schedules = env.client.schedules
    view = await schedules.create("s", "Desk", cron="30 2 * * *", tz="Europe/Paris", dry_run=True)
    assert view.next_local is not None
    assert await schedules.list() == []
    times = await schedules.next_times(
        cron="30 2 * * *", tz="Europe/Paris", after=datetime(2030, 3, 30, tzinfo=UTC), shown=2
    )
    assert (times.tz, [(time.local, time.dst) for time in times.items][1][1]) == ("Europe/Paris", "gap")
    await schedules.create("s", "Desk", every=HOUR)
    assert [time.at for time in (await schedules.next_times("s", shown=2)).items] == [
        env.clock.now_ms() + 3_600_000 * number for number in (1, 2)
    ]
    with pytest.raises(InvalidArgumentError, match="a timetable of its own"):
        await schedules.next_times("s", every=HOUR)
    with pytest.raises(InvalidArgumentError):
        await schedules.next_times()


async def test_a_schedule_says_what_taking_it_away_would_do(serve: Serve) -> None:
    env = await serve(desk())
    schedules = env.client.schedules
    await schedules.create("s", "Desk", every=HOUR)
    assert (await schedules.delete("s", dry_run=True)).dry_run
    assert len(await schedules.list()) == 1
    assert (await schedules.delete("s")).changed
    with pytest.raises(ScheduleNotFoundError):
        await schedules.delete("s")


async def test_a_run_that_a_schedule_started_says_which_and_for_what_time(serve: Serve) -> None:
    env = await serve(desk())
    await env.client.schedules.create("s", "Desk", every=HOUR)
    await env.advance(HOUR)
    (run,) = await env.client.list()
    schedule = (await env.client.handle(run).describe()).schedule
    assert schedule is not None
    assert (schedule.id, schedule.at_ms) == ("s", env.clock.now_ms())
