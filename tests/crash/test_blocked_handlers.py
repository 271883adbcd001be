"""Handlers that block: noticed and named, no other run's time limit waits for them, and what does not let go costs its worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.shop import hooks
from support.checker import broken_promises
from support.project import Project
from support.waiting import wait_until

# Faster than a person would need it: a beat, when a worker counts as blocked, and how long a handler gets to let go.
SETTINGS = (
    "wfd.supervisor.heartbeat:BEAT_MS=100 wfd.supervisor.heartbeat:BLOCKED_MS=200 wfd.supervisor.steps:GRACE_MS=500"
)
FLOWS = """
import asyncio, time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from wfctl import Context, Directive, Workflow, task

loop_hog = Workflow("LoopHog")
loop_hog_limited = Workflow("LoopHogLimited")
thread_hog = Workflow("ThreadHog")
slow_hog = Workflow("SlowHog")
task_hog = Workflow("TaskHog")
patient = Workflow("Patient")
calm = Workflow("Calm")
asked = Workflow("Asked")
counted = Workflow("Counted")
counted_plain = Workflow("CountedPlain")

@dataclass
class Slot:
    day: int

def block_until(name):
    Path(f"{name}.began").touch()
    while not Path(name).exists():
        time.sleep(0.01)

@loop_hog.start()
async def hog(ctx: Context, until: str) -> Directive:
    block_until(until)
    return ctx.next.complete("let go")

@loop_hog_limited.start(timeout=timedelta(milliseconds=300))
async def hog(ctx: Context, until: str) -> Directive:
    block_until(until)
    return ctx.next.complete("let go")

@thread_hog.start(timeout=timedelta(milliseconds=300))
def hog(ctx: Context, until: str) -> Directive:
    block_until(until)
    return ctx.next.complete("let go")

@slow_hog.start()
def hog(ctx: Context, until: str) -> Directive:
    block_until(until)
    return ctx.next.complete("let go")

@task
def block(until: str) -> None:
    block_until(until)

@task_hog.start()
async def hog(ctx: Context, until: str) -> Directive:
    return ctx.next.complete(await block(until))

@patient.start(timeout=timedelta(milliseconds=600))
async def never(ctx: Context) -> Directive:
    Path(f"{ctx.run.workflow_id}.began").touch()
    await asyncio.Event().wait()

@asked.start()
async def begin(ctx: Context) -> Directive:
    ctx.store.put("said", "all is well")
    return ctx.next.wait_for_event("due")

@asked.event()
async def due(ctx: Context, slot: Slot) -> Directive:
    return ctx.next.complete(slot.day)

@asked.query()
async def said(ctx: Context, slot: Slot | None = None) -> str:
    return await ctx.store.get("said", str)

@asked.query()
async def hangs(ctx: Context) -> str:
    block_until("hang-no-more")
    return "at last"

def count(workflow_id):
    with Path(f"{workflow_id}.effects").open("a") as file:
        file.write("x")

@counted.start()
async def begin(ctx: Context) -> Directive:
    count(ctx.run.workflow_id)
    while not Path("calm-go").exists():
        await asyncio.sleep(0.01)
    return ctx.next.complete("counted")

@counted_plain.start()
def begin(ctx: Context) -> Directive:
    count(ctx.run.workflow_id)
    block_until("calm-go")
    return ctx.next.complete("counted")

@calm.start()
async def begin(ctx: Context, until: str) -> Directive:
    Path(f"{ctx.run.workflow_id}.began").touch()
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    ctx.store.put("done", True)
    return ctx.next.complete(ctx.run.workflow_id)
