"""The context of a plain `def` handler: the same operations, which block and return their value.

Nothing is written twice: each method runs the coroutine of `Context` on the host's loop and waits for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from wfctl.sdk.context import Context
from wfctl.sdk.port import Ops
from wfctl.sdk.store import Store

Wait = Callable[[Coroutine[Any, Any, Any]], Any]

_OPERATIONS = (
    "start",
    "run_child",
    "send_to_parent",
    "send",
    "now",
    "random",
    "uuid4",
    "sleep",
    "_result_of",
    "_send_to",
    "_end",
)


class BlockingStore(Store):
    __slots__ = ("_wait",)

    def __init__(self, ops: Ops, wait: Wait) -> None:
        super().__init__(ops)
        self._wait = wait


class BlockingContext(Context):
    """`wait` runs an operation on the host's loop, from the handler's thread, and returns what it returns; `read` what is none."""

    __slots__ = ("_wait",)

    def __init__(self, ops: Ops, wait: Wait, read: Wait) -> None:
        super().__init__(ops)
        self.store = BlockingStore(ops, read)
        self._wait = wait


def _blocking(method: Any) -> Any:
    coroutine = getattr(method, "__wrapped__", method)

    @functools.wraps(coroutine)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._wait(coroutine(self, *args, **kwargs))

    return call


for _name in _OPERATIONS:
    setattr(BlockingContext, _name, _blocking(getattr(Context, _name)))
BlockingStore.get = _blocking(Store.get)  # type: ignore[method-assign]
