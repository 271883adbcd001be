"""Clocks and ids: time stands still until a test moves it, and ids only grow."""

from __future__ import annotations

import asyncio
import time

import pytest

from wfd.runtime.clock import ManualClock, SystemClock
from wfd.runtime.ids import IdSource, least_run_id


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(1_000)
    assert clock.now_ms() == clock.now_ms() == 1_000


def test_timers_fire_in_the_order_of_their_time_each_at_its_own() -> None:
    clock = ManualClock(0)
    fired: list[tuple[str, int]] = []
    clock.call_later(30, lambda: fired.append(("late", clock.now_ms())))
    clock.call_later(10, lambda: fired.append(("early", clock.now_ms())))
    clock.call_later(10, lambda: fired.append(("early too", clock.now_ms())))
    clock.advance(29)
    assert fired == [("early", 10), ("early too", 10)]
    clock.advance(1)
    assert fired[2:] == [("late", 30)]


def test_a_timer_that_a_timer_sets_fires_in_the_same_advance_when_it_is_due() -> None:
    clock = ManualClock(0)
    fired: list[int] = []

    def first() -> None:
        clock.call_later(10, lambda: fired.append(clock.now_ms()))

    clock.call_later(10, first)
    clock.advance(100)
    assert fired == [20]
    assert clock.now_ms() == 100


def test_a_cancelled_timer_does_not_fire() -> None:
    clock = ManualClock(0)
    fired: list[int] = []
    timer = clock.call_later(10, lambda: fired.append(1))
    timer.cancel()
    timer.cancel()
    assert clock.next_due_ms() is None
    clock.advance(20)
    assert fired == []


def test_a_timer_of_no_delay_waits_for_the_next_advance() -> None:
    clock = ManualClock(5)
    fired: list[int] = []
    clock.call_later(-3, lambda: fired.append(clock.now_ms()))
    assert fired == []
    assert clock.next_due_ms() == 5
    clock.advance(0)
    assert fired == [5]


async def test_the_system_clock_tells_epoch_milliseconds_and_calls_back() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1_000) < 1_000
    called = asyncio.Event()
    clock.call_later(0, called.set)
    clock.call_later(-5, called.set)
    clock.call_later(60_000, called.clear).cancel()
    await asyncio.wait_for(called.wait(), 5)


def test_run_ids_grow_within_a_millisecond_and_when_the_clock_is_set_back() -> None:
    clock = ManualClock(1_000_000)
    ids = IdSource(clock)
    made = [ids.run_id() for _ in range(1_000)]
    clock.advance(1)
    made.append(ids.run_id())
    clock._now -= 5_000
    made += [ids.run_id() for _ in range(10)]
    assert made == sorted(set(made))
    assert {len(run_id) for run_id in made} == {26}


def test_no_run_that_starts_later_has_a_smaller_id_than_the_least_of_a_time() -> None:
    clock = ManualClock(1_700_000_000_000)
    ids = IdSource(clock, 1)
    made: list[tuple[int, str]] = []
    for step in (0, 1, 0, 5_000, -60_000, 1, 0, 90_000, -1, 0):
        clock._now += step
        made.append((clock.now_ms(), ids.run_id()))
    for since, _ in made:
        assert all(run_id > least_run_id(since) for at, run_id in made if at >= since)
    assert made[4][1] < least_run_id(made[7][0]), "and it leaves out what is long before"


@pytest.mark.parametrize("since", [-5, 0, 1 << 60])
def test_every_time_has_a_least_run_id(since: int) -> None:
    assert len(least_run_id(since)) == 26


def test_a_seed_makes_the_same_ids_again() -> None:
    def some(seed: int) -> list[str]:
        ids = IdSource(ManualClock(1_000_000), seed)
        return [ids.run_id(), ids.run_id(), ids.readable("Order"), ids.readable("Order")]

    assert some(7) == some(7)
    assert some(7) != some(8)
    assert some(7)[2].startswith("order-")
