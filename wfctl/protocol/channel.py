"""The daemon's talk with one worker: messages in frames (`wfctl.protocol.frames`).

Values inside are JSON text as `bytes`; the daemon passes them on and never opens them. A `token` names one execution of one
step: what comes for a token that is no longer current is dropped, so a late or doubled message is harmless.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from wfctl.errors import ErrorData
from wfctl.protocol.frames import FrameBuffer
from wfctl.values.failure import Failure
from wfctl.values.runinfo import RunInfo
from wfctl.values.signature import TypeSpec

MARK_BYTES = 4

# -- daemon to worker ---------------------------------------------------------------------------


class Code(msgspec.Struct, array_like=True, frozen=True):
    """The sources of a generation as they were imported: `texts` by path, and the path that each module's name leads to."""

    texts: dict[str, bytes] = {}
    modules: dict[str, str] = {}


class Load(msgspec.Struct, tag="load", array_like=True):
    """The first message: import these modules and answer `Loaded`. `project` is the folder paths are relative to.

    With `code`, what is in there is imported as it stands there, whatever has become of the files.
    """

    project: str
    modules: list[str]
    path: list[str]
    generation: int
    code: Code | None = None


class Trial(Load, tag="trial", array_like=True):
    """As `Load`, to a process that runs no steps: it says what it would do with them (`Fits`, `Rehearse`)."""


class OpRecord(msgspec.Struct, tag="oprec", array_like=True, frozen=True, gc=False):
    """A recorded operation of a step: its content key, and what it returned (JSON) or raised.

    `open`: it was begun and has no outcome yet (a task, a sleep): ask `resume` for it, then go on. `attempts` counts a task's
    attempts that failed so far. `failure` is what a task that failed for good raises again. `place` orders what is known of the
    step's operations by when it was recorded.
    """

    key: str
    value: bytes
    error: ErrorData | None = None
    open: bool = False
    attempts: int = 0
    failure: Failure | None = None
    place: float = 0


class RunStep(msgspec.Struct, tag="step", array_like=True, gc=False):
    """Run one handler. `run` is its RunInfo (JSON), which few look at; `kwargs` a JSON object; `store` the run's state (JSON by
    key); `ops` what earlier executions of this very step recorded; `logged` the marks of the lines they logged. `cancel`: its
    cancellation was requested already. `step` is the step's number in its run."""

    token: int
    workflow_type: str
    run: bytes
    kind: str
    handler: str
    kwargs: bytes
    store: dict[str, bytes]
    ops: list[OpRecord]
    logged: bytes = b""
    cancel: bool = False
    step: int = 0


class OpDone(msgspec.Struct, tag="opdone", array_like=True, gc=False):
    """Operation `op` of `token` is committed: its value (JSON), or why it was refused."""

    token: int
    op: int
    value: bytes = b"null"
    error: ErrorData | None = None


class CancelStep(msgspec.Struct, tag="cancel", array_like=True):
    """Raise `asyncio.CancelledError` in the handler; it may clean up and still answers `StepDone` or `StepRaised`."""

    token: int


class AbandonStep(msgspec.Struct, tag="abandon", array_like=True):
    """The step is no longer wanted: cancel the handler, answer `StepGone` when it has let go."""

    token: int


class GiveBack(msgspec.Struct, tag="giveback", array_like=True):
    """Let others have up to `most` steps that wait for a thread and have not begun: answer `StepGone` for each. With `steps`, the
    same for what of these has not begun: the how-many-th step each was that the worker was given, and its token. That is
    asked and answered beside all else, as the loop may be blocked."""

    most: int = 0
    steps: list[tuple[int, int]] = []


class Check(msgspec.Struct, tag="check", array_like=True):
    """Bind a payload to a handler's signature with the user's own types; answered by `Checked`."""

    call: int
    workflow_type: str
    kind: str
    handler: str
    payload: bytes
    text: dict[str, str]


class Given(msgspec.Struct, array_like=True, frozen=True):
    """What a handler is to be given: `kwargs` is a JSON object."""

    workflow_type: str
    kind: str
    handler: str
    kwargs: bytes


