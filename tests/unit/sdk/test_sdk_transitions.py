"""What a handler does next is read in its source: found where it is told, and called unknown where it is not."""

from __future__ import annotations

import ast
import textwrap
from types import ModuleType
from typing import Any

import pytest

from wfctl.sdk.transitions import Functions, transitions
from wfctl.sdk.workflow import Workflow

HEAD = """
import asyncio
from datetime import timedelta
from wfctl import ChildOutcome, Context, Directive, Workflow
wf = Workflow("Order")
NAME = "Ship"
"""
TAIL = """
@wf.step()
async def pay(ctx: Context) -> Directive:
    return ctx.next.complete()
@wf.step()
async def late(ctx: Context) -> Directive:
    return ctx.next.fail("late")
@wf.step()
async def shipped(ctx: Context, outcome: ChildOutcome[int]) -> Directive:
    return ctx.next.complete()
@wf.step(name="remind")
async def send_reminder(ctx: Context) -> Directive:
    return ctx.next.complete()
@wf.step(name="child over")
async def over(ctx: Context, outcome: ChildOutcome[int]) -> Directive:
    return ctx.next.complete()
@wf.event(name="paid")
async def on_paid(ctx: Context) -> Directive:
    return ctx.next.complete()
"""


def found(body: str, before: str = "") -> list[tuple[Any, ...]]:
    """(kind, target, delayed or note) of what the start handler with this body does."""
    start = "@wf.start()\nasync def begin(ctx: Context, n: int = 0) -> Directive:\n"
    text = HEAD + TAIL + textwrap.dedent(before) + start + textwrap.indent(textwrap.dedent(body), "    ")
    module = ModuleType("flow_under_test")
    exec(compile(text, "/flow.py", "exec"), vars(module))
    workflow: Workflow = vars(module)["wf"]
    handler = workflow.handler("start", "begin")
    assert handler is not None
    tree = ast.parse(text)
    seen = transitions(workflow, handler, Functions(lambda file: tree if file == "/flow.py" else None))
    return [(one.kind, one.target, one.note or one.delayed) for one in seen]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return ctx.next.step(pay)", [("step", "pay", False)]),
        ('return ctx.next.step("pay", after=timedelta(days=1))', [("step", "pay", True)]),
        ("return ctx.next.step(send_reminder)", [("step", "remind", False)]),
        ('return ctx.next.step("remind")', [("step", "remind", False)]),
        (
            "return ctx.next.wait_for_event(timeout=timedelta(1), on_timeout=send_reminder)",
            [("wait", None, "any event"), ("timeout", "remind", False)],
        ),
        (
            'await ctx.start(NAME, "s-1", on_completed_step=over)\nreturn ctx.next.step(pay)',
            [("child", "Ship", False), ("child_closed", "child over", "Ship"), ("step", "pay", False)],
        ),
        ("return ctx.next.step(pay, after=None)", [("step", "pay", False)]),
        ("return ctx.next.step(pay if n else late)", [("step", "pay", False), ("step", "late", False)]),
        ("return ctx.next.wait_for_event()", [("wait", None, "any event")]),
        ("return ctx.next.wait(on_paid)", [("wait", "paid", False)]),
        (
            'return ctx.next.wait_for_event("paid", timeout=timedelta(1), on_timeout=late)',
            [("wait", "paid", False), ("timeout", "late", False)],
        ),
        (
            'return ctx.next.wait_for_event("paid", timeout=timedelta(1))',
            [("wait", "paid", False), ("timeout", None, "the run times out")],
        ),
        (
            "d = ctx.next.step(pay)\nif n:\n    d = ctx.next.complete()\nreturn d",
            [("step", "pay", False), ("complete", None, False)],
        ),
        (
            'await ctx.start(NAME, "s-1", on_completed_step=shipped)\nreturn ctx.next.fail("x")',
            [("child", "Ship", False), ("child_closed", "shipped", "Ship"), ("fail", None, False)],
        ),
        (
            'await asyncio.gather(ctx.run_child(workflow_type="Kid", workflow_id="k"), ctx.send("a", "ping"))\n'
            "return ctx.next.complete()",
            [("child", "Kid", False), ("send", "ping", False), ("complete", None, False)],
        ),
        ('await ctx.send_to_parent("done")\nreturn ctx.next.complete()', [("parent", "done", False), ("complete", None, False)]),
        ("await ctx.now()\nctx.store.put('x', 1)\nctx.logger.info('x')\nreturn ctx.next.complete()", [("complete", None, False)]),
    ],
)  # fmt: skip
def test_what_the_source_tells_is_found(body: str, expected: list[tuple[Any, ...]]) -> None:
    assert found(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return ctx.next.step(globals()['pay'])", "globals()['pay'] says which step"),
        # The name of a loop is not that of the module, whatever that has.
        ("for pay in (1, 2):\n    return ctx.next.step(pay)", "pay says which step"),
        ("return [ctx.next.step(late) for late in ()][0]", "late says which step"),
        ("n = ctx.next\nreturn n.complete()", "ctx.next is handed on"),
        ("other = ctx\nreturn ctx.next.complete()", "ctx has the context, and is not followed"),
        ("return other(ctx)", "other(ctx) has the context, and is not followed"),
        ("return await (lambda: 1)()", "(lambda: 1)() is returned"),
        ("await ctx.start(str(n), 's')\nreturn ctx.next.complete()", "which type: str(n)"),
        ("await ctx.send('a', str(n))\nreturn ctx.next.complete()", "which event: str(n)"),
        ("return ctx.next.wait_for_event('padi')", "'padi' says which event"),
    ],
)
def test_what_the_source_does_not_tell_is_said_and_not_guessed(body: str, reason: str) -> None:
    assert reason in [note for _, target, note in found(body) if target is None]


def test_functions_that_get_the_context_are_followed() -> None:
    helpers = """
    async def choose(n, ctx):
        if n:
            return await choose(n - 1, ctx=ctx)
        await tell(ctx)
        return ctx.next.step(pay)
    async def tell(ctx):
        await ctx.send_to_parent("told")
    """
    assert found("return await choose(n, ctx)", helpers) == [("parent", "told", False), ("step", "pay", False)]


def test_a_decorator_around_a_handler_is_read_through() -> None:
    before = """
    import functools
    def traced(function):
        @functools.wraps(function)
        async def wrapper(ctx):
            return await function(ctx)
        return wrapper
    @wf.step()
    @traced
    async def audited(ctx: Context) -> Directive:
        return ctx.next.step(late)
    """
    assert found("return ctx.next.step(audited)", before) == [("step", "audited", False)]


def test_a_handler_without_source_is_unknown_as_a_whole() -> None:
    wf = Workflow("Alone")

    @wf.start()
    async def begin(ctx: Any) -> Any:
        return ctx.next.complete()

    handler = wf.handler("start", "begin")
    assert handler is not None
    (only,) = transitions(wf, handler, Functions(lambda file: None))
    assert (only.kind, only.note) == ("unknown", "its source was not found")

    def broken(file: str) -> ast.Module | None:
        raise RecursionError("deep")

    (only,) = transitions(wf, handler, Functions(broken))
    assert only.kind == "unknown"
    assert "deep" in only.note
