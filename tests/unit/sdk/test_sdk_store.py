"""`ctx.store`: values as they were when put, and errors that name the key."""

from __future__ import annotations

import dataclasses
import decimal
import threading
from datetime import UTC, datetime

import pytest

from support.memory_port import MemoryOps
from wfctl import Context, InvalidPayloadError, StoreKeyNotFoundError, Workflow
from wfctl.errors import InvalidArgumentError, PayloadTooLargeError

wf = Workflow("Order")


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


def context(**store: bytes) -> Context:
    return Context(MemoryOps(wf, store=store))


async def test_a_step_sees_its_own_writes_and_deletions() -> None:
    ctx = context(amount=b"5")
    assert await ctx.store.get("amount") == 5
    ctx.store.put("amount", 6)
    assert await ctx.store.get("amount") == 6
    ctx.store.delete("amount")
    with pytest.raises(StoreKeyNotFoundError):
        await ctx.store.get("amount")
    ctx.store.delete("never there")
    assert ctx.store.changes() == ({}, ["amount", "never there"])


async def test_every_read_is_a_fresh_object_and_later_changes_do_not_count() -> None:
    ctx = context()
    items = ["a"]
    ctx.store.put("items", items)
    items.append("b")
    first = await ctx.store.get("items")
    first.append("c")
    assert await ctx.store.get("items") == ["a"]


async def test_a_typed_read_restores_what_was_put() -> None:
    ctx = context()
    lines = [Line("a", decimal.Decimal("1.10"))]
    at = datetime(2026, 11, 23, tzinfo=UTC)
    ctx.store.put("lines", lines)
    ctx.store.put("at", at)
    assert await ctx.store.get("lines", list[Line]) == lines
    assert await ctx.store.get("at", datetime) == at
    assert await ctx.store.get("lines") == [{"sku": "a", "price": "1.10"}]


async def test_a_missing_key_is_a_key_error_with_near_matches_unless_there_is_a_default() -> None:
    ctx = context(amount=b"5", order_id=b"1")
    with pytest.raises(KeyError, match=r"no key 'amont' .did you mean 'amount'") as caught:
        await ctx.store.get("amont")
    assert caught.value.hint.startswith("it has: amount, order_id; ")  # type: ignore[attr-defined]
    assert await ctx.store.get("amont", default=None) is None
    assert await ctx.store.get("amont", int, default=0) == 0


async def test_a_stored_null_is_a_value_and_not_a_missing_key() -> None:
    ctx = context()
    ctx.store.put("note", None)
    assert await ctx.store.get("note", default="x") is None


async def test_a_value_that_does_not_convert_is_named() -> None:
    with pytest.raises(InvalidPayloadError, match=r"store value .amount.: .*int.*got .five"):
        await context(amount=b'"five"').store.get("amount", int)


@pytest.mark.parametrize("key", ["", "x" * 256, "two\nlines", 3, None, ["a"]])
def test_a_key_that_is_no_name_is_refused(key: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"store key"):
        context().store.put(key, 1)  # type: ignore[arg-type]


def test_what_json_cannot_hold_is_refused_when_it_is_put() -> None:
    store = context().store
    with pytest.raises(InvalidPayloadError, match=r"store value 'x' is nan"):
        store.put("x", float("nan"))
    with pytest.raises(InvalidPayloadError, match=r"store value 'x' holds a _thread.lock"):
        store.put("x", threading.Lock())
    with pytest.raises(PayloadTooLargeError, match=r"store value 'x' is 1,100,002 bytes; the limit is 1,048,576"):
        store.put("x", "x" * 1_100_000)
    assert store.changes() == ({}, [])
