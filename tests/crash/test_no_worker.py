"""Steps that wait in line: status and the run say for what, also where no worker can be started at all."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from crash.shop import hooks
from support.project import Project
from support.waiting import wait_until

FLOWS = """
import asyncio
from pathlib import Path
from wfctl import Context, Directive, Workflow

waiter = Workflow("Waiter")

@waiter.start()
async def begin(ctx: Context) -> Directive:
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return ctx.next.complete("gone")
"""


def test_where_the_interpreter_is_gone_it_is_said_why_no_worker_takes_the_steps(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    project = Project(tmp_path / "shop", {"flows.py": FLOWS}, workflows=f'reload = false\npython = "{python}"')
    project.serve()
    try:
        project.ok("start", "Waiter", "--id", "w")
        python.rename(tmp_path / "moved")
        os.kill(project.workers()[0], signal.SIGKILL)
        why = f"none can be started with {python}: No such file or directory"
        wait_until(lambda: why in project.ok("status"))
        assert f"warning[no_worker]: steps wait for a worker: {why}" in project.ok("status")
        assert f"(waits for a worker: {why})" in project.ok("show", "w")
        assert f"no worker process runs; {why}" in project.run("doctor").stdout
        (tmp_path / "moved").rename(python)
        (project.folder / "go").touch()
        assert "gone" in project.ok("result", "w")
        assert project.json("status")["no_worker"] == []
    finally:
        project.stop()


def test_workers_that_have_as_many_steps_as_they_may_are_named_as_full(tmp_path: Path) -> None:
    project = Project(tmp_path / "shop", {"flows.py": FLOWS})
    project.environment |= hooks("wfd.supervisor.steps:STEPS_PER_WORKER=2 wfd.supervisor.shortage:STEPS_PER_WORKER=2")
    project.serve()
    try:
        for number in range(2):
            project.ok("start", "Waiter", "--id", f"w-{number}")
        assert project.json("status")["full"] == []
        project.ok("start", "Waiter", "--id", "w-2")
        full = "steps: the only worker has 2, and may not have more"
        assert project.json("status")["full"] == [full]
        assert f"begin (waits for a worker: {full})" in project.ok("show", "w-2")
        assert "waits for a worker" not in project.ok("show", "w-1")
        (project.folder / "go").touch()
        assert "gone" in project.ok("result", "w-2")
    finally:
        project.stop()
