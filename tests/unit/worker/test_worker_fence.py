"""What is given back never begins, what begins is never given back: whoever asks first, and once for each."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from support.waiting import wait_until
from support.worker_process import WorkerProcess, run_step
from wfctl import Context, Directive, Workflow
from wfctl.protocol.channel import AbandonStep, Check, Checked, Op, Ping, Pong, StepDone, StepGone, StepStuck, Stop
from wfd.worker.fence import Fence

FLOWS = """
import time
from pathlib import Path
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")

@wf.start()
async def begin(ctx: Context, block: str = "") -> Directive:
    Path("began").open("a").write("x")
    while block and not Path(block).exists():
        time.sleep(0.01)
    return ctx.next.complete()
"""


@dataclasses.dataclass
class Harsh:
    """Whose check ends more than itself."""

    word: str

    def __post_init__(self) -> None:
        raise SystemExit(self.word) if self.word == "exit" else asyncio.CancelledError(self.word)


wf = Workflow("Order")


@wf.start()
async def takes_harsh(ctx: Context, item: Harsh) -> Directive:
    return ctx.next.complete()


@wf.step()
async def quick(ctx: Context) -> Directive:
    return ctx.next.complete()


@wf.step()
async def asks(ctx: Context) -> Directive:
    await ctx.now()
    return ctx.next.complete()


@wf.step()
def threaded(ctx: Context) -> Directive:
    return ctx.next.complete()


def read(fence: Fence) -> int:
    fence.received += 1
    return fence.received


def keeps_nothing(fence: Fence) -> bool:
    return not fence._ahead and not fence._given


def test_a_step_begins_here_or_is_given_back_and_that_is_said_once() -> None:
    fence = Fence()
    assert fence.give_back(2)
    assert not fence.give_back(2)
    assert read(fence) == 1
    assert fence.give_back(1)
    assert not fence.give_back(1)
    assert not fence.begins(1)
    assert read(fence) == 2
    assert not fence.begins(2)
    assert read(fence) == 3
    assert fence.begins(3)
    assert not fence.give_back(3)
    assert not fence.give_back(2)


def test_what_was_settled_long_ago_is_neither_kept_nor_given_back() -> None:
    fence = Fence()
    for number in range(1, 1_000):
        assert number % 7 or fence.give_back(number)
        assert fence.begins(read(fence)) == bool(number % 7)
        assert keeps_nothing(fence)
    for number in range(1, 1_000):
        assert not fence.give_back(number)
    assert keeps_nothing(fence)
    assert fence.give_back(1_000)
    assert not fence.begins(read(fence))


def test_one_that_waits_long_keeps_its_place_while_others_come_and_go() -> None:
    fence = Fence()
    first = read(fence)
    for _ in range(500):
        assert fence.begins(read(fence))
    assert fence.give_back(first)
    assert not fence.give_back(first + 1)
    assert not fence.begins(first)
    assert not fence.give_back(first + 1)
    assert fence.begins(read(fence))
    assert keeps_nothing(fence)


class Turns:
    """Lets one of two threads go on at a time; after how many points that changes is chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._whose, self._left, self.one_is_over = "loop", 0, False

    def point(self) -> None:
        me = threading.current_thread().name
        with self._changed:
            self._left -= 1
            if not self.one_is_over and self._left < 0:
                self._whose = "beside" if me == "loop" else "loop"
                self._left = self._random.choice([0, 1, 2, 5, self._random.randrange(150), 500])
                self._changed.notify_all()
            self._changed.wait_for(lambda: self.one_is_over or self._whose == me)

    def over(self) -> None:
        with self._changed:
            self.one_is_over = True
            self._changed.notify_all()


class SeenFence(Fence):
    """One of which every look at what both sides share is a point where the other one may come in between."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._ahead, self._given = SeenNumbers(turns), SeenNumbers(turns)
        self._lock: Any = SeenLock(turns)

    def _look(self) -> int:
        self._turns.point()
        return self._up_to

    def _put(self, number: int) -> None:
        if hasattr(self, "_turns"):
            self._turns.point()
        self._up_to = number

    _next = property(_look, _put)  # type: ignore[assignment]


class SeenNumbers(set[int]):
    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def __len__(self) -> int:
        self._turns.point()
        return super().__len__()

    def __contains__(self, number: object) -> bool:
        self._turns.point()
        return super().__contains__(number)

    def add(self, number: int) -> None:
        self._turns.point()
        super().add(number)

    def discard(self, number: int) -> None:
        self._turns.point()
        super().discard(number)


class SeenLock:
    """Who waits for it gives the other one its turn."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._turns.point()
        while not self._lock.acquire(blocking=False):
            self._turns.point()

    def __exit__(self, *raised: object) -> None:
        self._turns.point()
        self._lock.release()


