"""`kill -9` around the commits in which a schedule starts its runs: one run for each time, whoever died when."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from crash.shop import hooks
from support.checker import broken_promises
from support.crashpoints import CrashPoints
from support.project import Project
from support.waiting import wait_until

TICK = """
from wfctl import Context, Directive, Workflow

tick = Workflow("Tick")

@tick.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete(ctx.run.schedule.at_ms)
"""
DEATHS = (
    ("commit.before", 1), ("commit.after", 1), ("written.after", 1),
)  # fmt: skip
AFTERWARDS = 1


def test_a_death_around_a_start_by_the_clock_starts_no_time_twice_and_loses_none(tmp_path: Path) -> None:
    points = CrashPoints(tmp_path / "points")
    project = Project(tmp_path / "ticks", {"tick.py": TICK}, daemon="workers = 1", workflows="reload = false")
    project.environment |= hooks() | points.environment
    project.serve()
    try:
        made = project.run("schedule", "add", "t", "Tick", "--every", "1s", "--overlap", "allow", "-q")
        assert made.returncode == 0, made
        for point, nth in DEATHS:
            points.arm(point, nth)
            wait_until(lambda: not points.waiting)
            if point.startswith("commit"):
                project.serve()
        seen = len(_times(project))
        wait_until(lambda: len(_times(project)) >= seen + AFTERWARDS)
        assert project.run("schedule", "pause", "t", "-q").returncode == 0
        wait_until(lambda: not _sql(project, "select 1 from runs where closed_at is null"))
        times = _times(project)
        assert times == list(range(times[0], times[-1] + 1_000, 1_000)), "a time is missing, or there twice"
        [(state,)] = _sql(project, "select state from schedules")
        counted = json.loads(str(state))
        assert (counted["started"], counted.get("missed", 0), counted.get("skipped", 0)) == (len(times), 0, 0)
        results = [int(str(value)) for (value,) in _sql(project, "select result from runs order by key")]
        assert results == times
        assert broken_promises(project.database) == []
    finally:
        project.stop()


def _times(project: Project) -> list[int]:
    """The times that runs were started for, in the order in which they were."""
    return [
        int(str(at)) for (at,) in _sql(project, "select json_extract(state, '$.schedule.at_ms') from runs order by key")
    ]


def _sql(project: Project, question: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(f"file:{project.database}?mode=ro", uri=True)
    try:
        return db.execute(question).fetchall()
    finally:
        db.close()
