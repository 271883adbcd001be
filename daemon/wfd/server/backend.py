"""What the server needs of the engine: one method a verb, typed by the verb's own structs.

Every method raises errors of `wfctl.errors` for what the caller did wrong; they cross the socket as they are. Anything
else that is raised is reported as `internal` and logged, and harms only its own call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from wfctl.protocol import calls, views

Item_co = TypeVar("Item_co", covariant=True)
Answer_co = TypeVar("Answer_co", covariant=True)


class Stream(Protocol[Item_co, Answer_co]):
    """Items as they come, then an answer. The server always closes it, also in the middle when its caller has gone."""

    @property
    def answer(self) -> Answer_co:
        """Valid once the iteration has ended by itself."""
        ...

    def __aiter__(self) -> AsyncIterator[Item_co]: ...

    async def aclose(self) -> None:
        """Let go of what the stream holds; twice is fine."""


class Backend(Protocol):
    """`start`, `send`, `cancel`, `terminate`, `retry` and `down` are commands: once called they are never cancelled from here, even
    when their caller has gone. The others may be cancelled at any await."""

    async def status(self, call: calls.GetStatus, /) -> views.StatusView: ...

    async def start(self, call: calls.Start, /) -> calls.Started: ...

    async def send(self, call: calls.Send, /) -> calls.Sent: ...

    async def get(self, call: calls.Get, /) -> views.RunDetail: ...

    async def list(self, call: calls.List, /) -> calls.RunPage: ...

    async def history(self, call: calls.History, /) -> calls.HistoryPage: ...

    async def result(self, call: calls.Result, /) -> views.Outcome: ...

    async def cancel(self, call: calls.Cancel, /) -> calls.Changed: ...

    async def terminate(self, call: calls.Terminate, /) -> calls.Changed: ...

    async def retry(self, call: calls.Retry, /) -> calls.Retried: ...

    async def query(self, call: calls.Query, /) -> calls.QueryAnswer: ...

    async def tree(self, call: calls.GetTree, /) -> views.Tree: ...

    async def workflows(self, call: calls.Workflows, /) -> calls.WorkflowList: ...

    async def reload(self, call: calls.Reload, /) -> calls.Reloaded: ...

    async def check(self, call: calls.CheckCode, /) -> calls.CodeCheck: ...

    async def down(self, call: calls.Down, /) -> calls.Ok: ...

    def tail(self, call: calls.Tail, /) -> Stream[views.HistoryEntry, calls.TailEnd]: ...

    def watch(self, call: calls.Watch, /) -> Stream[calls.WatchItem, views.Outcome | None]: ...

    def backup(self, call: calls.Backup, /) -> Stream[calls.Copied, calls.BackedUp]: ...

    def purge(self, call: calls.Purge, /) -> Stream[calls.PurgedSoFar, calls.Purged]: ...
