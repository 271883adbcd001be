"""What users import is pinned: a name that comes or goes is a decision, written down here."""

from __future__ import annotations

import ast
import importlib
import inspect

import pytest

import wfctl
from support.source import Module, modules
from wfctl import errors

PUBLIC = [
    "AmbiguousIdError",
    "BlockingChildHandle",
    "BlockingContext",
    "ChildHandle",
    "ChildOutcome",
    "Client",
    "ClientHandle",
    "ConfigError",
    "ConflictError",
    "Context",
    "DaemonDownError",
    "DeniedError",
    "Directive",
    "IncompatibleError",
    "InvalidArgumentError",
    "InvalidDirectiveError",
    "InvalidPayloadError",
    "NoParentError",
    "NotFinishedError",
    "NotFoundError",
    "PayloadTooLargeError",
    "QueryFailedError",
    "RegistrationError",
    "RetryPolicy",
    "RunCancelledError",
    "RunClosedError",
    "RunFailedError",
    "RunInfo",
    "RunNotFoundError",
    "RunOutcomeError",
    "RunStuckError",
    "RunTerminatedError",
    "RunTimedOutError",
    "ScheduleExistsError",
    "ScheduleNotFoundError",
    "StaleStepError",
    "Status",
    "StepTimeoutError",
    "StorageError",
    "StoreKeyNotFoundError",
    "TaskError",
    "TaskInfo",
    "TaskTimeoutError",
    "UnknownEventError",
    "UnknownQueryError",
    "UnknownWorkflowTypeError",
    "UsageError",
    "WfctlError",
    "Workflow",
    "WorkflowAlreadyClosed",
    "WorkflowAlreadyRunning",
    "WorkflowHandle",
    "current_task",
    "task",
]

# Errors that neither a program nor a handler can meet: they are of commands and of a daemon that begins, or are told as a reason.
NOT_FOR_PROGRAMS = {"DaemonAlreadyRunningError", "DeclinedError", "NonDeterminismError", "PartialError"}

# Packages that load their names on first use: what type checkers are told must be what is there.
LAZY = ["wfctl", "wfctl.client"]


def _told_to_type_checkers(module: Module) -> dict[str, str]:
    """The names under `if TYPE_CHECKING`, each with the module it is said to come from."""
    told: dict[str, str] = {}
    for node in module.tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom), f"{module.place}:{line.lineno}: import names, nothing else"
                told |= {alias.asname or alias.name: line.module or "" for alias in line.names}
    return told


def test_the_public_names_are_these() -> None:
    assert sorted(wfctl.__all__) == PUBLIC, (
        "a public name came or went: change PUBLIC, the manual and the changelog too"
    )


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_are_told_what_is_there(package: str) -> None:
    imported = importlib.import_module(package)
    told = _told_to_type_checkers(modules()[package])
    assert sorted(told) == sorted(imported.__all__), (
        f"{package}: __all__ and the TYPE_CHECKING block must name the same"
    )
    for name, home in told.items():
        assert getattr(imported, name) is getattr(importlib.import_module(home), name), (
            f"{package}.{name} is not {home}'s"
        )


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_reexported_for_strict_type_checkers(package: str) -> None:
    for node in ast.walk(modules()[package].tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wfctl"):
            for alias in node.names:
                assert alias.asname == alias.name, f"{package}: write `{alias.name} as {alias.name}`"


@pytest.mark.parametrize("package", LAZY)
def test_a_name_that_is_not_there_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = importlib.import_module(package).nonsense


def test_names_are_found_by_completion() -> None:
    assert set(PUBLIC) | {"__version__"} <= set(dir(wfctl))


def test_every_public_name_says_what_it_is() -> None:
    # The message of a plain error is its documentation; what people call has words of its own.
    for name in PUBLIC:
        value = getattr(wfctl, name)
        assert inspect.isclass(value) or inspect.isfunction(value)
        if inspect.isfunction(value) or not issubclass(value, Exception):
            assert inspect.getdoc(value), f"{name} has no docstring"


def test_every_public_error_is_caught_as_the_one_base() -> None:
    for name in PUBLIC:
        value = getattr(wfctl, name)
        if inspect.isclass(value) and issubclass(value, BaseException):
            assert issubclass(value, wfctl.WfctlError), f"{name} is no WfctlError"


def test_every_error_that_programs_can_meet_is_public() -> None:
    there = {
        value.__name__
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }
    assert there >= NOT_FOR_PROGRAMS
    public = {name for name in PUBLIC if name in there}
    assert public == there - NOT_FOR_PROGRAMS, "export it in wfctl/__init__.py, or say here why nobody can meet it"


def test_both_packages_say_that_they_are_typed() -> None:
    for package in ("wfctl", "wfd"):
        assert (modules()[package].file.parent / "py.typed").exists(), f"add {package}/py.typed"
