"""A wait without an end of its own is given up when nothing has moved for long enough, and never before."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from wfctl.errors import NotFinishedError, RunStuckError, WfctlError
from wfctl.protocol.calls import Result
from wfctl.protocol.views import Outcome
from wfctl.values.status import Status
from wfd.testing.standstill import Standstill

PATIENCE_S = 0.005


class Run:
    """Stands as `status`, and closes when it has been looked at so often; `moves` for as long as it is told to, and `steps` on at
    every so many looks."""

    def __init__(
        self, status: Status, *, closes_after: float = float("inf"), moves: float = 0, steps: int = 1_000
    ) -> None:
        self._status = status
        self._closes_after = closes_after
        self._moves = moves
        self._steps = steps
        self._closed = asyncio.Event()
        self.looks = 0

    async def result(self, call: Result) -> Outcome:
        if call.wait and call.timeout_ms is None:
            await self._closed.wait()
        return Outcome(run_id="r", workflow_id="order-1", workflow_type="Order", status=self._status)

    def moves(self) -> bool:
        self.looks += 1
        if self.looks >= self._closes_after:
            self._status = Status.COMPLETED
            self._closed.set()
        return self.looks < self._moves

    @property
    def standstill(self) -> Standstill:
        return Standstill(self.result, self.moves, lambda: self.looks // self._steps, PATIENCE_S)


async def test_what_moves_is_waited_for_until_it_has_closed() -> None:
    run = Run(Status.RUNNING, closes_after=400, moves=380)
    assert (await run.standstill.result(Result(id="r"))).status is Status.COMPLETED
    assert run.looks >= 400


async def test_what_goes_on_between_the_looks_is_waited_for() -> None:
    run = Run(Status.WAITING, closes_after=400, steps=40)
    assert (await run.standstill.result(Result(id="r"))).status is Status.COMPLETED


async def test_what_closes_while_it_is_given_up_is_told_as_closed() -> None:
    run = Run(Status.WAITING)

    async def result(call: Result) -> Outcome:
        if not call.wait:
            run._status = Status.COMPLETED
            asyncio.get_running_loop().call_soon(run._closed.set)
        return await run.result(call)

    standstill = Standstill(result, run.moves, int, PATIENCE_S)
    assert (await standstill.result(Result(id="r"))).status is Status.COMPLETED
    assert run.looks > 50


@pytest.mark.parametrize(
    ("status", "error"),
    [(Status.STUCK, RunStuckError), (Status.WAITING, NotFinishedError), (Status.SLEEPING, NotFinishedError)],
)
async def test_what_moves_no_more_is_given_up(status: Status, error: type[WfctlError]) -> None:
    run = Run(status, moves=100)
    with pytest.raises(error, match=f"'order-1' is {status}") as raised:
        await run.standstill.result(Result(id="r"))
    assert run.looks > 140
    assert raised.value.hint
    assert raised.value.detail == {"run_id": "r", "workflow_id": "order-1", "status": status.value}


@pytest.mark.parametrize("call", [Result(id="r", wait=False), Result(id="r", timeout_ms=1)])
async def test_who_does_not_wait_or_not_for_ever_is_answered_as_always(call: Result) -> None:
    run = Run(Status.WAITING)
    assert (await run.standstill.result(call)).status is Status.WAITING
    assert run.looks == 0


async def test_who_gives_up_first_leaves_nothing_behind() -> None:
    run = Run(Status.WAITING, moves=float("inf"))
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.standstill.result(Result(id="r")), PATIENCE_S)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_many_that_wait_look_together() -> None:
    run = Run(Status.WAITING, closes_after=10, moves=9)
    asked = itertools.count()
    standstill = Standstill(run.result, run.moves, lambda: next(asked), 200 * PATIENCE_S)
    waits = [asyncio.ensure_future(standstill.result(Result(id="r"))) for _ in range(50)]
    assert {outcome.status for outcome in await asyncio.gather(*waits)} == {Status.COMPLETED}
    assert next(asked) > 10 * run.looks
