"""Schedules: runs that the clock starts, each time once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.waiting import until
from wfctl import (
    Context,
    Directive,
    InvalidArgumentError,
    InvalidPayloadError,
    ScheduleExistsError,
    ScheduleNotFoundError,
    StorageError,
    UnknownWorkflowTypeError,
    Workflow,
)
from wfctl.protocol import schedules
from wfctl.protocol.views import RunView
from wfctl.values.runinfo import ScheduleInfo
from wfctl.values.schedule import ScheduleSpec, Timetable
from wfctl.values.times import rfc3339
from wfd.store.database import Database
from wfd.store.rows import Unit
from wfd.testing import WorkflowEnvironment

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def report() -> Workflow:
    """Waits to be closed where it is told to; its result is the time it was started for."""
    wf = Workflow("Report")

    @wf.start()
    async def begin(ctx: Context, wait: bool = False) -> Directive:
        if wait:
            return ctx.next.wait_for_event()
        assert ctx.run.schedule is not None
        return ctx.next.complete([ctx.run.schedule.id, ctx.run.schedule.at_ms])

    @wf.event()
    async def close(ctx: Context) -> Directive:
        return ctx.next.complete(None)

    return wf


async def runs(env: WorkflowEnvironment) -> list[RunView]:
    """Oldest first."""
    return (await env.client.list())[::-1]


async def ids(env: WorkflowEnvironment) -> list[str]:
    return [run.workflow_id.removeprefix("s-2030-01-") for run in await runs(env)]


async def test_each_time_starts_one_run_that_is_named_after_it(serve: Serve) -> None:
    env = await serve(report())
    made = await env.client.schedules.create("s", "Report", cron="0 9,18 * * *", tz="Europe/Paris")
    assert (made.status, made.tz, made.next_local) == ("active", "Europe/Paris", "2030-01-01T09:00:00+01:00")
    await env.advance(8 * HOUR - timedelta(milliseconds=1))
    assert await runs(env) == []
    await env.advance(timedelta(milliseconds=1))
    assert await ids(env) == ["01T08:00:00Z"]
    await env.advance(DAY)
    assert await ids(env) == ["01T08:00:00Z", "01T17:00:00Z", "02T08:00:00Z"]
    at = round(datetime(2030, 1, 1, 8, tzinfo=UTC).timestamp() * 1_000)
    handle = env.client.handle("s-2030-01-01T08:00:00Z")
    assert await handle.result() == ["s", at]
    await handle.describe()
    assert handle.run_info is not None
    assert handle.run_info.schedule == ScheduleInfo("s", at)
    shown = await env.client.schedules.describe("s", shown=2)
    assert [run.status for run in shown.runs] == ["completed"] * 3
    assert [time.local for time in shown.next] == ["2030-01-02T18:00:00+01:00", "2030-01-03T09:00:00+01:00"]
    assert shown.schedule.started == 3
    assert broken_promises(env.store.path) == []


async def test_a_run_and_the_mark_of_its_schedule_are_one_unit(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR)
    units: list[Unit] = []
    submit = env.store.writer.submit
    monkeypatch.setattr(env.store.writer, "submit", lambda unit, done: (units.append(unit), submit(unit, done)))
    await env.advance(2 * HOUR)
    started = [unit for unit in units if unit.runs_new]
    assert len(started) == 2
    assert started == [unit for unit in units if unit.schedules]


async def test_a_failed_commit_starts_no_time_twice_and_loses_none(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR)
    await env.client.schedules.create("other", "Report", every=HOUR, overlap="allow")
    commit, failures = Database.commit, iter(("before", "after"))

    def failing(self: Database, work: list[Unit]) -> None:
        how = next(failures, "") if any(unit.schedules for unit in work) else ""
        if how == "before":
            raise sqlite3.OperationalError("disk I/O error")
        commit(self, work)
        if how == "after":
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Database, "commit", failing)
    end = env.now + 3.5 * HOUR
    while env.now < end:
        env.clock.advance(600_000)
        with contextlib.suppress(StorageError):  # as long as the disk fails
            await env.settle()
        await until(lambda: (env.clock.advance(1_000), env.engine.failure)[1] is None)
    assert next(failures, None) is None
    for name in ("s", "other"):
        found = [run.workflow_id for run in await runs(env) if run.workflow_id.startswith(f"{name}-")]
        assert found == [f"{name}-2030-01-01T0{hour}:00:00Z" for hour in (1, 2, 3)]
    assert [shown.started for shown in await env.client.schedules.list()] == [3, 3]
    assert broken_promises(env.store.path) == []


async def test_an_interval_is_counted_from_1970_and_moved_by_its_offset(serve: Serve) -> None:
    env = await serve(report())
    await env.advance(7 * MINUTE)
    await env.client.schedules.create("s", "Report", every=15 * MINUTE, offset=2 * MINUTE)
    await env.advance(30 * MINUTE)
    assert await ids(env) == ["01T00:17:00Z", "01T00:32:00Z"]


async def waiting(env: WorkflowEnvironment, overlap: str, **more: object) -> None:
    await env.client.schedules.create(
        "s", "Report", every=HOUR, tz="UTC", overlap=overlap, workflow_input={"wait": True}, **more  # type: ignore[arg-type]
    )  # fmt: skip


async def test_a_time_that_meets_an_open_run_is_skipped_and_counted(serve: Serve) -> None:
    env = await serve(report())
    await waiting(env, "skip")
    await env.advance(3 * HOUR)
    assert await ids(env) == ["01T01:00:00Z"]
    (shown,) = await env.client.schedules.list()
    assert (shown.started, shown.skipped, shown.open_runs) == (1, 2, ["s-2030-01-01T01:00:00Z"])
    await env.client.handle("s-2030-01-01T01:00:00Z").send("close")
    await env.advance(HOUR)
    assert await ids(env) == ["01T01:00:00Z", "01T04:00:00Z"]


async def test_a_time_that_is_queued_comes_when_the_run_before_has_closed(serve: Serve) -> None:
    env = await serve(report())
    await waiting(env, "queue")
    await env.advance(3 * HOUR)
    assert await ids(env) == ["01T01:00:00Z"]
    (shown,) = await env.client.schedules.list()
    assert [time.local for time in shown.waiting] == [f"2030-01-01T0{hour}:00:00+00:00" for hour in (2, 3)]
    assert shown.skipped == 0
    for hour in (1, 2):
        await env.client.handle(f"s-2030-01-01T0{hour}:00:00Z").send("close")
        await env.settle()
    assert await ids(env) == ["01T01:00:00Z", "01T02:00:00Z", "01T03:00:00Z"]
    assert [str(run.status) for run in await runs(env)] == ["completed", "completed", "waiting"]


async def test_runs_stand_beside_one_another_where_that_is_allowed(serve: Serve) -> None:
    env = await serve(report())
    await waiting(env, "allow")
    await env.advance(3 * HOUR)
    assert [str(run.status) for run in await runs(env)] == ["waiting"] * 3


@pytest.mark.parametrize(("overlap", "status"), [("cancel", "cancelled"), ("terminate", "terminated")])
async def test_the_run_before_is_ended_where_that_is_asked_for(serve: Serve, overlap: str, status: str) -> None:
    env = await serve(report())
    await waiting(env, overlap)
    await env.advance(3 * HOUR)
    assert [str(run.status) for run in await runs(env)] == [status, status, "waiting"]
    assert await ids(env) == ["01T01:00:00Z", "01T02:00:00Z", "01T03:00:00Z"]


async def test_what_passed_while_no_daemon_ran_is_made_good_as_long_as_was_asked_for(tmp_path: Path) -> None:
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin) as env:
        for name, catch_up in (("none", timedelta(0)), ("some", 2 * HOUR), ("all", DAY)):
            await env.client.schedules.create(name, "Report", every=HOUR, overlap="allow", catch_up=catch_up)
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin + 5.5 * HOUR, seed=1) as env:
        await env.settle()
        found = {shown.schedule_id: (shown.started, shown.missed) for shown in await env.client.schedules.list()}
        assert found == {"none": (0, 5), "some": (2, 3), "all": (5, 0)}
        await env.advance(HOUR)
        assert len(await runs(env)) == 10
        assert broken_promises(env.store.path) == []


async def test_of_late_times_that_may_not_overlap_the_newest_is_made_good(tmp_path: Path) -> None:
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin) as env:
        await env.client.schedules.create("s", "Report", every=HOUR)
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin + 5.5 * HOUR, seed=1) as env:
        await env.settle()
        assert await ids(env) == ["01T05:00:00Z"]
        (shown,) = await env.client.schedules.list()
        assert (shown.started, shown.skipped, shown.missed) == (1, 4, 0)


async def test_a_schedule_whose_type_is_gone_says_so_and_goes_on_when_it_is_back(serve: Serve) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR, overlap="allow", catch_up=2 * HOUR)
    env.load([])
    await env.advance(5 * HOUR)
    (shown,) = await env.client.schedules.list()
    assert shown.status == "blocked"
    assert shown.problem is not None
    assert "'Report' is in no module" in shown.problem
    assert shown.next_at is not None
    assert shown.next_at < round(env.now.timestamp() * 1_000)
    status = await env.client.status()
    assert list(status.schedules.blocked) == ["s"]
    with pytest.raises(UnknownWorkflowTypeError):
        await env.client.schedules.trigger("s")
    env.load([report()])
    await env.settle()
    assert await ids(env) == ["01T03:00:00Z", "01T04:00:00Z", "01T05:00:00Z"]
    (shown,) = await env.client.schedules.list()
    assert (shown.status, shown.started, shown.missed) == ("active", 3, 2)


async def test_a_pause_is_kept_across_restarts_and_its_times_are_not_made_good(tmp_path: Path) -> None:
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin) as env:
        await env.client.schedules.create("s", "Report", every=HOUR)
        changed = await env.client.schedules.pause("s", note="the printer is broken")
        assert (changed.changed, changed.status) == (True, "paused")
    async with WorkflowEnvironment([report()], path=tmp_path, now=begin + 3 * HOUR, seed=1) as env:
        (shown,) = await env.client.schedules.list()
        assert (shown.status, shown.note, shown.next_at) == ("paused", "the printer is broken", None)
        again = await env.client.schedules.pause("s")
        assert not again.changed
        assert (await env.client.schedules.describe("s")).schedule.note == "the printer is broken"
        await env.advance(1.5 * HOUR)
        assert await runs(env) == []
        handle = await env.client.schedules.trigger("s")
        assert handle.workflow_id == "s-2030-01-01T04:30:00.000Z"
        assert (await handle.result())[0] == "s"
        await env.client.schedules.resume("s")
        assert (await env.client.schedules.resume("s")).changed is False
        await env.advance(HOUR)
        assert await ids(env) == ["01T04:30:00.000Z", "01T05:00:00Z"]
        shown = (await env.client.schedules.describe("s")).schedule
        assert (shown.started, shown.skipped, shown.missed) == (2, 0, 0)


async def test_runs_by_hand_that_have_closed_are_not_kept_with_a_schedule_that_is_never_due(serve: Serve) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR, paused=True)
    handles = [await env.client.schedules.trigger("s") for _ in range(3)]
    for handle in handles:
        await handle.result()
    newest = await env.client.schedules.trigger("s")
    kept = env.engine.schedules.held["s"].schedule
    assert [fired.workflow_id for fired in kept.open] == [newest.workflow_id]
    assert (kept.started, len(kept.runs)) == (4, 4)


async def test_it_ends_after_so_many_runs_or_at_a_time(serve: Serve) -> None:
    env = await serve(report())
    await env.client.schedules.create("few", "Report", every=HOUR, times=2)
    await env.client.schedules.create("short", "Report", every=HOUR, until=datetime(2030, 1, 1, 3, tzinfo=UTC))
    assert len((await env.client.schedules.describe("few")).next) == 2
    await env.advance(DAY)
    found = {shown.schedule_id: (shown.status, shown.started) for shown in await env.client.schedules.list()}
    assert found == {"few": ("ended", 2), "short": ("ended", 3)}
    assert (await env.client.schedules.describe("few")).next == []


async def test_a_clock_that_is_set_back_starts_no_time_twice(serve: Serve) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR)
    await env.advance(3.5 * HOUR)
    env.clock._now -= 7_200_000
    await env.advance(3 * HOUR)
    assert await ids(env) == [f"01T0{hour}:00:00Z" for hour in (1, 2, 3, 4)]


async def test_an_id_is_taken_once_and_a_schedule_can_be_replaced_or_removed(serve: Serve) -> None:
    env = await serve(report())
    await env.client.schedules.create("s", "Report", every=HOUR)
    await env.advance(HOUR)
    with pytest.raises(ScheduleExistsError, match="there is a schedule 's' already"):
        await env.client.schedules.create("s", "Report", every=MINUTE)
    replaced = await env.client.schedules.create("s", "Report", cron="30 * * * *", tz="UTC", replace=True)
    assert (replaced.started, replaced.next_local) == (1, "2030-01-01T01:30:00+00:00")
    await env.advance(HOUR)
    assert await ids(env) == ["01T01:00:00Z", "01T01:30:00Z"]
    await env.client.schedules.delete("s")
    with pytest.raises(ScheduleNotFoundError):
        await env.client.schedules.delete("s")
    await env.client.schedules.create("s", "Report", every=HOUR)
    await env.client.schedules.delete("s")
    await env.advance(DAY)
    assert len(await runs(env)) == 2


async def test_nothing_is_written_for_what_cannot_be(serve: Serve) -> None:
    env = await serve(report())
    made = env.client.schedules
    with pytest.raises(InvalidPayloadError, match="wait"):
        await made.create("s", "Report", every=HOUR, workflow_input={"wait": "perhaps"})
    with pytest.raises(UnknownWorkflowTypeError):
        await made.create("s", "Reports", every=HOUR)
    with pytest.raises(InvalidArgumentError, match="'sat-sun' is no day-of-week"):
        await made.create("s", "Report", cron="0 9 * * sat-sun")
    with pytest.raises(InvalidArgumentError, match="one of them"):
        await made.create("s", "Report")
    with pytest.raises(InvalidArgumentError, match="never comes"):
        await made.create("s", "Report", every=HOUR, until=datetime(2029, 1, 1, tzinfo=UTC))
    with pytest.raises(ScheduleNotFoundError):
        await made.describe("s")
    assert await made.list() == []


async def test_it_ends_with_the_last_day_that_all_clocks_can_show_or_is_refused(serve: Serve) -> None:
    env = await serve(report())
    for end in (datetime.max.replace(tzinfo=UTC), datetime.max.replace(tzinfo=timezone(-23 * HOUR))):
        await env.client.schedules.create("s", "Report", every=DAY, until=end, replace=True)
        (shown,) = await env.client.schedules.list()
        assert shown.until_at is not None
        assert rfc3339(shown.until_at) == "9999-12-30T00:00:00.000Z"
    for wrong in (10**15, -1, -(10**15)):
        spec = ScheduleSpec(workflow_type="Report", timetable=Timetable(every_ms=60_000, until_at=wrong))
        with pytest.raises(InvalidArgumentError, match="from 1970 to the year 9999"):
            await env.client._link.call(schedules.ScheduleAdd(schedule_id="t", spec=spec))
    assert len(await env.client.schedules.list()) == 1


async def test_a_workflow_id_that_somebody_else_took_is_no_run_of_the_schedule(serve: Serve) -> None:
    env = await serve(report())
    taken = "s-2030-01-01T01:00:00Z"
    await env.client.start("Report", workflow_id=taken, workflow_input={"wait": True})
    await env.client.schedules.create("s", "Report", every=HOUR)
    await env.advance(2 * HOUR)
    (shown,) = await env.client.schedules.list()
    assert (shown.started, shown.skipped) == (1, 1)


async def test_a_preview_needs_no_schedule_and_tells_where_the_clocks_change(serve: Serve) -> None:
    env = await serve(report())
    after = round(datetime(2030, 3, 30, 12, tzinfo=UTC).timestamp() * 1_000)
    found = await env.client._link.call(
        schedules.ScheduleNext(timetable=Timetable(cron="30 2 * * *", tz="Europe/Paris"), shown=2, after_at=after)
    )
    assert [(time.local, time.dst) for time in found.items] == [
        ("2030-03-31T03:00:00+02:00", "gap"), ("2030-04-01T02:30:00+02:00", ""),
    ]  # fmt: skip


async def test_a_row_that_nobody_understands_keeps_no_other_schedule_from_going_on(tmp_path: Path) -> None:
    async with WorkflowEnvironment([report()], path=tmp_path) as env:
        await env.client.schedules.create("s", "Report", every=HOUR)
        await env.client.schedules.create("t", "Report", every=HOUR)
    db = sqlite3.connect(env.store.path)
    db.execute("update schedules set state = 'null' where id = 't'")
    db.commit()
    db.close()
    async with WorkflowEnvironment([report()], path=tmp_path, seed=1) as env:
        good, bad = await env.client.schedules.list()
        assert (good.schedule_id, good.status) == ("s", "active")
        assert (bad.schedule_id, bad.status, bad.workflow_type, bad.created_at) == ("t", "blocked", "Report", None)
        assert bad.problem is not None
        assert "cannot be read: column state" in bad.problem
        await env.advance(HOUR)
        assert await ids(env) == ["01T01:00:00Z"]
        # Nor is its ID free, or what it holds would be lost.
        with pytest.raises(StorageError, match=r"schedule 't' cannot be read"):
            await env.client.schedules.create("t", "Report", every=HOUR)
        for asked in (env.client.schedules.describe, env.client.schedules.pause, env.client.schedules.trigger):
            with pytest.raises(StorageError, match=r"schedule 't' cannot be read"):
                await asked("t")
        assert env.engine.failure is None
        summary = env.engine.schedules.summary()
        assert summary.total == 2
        assert "cannot be read" in summary.blocked["t"]
        await env.client.schedules.delete("t")
        await env.client.schedules.create("t", "Report", every=HOUR)