class Fits(msgspec.Struct, tag="fits", array_like=True):
    """Whether these arguments fit the handlers of a trial's code; answered by `Fitted`."""

    call: int
    items: list[Given]


class Rehearse(msgspec.Struct, tag="rehearse", array_like=True):
    """Run a step as far as its records go, and answer `Rehearsed` at the latest after `limit_ms`.

    Of what the handler asks for, only whether a sleep is over (`resume`) and how a child ended (`child_result`) is asked on:
    these are answered with `OpDone`, or `NotYet`.
    """

    step: RunStep
    limit_ms: int


class NotYet(msgspec.Struct, tag="notyet", array_like=True):
    """Operation `op` of a rehearsal has no answer now: the recorded execution cannot have gone on from there."""

    token: int
    op: int


class Query(msgspec.Struct, tag="query", array_like=True):
    """Run a query handler on a run's committed store; answered by `Answered`."""

    call: int
    run: RunInfo
    name: str
    kwargs: bytes
    store: dict[str, bytes]


class Ping(msgspec.Struct, tag="ping", array_like=True):
    number: int


class Stop(msgspec.Struct, tag="stop", array_like=True):
    """Finish what runs, then exit."""


# -- worker to daemon ---------------------------------------------------------------------------


class Problem(msgspec.Struct, array_like=True, frozen=True):
    """A module that cannot be served, or a type that is defined twice: what, where, and the remedy. `twice` is such a type."""

    module: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    traceback: str = ""
    twice: str = ""


class Loaded(msgspec.Struct, tag="loaded", array_like=True):
    """The catalog: what this worker can run. `files` are the project's source files it imported, `source_hash` their hash.

    `modules` says which types each entry of `Load.modules` that was imported has a part in, `versions` gives for each type a
    hash of its own files. `code` is set where `Load` had none: what the other workers of the generation are to load.
    """

    types: list[TypeSpec]
    problems: list[Problem]
    source_hash: str
    files: list[str]
    python: str
    modules: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    code: Code | None = None


class Importing(msgspec.Struct, tag="importing", array_like=True, frozen=True):
    """Before `Loaded`: whose code runs next. `module` is an entry of `Load.modules`, `file` (as people read it) where that is
    known; both empty where it is nobody's. What ends the worker before the next of these is that module's doing."""

    module: str
    file: str = ""


class Op(msgspec.Struct, tag="op", array_like=True, gc=False):
    """Record an operation. `key` is its content key, `name` the workflow type, event name, task name...; `args` a JSON
    object whose fields depend on the kind (now has none):

    child: workflow_id, input (kwargs, already checked), timeout_ms|null, on_completed_step|null, on_parent_close
    parent_event: payload (kwargs)          event: workflow_id, run_id (that run alone), payload (raw, the daemon has it
        checked), positional
    child and parent_event, where the worker does not have the receiver: input or payload raw, unbound (true), positional
    random, uuid: value                     sleep: duration_ms (answered when it is over)
    task: arguments, attempt (begun; the answer need not be awaited before the task's function is called)
    task_attempt_failed: attempt, max_attempts, failure, delay_ms (answered when the delay is over)
    task_completed: result, attempts        task_failed: failure, attempts, max_attempts
    task_left: none (its function was cut short and has no outcome; not answered, not recorded)
    task_at_once: the fields of task and task_completed, where the one comes before the other could be sent
    resume: none (`key` of an open record; answered when the sleep or retry delay it stands in is over)
    child_result: run_id (answered with ChildOutcome's JSON when that run has closed)
    child_cancel, child_terminate: run_id, reason, recorded (a run that has closed stays as it is)
    """

    token: int
    op: int
    key: str
    kind: str
    name: str
    args: bytes


