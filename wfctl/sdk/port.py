"""`Ops`: all that `Context` needs of whatever hosts it. The worker is one host, a test's memory another.

A host records operations and replays them. `perform` is the door for those that have happened when they are recorded; what
takes its time (a task, a sleep) asks with `find` whether it is recorded, and says with `tell` how it goes. So a new kind of
operation is a method of `Context` and a branch in the host's engine, and nothing here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, NoReturn, Protocol

from wfctl.sdk.directive import Next
from wfctl.sdk.replay import Record
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values.runinfo import RunInfo


class StepUnwind(BaseException):
    """Ends a handler whose step cannot go on. A BaseException, so that `except Exception` does not swallow it."""


class Ops(Protocol):
    """One execution of one step."""

    @property
    def run(self) -> RunInfo: ...

    @property
    def step(self) -> int:
        """The step's number in its run."""

    @property
    def workflow(self) -> Workflow:
        """The run's own type."""

    @property
    def types(self) -> Mapping[str, Workflow]:
        """All loaded types, by name: what a child can be started of, and what a parent can take."""

    @property
    def sources(self) -> Sources: ...

    @property
    def next(self) -> Next:
        """What makes the directives of the run's type."""

    @property
    def closed(self) -> bool:
        """Whether the handler has ended: nothing that its context is used for counts any more."""

    @property
    def cleans_up(self) -> bool:
        """Whether the handler has got the cancellation of its run, and goes on to clean up."""

    @property
    def replaying(self) -> bool:
        """Whether operations recorded by an earlier execution of this step are still to be asked for."""

    @property
    def handed_out(self) -> list[Coroutine[Any, Any, Any]]:
        """The coroutines that were handed out: one that was never awaited is noticed when the handler returns."""

    async def load(self, key: str) -> bytes | None:
        """The committed store value of `key` (JSON), without this step's own writes."""

    def keys(self) -> Iterable[str]:
        """The committed store's keys, for naming near matches."""

    def perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> Awaitable[bytes]:
        """Record one operation and return its committed value (JSON), or return what was recorded before. Awaited at once.

        `content` is what identifies it besides kind and name: canonical JSON. `arguments` makes the JSON object to be
        recorded; it is called only for an operation that is not recorded yet, and may raise to refuse it. A recorded error is
        raised again.
        """

    def fresh(self, kind: str, name: str, content: bytes) -> str | None:
        """The content key of one operation where it is plain that nothing is recorded of it; None where `find` is to be asked."""

    async def find(self, kind: str, name: str, content: bytes, place: str = "") -> tuple[str, Record | None]:
        """The content key of one operation, and what earlier executions recorded of it: None when they did not get that far.

        `place` is the line that asks, for where the stack does not tell. A call that differs from the records ends the step.
        """

    def tell(self, kind: str, name: str, key: str, arguments: bytes) -> Awaitable[bytes]:
        """Have the host do or record what `kind` says of the operation `key`; its answer (JSON) is awaited at once."""

    def begin(self, name: str, key: str, arguments: bytes) -> None:
        """An attempt of task `key` begins: its function runs next, while that is recorded. What `tell` says of it next ends it."""

    def waits(self, key: str) -> None:
        """The function does not end in this turn of the loop; whoever awaits it ends with the step at the latest."""

    def left(self, name: str, key: str) -> None:
        """The function was cut short: the attempt has no outcome."""

    def log(self, level: str, message: str, *, new: bool = False) -> None:
        """Keep one line of the run's log; from any thread. It is left out for each one like it that earlier executions logged,
        unless it is about something that is done now: by a task, or `new`."""

    def progress(self, done: int | float, total: int | float | None, note: str) -> None:
        """Show how far the step has got; from any thread. Nothing is recorded; of what comes too fast, the newest counts."""

    def refuse(self) -> NoReturn:
        """Raise what says why the running code may not use the context: it is a task's, or the step is over."""

    def stuck(self, reason: str) -> NoReturn:
        """Give up the step, not the run: it waits, with `reason` shown, until the code or a person cures it."""
