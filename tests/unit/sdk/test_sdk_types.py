"""What type checkers are told of handlers: an author's file is checked as `mypy --strict` checks it."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

from support.source import ROOT

HANDLERS = """
from datetime import datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

from wfctl import BlockingChildHandle, BlockingContext, ChildHandle, Context, Directive, Workflow

wf = Workflow("Order")


@wf.start(timeout=timedelta(minutes=1))
def plain(ctx: BlockingContext, amount: float) -> Directive:
    assert_type(ctx.now(), datetime)
    assert_type(ctx.random(), float)
    assert_type(ctx.uuid4(), UUID)
    ctx.sleep(timedelta(seconds=1))
    ctx.progress(1, 2)
    ctx.logger.info("%s", ctx.run.workflow_id)
    ctx.store.put("amount", amount)
    assert_type(ctx.store.get("amount", float), float)
    assert_type(ctx.store.get("amount", float, default=None), float | None)
    child = ctx.start("Payment", workflow_id="p", workflow_input={"amount": amount}, on_completed_step=awaited)
    assert_type(child, BlockingChildHandle)
    assert_type(child.result(type=int), int)
    child.send("pay", {"by": "card"})
    child.cancel(reason="enough")
    assert_type(ctx.run_child("Payment", "q", result_type=str), str)
    ctx.send("other", "event")
    ctx.send_to_parent("paid", payload=1)
    return ctx.next.step(awaited)


@wf.step()
async def awaited(ctx: Context) -> Directive:
    assert_type(await ctx.now(), datetime)
    assert_type(await ctx.store.get("amount", float), float)
    child = await ctx.start("Payment", "p")
    assert_type(child, ChildHandle)
    assert_type(await child.result(type=int), int)
    return ctx.next.complete()
"""

WRONG = """
from wfctl import BlockingContext, Context, Directive


async def helper(ctx: Context) -> None: ...


def plain(ctx: BlockingContext) -> Directive:
    ctx.sleep(5)
    ctx.start("Payment", 3)
    ctx.now().nonsense
    helper(ctx)
    return ctx.next.complete()
"""
ERRORS = [
    'Argument 1 has incompatible type "int"; expected "timedelta"',
    'Argument 2 has incompatible type "int"; expected "str"',
    '"datetime" has no attribute "nonsense"',
    'Argument 1 to "helper" has incompatible type "BlockingContext"; expected "Context"',
]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("types")
    (folder / "handlers.py").write_text(HANDLERS)
    (folder / "wrong.py").write_text(WRONG)
    (folder / "mypy.ini").write_text(f"[mypy]\nstrict = true\nmypy_path = {ROOT}\ncache_dir = {folder / 'cache'}\n")
    told, failure, _ = api.run(["--config-file", str(folder / "mypy.ini"), *map(str, sorted(folder.glob("*.py")))])
    assert not failure
    return told.splitlines()


def test_handlers_of_both_kinds_are_typed(checked: list[str]) -> None:
    assert not [line for line in checked if "handlers.py" in line]


def test_what_a_plain_handler_does_wrong_is_found(checked: list[str]) -> None:
    found = [line for line in checked if "wrong.py" in line and ": error:" in line]
    for error in ERRORS:
        assert any(error in line for line in found), f"{error}\nis not in\n" + "\n".join(found)
    assert not [line for line in checked if "/wfctl/" in line]
