"""Workflow types that a person named: as the daemon serves them, and where it does not."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from wfctl.cli.shell import Shell
from wfctl.errors import UnknownWorkflowTypeError, WfctlError
from wfctl.values.commands import command

if TYPE_CHECKING:
    from wfctl.protocol.code import WorkflowList
    from wfctl.values.signature import TypeSpec


def served_type(shell: Shell, name: str) -> TypeSpec:
    """UnknownWorkflowTypeError, with the nearest, where no such type is loaded."""
    types = _served(shell)
    if name in types:
        return types[name]
    near = difflib.get_close_matches(name, types, n=1, cutoff=0.6)
    raise UnknownWorkflowTypeError(
        _no_type(name, near),
        hint=command("graph", near[0]) if near else "wfctl workflows",
        workflow_type=name,
        known=list(types),
    )


def say_what_is_no_type(shell: Shell, names: list[str]) -> None:
    """Where a filter found nothing: which of its types no code has, and what may have been meant. There may have been such once, so
    it is no error, and neither is it when nobody can tell."""
    if not names or shell.alone or shell.quiet or shell.json:
        return
    try:
        types = _served(shell)
    except WfctlError:
        return
    for name in names:
        if name not in types:
            shell.note(_no_type(name, difflib.get_close_matches(name, types, n=1, cutoff=0.6)))


def _served(shell: Shell) -> dict[str, TypeSpec]:
    from wfctl.protocol.code import Workflows  # only where something was not found

    served: WorkflowList = shell.call(Workflows())
    return {item.spec.workflow_type: item.spec for item in served.items}


def _no_type(name: str, near: list[str]) -> str:
    return f"no workflow type {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
