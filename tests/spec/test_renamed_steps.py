"""A step keeps its name when its function gets another one, and so do the runs that are to go on with it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spec.conftest import Serve
from support.project import Project
from wfctl import ChildOutcome, Context, Directive, Workflow

DAY = timedelta(days=1)
SHOP = """
from datetime import timedelta

from wfctl import ChildOutcome, Context, Directive, Workflow

order = Workflow("Order")


@order.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event("paid", timeout=timedelta(days=1), on_timeout=remind)


@order.event()
async def paid(ctx: Context) -> Directive:
    return ctx.next.complete("paid")


@order.step()
async def remind(ctx: Context) -> Directive:
    return ctx.next.fail("not yet")
"""
NAMED = SHOP.replace("on_timeout=remind", "on_timeout=send_reminder").replace(
    "@order.step()\nasync def remind(", '@order.step(name="remind")\nasync def send_reminder('
)


def code(name: str | None, function: str) -> Workflow:
    """A type whose step `remind` can be come to in every way; its function is called `function`, and `name` is given for it."""
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, how: str) -> Directive:
        ctx.store.put("how", how)
        if how == "timeout":
            return ctx.next.wait_for_event("paid", timeout=DAY, on_timeout=remind)
        if how == "child":
            await ctx.start("Child", "kid", on_completed_step=over)
            return ctx.next.wait_for_event("paid")
        return ctx.next.step(remind, after=DAY)

    @wf.event()
    async def paid(ctx: Context) -> Directive:
        return ctx.next.complete("paid")

    async def remind(ctx: Context) -> Directive:
        return ctx.next.complete(f"reminded after {await ctx.store.get('how')}")

    async def over(ctx: Context, outcome: ChildOutcome[int]) -> Directive:
        return ctx.next.complete(outcome.unwrap())

    remind.__name__, over.__name__ = function, f"{function}_child"
    wf.step(name=name)(remind)
    wf.step(name="remind_child" if name else None)(over)
    return wf


def born() -> Workflow:
    child = Workflow("Child")

    @child.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @child.event()
    async def grown(ctx: Context) -> Directive:
        return ctx.next.complete(18)

    return child


@pytest.mark.parametrize("how", ["timeout", "delay", "child"])
async def test_a_run_goes_on_with_the_step_whose_function_was_renamed(serve: Serve, how: str) -> None:
    env = await serve(code(None, "remind"), born())
    handle = await env.client.start("Order", workflow_id="o", workflow_input=how)
    await env.settle()
    env.load([code("remind", "send_reminder"), born()])
    if how == "child":
        await env.client.handle("kid").send("grown")
        assert await handle.result() == 18
    else:
        await env.advance(DAY)
        assert await handle.result() == f"reminded after {how}"
    steps = [entry.data["handler"] for entry in await handle.history() if entry.kind == "step.started"]
    assert steps == ["begin", "remind_child" if how == "child" else "remind"]


async def test_a_run_whose_step_has_lost_its_name_is_stuck_and_told_how_to_give_it_back(serve: Serve) -> None:
    env = await serve(code(None, "remind"), born())
    handle = await env.client.start("Order", workflow_id="o", workflow_input="timeout")
    await env.settle()
    env.load([code(None, "send_reminder"), born()])
    await env.advance(DAY)
    (run,) = await env.client.list(status="stuck")
    assert str(run.stuck_reason).endswith("; if it was renamed, declare it @...step(name='remind')")
    env.load([code("remind", "send_reminder"), born()])
    assert await handle.result() == "reminded after timeout"


async def test_a_retry_goes_back_to_a_step_by_its_name(serve: Serve) -> None:
    def shop(price: int | None) -> Workflow:
        wf = Workflow("Shop")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.step(charge_card)

        @wf.step(name="pay")
        async def charge_card(ctx: Context) -> Directive:
            return ctx.next.step("close")

        @wf.step(name="close")
        async def closes(ctx: Context) -> Directive:
            return ctx.next.fail("no price") if price is None else ctx.next.complete(price)

        return wf

    env = await serve(shop(None))
    handle = await env.client.start("Shop", workflow_id="s")
    await handle.wait()
    env.load([shop(5)])
    assert (await handle.retry(from_step="pay")).handler == "pay"
    assert await handle.result() == 5
    steps = [entry.data["handler"] for entry in await handle.history() if entry.kind == "step.started"]
    assert steps == ["begin", "pay", "close", "close"]  # the one that it went back to is told by run.resumed


def commanded(project: Project, *words: str) -> Any:
    return json.loads(project.run(*words, "-o", "json").stdout)


def test_commands_call_a_step_by_its_name(tmp_path: Path) -> None:
    project = Project(tmp_path / "shop", {"shop.py": SHOP}, daemon="workers = 1", workflows="reload = false")
    try:
        project.serve()
        project.ok("start", "Order", "--id", "o-1")
        project.write("shop.py", SHOP.replace("remind", "send_reminder"))
        lost = commanded(project, "check")
        assert [(found["kind"], found["handler"]) for found in lost["findings"]] == [("missing", "remind")]
        project.write("shop.py", NAMED)
        assert project.run("check").returncode == 0
        project.ok("reload")
        (view,) = commanded(project, "workflows")["items"]
        handlers = {one["name"]: one["function"] for one in view["spec"]["handlers"] if one["kind"] == "step"}
        assert handlers == {"remind": "send_reminder"}
        graph = project.ok("graph", "Order")
        assert "remind" in graph
        assert "send_reminder" not in graph
    finally:
        project.stop()
