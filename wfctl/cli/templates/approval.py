"""A request that waits for a person, and is turned down when nobody answers in time."""

from datetime import timedelta

from wfctl import Context, Directive, Workflow

approval_wf = Workflow(workflow_type="Approval")


@approval_wf.start()
async def ask(ctx: Context, what: str) -> Directive:
    ctx.store.put("what", what)
    return ctx.next.wait_for_event("approve", "reject", timeout=timedelta(days=3), on_timeout=expired)


@approval_wf.event()
async def approve(ctx: Context, by: str) -> Directive:
    what = await ctx.store.get("what", str)
    return ctx.next.complete(f"{what}: approved by {by}")


@approval_wf.event()
async def reject(ctx: Context, by: str, reason: str = "no reason given") -> Directive:
    what = await ctx.store.get("what", str)
    return ctx.next.complete(f"{what}: rejected by {by}, {reason}")


@approval_wf.step()
async def expired(ctx: Context) -> Directive:
    what = await ctx.store.get("what", str)
    return ctx.next.complete(f"{what}: rejected, nobody answered")


@approval_wf.query()
async def question(ctx: Context) -> str:
    return f"May we have this: {await ctx.store.get('what', str)}?"
