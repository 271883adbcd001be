"""What cancelling and terminating would do, told without doing it."""

from __future__ import annotations

from spec.conftest import Serve
from support.history import kinds
from wfctl import Context, Directive, Workflow


async def test_a_dry_run_tells_what_would_end_and_ends_nothing(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context, depth: int) -> Directive:
        if depth:
            await ctx.start("W", workflow_id=f"w-{depth - 1}", workflow_input={"depth": depth - 1})
        return ctx.next.wait_for_event("go")

    @wf.event()
    async def go(ctx: Context) -> Directive:
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W", workflow_id="w-2", workflow_input={"depth": 2})
    await env.settle()
    before = await kinds(handle)
    for ask, status in ((handle.cancel, "cancelled"), (handle.terminate, "terminated")):
        told = await ask(children=True, dry_run=True)
        assert (told.changed, told.status, told.descendants, told.dry_run) == (True, status, 2, True)
    assert await kinds(handle) == before
    ended = await handle.cancel(children=True)
    assert (ended.changed, ended.descendants, ended.dry_run) == (True, 2, False)
    told = await handle.cancel(children=True, dry_run=True)
    assert (told.changed, told.descendants) == (False, 0)
