"""`WorkflowHandle`: what can be done with a run by whoever has started it, in a handler and from outside alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


class WorkflowHandle(ABC):
    """A run that was started. That of `ctx.start` is a child's; that of `Client` can do more (`query`, `describe`, `history`...).

    `run_info` is about the run: `run_info.id`, `workflow_id`, `workflow_type`, `parent`... Only a handle that `Client.handle` has
    just made does not know it yet.
    """

    __slots__ = ()

    workflow_id: str
    run_info: Any

    @abstractmethod
    def send(self, event: str, payload: Any = None) -> Coroutine[Any, Any, Any]:
        """Send an event to the run. Raises RunClosedError, UnknownEventError or InvalidPayloadError."""

    @overload
    @abstractmethod
    def result(self) -> Coroutine[Any, Any, Any]: ...
    @overload
    @abstractmethod
    def result(self, *, type: type[T]) -> Coroutine[Any, Any, T]: ...
    @abstractmethod
    def result(self, *, type: Any = None) -> Coroutine[Any, Any, Any]:
        """Wait until the run has closed; what it completed with, as plain data or converted to `type`.

        Raises RunFailedError, RunCancelledError, RunTerminatedError or RunTimedOutError when it closed otherwise.
        """

    @abstractmethod
    def cancel(self, reason: str | None = None) -> Coroutine[Any, Any, Any]:
        """Ask the run to end; its handler may clean up. A closed run is no error."""

    @abstractmethod
    def terminate(self, reason: str | None = None) -> Coroutine[Any, Any, Any]:
        """End the run now; its handler is not asked. A closed run is no error."""
