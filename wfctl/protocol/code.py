"""The verbs about the user's code: what is served, load it again, judge other code before it is deployed."""

from __future__ import annotations

import msgspec

from wfctl.protocol import views
from wfctl.protocol.call import Call


class WorkflowList(msgspec.Struct, frozen=True, kw_only=True):
    """`unloaded` are the types that open runs are of and no item is."""

    items: list[views.WorkflowView]
    problems: list[views.ProblemView]
    unloaded: list[views.UnloadedView] = []


class Workflows(Call, frozen=True):
    """With `shapes` each handler has what `wfctl.values.schema` needs for types of the user's own."""

    method = "workflows"
    answer = WorkflowList
    shapes: bool = False


class ReloadedType(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did to one workflow type. `change` is unchanged, new version, new, removed, or broken: then the code that was
    loaded before stays in use. `generation` and `source_hash` are those that serve it now."""

    workflow_type: str
    change: str
    generation: int = 0
    source_hash: str = ""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """`problems` is what is wrong with the code, or with wfctl.toml, as they are now."""

    generation: int
    source_hash: str
    types: list[ReloadedType]
    problems: list[views.ProblemView] = []


class Reload(Call, frozen=True):
    """Read wfctl.toml and load the code again, as they are now; answered when what is sound has taken over."""

    method = "reload"
    answer = Reloaded


class CheckedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much was looked at: open runs, the steps they are in, events they have not handled, steps that were rehearsed."""

    runs: int
    steps: int
    events: int
    rehearsed: int


class CodeCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the open runs would meet in the code that `source_hash` is of. `problems` (modules that do not load) and `findings` are
    reasons not to deploy it; `goes_on` (runs that are stuck now) and `notes` are none. `types` are those that it has."""

    source_hash: str
    types: list[str]
    problems: list[views.ProblemView] = []
    findings: list[views.FindingView] = []
    goes_on: list[views.FindingView] = []
    notes: list[views.FindingView] = []
    checked: CheckedCounts


class CheckCode(Call, frozen=True):
    """Load code beside the one that serves, and judge it against the open runs; nothing is changed.

    Without `files` (absolute paths), the modules of wfctl.toml; else these files alone, and runs of their types. `ids` is how many
    runs each finding names at most.
    """

    method = "check"
    answer = CodeCheck
    files: list[str] = []
    ids: int = 5
