"""The workflow type that a person named, as the daemon serves it."""

from __future__ import annotations

import difflib

from wfctl.cli.shell import Shell
from wfctl.cli.words import quoted
from wfctl.errors import UnknownWorkflowTypeError
from wfctl.protocol.calls import WorkflowList, Workflows
from wfctl.values.signature import TypeSpec


def served_type(shell: Shell, name: str) -> TypeSpec:
    """UnknownWorkflowTypeError, with the nearest, where no such type is loaded."""
    served: WorkflowList = shell.call(Workflows())
    types = {item.spec.workflow_type: item.spec for item in served.items}
    if name in types:
        return types[name]
    near = difflib.get_close_matches(name, types, n=1, cutoff=0.6)
    raise UnknownWorkflowTypeError(
        f"no workflow type {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"wfctl graph {quoted(near[0])}" if near else "wfctl workflows",
        workflow_type=name,
        known=list(types),
    )
