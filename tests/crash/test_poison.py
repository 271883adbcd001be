"""A handler that ends its worker every time: it is stuck after five executions, and nobody else pays for it."""

from __future__ import annotations

from pathlib import Path

from support.checker import broken_promises
from support.project import Project
from support.waiting import wait_until

FLOWS = """
import os, signal
from wfctl import Context, Directive, Workflow

poison = Workflow("Poison")
calm = Workflow("Calm")

@poison.start()
async def begin(ctx: Context, how: str) -> Directive:
    ctx.logger.info("about to go")
    if how == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(3)

@calm.start()
async def wait(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()

@calm.event()
async def tick(ctx: Context) -> Directive:
    ctx.store.put("ticks", await ctx.store.get("ticks", int, default=0) + 1)
    return ctx.next.wait_for_event()

@calm.event()
async def stop(ctx: Context) -> Directive:
    return ctx.next.complete(await ctx.store.get("ticks", int, default=0))
"""

TARGET = """
import os
from dataclasses import dataclass
from wfctl import Context, Directive, Workflow

target = Workflow("Target")

@dataclass
class Parcel:
    weight: int

    def __post_init__(self) -> None:
        {check}

@target.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()

@target.event()
async def take(ctx: Context, parcel: Parcel) -> Directive:
    return ctx.next.complete(parcel.weight)
"""
SENDER = """
import asyncio
from pathlib import Path
from wfctl import Context, Directive, Workflow

sender = Workflow("Sender")
busy = Workflow("Busy")

@sender.start()
async def begin(ctx: Context) -> Directive:
    await ctx.send("target", "take", {"parcel": {"weight": 3}})
    return ctx.next.complete("sent")

@busy.start()
async def work(ctx: Context) -> Directive:
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    return ctx.next.complete("done")
"""


def test_a_handler_that_kills_its_worker_makes_its_own_run_stuck_and_no_other(tmp_path: Path) -> None:
    project = Project(tmp_path / "shop", {"flows.py": FLOWS}, daemon="workers = 2", workflows="reload = false")
    project.serve()
    try:
        project.ok("start", "Calm", "--id", "calm")
        project.ok("start", "Poison", "--id", "bad", "how=signal")
        project.ok("start", "Poison", "--id", "worse", "how=exit")
        sent = 0

        def stuck() -> bool:
            nonlocal sent
            project.ok("send", "calm", "tick")
            sent += 1
            return {run["workflow_id"] for run in project.json("list", "--status", "stuck")["items"]} == {
                "bad",
                "worse",
            }

        wait_until(stuck, within_s=60)
        bad, worse = (project.json("show", name)["stuck_reason"] for name in ("bad", "worse"))
        assert "SIGSEGV" in bad
        assert "5 times" in bad
        assert "exit code 3" in worse
        project.ok("send", "calm", "stop")
        assert project.ok("result", "calm").strip() == str(sent)
        assert broken_promises(project.database) == []
    finally:
        project.stop()


def test_a_payload_whose_check_kills_workers_makes_its_sender_stuck_until_that_code_is_right(tmp_path: Path) -> None:
    files = {"sender.py": SENDER, "target.py": TARGET.format(check="os._exit(3)")}
    project = Project(tmp_path / "shop", files, daemon="workers = 2", workflows="")
    project.serve()
    try:
        project.ok("start", "Target", "--id", "target")
        project.ok("start", "Busy", "--id", "busy")
        project.ok("start", "Sender", "--id", "sender")
        wait_until(lambda: project.ok("list", "--status", "stuck", "-o", "id").split(), within_s=60)
        shown = project.json("show", "sender")
        assert shown["stuck_reason"] == "workers end while they check event 'take': correct the types of 'Target'"
        assert project.json("show", "target")["status"] == "waiting"
        project.write("go", "")
        assert project.ok("result", "busy").strip() == "done"
        project.write("target.py", TARGET.format(check="pass"))
        assert project.ok("result", "sender").strip() == "sent"
        assert project.ok("result", "target").strip() == "3"
        assert broken_promises(project.database) == []
    finally:
        project.stop()