class StepDone(msgspec.Struct, tag="done", array_like=True, gc=False):
    """The handler returned. `directive` is step, wait, complete or fail; beside `put` and `deleted`, the store's changes, it has:

    step: `name` the step's handler, `after_ms` the delay or None
    wait: `names` (None: any), `after_ms` the timeout or None, `name` the on_timeout handler or ""
    complete: `value` (JSON)          fail: `failure`
    """

    token: int
    directive: str
    name: str = ""
    names: list[str] | None = None
    after_ms: int | None = None
    value: bytes = b"null"
    failure: Failure | None = None
    put: dict[str, bytes] = {}
    deleted: list[str] = []


class StepRaised(msgspec.Struct, tag="raised", array_like=True):
    """The handler raised. `cancelled`: it was the CancelledError it had been sent."""

    token: int
    failure: Failure
    cancelled: bool = False


class StepStuck(msgspec.Struct, tag="stuck", array_like=True):
    """The step cannot run on this code: handler missing, arguments no longer fit, or replay disagrees."""

    token: int
    reason: str
    detail: dict[str, Any] = {}


class StepGone(msgspec.Struct, tag="gone", array_like=True):
    """The handler of an abandoned step has let go. Of any other: it has not begun, and is given back."""

    token: int


class LogLine(msgspec.Struct, array_like=True, frozen=True):
    at_ms: int
    level: str
    message: str

    def mark(self) -> bytes:
        """What is kept of it for later executions of its step to know it by: `MARK_BYTES`, for a step may log a lot."""
        return zlib.crc32(self.message.encode(), zlib.crc32(self.level.encode())).to_bytes(MARK_BYTES, "big")


class Logs(msgspec.Struct, tag="logs", array_like=True):
    """Lines that the handler of `token` wrote with `ctx.logger`."""

    token: int
    lines: list[LogLine]


class Progress(msgspec.Struct, tag="progress", array_like=True):
    """How far the handler of `token` has got with what it does now. Nothing of it is kept; the newest counts."""

    token: int
    done: int | float
    total: int | float | None
    note: str


class Checked(msgspec.Struct, tag="checked", array_like=True):
    call: int
    kwargs: bytes = b"{}"
    error: ErrorData | None = None


class Answered(msgspec.Struct, tag="answered", array_like=True):
    """What a query handler returned (JSON), or why there is no answer."""

    call: int
    value: bytes = b"null"
    error: ErrorData | None = None


class Fitted(msgspec.Struct, tag="fitted", array_like=True):
    """For each item of `Fits`: why it does not fit, or nothing."""

    call: int
    reasons: list[str]


class Rehearsed(msgspec.Struct, tag="rehearsed", array_like=True):
    """How a rehearsal went. `verdict`:

    agrees: the handler asked for everything that is recorded (`reason` says how it ended, where it raised)
    differs: it did not, and `reason` says in what
    stopped: it was about to do something to the world before that; `reason` says where and what
    waits: it waits for something that is not recorded
    `clean`: the handler has let go, so that the process can rehearse another.
    """

    token: int
    verdict: str
    reason: str = ""
    clean: bool = True


class Pong(msgspec.Struct, tag="pong", array_like=True):
    """`held` handlers and `held_tasks` tasks, written with `def` alone, wait for a thread, the first of them for `held_ms`, because
    as many as there may be are taken; `by` are the tokens of the handlers that have had theirs longest. `room`: for how many
    handlers there is a thread."""

    number: int
    room: int = 0
    held: int = 0
    held_tasks: int = 0
    held_ms: int = 0
    by: list[int] = []


ToWorker = (
    Load
    | Trial
    | RunStep
    | OpDone
    | NotYet
    | CancelStep
    | AbandonStep
    | GiveBack
    | Check
    | Fits
    | Rehearse
    | Query
    | Ping
    | Stop
)
ToDaemon = (
    Importing
    | Loaded
    | Op
    | StepDone
    | StepRaised
    | StepStuck
    | StepGone
    | Logs
    | Progress
    | Checked
    | Fitted
    | Rehearsed
    | Answered
    | Pong
)


def to_worker_frames() -> FrameBuffer:
    return FrameBuffer(ToWorker)


def to_daemon_frames() -> FrameBuffer:
    return FrameBuffer(ToDaemon)
