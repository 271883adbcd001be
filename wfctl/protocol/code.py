"""The verbs about the user's code: what is served, load it again, judge other code before it is deployed."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.protocol.daemon import ProblemView
from wfctl.values.numbers import Quantity
from wfctl.values.signature import TypeSpec


class MissingView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A handler that the loaded code does not have and that `runs` open runs need: they run it, sleep or wait for it, have
    events for it, or have children that call it when they close."""

    kind: str
    name: str
    runs: int


class UnloadedView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A workflow type that has open runs and is in no module that is loaded."""

    workflow_type: str
    open_runs: int


class WorkflowView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A workflow type that is served: by which code, and what its open runs miss in it.

    `executing` counts its steps that execute, `waiting` those that wait for a worker or for their turn; `limit` is how many may
    execute at once (None: any number).
    """

    spec: TypeSpec
    generation: int
    source_hash: str = ""
    loaded_at: int = 0
    open_runs: int = 0
    missing: list[MissingView] = []
    limit: int | None = None
    executing: int = 0
    waiting: int = 0


class WorkflowList(msgspec.Struct, frozen=True, kw_only=True):
    """`unloaded` are the types that open runs are of and no item is."""

    items: list[WorkflowView]
    problems: list[ProblemView]
    unloaded: list[UnloadedView] = []


class Workflows(Call, frozen=True):
    """With `shapes` each handler has what `wfctl.values.schema` needs for types of the user's own."""

    method = "workflows"
    answer = WorkflowList
    shapes: bool = False


class ReloadedType(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did to one workflow type. `change` is unchanged, new version, new, removed, or broken: then the code that was
    loaded before stays in use. `generation` and `source_hash` are those that serve it now, `loaded_at` is when that code was loaded
    for the first time: when it was saved, or the daemon started, or somebody asked for a reload."""

    workflow_type: str
    change: str
    generation: int = 0
    source_hash: str = ""
    loaded_at: int | None = None


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """`problems` is what is wrong with the code, or with wfctl.toml, as they are now."""

    generation: int
    source_hash: str
    types: list[ReloadedType]
    problems: list[ProblemView] = []


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


class FindingView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What open runs would meet in candidate code: a group of `runs` of one type for one reason; `stuck` of them are so already.

    `kind` of a finding: missing (a handler, or the type, is not there), arguments (what the handler is given does not fit its
    parameters), replay (it would not repeat what was recorded), crash (it ends or blocks its process). Of what is good to know:
    goes_on (stuck now, and would go on), stopped (followed up to where it would touch the world), waits (for something that is not
    recorded), raises (it repeats what was recorded, then raises), skipped (not rehearsed, as others of its handler took too long).
    `ids` and `workflow_ids` are the first of the runs. A type that is missing has no `handler`.
    """

    kind: str
    workflow_type: str
    handler_kind: str = ""
    handler: str = ""
    reason: str = ""
    runs: int
    stuck: int = 0
    ids: list[str] = []
    workflow_ids: list[str] = []


class CodeCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the open runs would meet in the code that `source_hash` is of. `problems` (modules that do not load) and `findings` are
    reasons not to deploy it; `goes_on` (runs that are stuck now) and `notes` are none. `types` are those that it has."""

    source_hash: str
    types: list[str]
    problems: list[ProblemView] = []
    findings: list[FindingView] = []
    goes_on: list[FindingView] = []
    notes: list[FindingView] = []
    checked: CheckedCounts


class CheckCode(Call, frozen=True):
    """Load code beside the one that serves, and judge it against the open runs; nothing is changed.

    Without `files` (absolute paths), the modules of wfctl.toml; else these files alone, and runs of their types. `ids` is how many
    runs each finding names at most.
    """

    method = "check"
    answer = CodeCheck
    files: list[str] = []
    ids: Quantity = 5
