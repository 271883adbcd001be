"""Who gets a worker, and when: limits by type, the order of what waits, and steps that are suspected of ending their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from wfctl.protocol import channel
from wfctl.values.runinfo import ParentInfo, RunInfo, encode
from wfd.runtime.clock import ManualClock
from wfd.supervisor.alone import ALONE_MS
from wfd.supervisor.contract import Handler, Spoken, StepOrder
from wfd.supervisor.steps import (
    BRIEF_MS,
    GRACE_MS,
    MOST_IN_WORKER,
    STEPS_PER_WORKER,
    TOGETHER,
    TOGETHER_MS,
    Steps,
)
from wfd.supervisor.turns import RESTS_AFTER_MS


class Runner:
    """Takes steps; a test says how they end. `told` are the answers that got here."""

    pid = generation = 1
    source = "g1"
    full, crowded, handed = False, True, 0
    held_at: int | None = None

    def __init__(self) -> None:
        self.steps: set[int] = set()
        self.given: list[int] = []
        self.told: list[tuple[int, int]] = []
        self.messages: list[channel.RunStep] = []

    def send(self, message: channel.ToWorker) -> None:
        if isinstance(message, channel.RunStep):
            self.given.append(message.token)
            self.messages.append(message)
        elif isinstance(message, channel.OpDone):
            self.told.append((message.token, message.op))
        elif isinstance(message, channel.CancelStep):
            self.told.append((message.token, 0))

    def kill(self, why: str) -> None:
        self.steps.clear()


class Listener:
    def __init__(self) -> None:
        self.late: list[int] = []
        self.said: list[Spoken] = []

    def heard(self, message: Spoken, now: int) -> None:
        self.said.append(message)

    def left_line(self, workflow_type: str) -> None: ...

    def timed_out(self, token: int, timeout_ms: int) -> None:
        self.late.append(token)

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None:
        self.said += [channel.StepGone(token) for token in tokens]

    def catalog_changed(self, catalog: object) -> None: ...


class Bench:
    """Steps with one worker a type, or none for the types in `without`."""

    def __init__(self, *, without: str = "", **limits: int) -> None:
        self.clock = ManualClock()
        self.worker = Runner()
        self.without = without
        self.handlers: dict[str, Handler] = {}
        self.steps = Steps(self.clock, self._taking)
        self.listener = Listener()
        self.steps.listen(self.listener)
        self.steps.limit(limits)

    def _taking(self, workflow_type: str) -> Sequence[Runner]:
        return [] if workflow_type == self.without else [self.worker]

    def run(
        self, *tokens: int, of: str = "Pay", kind: str = "start", alone: bool = False, timeout_ms: int | None = None,
        parent: bool = False, cancel: bool = False, now: int | None = None,
    ) -> None:  # fmt: skip
        for token in tokens:
            run = RunInfo(f"R{token}", f"w{token}", of, ParentInfo("R", "w", "Any") if parent else None)
            message = channel.RunStep(token, of, encode(run), kind, "s", b"{}", {}, [], cancel=cancel)
            handler = self.handlers.setdefault(of, Handler(of, "s"))
            self.steps.run(StepOrder(token, message, run, handler, timeout_ms, alone), now)

    def end(self, token: int) -> None:
        self.steps.heard(self.worker, [channel.StepDone(token, "wait")], self.clock.now_ms())

    def asks(self, token: int, op: int, kind: str, key: str = "k") -> None:
        self.steps.heard(self.worker, [channel.Op(token, op, key, kind, "", b"{}")], self.clock.now_ms())

    def answer(self, token: int, op: int) -> None:
        self.steps.answer(channel.OpDone(token, op))

    def rest(self) -> None:
        self.clock.advance(RESTS_AFTER_MS)


def test_no_more_steps_of_a_type_execute_than_its_limit_and_they_begin_in_order() -> None:
    bench = Bench(Pay=2)
    bench.run(1, 2, 3, 4)
    bench.run(9, of="Ship")
    assert bench.worker.given == [1, 2, 9]
    bench.end(2)
    bench.end(9)
    bench.end(1)
    assert bench.worker.given == [1, 2, 9, 3, 4]


def test_a_limit_counts_what_ran_before_it_came_and_what_is_left_of_that_when_it_goes() -> None:
    bench = Bench()
    bench.run(1, 2)
    bench.run(9, of="Ship")
    bench.asks(2, 1, "child_result")
    bench.rest()  # and has lent its turn
    assert [bench.steps.demand(of).executing for of in ("Pay", "Ship")] == [1, 1]
    bench.steps.limit({"Pay": 2})
    bench.run(3, 4)
    assert bench.worker.given == [1, 2, 9, 3]
    assert bench.steps.demand("Pay").executing == 2
    bench.end(1)
    assert bench.worker.given == [1, 2, 9, 3, 4]
    bench.steps.limit({})
    bench.end(3)
    assert bench.steps.demand("Pay").executing == 1
    bench.steps.limit({"Pay": 2})
    bench.run(5, 6)
    assert bench.worker.given == [1, 2, 9, 3, 4, 5]


def test_a_step_that_is_cancelled_in_the_turn_in_which_it_begins_is_told_once() -> None:
    bench = Bench()
    bench.run(1)
    bench.steps.cancel(1)  # before the message has left
    assert bench.worker.told == [(1, 0)]
    assert not bench.worker.messages[0].cancel


def test_a_step_that_is_given_back_goes_to_another_worker_and_is_cancelled_there_too() -> None:
    bench, other = Bench(), Runner()
    bench.run(1, 2, timeout_ms=5_000)
    bench.steps.cancel(2)
    first, bench.worker = bench.worker, other
    bench.clock.advance(4_000)
    for token in (1, 2):
        bench.steps.heard(first, [channel.StepGone(token)], bench.clock.now_ms())
    assert (first.steps, other.given) == (set(), [1, 2])
    assert [order.cancel for order in other.messages] == [False, True]
    bench.clock.advance(4_000)
    assert bench.listener.late == []  # its time begins anew
    bench.clock.advance(1_000)
    assert bench.listener.late == [1, 2]


def test_of_what_a_worker_says_at_once_each_step_that_is_wanted_there_is_heard_and_no_other() -> None:
    bench, other, told = Two(), Runner(), list[object]()
    bench.steps = Steps(bench.clock, bench._taking, others=lambda worker, message, now: told.append(message))
    bench.steps.listen(bench.listener)
    bench.run(1, 2, 3, 4, 5, 6)
    assert bench.worker.given == [1, 3, 5]
    bench.steps.abandon(1)
    bench.steps.move(bench.worker, "its code is old", timed=True)
    asked = [channel.Op(token, 1, "k", "now", "", b"{}") for token in range(7)]
    done = [channel.StepDone(token, "wait") for token in range(7)]
    said = [
        done[0], asked[0], asked[1], asked[2], channel.Pong(1), done[1], done[1], done[2], asked[3],
        channel.StepGone(3), channel.StepGone(2), channel.Pong(2), done[5], asked[5],
    ]  # fmt: skip
    bench.steps.heard(other, said, 0)
    assert bench.listener.said == []
    assert told == [channel.Pong(1), channel.Pong(2)]
    bench.steps.heard(bench.worker, said, 0)
    assert bench.listener.said == [asked[3], channel.StepGone(3), done[5]]
    assert bench.worker.steps == set()
    assert bench.other.steps == {2, 4, 6}
    bench.steps.heard(bench.other, [asked[2], channel.StepGone(4), done[6], asked[6]], 0)
    assert bench.listener.said[3:] == [asked[2], done[6]]
    assert bench.worker.given == [1, 3, 5, 4], "it has not begun, so it begins elsewhere"


def test_the_time_of_a_step_counts_from_when_a_worker_gets_it_and_not_from_when_that_was_decided() -> None:
    bench = Bench()
    decided_at = bench.clock.now_ms()
    bench.clock.advance(30)  # others were given theirs meanwhile
    bench.run(1, timeout_ms=50, now=decided_at)
    bench.clock.advance(49)
    assert bench.listener.late == []
    bench.clock.advance(1)
    assert bench.listener.late == [1]


def test_it_is_told_since_when_the_step_waits_that_has_waited_longest() -> None:
    bench = Bench(without="Ship", Pay=1)
    bench.run(1)
    assert (bench.steps.queued, bench.steps.oldest_queued_at) == (0, None)
    first = bench.clock.now_ms()
    for token, of in ((2, "Pay"), (3, "Pay"), (4, "Ship")):
        bench.run(token, of=of)
        bench.clock.advance(1_000)
    assert bench.steps.oldest_queued_at == first
    bench.end(1)
    assert bench.steps.oldest_queued_at == first + 1_000
    bench.end(2)
    assert (bench.steps.queued, bench.steps.oldest_queued_at) == (1, first + 2_000)


def test_what_has_begun_goes_before_new_runs_of_a_limited_type() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3)
    bench.run(4, kind="event")
    for token in (1, 4, 2):
        bench.end(token)
    assert bench.worker.given == [1, 4, 2, 3]


def test_runs_that_never_rest_do_not_keep_new_ones_of_a_type_without_a_limit_out() -> None:
    bench = Bench(without="Pay")
    bench.run(1, 2, 3)
    bench.run(*range(10, 20), kind="step")
    bench.without = ""
    bench.steps.share_out()
    assert bench.worker.given.index(1) <= 4
    assert bench.worker.given.index(3) <= 12


def test_a_step_that_only_waits_lends_its_turn_and_is_answered_when_it_has_it_back() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3)
    bench.asks(1, 1, "child_result")
    assert bench.worker.given == [1]
    bench.rest()
    assert bench.worker.given == [1, 2]
    bench.answer(1, 1)
    assert bench.worker.told == []
    assert bench.steps.waits_for_turn(1) == bench.steps.waits_for_turn(3) == 1
    bench.end(2)
    assert bench.worker.told == [(1, 1)]
    assert bench.worker.given == [1, 2]  # it goes before those that have not begun
    bench.end(1)
    assert bench.worker.given == [1, 2, 3]


def test_a_step_is_told_how_its_child_ended_and_then_that_it_is_cancelled_as_these_are_recorded() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    for op, kind in enumerate(("sleep", "child_result", "child_result"), 1):
        bench.asks(1, op, kind)
    bench.rest()
    bench.answer(1, 1)
    bench.answer(1, 3)
    assert bench.worker.told == []
    bench.steps.cancel(1)
    assert bench.worker.told == [(1, 3), (1, 0), (1, 1)]
    bench.answer(1, 2)
    assert bench.worker.told[3:] == [(1, 2)]


def test_a_step_with_a_task_beside_its_sleep_keeps_its_turn() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.asks(1, 1, "sleep")
    bench.asks(1, 2, "task")
    bench.answer(1, 2)
    bench.rest()
    assert bench.worker.given == [1]
    bench.asks(1, 3, "task_completed")
    bench.answer(1, 3)
    bench.rest()
    assert bench.worker.given == [1, 2]


def test_a_short_sleep_keeps_its_turn() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.asks(1, 1, "sleep")
    bench.clock.advance(RESTS_AFTER_MS - 1)
    bench.answer(1, 1)
    bench.rest()
    assert (bench.worker.given, bench.worker.told) == ([1], [(1, 1)])


def test_the_wait_for_a_turn_is_not_the_time_of_the_step() -> None:
    bench = Bench(Pay=1)
    bench.run(1, timeout_ms=1_000)
    bench.run(2)
    bench.asks(1, 1, "sleep")
    bench.rest()
    bench.answer(1, 1)
    bench.clock.advance(60_000)
    assert bench.listener.late == []
    bench.end(2)
    bench.clock.advance(1_000 - RESTS_AFTER_MS - 1)
    assert bench.listener.late == []
    bench.clock.advance(1)
    assert bench.listener.late == [1]


def test_a_cancelled_step_waits_for_no_turn() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3)
    bench.steps.cancel(3)
    assert bench.worker.given == [1, 3]
    bench.end(3)
    assert bench.worker.given == [1, 3]
    bench.end(1)
    assert bench.worker.given == [1, 3, 2]


def test_a_worker_that_dies_gives_its_turns_back() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.steps.lose(bench.worker, "signal SIGKILL", crash=True)
    assert bench.worker.given == [1, 2]


def test_a_limit_that_changes_counts_at_once() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3, 4)
    bench.steps.limit({"Pay": 2})
    assert bench.worker.given == [1, 2]
    bench.steps.limit({"Pay": 1})
    bench.end(1)
    assert bench.worker.given == [1, 2]
    bench.steps.limit({})
    assert bench.worker.given == [1, 2, 3, 4]


def test_what_there_is_of_a_type_is_told() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3)
    demand = bench.steps.demand("Pay")
    assert (demand.limit, demand.executing, demand.waiting) == (1, 1, 2)
    assert bench.steps.waits_for_turn(1) is None


def test_a_suspect_whose_type_has_no_worker_holds_up_no_other() -> None:
    bench = Bench(without="Lost")
    bench.run(1, of="Lost", alone=True)
    bench.run(2, of="Pay", alone=True)
    assert bench.worker.given == [2]
    bench.end(2)
    bench.run(3)
    assert bench.worker.given == [2, 3]


def test_a_suspect_gets_a_worker_in_the_end_where_all_are_full() -> None:
    bench = Bench()
    bench.run(*range(1_000, 1_256))
    bench.run(1, alone=True)
    assert 1 not in bench.worker.given
    bench.clock.advance(ALONE_MS)
    assert 1 in bench.worker.given


def test_a_suspect_waits_for_its_turn_as_others_do() -> None:
    bench = Bench(Pay=1)
    bench.run(1)
    bench.run(2, alone=True)
    bench.clock.advance(ALONE_MS)
    assert bench.worker.given == [1]
    bench.end(1)
    assert bench.worker.given == [1, 2]


def test_a_worker_that_does_not_read_gets_no_more_steps() -> None:
    bench = Bench()
    bench.worker.full = True
    bench.run(1)
    assert bench.worker.given == []
    bench.worker.full = False
    bench.steps.share_out()
    assert bench.worker.given == [1]


@pytest.mark.parametrize("alone", [False, True])
def test_who_comes_later_begins_no_sooner_where_there_is_room_again(*, alone: bool) -> None:
    bench = Bench(without="Pay")
    bench.run(1, alone=alone)
    bench.without = ""
    bench.run(2)  # before anybody has looked who may begin by now
    bench.steps.share_out()
    assert bench.worker.given == ([1] if alone else [1, 2])


def test_a_worker_is_kept_free_no_longer_than_there_are_suspects() -> None:
    bench = Bench()
    bench.run(1, alone=True)
    assert bench.steps.least_busy("Pay", new=True) is None
    bench.end(1)
    assert bench.steps.least_busy("Pay", new=True) is bench.worker


def test_a_task_that_was_cut_short_does_not_keep_the_turn_of_a_step_that_waits() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.asks(1, 1, "task")
    bench.asks(1, 2, "task_left")
    bench.asks(1, 3, "child_result")
    bench.rest()
    assert bench.worker.given == [1, 2]


def test_a_step_that_sleeps_again_and_again_beside_what_it_waits_for_lends_its_turn() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.asks(1, 1, "child_result")
    for op in range(2, 6):
        bench.asks(1, op, "sleep")
        bench.clock.advance(RESTS_AFTER_MS // 2)
        bench.answer(1, op)
    assert bench.worker.given == [1, 2]


def test_no_timer_of_a_step_outlives_it() -> None:
    """One that did would hold the execution for ever, and count its turn as lent."""
    bench = Bench(Pay=1)
    bench.run(1)
    bench.asks(1, 1, "sleep")
    assert bench.clock.next_due_ms() is not None
    bench.end(1)
    assert bench.clock.next_due_ms() is None
    bench.run(2, timeout_ms=5_000)
    bench.end(2)
    assert bench.clock.next_due_ms() is None
    bench.run(3)
    bench.steps.abandon(3)
    bench.end(3)
    assert bench.clock.next_due_ms() is None


def test_a_step_that_is_to_move_and_then_is_not_wanted_gets_no_more_time_to_let_go() -> None:
    bench = Bench()
    bench.run(1)
    bench.steps.move(bench.worker, "new code", timed=True)
    bench.clock.advance(GRACE_MS - 1)
    bench.steps.abandon(1)
    assert bench.worker.steps == {1}
    bench.clock.advance(1)
    assert bench.worker.steps == set()


def test_the_time_of_a_step_that_was_moved_is_not_up_while_it_lets_go() -> None:
    bench = Bench(Pay=1)
    bench.run(1, timeout_ms=1_000)
    bench.run(2)
    bench.asks(1, 1, "sleep")
    bench.rest()
    bench.answer(1, 1)  # held, so that its time stands still
    bench.steps.move(bench.worker, "its code was replaced", timed=True)
    bench.clock.advance(2_000)
    assert bench.listener.late == []


def test_steps_that_wait_for_children_leave_room_for_them_at_their_worker() -> None:
    bench = Bench()
    parents = range(1, STEPS_PER_WORKER + 1)
    bench.run(*parents)
    bench.run(*range(1_000, 1_010))
    bench.run(2_000, parent=True)
    assert len(bench.worker.given) == STEPS_PER_WORKER
    for parent in parents:
        bench.asks(parent, 1, "child_result")
    bench.rest()
    assert bench.worker.given[STEPS_PER_WORKER] == 2_000
    assert len(bench.worker.given) == STEPS_PER_WORKER + 11


def test_where_very_many_wait_only_children_and_what_is_to_clean_up_begin() -> None:
    bench = Bench()
    for token in range(1, MOST_IN_WORKER + 1):
        bench.run(token)
        bench.asks(token, 1, "child_result")
        if token % STEPS_PER_WORKER == 0:
            bench.rest()
    bench.run(8_999, cancel=True)
    assert bench.worker.given[-1] == 8_999
    bench.end(8_999)
    bench.run(9_000)
    bench.run(9_001, parent=True)
    assert 9_000 not in bench.worker.given
    assert 9_001 in bench.worker.given
    bench.end(1)
    assert 9_000 not in bench.worker.given
    bench.end(9_001)
    assert 9_000 in bench.worker.given


def test_a_worker_that_dies_gives_the_turns_of_those_back_that_have_lent_theirs() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2, 3)
    bench.asks(1, 1, "sleep")
    bench.rest()
    bench.steps.lose(bench.worker, "signal SIGKILL", crash=True)
    assert bench.worker.given == [1, 2, 3]
    assert bench.steps.demand("Pay").executing == 1


def test_a_step_is_silent_from_when_it_has_a_worker_until_its_handler_says_something_or_is_lost() -> None:
    bench = Bench(Pay=4)
    bench.run(1, 2, 3, 4, 5)
    assert bench.steps.silent() == 4
    for op in (1, 2):
        bench.asks(1, op, "now")
        assert bench.steps.silent() == 3
    bench.end(1)
    assert bench.steps.silent() == 4, "the fifth has its worker now"
    bench.end(2)
    assert bench.steps.silent() == 3
    bench.steps.lose(bench.worker, "signal SIGKILL", crash=True)
    assert bench.steps.silent() == 0
    bench.run(6, 7)
    bench.steps.abandon(6)
    assert bench.steps.silent() == 1, "nobody waits for what it says any more"
    bench.end(6)
    assert bench.steps.silent() == 1
    bench.steps.clear()
    assert bench.steps.silent() == 0


class Two(Bench):
    """The same with two workers."""

    def __init__(self) -> None:
        self.other = Runner()
        super().__init__()

    def _taking(self, workflow_type: str) -> Sequence[Runner]:
        return [self.worker, self.other]

    def ended(self, *tokens: int, after_ms: int = 0) -> None:
        """They have run for so long, and ended; what they began with is forgotten."""
        self.clock.advance(after_ms)
        for token in tokens:
            for worker in (self.worker, self.other):
                if token in worker.steps:
                    self.steps.heard(worker, [channel.StepDone(token, "wait")], self.clock.now_ms())
        self.worker.given.clear()
        self.other.given.clear()

    def begin(self, count: int) -> tuple[int, int]:
        """So many steps at once; how many of them each worker gets."""
        self.run(*range(1_000, 1_000 + count))
        return len(self.worker.given), len(self.other.given)


def test_steps_that_nothing_is_known_of_go_to_the_least_busy_worker() -> None:
    assert Two().begin(10) == (5, 5)


def test_brief_steps_that_begin_together_go_to_one_worker_up_to_a_number() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1, after_ms=BRIEF_MS)
    assert bench.begin(2 * TOGETHER + 4) == (TOGETHER + 4, TOGETHER)


def test_brief_steps_that_begin_one_after_the_other_go_to_the_least_busy_worker() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    for token in range(2, 8):
        bench.run(token)
        bench.clock.advance(TOGETHER_MS)
    assert (len(bench.worker.given), len(bench.other.given)) == (3, 3)


def test_a_handler_that_has_kept_its_worker_for_long_is_not_brief_any_more() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    bench.run(2)
    bench.ended(2, after_ms=BRIEF_MS + 1)
    assert bench.begin(10) == (5, 5)


@pytest.mark.parametrize(("late_ms", "shared"), [(0, (10, 0)), (1, (5, 5))])
def test_a_handler_that_asks_at_once_is_brief_unless_it_keeps_its_worker_after_the_answer(
    late_ms: int, shared: tuple[int, int]
) -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    bench.run(2)
    [worker] = [one for one in (bench.worker, bench.other) if 2 in one.steps]
    bench.steps.heard(worker, [channel.Op(2, 1, "now:1", "now", "now", b"{}")], bench.clock.now_ms())
    # The disk may take its time.
    bench.clock.advance(2 * BRIEF_MS)
    bench.steps.answer(channel.OpDone(2, 1))
    bench.ended(2, after_ms=BRIEF_MS + late_ms)
    assert bench.begin(10) == shared


def test_a_handler_that_has_kept_its_worker_is_not_brief_for_what_it_says_soon_after_that() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    bench.run(2)
    [worker] = [one for one in (bench.worker, bench.other) if 2 in one.steps]
    bench.clock.advance(BRIEF_MS + 1)
    bench.steps.heard(worker, [channel.Op(2, 1, "now:1", "now", "now", b"{}")], bench.clock.now_ms())
    bench.steps.answer(channel.OpDone(2, 1))
    bench.ended(2)
    assert bench.begin(10) == (5, 5)


def test_a_worker_that_has_no_room_gets_no_brief_step_either() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    bench.run(2)
    (full,) = [worker for worker in (bench.worker, bench.other) if worker.given]
    full.full = True
    bench.run(*range(3, 8))
    assert full.given == [2]


def test_a_worker_gets_no_brief_steps_beyond_what_it_may_have_either() -> None:
    bench = Two()
    bench.run(1)
    bench.ended(1)
    bench.worker.steps |= set(range(10_000, 10_000 + STEPS_PER_WORKER - 2))
    bench.other.steps |= set(range(20_000, 20_000 + STEPS_PER_WORKER - 1))
    assert bench.begin(5) == (2, 1)
    assert bench.steps.queued == 2


def test_a_worker_that_is_kept_free_for_a_suspect_gets_no_other_step() -> None:
    bench = Two()
    bench.run(1, alone=True)
    [kept] = [worker for worker in (bench.worker, bench.other) if worker.given]
    bench.run(2, 3, 4)
    bench.run(5, kind="event")
    assert kept.given == [1]
    assert bench.steps.queued == 0


def test_a_worker_that_is_kept_free_for_a_suspect_gets_no_brief_step_either() -> None:
    bench = Two()
    bench.run(2)
    bench.ended(2)
    bench.run(3)
    kept, other = (bench.worker, bench.other) if 3 in bench.worker.steps else (bench.other, bench.worker)
    bench.ended(3)
    other.steps.add(10_000)
    bench.run(1, alone=True)
    bench.run(4, 5)  # which would have begun there, together with the last
    assert (kept.given, other.given) == ([1], [4, 5])


def test_a_suspect_has_its_worker_to_itself_for_its_time_from_when_it_begins() -> None:
    bench = Bench()
    bench.run(9)
    bench.run(1, alone=True)
    bench.clock.advance(ALONE_MS - 1)
    bench.end(9)
    bench.run(3)
    bench.clock.advance(ALONE_MS - 1)
    assert bench.worker.given == [9, 1]
    bench.clock.advance(1)
    assert bench.worker.given == [9, 1, 3]


class Apart(Bench):
    """One worker runs the code of `Ship`, the other all else."""

    def _taking(self, workflow_type: str) -> Sequence[Runner]:
        self.other = vars(self).get("other") or Runner()
        return [self.other] if workflow_type == "Ship" and self.without != "Ship" else super()._taking(workflow_type)


def test_a_suspect_begins_beside_others_on_none_but_a_worker_that_runs_its_code() -> None:
    bench = Apart(without="Ship")
    bench.run(9)
    bench.run(1, of="Ship", alone=True)
    bench.run(2, alone=True)
    bench.without = ""
    bench.clock.advance(ALONE_MS)
    assert (bench.worker.given, bench.other.given) == ([9, 2], [1])


def test_a_step_whose_operation_takes_its_time_after_all_lends_its_turn() -> None:
    bench = Bench(Pay=1)
    bench.run(1, 2)
    bench.asks(1, 1, "event")
    bench.rest()
    assert bench.worker.given == [1]
    bench.steps.op_waits(1, 1)
    bench.steps.op_waits(3, 1)
    bench.rest()
    assert bench.worker.given == [1, 2]


@pytest.mark.parametrize("lost", [False, True])
async def test_whoever_waits_for_all_that_runs_hears_that_the_last_of_it_has_ended(*, lost: bool) -> None:
    bench = Bench()
    bench.run(1, 2)
    drained = asyncio.create_task(bench.steps.drain(20_000))
    await asyncio.sleep(0)
    bench.run(3)  # which begins no more
    bench.end(1)
    await asyncio.sleep(0)
    assert not drained.done()
    assert bench.worker.given == [1, 2]
    if lost:
        bench.steps.lose(bench.worker, "gone", crash=False)
    else:
        bench.end(2)
    assert await drained
