"""`kill -9` of the daemon between the commit of a start and its answer: the start is made again, and begins nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crash.shop import Shop
from support.crashpoints import CrashPoints
from support.effects import effects
from support.waiting import until
from wfctl import Client, DaemonDownError

QUICK = """
from support.effects import happened
from wfctl import Context, Directive, Workflow, current_task, task

quick = Workflow("Quick")


@task
async def charge(n: int) -> str:
    happened("charge", current_task().idempotency_key, current_task().attempt)
    return f"txn-{n}"


@quick.start()
async def begin(ctx: Context, n: int) -> Directive:
    txn = await charge(n)
    return ctx.next.fail("card declined") if n == 13 else ctx.next.complete(txn)
"""


class Till(Shop):
    """A shop that serves charges which are through at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "shop", workers=1)
        self.points = CrashPoints(folder / "points")
        self.environment |= self.points.environment
        self.write("orders.py", QUICK)

    async def lose_the_answer(self, workflow_id: str, n: int) -> None:
        """Start a run whose commit is the last that the daemon does, and let the next daemon get it through."""
        async with Client.connect(socket=self.socket) as client:
            self.points.arm("committed.before", 1)
            with pytest.raises(DaemonDownError):
                await client.start("Quick", workflow_id=workflow_id, workflow_input={"n": n})
        await asyncio.to_thread(self.serve)
        await until(lambda: any(closed_at for _, closed_at in self.runs(workflow_id)))

    def runs(self, workflow_id: str) -> list[tuple[object, ...]]:
        return self.sql("select run_id, closed_at from runs where workflow_id = ? order by key", workflow_id)

    def charges(self) -> int:
        """How many keys a card was charged under."""
        return len({effect.key for effect in effects(self.effects)})


def test_a_start_whose_answer_was_lost_gives_the_first_run_when_it_is_made_again(tmp_path: Path) -> None:
    till = Till(tmp_path)
    till.serve()

    async def scene() -> None:
        await till.lose_the_answer("o-1", 1)
        async with Client.connect(socket=till.socket) as client:
            again = await client.start("Quick", workflow_id="o-1", workflow_input={"n": 1}, if_closed="use")
            assert again.run_info is not None
            assert [(again.run_info.id,)] == [run[:1] for run in till.runs("o-1")]
            assert await again.result() == "txn-1"
            assert till.charges() == 1
            # What is not asked for is as ever: the ID is free, and another run is begun.
            await client.run("Quick", workflow_id="o-1", workflow_input={"n": 1})
            assert (len(till.runs("o-1")), till.charges()) == (2, 2)

    try:
        asyncio.run(scene())
    finally:
        till.stop()


def test_a_script_that_makes_its_start_again_exits_as_the_first_run_has_ended(tmp_path: Path) -> None:
    till = Till(tmp_path)
    till.serve()
    again = ("start", "Quick", "--if-running=use", "--if-closed=use", "--wait")
    try:
        for workflow_id, n, code, out in (("o-1", 1, 0, "txn-1\n"), ("o-13", 13, 10, "")):
            asyncio.run(till.lose_the_answer(workflow_id, n))
            said = till.run(*again, "--id", workflow_id, f"n={n}")
            assert (said.returncode, said.stdout) == (code, out)
            assert len(till.runs(workflow_id)) == 1
        refused = till.run("start", "Quick", "--if-closed=fail", "--id", "o-1", "n=1")
        assert (refused.returncode, refused.stderr.startswith("error[already_closed]: ")) == (5, True)
        assert till.charges() == 2
    finally:
        till.stop()
