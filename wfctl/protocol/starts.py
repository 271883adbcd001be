"""The verbs that hand something to a run: begin it, send it an event."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call, RunCall
from wfctl.values.numbers import Number
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import Status


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """`existing` is true when `if_running="use"` found an open run of that workflow ID, or `if_closed="use"` a closed one.
    `begins_at`: it sleeps until then."""

    run: RunInfo
    status: Status
    existing: bool = False
    begins_at: Number | None = None


class Start(Call, frozen=True):
    """Start a run. `input` is JSON of any shape, `text` command-line arguments still to be converted to the parameters' types.
    `positional`: an `input` that is an object is one argument, the first, and not keyword arguments.

    `if_running`: "fail" (already_running names the open run) or "use" (its run is returned, input unread). `if_closed`, where there
    is none but one that has closed: "start" (another one), "use" (the newest is returned) or "fail" (already_closed names it).
    `workflow_id` None makes a readable one. Its start handler begins at `begins_at` or after `delay_ms`, and its timeout
    counts from there; the run is there, and sleeps, from now on. A time that has passed is now.
    """

    method = "start"
    answer = Started
    workflow_type: str
    workflow_id: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    timeout_ms: Number | None = None
    if_running: str = "fail"
    if_closed: str = "start"
    dry_run: bool = False
    begins_at: Number | None = None
    delay_ms: Number | None = None
    positional: bool = False

    @property
    def protocol(self) -> int:
        return 1 if self.if_closed == "start" else 2


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`dispatched`: the run was waiting and handles the event now; otherwise it is number `position` of the inbox. `duplicate`: an
    event of that ID had been accepted before, and nothing was done. `started`: the run was begun for it."""

    run_id: str
    workflow_id: str
    dispatched: bool
    position: int = 0
    duplicate: bool = False
    started: bool = False


class StartFirst(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run to begin where there is none to send to; fields as in `start`."""

    workflow_type: str
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    timeout_ms: Number | None = None
    positional: bool = False


class Send(RunCall, frozen=True):
    """An event to a run. Of several with the same `event_id`, one run accepts one; the others are answered as duplicates.

    With `start`, `id` is a workflow ID: where it has no open run, one is begun in the same commit as the event. `any_event`
    accepts a name that the run's type has no handler for, with its payload as it is: it stays in the inbox until there is one.
    `positional` as in `start`.
    """

    method = "send"
    answer = Sent
    event: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    event_id: str | None = None
    start: StartFirst | None = None
    any_event: bool = False
    positional: bool = False
