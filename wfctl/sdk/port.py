"""`Ops`: all that `Context` needs of whatever hosts it. The worker is one host, a test's memory another.

A host records operations and replays them: `perform` is the one door for all kinds, so a new kind of operation
(a task, a sleep) is a method of `Context` and a branch in the host's engine, and nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, Protocol

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
    def workflow(self) -> Workflow:
        """The run's own type."""

    @property
    def types(self) -> Mapping[str, Workflow]:
        """All loaded types, by name: what a child can be started of, and what a parent can take."""

    @property
    def sources(self) -> Sources: ...

    @property
    def replaying(self) -> bool:
        """Whether operations recorded by an earlier execution of this step are still to be asked for."""

    async def load(self, key: str) -> bytes | None:
        """The committed store value of `key` (JSON), without this step's own writes."""

    def keys(self) -> Iterable[str]:
        """The committed store's keys, for naming near matches."""

    async def perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> bytes:
        """Record one operation and return its committed value (JSON), or return what was recorded before.

        `content` is what identifies it besides kind and name: canonical JSON. `arguments` makes the JSON object to be
        recorded; it is called only for an operation that is not recorded yet, and may raise to refuse it. A recorded error is
        raised again.
        """

    def log(self, level: str, message: str) -> None:
        """Keep one line of the run's log; from any thread. Lines that earlier executions logged are not repeated."""

    def stuck(self, reason: str) -> NoReturn:
        """Give up the step, not the run: it waits, with `reason` shown, until the code or a person cures it."""
