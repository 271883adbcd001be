"""The one error tree: class, stable code, exit status, remedy.

    WfctlError                       internal          1
    ├─ UsageError                    usage             2
    │  ├─ InvalidArgumentError       invalid_argument  2
    │  │  └─ InvalidPayloadError     invalid_payload   2   (also a ValueError, as its parents)
    │  ├─ PayloadTooLargeError       payload_too_large 2
    │  ├─ AmbiguousIdError           ambiguous_id      2
    │  ├─ RegistrationError          registration      2   (a workflow declared wrongly)
    │  └─ ConfigError                config            2
    ├─ DaemonDownError               daemon_down       3
    ├─ NotFoundError                 not_found         4
    │  ├─ RunNotFoundError           run_not_found     4
    │  ├─ UnknownWorkflowTypeError   unknown_type      4
    │  ├─ UnknownEventError          unknown_event     4
    │  ├─ UnknownQueryError          unknown_query     4
    │  └─ ScheduleNotFoundError      schedule_not_found 4
    ├─ ConflictError                 conflict          5
    │  ├─ WorkflowAlreadyRunning     already_running   5
    │  ├─ WorkflowAlreadyClosed      already_closed    5
    │  ├─ RunClosedError             run_closed        5
    │  ├─ ScheduleExistsError        schedule_exists   5
    │  └─ DaemonAlreadyRunningError  daemon_running    5
    ├─ IncompatibleError             incompatible      6
    ├─ DeniedError                   denied            7
    ├─ StorageError                  storage           8
    ├─ PartialError                  partial           9
    ├─ RunOutcomeError               (the awaited run did not complete)
    │  ├─ RunFailedError             failed           10
    │  ├─ RunCancelledError          cancelled        11
    │  ├─ RunTerminatedError         terminated       12
    │  └─ RunTimedOutError           timed_out        13
    ├─ NotFinishedError              not_finished     14
    ├─ RunStuckError                 stuck            15
    ├─ DeclinedError                 declined         16
    ├─ StoreKeyNotFoundError         store_key         1   (also a KeyError)
    ├─ NoParentError                 no_parent         1   (also a RuntimeError)
    ├─ InvalidDirectiveError         invalid_directive 1   (also a TypeError)
    ├─ StepTimeoutError              step_timeout      1
    ├─ TaskError                     task_failed       1   (a task's exception whose own class is not there)
    ├─ TaskTimeoutError              task_timeout      1   (also a TimeoutError)
    ├─ QueryFailedError              query_failed      1   (a query's handler raised, or took too long)
    ├─ NonDeterminismError           non_deterministic 1
    └─ StaleStepError                stale_step        1   (a handler that lost its step)

An error crosses a process boundary as `ErrorData` and comes back as the same class (`raise_from_data`),
so `except WorkflowAlreadyRunning` works in a client, in a handler and in the daemon alike.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import msgspec


class ErrorData(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as data: what crosses sockets and is shown by `-o json`."""

    code: str
    message: str
    detail: dict[str, Any] = {}
    hint: str | None = None
    exit: int = 1


class WfctlError(Exception):
    """Base of every error this product raises on purpose.

    `message` says what failed, on which object and why; `hint` is a command to type or a thing to
    do; `detail` holds the same facts for programs, JSON values only.
    """

    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_data, (self.to_data(),))

    def to_data(self) -> ErrorData:
        return ErrorData(self.code, self.message, self.detail, self.hint, self.exit_status)


class UsageError(WfctlError):
    code = "usage"
    exit_status = 2


class InvalidArgumentError(UsageError, ValueError):
    """A name, number or text that cannot be what it stands for (a workflow ID, a duration...)."""

    code = "invalid_argument"


class InvalidPayloadError(InvalidArgumentError):
    """A payload or input that the handler's signature cannot take; the receiver is untouched."""

    code = "invalid_payload"


class PayloadTooLargeError(UsageError):
    code = "payload_too_large"


class AmbiguousIdError(UsageError):
    code = "ambiguous_id"


class RegistrationError(UsageError):
    """A workflow or handler that is declared wrongly; raised when its module is imported."""

    code = "registration"


class ConfigError(UsageError):
    code = "config"