"""


def _project(folder: Path, workers: int, more: str = "") -> Project:
    project = Project(folder, {"flows.py": FLOWS}, daemon=f"workers = {workers}", workflows="reload = false")
    project.environment |= hooks(SETTINGS + more)
    return project


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Project]:
    """A project with one worker, which every run shares."""
    project = _project(tmp_path / "one", 1)
    project.serve()
    yield project
    project.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Project]:
    project = _project(tmp_path / "two", 2)
    project.serve()
    yield project
    project.stop()


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Project]:
    """A project with two workers, each of which has threads for two handlers and for one task."""
    few = "wfd.worker.pool:COMPUTING=2 wfctl.sdk.threads:LIMIT=1 wfd.supervisor.heartbeat:HELD_MS=200"
    project = _project(tmp_path / "narrow", 2, f" {few}")
    project.serve()
    yield project
    project.stop()


def _kinds(project: Project, workflow_id: str) -> list[str]:
    return [entry["kind"] for entry in project.json("history", workflow_id)["items"]]


def _begun(project: Project, name: str) -> None:
    wait_until((project.folder / f"{name}.began").exists)


def _blocked(project: Project) -> list[dict[str, object]]:
    return [worker for worker in project.json("status")["workers"] if worker.get("blocked_ms")]


def test_a_handler_that_blocks_its_loop_is_named_and_the_others_run_beside_it(pair: Project) -> None:
    pair.ok("start", "LoopHog", "--id", "hog", "until=go")
    _begun(pair, "go")
    wait_until(lambda: _blocked(pair))
    [blocked] = _blocked(pair)
    assert "LoopHog 'hog' of hog" in str(blocked["handlers"])
    (pair.folder / "calm-go").touch()
    for number in range(4):
        pair.ok("start", "Calm", "--id", f"calm-{number}", "until=calm-go")
        assert "calm" in pair.ok("result", f"calm-{number}")
    assert [worker["pid"] for worker in _blocked(pair)] == [blocked["pid"]]
    (pair.folder / "go").touch()
    assert "let go" in pair.ok("result", "hog")
    wait_until(lambda: not _blocked(pair))
    assert blocked["pid"] in pair.workers()
    assert broken_promises(pair.database) == []


def test_queries_are_answered_and_payloads_checked_while_a_handler_blocks_the_only_worker(alone: Project) -> None:
    alone.ok("start", "Asked", "--id", "asked")
    alone.ok("start", "LoopHog", "--id", "hog", "until=go")
    _begun(alone, "go")
    # What answers is the code that serves, not what somebody is writing.
    alone.write("flows.py", "raise SystemExit")
    assert alone.ok("query", "asked", "said") == "all is well\n"  # asked before anybody knew
    assert _blocked(alone)
    known = alone.children()
    assert alone.ok("query", "asked", "said", 'slot:={"day": 1}') == "all is well\n"
    assert "expected int at .day" in alone.run("send", "asked", "due", 'slot:={"day": "x"}').stderr
    alone.ok("send", "asked", "due", 'slot:={"day": 7}')
    assert alone.children() == known
    (alone.folder / "go").touch()
    assert alone.ok("result", "asked") == "7\n"
    assert broken_promises(alone.database) == []


def test_a_query_that_blocks_what_answers_in_the_place_of_blocked_workers_costs_it_and_not_those_asked_later(
    tmp_path: Path,
) -> None:
    project = _project(tmp_path / "hangs", 1, " wfd.supervisor.questions:ANSWER_S=1")
    project.serve()
    try:
        project.ok("start", "Asked", "--id", "asked")
        project.ok("start", "LoopHog", "--id", "hog", "until=go")
        _begun(project, "go")
        wait_until(lambda: _blocked(project))
        hanging = project.run("query", "asked", "hangs")
        assert "no worker answered within 1 s" in hanging.stderr
        assert (project.folder / "hang-no-more.began").exists()
        wait_until(lambda: project.run("query", "asked", "said").stdout == "all is well\n")
        [entry] = [line for line in project.run("logs").stdout.splitlines() if "for questions" in line][1:]
        assert "another is started" in entry
        (project.folder / "go").touch()
        assert "let go" in project.ok("result", "hog")
        assert broken_promises(project.database) == []
    finally:
        project.stop()


def test_time_limits_hold_for_other_runs_of_a_worker_whose_loop_is_blocked(alone: Project) -> None:
    alone.ok("start", "Patient", "--id", "late")
    _begun(alone, "late")
    alone.ok("start", "LoopHog", "--id", "hog", "until=go")
    _begun(alone, "go")
    wait_until(lambda: "step.timed_out" in _kinds(alone, "late"))
    assert alone.json("show", "late")["status"] == "failed"
    (alone.folder / "go").touch()
    assert "let go" in alone.ok("result", "hog")
    assert broken_promises(alone.database) == []


def test_nothing_is_given_to_workers_of_which_none_answers_and_the_first_that_does_takes_it(pair: Project) -> None:
    for number in range(2):
        pair.ok("start", "LoopHog", "--id", f"hog-{number}", f"until=go-{number}")
        _begun(pair, f"go-{number}")
        wait_until(lambda: len(_blocked(pair)) == number + 1)  # noqa: B023
    (pair.folder / "calm-go").touch()
    for number in range(2):
        pair.ok("start", "Counted", "--id", f"c-{number}")
    assert [worker["steps"] for worker in _blocked(pair)] == [1, 1]
    assert pair.json("status")["queued_steps"] == 2
    assert pair.json("show", "c-0")["no_worker"] == "all 2 workers are blocked"
    assert "begin (waits for a worker: all 2 workers are blocked)" in pair.ok("show", "c-1")
    assert "warning[no_worker]: steps wait for a worker: all 2 workers are blocked" in pair.ok("status")
    pair.ok("terminate", "hog-0", "--yes")
    for number in range(2):
        assert "counted" in pair.ok("result", f"c-{number}")
        assert _kinds(pair, f"c-{number}") == ["run.started", "step.started", "step.completed", "run.completed"]
    assert len(_blocked(pair)) == 1
    (pair.folder / "go-1").touch()
    assert "let go" in pair.ok("result", "hog-1")
    assert broken_promises(pair.database) == []


@pytest.mark.parametrize("kind", ["Counted", "CountedPlain"])
def test_what_a_worker_was_given_before_anybody_knew_that_it_is_blocked_begins_elsewhere_and_only_there(
    tmp_path: Path, kind: str
) -> None:
    project = _project(tmp_path / "late", 2, " wfd.supervisor.heartbeat:BLOCKED_MS=2500")
    project.serve()
    try:
        project.ok("start", "LoopHog", "--id", "hog", "until=go")
        _begun(project, "go")
        # All begin at the same: the least busy worker gets the next one.
        names = [f"c-{number}" for number in range(4)]
        for name in names:
            project.ok("start", kind, "--id", name)
        assert len([worker for worker in project.json("status")["workers"] if worker["steps"] > 1]) == 2
        wait_until(lambda: _blocked(project))
        wait_until(lambda: [worker["steps"] for worker in _blocked(project)] == [1])
        (project.folder / "calm-go").touch()
        for name in names:
            assert "counted" in project.ok("result", name)
            assert _kinds(project, name) == ["run.started", "step.started", "step.completed", "run.completed"]
        assert _blocked(project)
        (project.folder / "go").touch()
        assert "let go" in project.ok("result", "hog")
        wait_until(lambda: not _blocked(project))
        # The worker that was blocked has read by now what it was given, and begins others.
        for name in ("more-0", "more-1"):
            project.ok("start", kind, "--id", name)
            assert "counted" in project.ok("result", name)
        assert {name: (project.folder / f"{name}.effects").read_text() for name in names} == dict.fromkeys(names, "x")
        assert broken_promises(project.database) == []
    finally:
        project.stop()


def _held(project: Project) -> list[dict[str, object]]:
    return [worker for worker in project.json("status")["workers"] if worker.get("held_ms")]


def test_a_handler_that_waits_for_a_thread_gets_one_of_a_worker_that_has_some(narrow: Project) -> None:
    (narrow.folder / "calm-go").touch()
    # The least busy worker gets the next one: all hogs come to the same.
    for number in range(2):
        narrow.ok("start", "SlowHog", "--id", f"hog-{number}", f"until=go-{number}")
        _begun(narrow, f"go-{number}")
        narrow.ok("start", "Calm", "--id", f"calm-{number}", "until=calm-no-more")
        _begun(narrow, f"calm-{number}")
    narrow.ok("start", "SlowHog", "--id", "third", "until=calm-go")
    assert "let go" in narrow.ok("result", "third")
    assert _kinds(narrow, "third") == ["run.started", "step.started", "step.completed", "run.completed"]
    assert (
        "has no thread left for plain `def`: 1 handlers and 0 tasks wait for one. It runs SlowHog 'hog' of hog-0"
        in narrow.ok("logs")
    )
    wait_until(lambda: not _held(narrow))
    for name in ("go-0", "go-1", "calm-no-more"):
        (narrow.folder / name).touch()
    assert broken_promises(narrow.database) == []


def test_where_no_worker_has_a_thread_left_it_is_said_what_has_them(narrow: Project) -> None:
    for number in range(4):
        narrow.ok("start", "SlowHog", "--id", f"hog-{number}", f"until=go-{number}")
        _begun(narrow, f"go-{number}")
    narrow.ok("start", "SlowHog", "--id", "fifth", "until=go-0")
    wait_until(lambda: _held(narrow))
    wait_until(lambda: "has no thread left" in narrow.ok("logs"))
    [held] = _held(narrow)  # nobody has one to give it to: it stays where it is
    assert (held["held"], len(held["handlers"])) == (1, 3)  # type: ignore[arg-type]
    assert "SlowHog 'hog' of hog-" in str(held["handlers"])
    assert f"warning[no_thread]: worker {held['pid']} has no thread left: 1 handler waits for one" in narrow.ok(
        "status"
    )
    for number in range(4):
        (narrow.folder / f"go-{number}").touch()
    assert "let go" in narrow.ok("result", "fifth")
    wait_until(lambda: not _held(narrow))
    assert "has threads for plain `def` again" in narrow.ok("logs")
    assert broken_promises(narrow.database) == []


def test_tasks_that_wait_for_a_thread_are_said_as_well(narrow: Project) -> None:
    for number in range(2):
        narrow.ok("start", "TaskHog", "--id", f"hog-{number}", f"until=go-{number}")
        _begun(narrow, f"go-{number}")
    narrow.ok("start", "TaskHog", "--id", "third", "until=go-0")
    wait_until(lambda: _held(narrow))
    [held] = _held(narrow)
    assert (held.get("held", 0), held["held_tasks"]) == (0, 1)
    assert "1 task waits for one" in narrow.ok("status")
    for number in range(2):
        (narrow.folder / f"go-{number}").touch()
    assert "null" in narrow.ok("result", "third")


@pytest.mark.parametrize("hog", ["LoopHogLimited", "ThreadHog"])
def test_a_handler_that_does_not_let_go_costs_its_worker_and_nothing_else(alone: Project, hog: str) -> None:
    [worker] = alone.workers()
    alone.ok("start", "Calm", "--id", "calm", "until=calm-go")
    _begun(alone, "calm")
    alone.ok("start", hog, "--id", "hog", "until=never")
    _begun(alone, "never")
    wait_until(lambda: alone.json("show", "hog")["status"] == "failed")
    wait_until(lambda: alone.workers() not in ([worker], []))
    (alone.folder / "calm-go").touch()
    assert alone.ok("result", "calm").strip() == "calm"
    assert _kinds(alone, "hog")[-2:] == ["step.timed_out", "run.failed"]
    assert _kinds(alone, "calm").count("step.interrupted") == 1
    [interrupted] = [e for e in alone.json("history", "calm")["items"] if e["kind"] == "step.interrupted"]
    assert "did not let go" in str(interrupted)
    assert "'crash': True" not in str(interrupted)
    assert broken_promises(alone.database) == []
