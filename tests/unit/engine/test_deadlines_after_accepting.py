"""Deadlines that passed while no daemon was there: looked at once commands are taken, some at a time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from support.checker import broken_promises
from wfctl import Context, Directive, Workflow
from wfd.engine import timers
from wfd.testing import WorkflowEnvironment

RUNS = 30


def waiter() -> Workflow:
    wf = Workflow("Waiter")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event(timeout=timedelta(hours=1))

    return wf


async def test_a_daemon_takes_commands_before_it_has_looked_at_all_that_fell_due_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "BATCH", 2)
    async with WorkflowEnvironment([waiter()], path=tmp_path) as env:
        for number in range(RUNS):
            await env.client.start("Waiter", workflow_id=f"w-{number}")
        await env.settle()
        later = env.now + timedelta(hours=2)
    async with WorkflowEnvironment([waiter()], path=tmp_path, now=later) as env:
        await env.client.start("Waiter", workflow_id="new")
        started = env.engine.rev
        await env.settle()
        ended = await env.client.list(status="timed_out")
        assert len(ended) == RUNS
        # The new run was not kept waiting until they had all ended: most of that is recorded after its start.
        after = [entry.rev for run in ended for entry in await env.client.handle(run.run_id).history()]
        assert sum(rev > started for rev in after) > RUNS // 3
        assert broken_promises(env.store.reader.path) == []