class DaemonDownError(WfctlError):
    code = "daemon_down"
    exit_status = 3


class NotFoundError(WfctlError):
    code = "not_found"
    exit_status = 4


class RunNotFoundError(NotFoundError):
    code = "run_not_found"


class UnknownWorkflowTypeError(NotFoundError):
    code = "unknown_type"


class UnknownEventError(NotFoundError):
    code = "unknown_event"


class UnknownQueryError(NotFoundError):
    code = "unknown_query"


class ScheduleNotFoundError(NotFoundError):
    code = "schedule_not_found"


class ConflictError(WfctlError):
    code = "conflict"
    exit_status = 5


class WorkflowAlreadyRunning(ConflictError):
    code = "already_running"


class WorkflowAlreadyClosed(ConflictError):
    """A start that is to fail where its workflow ID has a run that has closed."""

    code = "already_closed"


class RunClosedError(ConflictError):
    code = "run_closed"


class ScheduleExistsError(ConflictError):
    code = "schedule_exists"


class DaemonAlreadyRunningError(ConflictError):
    code = "daemon_running"


class IncompatibleError(WfctlError):
    code = "incompatible"
    exit_status = 6


class DeniedError(WfctlError):
    code = "denied"
    exit_status = 7


class StorageError(WfctlError):
    code = "storage"
    exit_status = 8


class PartialError(WfctlError):
    code = "partial"
    exit_status = 9


class RunOutcomeError(WfctlError):
    """The awaited run closed, but did not complete. `detail` has run_id, workflow_id, status, error."""

    code = "failed"
    exit_status = 10


class RunFailedError(RunOutcomeError):
    pass


class RunCancelledError(RunOutcomeError):
    code = "cancelled"
    exit_status = 11


class RunTerminatedError(RunOutcomeError):
    code = "terminated"
    exit_status = 12


class RunTimedOutError(RunOutcomeError):
    code = "timed_out"
    exit_status = 13


class NotFinishedError(WfctlError, TimeoutError):
    """The wait ended before the run did; the run itself goes on."""

    code = "not_finished"
    exit_status = 14


class RunStuckError(WfctlError):
    code = "stuck"
    exit_status = 15


class DeclinedError(WfctlError):
    code = "declined"
    exit_status = 16


class StoreKeyNotFoundError(WfctlError, KeyError):
    code = "store_key"


class NoParentError(WfctlError, RuntimeError):
    code = "no_parent"


class InvalidDirectiveError(WfctlError, TypeError):
    """A handler returned something that is not a directive, or one that names no such handler."""

    code = "invalid_directive"


class StepTimeoutError(WfctlError):
    code = "step_timeout"


class TaskError(WfctlError):
    """A task failed with an exception whose class cannot be imported, or not be made again; `detail` has its `type`."""

    code = "task_failed"


class TaskTimeoutError(WfctlError, TimeoutError):
    """One attempt of a task took longer than its timeout."""

    code = "task_timeout"


class QueryFailedError(WfctlError):
    """A query's handler raised, or took too long. Where it raised, `detail` has the exception's type, frame and traceback."""

    code = "query_failed"


class NonDeterminismError(WfctlError):
    """Replay of a step differs from what was recorded; the run becomes stuck, never failed."""

    code = "non_deterministic"


class StaleStepError(WfctlError):
    """The handler that asks no longer owns its step (it timed out, or its run was closed)."""

    code = "stale_step"


def reason(error: BaseException) -> str:
    """What an exception says, or its type where it says nothing, as a timeout of asyncio does not."""
    return str(error).strip() or type(error).__name__


def _tree(base: type[WfctlError]) -> list[type[WfctlError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _tree(child))]


BY_CODE: dict[str, type[WfctlError]] = {}
for _cls in _tree(WfctlError):
    BY_CODE.setdefault(_cls.code, _cls)
BY_CODE["failed"] = RunFailedError


def from_data(data: ErrorData) -> WfctlError:
    """The error that `data` describes, as its own class; an unknown code gives the base class."""
    cls = BY_CODE.get(data.code, WfctlError)
    return cls(data.message, hint=data.hint, **data.detail)


def raise_from_data(data: ErrorData) -> NoReturn:
    """The one place where an error that crossed a boundary is raised again."""
    raise from_data(data)
