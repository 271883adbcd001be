"""What the engine and the workers are to each other: orders for steps, and who hears what becomes of them."""

from __future__ import annotations

from collections.abc import Sized
from typing import Protocol

import msgspec

from wfctl.errors import WfctlError
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo
from wfd.supervisor.catalog import Catalog

Heard = channel.Op | channel.Logs | channel.Progress | channel.StepDone | channel.StepRaised | channel.StepStuck


class Unanswered(WfctlError):
    """No worker has answered. That says nothing of what was asked: it may be asked again."""


class WorkersEnded(Unanswered):
    """The workers that were asked have ended, one after the other: what was asked may have done it."""


Spoken = Heard | channel.StepGone


class Handler(msgspec.Struct, gc=False):
    """Whose code steps run, by workflow type and the handler's name in it: one for all of them. `brief`: whenever it was last given
    its step or an answer, it soon had something to say, or had ended."""

    workflow_type: str
    name: str
    brief: bool = False


class StepOrder(msgspec.Struct, gc=False):
    """One execution of one step of `run`. `timeout_ms` counts from when a worker gets it, not from when it queues.

    `alone`: earlier executions lost their workers, so this one gets a worker to itself. If that dies too, it is
    clear which handler did it, and no other run pays for it. `generation` and `source` are those of the worker that got it.
    `queued_at`: since when it waits for a worker; 0 where one was free at once.
    """

    token: int
    message: channel.RunStep
    run: RunInfo
    handler: Handler
    timeout_ms: int | None = None
    alone: bool = False
    generation: int = 0
    source: str = ""
    queued_at: int = 0

    @property
    def workflow_type(self) -> str:
        return self.handler.workflow_type

    def begins(self) -> bool:
        """Its run has done nothing yet, and no other run waits for it, as a parent may."""
        return self.message.kind == "start" and self.run.attempt == 1 and self.run.parent is None

    @property
    def first(self) -> bool:
        """Its run has done nothing yet."""
        return self.message.kind == "start" and self.run.attempt == 1


class Demand(msgspec.Struct, frozen=True):
    """What there is to do for one type: how many of its steps may execute at once (None: any), how many do, and how many wait for
    a worker or for their turn."""

    limit: int | None = None
    executing: int = 0
    waiting: int = 0


class Shortage(msgspec.Struct, frozen=True):
    """Why the steps of a type that wait in line get no worker. `full`: those there are do as much as they may."""

    why: str
    full: bool = False


class WorkerInfo(msgspec.Struct, frozen=True):
    """`blocked_ms` is 0 while its event loop answers; `handlers` are what it runs, longest first. `held` handlers and `held_tasks`
    tasks wait for a thread of it, the first for `held_ms`; those that keep them waiting are then the first of `handlers`."""

    pid: int
    generation: int
    steps: int
    started_at: int
    blocked_ms: int = 0
    handlers: tuple[str, ...] = ()
    held: int = 0
    held_tasks: int = 0
    held_ms: int = 0


class Listener(Protocol):
    """Who hears of steps. Calls come on the loop, and but for `left_line` never from within a call to the supervisor."""

    def heard(self, message: Heard, now: int) -> None:
        """Something a handler said. It came at `now`."""

    def timed_out(self, token: int, timeout_ms: int) -> None:
        """The step has had its time. It still runs; abandon it."""

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None:
        """These executions ended with their worker. `crash`: one of them may be what ended it."""

    def left_line(self, workflow_type: str) -> None:
        """A step of this type that was lined up has a worker, whatever made room for it: fewer stand in line. Whoever hears it may
        only begin steps later."""

    def catalog_changed(self, catalog: Catalog) -> None:
        """New steps run on this catalog from now on; or only what is wrong with the code has changed."""


class Runner(Protocol):
    """What runs steps: a worker process, or handlers in this process (tests). `steps` are the tokens it has, `handed` how many it
    has been given, `source` is the hash of the code it has loaded. `crowded`: it may be `full`. `held_at`: since when it has no
    thread left for handlers written with `def` alone, if so; then it gets a step only where no other has room."""

    steps: set[int]
    handed: int
    crowded: bool
    held_at: int | None

    @property
    def pid(self) -> int: ...

    @property
    def generation(self) -> int: ...

    @property
    def source(self) -> str: ...

    @property
    def full(self) -> bool:
        """It does not read what it is told: it gets no more steps until it has."""
        ...

    def send(self, message: channel.ToWorker, /) -> None: ...

    def kill(self, why: str) -> None: ...


class Workers(Protocol):
    """What the engine needs of the workers."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def queued(self) -> int: ...

    @property
    def oldest_queued_at(self) -> int | None:
        """Since when the step waits that has waited longest for a worker; None where none waits."""
        ...

    def silent(self) -> int:
        """How many steps workers have been given that they have said nothing of yet."""
        ...

    @property
    def loading_ms(self) -> int:
        """For how long new code has been importing; 0 when none is."""
        ...

    def listen(self, listener: Listener) -> None: ...

    def hear(self, on: bool) -> None:
        """Read what workers say, or leave it with them until it is wanted."""
        ...

    def workers(self) -> list[WorkerInfo]: ...

    def demand(self, workflow_type: str) -> Demand: ...

    @property
    def lines(self) -> Sized:
        """What waits in line for a worker: empty where nothing does."""
        ...

    def lined_up(self, workflow_type: str, begins: bool) -> int:
        """How many steps of a type wait in line for a worker: those with which new runs begin that are
        nobody's child, or the others."""
        ...

    def waits_for_turn(self, token: int) -> int | None:
        """The limit of its type that keeps a step from beginning or going on; None where it is not that."""
        ...

    def waits_for_worker(self, token: int) -> StepOrder | None:
        """The step, where it waits in line for a worker."""
        ...

    def shortages(self) -> dict[str, Shortage]:
        """Why what waits in line gets no worker, by type, where that is known."""
        ...

    def run(self, order: StepOrder, now: int | None = None) -> None:
        """Give the step to a worker, at once or when one has room. `now`, where the caller has just looked at the clock."""
        ...

    def answer(self, message: channel.OpDone, now: int | None = None) -> None:
        """Tell a handler the outcome of its operation; `now` as in `run`."""
        ...

    def op_waits(self, token: int, op: int) -> None:
        """That operation takes its time, as a sleep does: its handler may lend its turn."""
        ...

    def cancel(self, token: int) -> None: ...

    def abandon(self, token: int) -> None: ...

    async def check(
        self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]
    ) -> bytes: ...

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes: ...
