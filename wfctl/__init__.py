"""Durable workflows on one machine: the names an author imports.

Everything is loaded on first use (PEP 562), so that `import wfctl` costs next to nothing and the
command line, which imports this package too, starts at the speed of its own few modules.
"""

from importlib import import_module

TYPE_CHECKING = False  # as typing's, which would take longer to load than all of this
if TYPE_CHECKING:
    from wfctl.client import Client as Client, ClientHandle as ClientHandle
    from wfctl.errors import (
        AmbiguousIdError as AmbiguousIdError,
        ConfigError as ConfigError,
        ConflictError as ConflictError,
        DaemonDownError as DaemonDownError,
        DeniedError as DeniedError,
        IncompatibleError as IncompatibleError,
        InvalidArgumentError as InvalidArgumentError,
        InvalidDirectiveError as InvalidDirectiveError,
        InvalidPayloadError as InvalidPayloadError,
        NoParentError as NoParentError,
        NotFinishedError as NotFinishedError,
        NotFoundError as NotFoundError,
        PayloadTooLargeError as PayloadTooLargeError,
        QueryFailedError as QueryFailedError,
        RegistrationError as RegistrationError,
        RunCancelledError as RunCancelledError,
        RunClosedError as RunClosedError,
        RunFailedError as RunFailedError,
        RunNotFoundError as RunNotFoundError,
        RunOutcomeError as RunOutcomeError,
        RunStuckError as RunStuckError,
        RunTerminatedError as RunTerminatedError,
        RunTimedOutError as RunTimedOutError,
        ScheduleExistsError as ScheduleExistsError,
        ScheduleNotFoundError as ScheduleNotFoundError,
        StaleStepError as StaleStepError,
        StepTimeoutError as StepTimeoutError,
        StorageError as StorageError,
        StoreKeyNotFoundError as StoreKeyNotFoundError,
        TaskError as TaskError,
        TaskTimeoutError as TaskTimeoutError,
        UnknownEventError as UnknownEventError,
        UnknownQueryError as UnknownQueryError,
        UnknownWorkflowTypeError as UnknownWorkflowTypeError,
        UsageError as UsageError,
        WfctlError as WfctlError,
        WorkflowAlreadyClosed as WorkflowAlreadyClosed,
        WorkflowAlreadyRunning as WorkflowAlreadyRunning,
    )
    from wfctl.sdk.blocking import BlockingChildHandle as BlockingChildHandle, BlockingContext as BlockingContext
    from wfctl.sdk.context import ChildHandle as ChildHandle, Context as Context
    from wfctl.sdk.current import TaskInfo as TaskInfo, current_task as current_task
    from wfctl.sdk.directive import Directive as Directive
    from wfctl.sdk.retry import RetryPolicy as RetryPolicy
    from wfctl.sdk.task import task as task
    from wfctl.sdk.workflow import Workflow as Workflow
    from wfctl.values.handle import WorkflowHandle as WorkflowHandle
    from wfctl.values.outcome import ChildOutcome as ChildOutcome
    from wfctl.values.runinfo import RunInfo as RunInfo
    from wfctl.values.status import Status as Status

__version__ = "0.1.0"

_HOMES = {
    "Client": "wfctl.client",
    "ClientHandle": "wfctl.client",
    "BlockingChildHandle": "wfctl.sdk.blocking",
    "BlockingContext": "wfctl.sdk.blocking",
    "ChildHandle": "wfctl.sdk.context",
    "WorkflowHandle": "wfctl.values.handle",
    "Context": "wfctl.sdk.context",
    "TaskInfo": "wfctl.sdk.current",
    "current_task": "wfctl.sdk.current",
    "Directive": "wfctl.sdk.directive",
    "RetryPolicy": "wfctl.sdk.retry",
    "task": "wfctl.sdk.task",
    "Workflow": "wfctl.sdk.workflow",
    "ChildOutcome": "wfctl.values.outcome",
    "RunInfo": "wfctl.values.runinfo",
    "Status": "wfctl.values.status",
    **dict.fromkeys(
        (
            "AmbiguousIdError", "ConfigError", "ConflictError", "DaemonDownError", "DeniedError", "IncompatibleError",
            "InvalidArgumentError", "InvalidDirectiveError", "InvalidPayloadError", "NoParentError", "NotFinishedError",
            "NotFoundError", "PayloadTooLargeError", "QueryFailedError", "RegistrationError", "RunCancelledError",
            "RunClosedError", "RunFailedError", "RunNotFoundError", "RunOutcomeError", "RunStuckError",
            "RunTerminatedError", "RunTimedOutError", "ScheduleExistsError", "ScheduleNotFoundError", "StaleStepError",
            "StepTimeoutError", "StorageError", "StoreKeyNotFoundError", "TaskError", "TaskTimeoutError",
            "UnknownEventError", "UnknownQueryError", "UnknownWorkflowTypeError", "UsageError", "WfctlError",
            "WorkflowAlreadyClosed",
            "WorkflowAlreadyRunning",
        ),
        "wfctl.errors",
    ),
}  # fmt: skip

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wfctl' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
