"""Workflow types that a person named: as the daemon serves them, and where it does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from wfctl.cli.shell import Shell
from wfctl.errors import UnknownWorkflowTypeError, WfctlError
from wfctl.values.commands import command

if TYPE_CHECKING:
    from wfctl.protocol.code import WorkflowList
    from wfctl.protocol.lists import Counted
    from wfctl.protocol.runs import RunView
    from wfctl.values.signature import TypeSpec


def served_type(shell: Shell, name: str) -> TypeSpec:
    """UnknownWorkflowTypeError, with the nearest, where no such type is loaded."""
    types = _served(shell)
    if name in types:
        return types[name]
    near = difflib.get_close_matches(name, types, n=1, cutoff=0.6)
    raise UnknownWorkflowTypeError(
        f"no workflow type {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=command("graph", near[0]) if near else "wfctl workflows",
        workflow_type=name,
        known=list(types),
    )


def check_types(shell: Shell, names: list[str], found: Iterable[RunView] = ()) -> None:
    """UnknownWorkflowTypeError for the first of these types, given as filters, that no code has and that there is no run of; those
    of the runs that were `found` need not be asked about.

    That nobody can tell is no error: the answer of the filter stands, whether more can be said of it or not.
    """
    seen = {run.workflow_type for run in found}
    asked = [name for name in names if name not in seen]
    if not asked:
        return
    from wfctl.protocol.code import Workflows  # only where something was not found
    from wfctl.protocol.lists import Count

    try:
        served: WorkflowList = shell.call(Workflows())
        counted: Counted = shell.call(Count(by="type", types=asked))
    except WfctlError:
        return
    if served.problems:
        return  # what did not load may be the very code that has it
    types = [item.spec.workflow_type for item in served.items]
    for name in asked:
        if name not in types and not counted.counts.get(name):
            near = difflib.get_close_matches(name, types, n=1, cutoff=0.6)
            raise UnknownWorkflowTypeError(
                f"no workflow type {name!r}, and no run of it" + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=f"did you mean {near[0]!r}?" if near else "wfctl workflows",
                workflow_type=name,
                known=types,
            )


def _served(shell: Shell) -> dict[str, TypeSpec]:
    from wfctl.protocol.code import Workflows

    served: WorkflowList = shell.call(Workflows())
    return {item.spec.workflow_type: item.spec for item in served.items}
