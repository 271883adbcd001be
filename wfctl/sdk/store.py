"""`ctx.store`: the run's key-value state, as one step sees it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar, overload

from wfctl.errors import StoreKeyNotFoundError
from wfctl.sdk.current import attempt
from wfctl.sdk.hints import Done, did_you_mean, listing
from wfctl.sdk.port import Ops
from wfctl.values.codec import convert, decode, encode, encode_plain
from wfctl.values.ids import check_name

T = TypeVar("T")
D = TypeVar("D")

_MISSING: Any = object()
_PUT: Any = Done("ctx.store.put")
_DELETED: Any = Done("ctx.store.delete")
# The task that the running code is part of: what it wrote, a replay would not write again.
_task = attempt.get


@lru_cache(maxsize=4096)
def _known_good(key: str) -> str:
    return check_name(key, "store key")


class AnyStore:
    """What the stores of all handlers have in common."""

    __slots__ = ("_ops", "_written")

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        self._written: dict[str, bytes | None] = {}

    def put(self, key: str, value: Any) -> None:
        """Set `key` (1 to 255 characters) to `value`, written as JSON now: later changes of the object do not count.

        Raises InvalidPayloadError for what JSON cannot hold (NaN, a lock...), PayloadTooLargeError over 1 MiB, UsageError inside
        of a task, and StaleStepError when the step is over.
        """
        if self._ops.closed or _task() is not None:
            self._ops.refuse()
        data = encode_plain(value) or encode(value, f"store value {key!r}")
        # The cache's own function: one of Python around it costs as much as what it saves.
        self._written[_known_good(key) if isinstance(key, str) else check_name(key, "store key")] = data
        return _PUT  # type: ignore[no-any-return]

    def delete(self, key: str) -> None:
        """Remove `key`; fine where there is none. Raises UsageError and StaleStepError as `put` does."""
        self._admit()
        self._written[check_name(key, "store key")] = None
        return _DELETED  # type: ignore[no-any-return]

    def _admit(self) -> None:
        if self._ops.closed or _task() is not None:
            self._ops.refuse()

    def _not_found(self, key: str) -> StoreKeyNotFoundError:
        known = {*self._ops.keys(), *self._written}
        known -= {name for name, data in self._written.items() if data is None}
        return StoreKeyNotFoundError(
            f"the store has no key {key!r}{did_you_mean(key, known)}",
            hint=f"it has: {listing(known)}; ctx.store.get({key!r}, default=...) does not raise",
            key=key,
            known=sorted(known)[:100],
        )

    def changes(self) -> tuple[dict[str, bytes], list[str]]:
        """What this step wrote and what it deleted; for the host, when the handler has returned."""
        written: dict[str, Any] = self._written
        if None not in written.values():
            return written, []  # nothing is put into it any more
        put = {key: data for key, data in written.items() if data is not None}
        return put, [key for key, data in written.items() if data is None]


class Store(AnyStore):
    """Values of this run, kept as JSON. Writes are seen by this step at once, and are committed with its directive.

    A step that fails, is cancelled or dies leaves none of its writes.
    """

    __slots__ = ()

    @overload
    async def get(self, key: str) -> Any: ...
    @overload
    async def get(self, key: str, type: type[T]) -> T: ...
    @overload
    async def get(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    async def get(self, key: str, type: Any = ..., *, default: Any = ...) -> Any: ...
    async def get(self, key: str, type: Any = Any, *, default: Any = _MISSING) -> Any:
        """The value of `key` as plain data, or converted to `type`; a fresh object each time.

        Without the key: `default` where given (None counts), else StoreKeyNotFoundError, which is a KeyError. Raises
        InvalidPayloadError when the value does not convert, UsageError and StaleStepError as `put` does.
        """
        if self._ops.closed or _task() is not None:
            self._ops.refuse()
        key = _known_good(key) if isinstance(key, str) else check_name(key, "store key")
        data = self._written[key] if key in self._written else await self._ops.load(key)
        if data is None:
            if default is _MISSING:
                raise self._not_found(key)
            return default
        value = decode(data)
        return value if type is Any else convert(value, type, f"store value {key!r}")
