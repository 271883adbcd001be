"""The context of a query: a run's committed store to read, and nothing to change it with."""

from __future__ import annotations

from typing import Any, NoReturn

from wfctl.errors import UsageError
from wfctl.sdk.blocking import BlockingContext, BlockingStore, Wait
from wfctl.sdk.context import Context
from wfctl.sdk.port import Ops
from wfctl.sdk.store import AnyStore, Store


def refuse_in_query(what: str) -> NoReturn:
    """Raise what a query gets that tries to change something."""
    raise UsageError(
        f"a query changes nothing, so it cannot use {what}",
        hint="read ctx.store and return the answer; to change a run, send it an event",
    )


class NoNext:
    """In the place of `ctx.next`: a query returns an answer, not a directive."""

    def __getattr__(self, name: str) -> NoReturn:
        refuse_in_query(f"ctx.next.{name}")


class _ReadOnly(AnyStore):
    __slots__ = ()

    def put(self, key: str, value: Any) -> None:
        refuse_in_query(f"ctx.store.put({key!r}, ...)")

    def delete(self, key: str) -> None:
        refuse_in_query(f"ctx.store.delete({key!r})")


class _AwaitedReadOnly(_ReadOnly, Store):
    __slots__ = ()


class _BlockingReadOnly(_ReadOnly, BlockingStore):
    __slots__ = ()


class QueryContext(Context):
    """Of an `async def` query."""

    __slots__ = ()

    _new_store = _AwaitedReadOnly


class BlockingQueryContext(BlockingContext):
    """Of a plain `def` query."""

    __slots__ = ()

    def __init__(self, ops: Ops, wait: Wait) -> None:
        super().__init__(ops, wait, wait)
        self.store = _BlockingReadOnly(ops, wait)
