"""The checker of the crash tests is worth something only if it sees each kind of broken promise: here they are broken by hand."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.shop import example_workflows
from support.checker import broken_effects, broken_orders, broken_promises, missing
from support.effects import LOG, Effect, effects
from wfd.testing import WorkflowEnvironment

# Something else that the parent's history is made to tell of its child.
CHILD = (
    "update history set kind = '{kind}', data = json_object('key', 'k', 'status', 'failed', 'run_id', "
    "(select run_id from runs where parent = 1)) where run = 1 and kind = 'event.received'"
)


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The database and the log of two orders that nothing happened to."""
    log = tmp_path / "effects.log"
    monkeypatch.setenv(LOG, str(log))
    async with WorkflowEnvironment(example_workflows(tmp_path), path=tmp_path / "state") as env:
        for number in (1, 2):
            given = {"order_id": str(number), "amount": number}
            order = await env.client.start("Order", workflow_id=f"order-{number}", workflow_input=given)
            await order.send("start_payment")
            await order.result()
        await env.settle()
        database = tmp_path / "copy.db"
        with sqlite3.connect(env.store.path) as source, sqlite3.connect(database) as copy:
            source.backup(copy)
    return database, log


def test_orders_that_nothing_happened_to_keep_every_promise(kept: tuple[Path, Path]) -> None:
    database, log = kept
    assert broken_promises(database) == []
    assert broken_effects(database, log) == []
    assert broken_orders(database, (1, 2)) == []
    assert missing(database, [("order-1", "start"), ("order-2", "start_payment")]) == []


@pytest.mark.parametrize(
    ("breaks", "told"),
    [
        (lambda first: [], "has no effect"),
        (lambda first: [first, first._replace(pid=first.pid + 1)], "has 2 effects"),
        (lambda first: [first, first], "did attempt 1 twice"),
        (lambda first: [first, first._replace(key="another")], "is of no task"),
    ],
    ids=["none", "a second", "twice by one process", "under another key"],
)
def test_an_effect_too_few_or_too_many_is_found(
    kept: tuple[Path, Path], breaks: Callable[[Effect], list[Effect]], told: str
) -> None:
    database, log = kept
    first, *others = effects(log)
    log.write_text("".join(f"{json.dumps(effect)}\n" for effect in (*breaks(first), *others)))
    assert any(told in problem for problem in broken_effects(database, log))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("delete from store where key = 'amount' and run = 1", "its store is"),
        ("update store set value = '9' where key = 'amount' and run = 1", "its store is"),
        ("delete from history where run = 1 and seq = 3", "its history has a gap"),
        ("update history set data = json_set(data, '$.step', 1) where kind = 'step.completed'", "directives"),
        ("update history set data = json_set(data, '$.event', 99) where data ->> 'event' > 0", "received events"),
        ("insert into inbox values (1, 4, 0, 'start_payment', '{}', null)", "received events"),
        ("update history set kind = 'random.recorded' where kind = 'child.closed'", "closed 0 times"),
        (CHILD.format(kind="child.result_recorded"), "which it had not"),
        (CHILD.format(kind="child.terminated"), "its child no run.terminated"),
        ("update runs set status = 'failed', result = null where key = 1", "ended with"),
        ("update totals set runs = runs + 1 where type = 'Order'", "is counted"),
    ],
    ids=[
        "gone key",
        "other value",
        "gap",
        "two directives",
        "lost event",
        "event kept",
        "deaf parent",
        "heard too much",
        "ended none",
        "no end",
        "miscount",
    ],
)
def test_a_promise_broken_in_the_database_is_found(kept: tuple[Path, Path], change: str, told: str) -> None:
    database, _ = kept
    with sqlite3.connect(database) as db:
        db.execute(change)
    assert any(told in problem for problem in broken_promises(database)), broken_promises(database)


def test_a_lost_order_and_a_second_payment_are_found(kept: tuple[Path, Path], tmp_path: Path) -> None:
    database, _ = kept
    assert [problem for problem in broken_orders(database, (1, 2, 3)) if "3" in problem]
    assert missing(database, [("order-3", "start"), ("order-1", "refund")]) == [
        "order-1: refund was acknowledged",
        "order-3: start was acknowledged",
    ]
    other = tmp_path / "other.db"
    shutil.copyfile(database, other)
    with sqlite3.connect(other) as db:
        db.execute("update runs set workflow_id = 'payment-1' where workflow_id = 'payment-2'")
    assert any("Payment 1" in problem for problem in broken_orders(other, (1,)))
