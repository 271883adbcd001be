"""The smallest workflow: one task, one result."""

from wfctl import Context, Directive, Workflow, task

hello_wf = Workflow(workflow_type="Hello")


@task()
async def greet(name: str) -> str:
    """What reaches out into the world belongs into a task: its result is recorded, and it is tried again when it fails."""
    return f"Hello, {name}!"


@hello_wf.start()
async def hello_start(ctx: Context, name: str = "world") -> Directive:
    ctx.store.put("greeting", await greet(name))
    return ctx.next.step(hello_done)


@hello_wf.step()
async def hello_done(ctx: Context) -> Directive:
    greeting = await ctx.store.get("greeting", str)
    ctx.logger.info("greeted with %r", greeting)
    return ctx.next.complete(greeting)