@pytest.mark.parametrize("seed", range(20))
def test_two_threads_never_both_have_a_step_nor_neither(seed: int) -> None:
    count, turns, chance = 3_000, Turns(seed), random.Random(seed)
    fence = SeenFence(turns)
    begun: set[int] = set()
    back: list[int] = []

    def loop() -> None:
        reading: list[int] = []
        while reading or fence.received < count:
            if fence.received < count:
                reading.append(read(fence))
            while reading and chance.random() < 0.8:
                number = reading.pop(chance.randrange(min(3, len(reading))))
                if fence.begins(number):
                    begun.add(number)

    def beside() -> None:
        # About where the loop is: what it drops, what it begins, and what it has not read.
        while not turns.one_is_over:
            number = max(1, fence.received - chance.choice([-1, 0, 0, 1, 1, 2, 3, 4, 60]))
            if number <= count and fence.give_back(number):
                back.append(number)
            turns.point()

    def first(side: Callable[[], None]) -> None:
        turns.point()
        try:
            side()
        finally:
            turns.over()

    sides = [threading.Thread(target=first, args=(side,), name=side.__name__) for side in (loop, beside)]
    for thread in sides:
        thread.start()
    for thread in sides:
        thread.join(60)
    assert len(back) == len(set(back))
    assert not begun & set(back)
    assert begun | set(back) == set(range(1, count + 1))
    assert keeps_nothing(fence)


@pytest.mark.parametrize("together", [True, False])
def test_a_blocked_worker_gives_back_what_it_has_not_begun_and_runs_what_comes_again(
    tmp_path: Path, together: bool
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    with WorkerProcess(tmp_path, tmp_path / "err", beside=True) as worker:
        worker.load("flows.py")
        steps = [run_step(7, "start", "begin", {"block": "go"}), run_step(8, "start", "begin")]
        if together:
            worker.send(*steps)
        else:
            worker.send(steps[0])
            wait_until((tmp_path / "began").exists)
            worker.send(steps[1])
        wait_until((tmp_path / "began").exists)
        assert worker.ask_back([(1, 7), (2, 8)]) == [StepGone(8)]
        (tmp_path / "go").touch()
        assert worker.receive(StepDone).token == 7
        worker.send(Ping(1))
        assert isinstance(worker.receive(), Pong)
        assert (tmp_path / "began").read_text() == "x"
        worker.step(8, "start", "begin")
        assert worker.receive(StepDone).token == 8
        assert (tmp_path / "began").read_text() == "xx"


async def test_every_step_that_is_read_is_asked_for_once_however_it_ends() -> None:
    desk = Desk(wf)
    fence = desk.executor._fence
    assert fence.give_back(9)
    answers: dict[int, type] = {}
    for kind, handler, kwargs, workflow_type in [
        ("start", "", {"item": {"word": "exit"}}, "Order"),
        ("start", "", {"item": {"word": "cancel"}}, "Order"),
        ("start", "", {"other": 1}, "Order"),
        ("start", "", msgspec.Raw(b"[[["), "Order"),
        ("step", "gone", {}, "Order"),
        ("step", "quick", {}, "Ordr"),
    ]:
        answers[desk.begin(kind, handler, kwargs, workflow_type=workflow_type)] = StepStuck
    answers[desk.begin("step", "quick")] = StepDone
    answers[desk.begin("step", "threaded")] = StepDone
    given_back = desk.begin("step", "quick")
    for handler in ("quick", "threaded"):
        answers[token := desk.begin("step", handler)] = StepGone
        desk.executor.receive(AbandonStep(token))
    others = asyncio.all_tasks()
    answers[desk.begin("step", "quick")] = StepGone
    for made in asyncio.all_tasks() - others:
        assert made.cancel()
    said = [await desk.next() for _ in answers]
    assert {message.token: type(message) for message in said} == answers
    assert given_back not in answers
    assert desk.executor.idle
    assert fence._next - 1 == fence.received == len(answers) + 1
    assert keeps_nothing(fence)
    desk.executor.close()


@pytest.mark.parametrize("handler", ["asks", "threaded"])
async def test_a_step_that_was_given_back_and_comes_again_before_that_was_seen_here_runs(handler: str) -> None:
    desk = Desk(wf)
    assert desk.executor._fence.give_back(1)
    message = run_step(7, "step", handler)
    before = asyncio.all_tasks()
    desk.executor.receive(message, message)
    tasks = weakref.WeakSet(asyncio.all_tasks() - before)
    if handler == "asks":
        desk.reply(await desk.next(Op), 1_700_000_000_000)
    assert await desk.next() == StepDone(7, "complete")
    assert desk.executor.idle
    await asyncio.sleep(0)
    assert not tasks, "nothing holds that of a step which was given back, nor of one which has ended"
    desk.executor.close()


async def test_a_worker_that_is_to_stop_waits_for_no_step_that_was_given_back() -> None:
    desk, stopped = Desk(wf), asyncio.Event()
    desk.executor.on_stopped = stopped.set
    assert desk.executor._fence.give_back(2)
    desk.executor.receive(run_step(1, "step", "quick"), run_step(2, "step", "quick"), Stop())
    await asyncio.wait_for(stopped.wait(), 10)
    assert desk.sent == [StepDone(1, "complete")]


async def test_a_check_that_ends_more_than_itself_is_the_mistake_of_who_asks() -> None:
    desk = Desk(wf)
    desk.executor.receive(Check(1, "Order", "start", "", b'{"item":{"word":"exit"}}', {}), Ping(1))
    (checked, pong) = desk.sent
    assert isinstance(checked, Checked)
    assert checked.error is not None
    assert checked.error.code == "invalid_payload"
    assert checked.error.message == "input of 'Order': converting it raised SystemExit: exit"
    assert isinstance(pong, Pong)
