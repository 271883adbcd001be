"""Questions to workers: is this payload right, what does this query answer. Asked again where the worker that was asked ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b

from wfctl.errors import ErrorData, from_data
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo
from wfd.supervisor.contract import Unanswered, WorkersEnded
from wfd.supervisor.worker import Worker

ANSWER_S = 30.0
# One worker may end for reasons of its own; where a second does, it may well be the question that ended it.
TRIES = 2
# Payloads that have ended workers, and are remembered for that.
MOST_DEADLY = 100


class _Ended(Exception):
    """The worker that was asked has ended."""


class _Blocked(Exception):
    """The worker that was asked, or each that could be, is blocked by a handler."""


class Questions:
    """`taking(workflow_type)` lists the workers that may be asked, `elsewhere(workflow_type)` finds who answers while handlers
    block them, `at_work(worker)` says what a worker runs, `silent(worker)` hears of one that has not answered in time."""

    def __init__(
        self,
        taking: Callable[[str], Sequence[Worker]],
        elsewhere: Callable[[str], Awaitable[Questions]] | None = None,
        at_work: Callable[[Worker], tuple[str, ...]] = lambda _: (),
        silent: Callable[[Worker], None] = lambda _: None,
    ) -> None:
        self._taking = taking
        self._elsewhere = elsewhere
        self._at_work = at_work
        self._silent = silent
        self._asked: dict[int, tuple[Worker, asyncio.Future[bytes]]] = {}
        self._next = 1
        self._more = asyncio.Event()
        # What has ended workers one after the other, and of which generation: it is not asked there again, since whoever else
        # runs in a worker pays for its end.
        self._deadly: dict[bytes, int] = {}

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        """Keyword arguments (JSON) for a handler from what was sent, checked by a worker with the user's own types."""
        return await self._ask(
            workflow_type,
            lambda call: channel.Check(call, workflow_type, kind, handler, payload, text),
            blake2b(b"\0".join((workflow_type.encode(), kind.encode(), handler.encode(), payload))).digest(),
        )

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes:
        """What the run's query handler returns (JSON) for this store."""
        return await self._ask(run.workflow_type, lambda call: channel.Query(call, run, name, kwargs, store))

    def answered(self, call: int, value: bytes, error: ErrorData | None) -> None:
        """A worker has answered."""
        waiting = self._asked.get(call)
        if waiting is not None and not waiting[1].done():
            if error is not None:
                waiting[1].set_exception(from_data(error))
            else:
                waiting[1].set_result(value)

    def ready(self) -> None:
        """There is a worker more to ask."""
        self._more.set()

    def lose(self, worker: Worker) -> None:
        """The worker has ended: what it was asked is asked of another."""
        for asked, future in self._asked.values():
            if asked is worker and not future.done():
                future.set_exception(_Ended)

    def blocked(self, worker: Worker) -> None:
        """The worker does not answer. What it was asked is asked elsewhere; not of another that runs steps, since it may be the
        question that blocks."""
        if self._elsewhere is not None:
            for asked, future in self._asked.values():
                if asked is worker and not future.done():
                    future.set_exception(_Blocked)

    def close(self) -> None:
        """The daemon stops: nobody answers any more."""
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(Unanswered("the daemon is stopping", hint="wfctl up"))

    async def _ask(
        self, workflow_type: str, question: Callable[[int], channel.ToWorker], what: bytes | None = None
    ) -> bytes:
        """`what` is the same for questions that are the same."""
        generation, worker = 0, None
        try:
            async with asyncio.timeout(ANSWER_S) as limit:
                for _ in range(TRIES):
                    worker = await self._worker(workflow_type)
                    generation = worker.generation
                    if what is not None and self._deadly.get(what) == generation:
                        break
                    try:
                        return await self._ask_one(worker, question)
                    except _Ended:
                        continue
        except _Blocked:
            assert self._elsewhere is not None
            return await (await self._elsewhere(workflow_type))._ask(workflow_type, question, what)
        except TimeoutError:
            if not limit.expired():
                raise
            unanswered = self._unanswered(workflow_type)
            if worker is not None:
                self._silent(worker)
            raise unanswered from None
        if what is not None:
            self._deadly[what] = generation
            while len(self._deadly) > MOST_DEADLY:
                del self._deadly[next(iter(self._deadly))]
        raise WorkersEnded(
            f"{TRIES} workers ended while they were asked", hint="wfctl logs", workflow_type=workflow_type
        )

    async def _worker(self, workflow_type: str) -> Worker:
        while not (ready := self._taking(workflow_type)):
            self._more.clear()
            await self._more.wait()
        worker = min(ready, key=lambda worker: (worker.blocked_at is not None, len(worker.steps)))
        if worker.blocked_at is not None and self._elsewhere is not None:
            raise _Blocked
        return worker

    def _unanswered(self, workflow_type: str) -> Unanswered:
        blocked = [worker for worker in self._taking(workflow_type) if worker.blocked_at is not None]
        told = "".join(
            f"\nworker {one.pid} is blocked by {'; '.join(self._at_work(one)) or 'code of it'}" for one in blocked
        )
        return Unanswered(
            f"no worker answered within {ANSWER_S:g} s{told}",
            hint="await what takes long, or write the handler with 'def' alone, which gets a thread"
            if blocked
            else "none is left, or what was asked takes too long: wfctl status",
        )

    async def _ask_one(self, worker: Worker, question: Callable[[int], channel.ToWorker]) -> bytes:
        call, self._next = self._next, self._next + 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[call] = (worker, future)
        worker.send(question(call))
        try:
            return await future
        finally:
            self._asked.pop(call, None)
