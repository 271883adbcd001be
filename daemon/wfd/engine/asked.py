"""What a handler asks for: one operation of one execution, and the arguments of each kind as the channel carries them."""

from __future__ import annotations

import msgspec

from wfctl.protocol import channel
from wfctl.values.failure import Failure
from wfd.core import records as r
from wfd.core.state import Raw, Stepping
from wfd.engine.memory import Live


class ChildArgs(msgspec.Struct, frozen=True, gc=False):
    """`unbound`: the worker does not have the child's type, so `input` is as the handler gave it; `positional` as in `rebound`."""

    workflow_id: str
    input: Raw
    timeout_ms: int | None = None
    on_completed_step: str | None = None
    on_parent_close: str = "abandon"
    unbound: bool = False
    positional: bool = False


class ParentEventArgs(msgspec.Struct, frozen=True, gc=False):
    """`unbound`: the worker does not have the parent's handler, so `payload` is as the child gave it."""

    payload: Raw
    unbound: bool = False
    positional: bool = False


class EventArgs(msgspec.Struct, frozen=True, gc=False):
    """`run_id`: of that very run, whoever has its workflow ID now."""

    workflow_id: str
    payload: Raw
    run_id: str | None = None
    positional: bool = False


class ResultArgs(msgspec.Struct, frozen=True, gc=False):
    run_id: str


class EndArgs(msgspec.Struct, frozen=True, gc=False):
    """`recorded`: not where an older version began the step."""

    run_id: str
    reason: str = ""
    recorded: bool = True


class ValueArgs(msgspec.Struct, frozen=True, gc=False):
    value: Raw = Raw(b"null")


class SleepArgs(msgspec.Struct, frozen=True, gc=False):
    duration_ms: int


class TaskArgs(msgspec.Struct, frozen=True, gc=False):
    """Of `task`, and of what is told of it later: each kind has some of the fields."""

    attempt: int = 1
    attempts: int = 1
    arguments: Raw = Raw(b"null")
    result: Raw = Raw(b"null")
    failure: Failure | None = None
    delay_ms: int = 0
    max_attempts: int | None = None


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One operation of one execution, on its way to being recorded. `waited`: it has been kept back, and is no more."""

    live: Live
    step: int
    attempt: int
    op: channel.Op
    waited: bool = False

    def stale(self) -> bool:
        live = self.live
        phase = live.run.phase
        return type(phase) is not Stepping or phase.step != self.step or phase.attempt != self.attempt or live.forgotten


def marked(live: Live, record: r.Operation) -> r.Operation:
    """`record` with what its handler could not know yet when it asked, which it had not asked for because of that, and with what
    it was told of before. To be decided at once."""
    if live.unheard:
        record = msgspec.structs.replace(record, unaware=sorted(live.unheard.union(record.unaware)))
    if live.over:
        record, live.over = msgspec.structs.replace(record, over=live.over), []
    return record
