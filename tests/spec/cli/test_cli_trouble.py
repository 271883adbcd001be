"""What the command line says when something is wrong: code that blocks or crashes, tasks that fail, bad settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import Project
from support.waiting import wait_until

FLOWS = """
import os, time
from datetime import timedelta
from wfctl import Context, Directive, RetryPolicy, Workflow, task

parent = Workflow("Parent")
child = Workflow("Child")
crash = Workflow("Crash")
block = Workflow("Block")
pay = Workflow("Pay")

@parent.start()
async def begin(ctx: Context, depth: int) -> Directive:
    for number in range(2):
        await ctx.start("Child", workflow_id=f"{ctx.run.workflow_id}-{number}", workflow_input={"depth": depth})
    return ctx.next.wait_for_event()

@parent.event()
async def finish(ctx: Context) -> Directive:
    return ctx.next.complete()

@child.start()
async def hold(ctx: Context, depth: int) -> Directive:
    if depth:
        await ctx.start("Child", workflow_id=f"{ctx.run.workflow_id}-0", workflow_input={"depth": depth - 1})
    return ctx.next.wait_for_event()

@child.event()
async def release(ctx: Context) -> Directive:
    return ctx.next.complete()

@crash.start()
async def boom(ctx: Context) -> Directive:
    print("about to crash")
    os.abort()

@block.start()
async def blocker(ctx: Context) -> Directive:
    while not os.path.exists("go-on"):
        time.sleep(0.05)
    return ctx.next.complete()

@task(retry=RetryPolicy(attempts=5, delay=timedelta(hours=1), jitter=0))
async def charge(amount: float) -> None:
    raise ValueError("limit exceeded")

@pay.start()
async def pay_start(ctx: Context) -> Directive:
    await charge(9.5)
    return ctx.next.complete()
"""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(
        tmp_path_factory.mktemp("troubled"), {"flows.py": FLOWS}, daemon="workers = 1\ncrash_limit = 2", workflows=""
    )
    project.serve()
    yield project
    project.stop()


@pytest.mark.parametrize(
    ("verb", "done", "status"), [("cancel", "asked to end", "cancelled"), ("terminate", "terminated", "terminated")]
)
def test_a_run_ends_with_all_that_is_below_it_where_that_is_said(
    troubled: Project, verb: str, done: str, status: str
) -> None:
    root = f"all-{verb}"
    ids = [f"{root}-0", f"{root}-1", f"{root}-0-0", f"{root}-1-0"]
    troubled.ok("start", "Parent", "--id", root, "depth=1", "-q")
    wait_until(lambda: all(troubled.run("show", id, "-q").returncode == 0 for id in ids))
    ended = troubled.run(verb, root, "--children")
    assert (ended.returncode, ended.stdout) == (0, "")
    *before, told = ended.stderr.splitlines()
    assert before == ([f"4 open descendants of {root} will be terminated too"] if verb == "terminate" else [])
    assert told.startswith(f"{done} {root} (run ")
    assert " and 4 descendants" in told
    wait_until(lambda: {troubled.json("show", id)["status"] for id in ids} == {status})
    assert troubled.run(verb, root, "--children").stderr.endswith(f" is {status} already; no open descendants\n")


def test_without_that_the_children_go_on_and_are_reached_later(troubled: Project) -> None:
    troubled.ok("start", "Parent", "--id", "later", "depth=0", "-q")
    wait_until(lambda: troubled.run("show", "later-1", "-q").returncode == 0)
    troubled.ok("send", "later", "finish", "-q")
    troubled.ok("result", "later")
    assert troubled.json("show", "later-0")["status"] == "waiting"
    assert troubled.run("terminate", "later", "--children").stderr.endswith(
        " is completed already; 2 descendants terminated\n"
    )


def test_a_step_that_crashes_is_stuck_after_as_many_as_the_project_says(troubled: Project) -> None:
    troubled.ok("start", "Crash", "--id", "crash", "-q")
    assert troubled.run("result", "crash", "--fail-if-stuck").returncode == 15
    kinds = [item["kind"] for item in troubled.json("history", "crash")["items"]]
    assert kinds.count("step.interrupted") == 2
    shown = troubled.run("show", "crash")
    assert "SIGABRT" in shown.stdout
    assert "about to crash" in shown.stdout
    assert shown.stderr.startswith("to go on: correct the code and save it; ")
    assert shown.stderr.splitlines()[-1] == "  to give it up: wfctl cancel crash"
    assert troubled.json("status")["settings"]["crash_limit"] == "2 (wfctl.toml)"
    troubled.ok("cancel", "crash")


def test_a_handler_that_blocks_its_worker_is_named_with_how_long(troubled: Project) -> None:
    troubled.ok("start", "Block", "--id", "block", "-q")
    try:
        wait_until(lambda: any(worker["blocked_ms"] for worker in troubled.json("status")["workers"]))
        [worker] = [worker for worker in troubled.json("status")["workers"] if worker["blocked_ms"]]
        assert worker["blocked_ms"] >= 1_000
        assert worker["handlers"][0].startswith("Block 'blocker' of block for ")
        said = troubled.ok("status")
        assert f"warning[blocked_worker]: worker {worker['pid']} has not answered for " in said
        assert "  it runs Block 'blocker' of block for " in said
    finally:
        troubled.write("go-on", "")
    troubled.ok("result", "block")
    wait_until(lambda: "blocked" not in troubled.ok("status"))


def test_a_task_that_waits_for_its_next_attempt_is_shown(troubled: Project) -> None:
    troubled.ok("start", "Pay", "--id", "pay", "-q")
    wait_until(lambda: any(one["retry_at"] for one in troubled.json("show", "pay")["pending"]))
    [pending] = troubled.json("show", "pay")["pending"]
    assert (pending["kind"], pending["name"], pending["attempt"]) == ("task", "charge", 1)
    assert "task         charge: attempt 1 of 5 failed, next at 20" in troubled.ok("show", "pay")
    lines = [line.split("\t")[1:] for line in troubled.ok("history", "pay").splitlines()]
    assert ["task.started", 'charge  {"amount":9.5}'] in lines
    [failed] = [detail for kind, detail in lines if kind == "task.attempt_failed"]
    assert failed.startswith("charge  attempt 1 of 5  ValueError: limit exceeded (flows.py:")
    assert failed.endswith(")  next after 1h")
    troubled.ok("cancel", "pay")
    assert troubled.run("result", "pay").returncode == 11


def test_all_that_is_wrong_with_the_settings_is_said_at_once(tmp_path: Path) -> None:
    project = Project(tmp_path / "other", {"flows.py": FLOWS})
    project.write("wfctl.toml", "[daemon]\nworkers = 0\ncrash_limt = 3\n[workflows]\nmodules = []\n")
    file = project.folder / "wfctl.toml"
    done = project.run("up")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"error[config]: 3 problems in {file}:",
        "  wfctl.toml:2: workers must be from 1 to 64, not 0",
        "  wfctl.toml:3: unknown key 'crash_limt' in [daemon]; did you mean 'crash_limit'?",
        '  wfctl.toml:5: modules is empty; name at least one file, as in ["flows.py"]',
        f"  hint: edit {file}",
    ]
    in_json = json.loads(project.run("up", "-o", "json").stderr)["error"]
    assert in_json["message"].count("; wfctl.toml:") == 2
