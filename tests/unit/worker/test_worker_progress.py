"""Progress leaves a worker at most ten times a second, and the last of it always."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wfctl.protocol.channel import Progress
from wfd.worker.progress import EVERY_S, Reporter


class Timers:
    """As much of a loop as a reporter needs; `pass_time` is what a tenth of a second is."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.soon: list[Callable[[], None]] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timers:
        self.due.append((delay_s, call))
        return self

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def cancel(self) -> None:
        self.due.clear()

    def pass_time(self) -> None:
        ((delay_s, call),) = self.due
        assert delay_s == EVERY_S
        self.due.clear()
        call()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def sent() -> list[float]:
    return []


@pytest.fixture
def reporter(timers: Timers, sent: list[float]) -> Iterator[Reporter]:
    loop: Any = timers
    asyncio._set_running_loop(loop)
    yield Reporter(lambda message: sent.append(message.done), loop)
    asyncio._set_running_loop(None)


def said(done: int) -> Progress:
    return Progress(1, done, 100, "")


def test_the_first_goes_at_once_and_of_the_others_the_newest_of_each_tenth_of_a_second(
    reporter: Reporter, timers: Timers, sent: list[float]
) -> None:
    for done in range(1_000):
        reporter.report(said(done), later=False)
    assert sent == [0]
    timers.pass_time()
    assert sent == [0, 999]
    timers.pass_time()
    assert (sent, timers.due) == ([0, 999], [])
    reporter.report(said(1_001), later=False)
    assert sent == [0, 999, 1_001]


def test_the_last_goes_when_the_step_ends(reporter: Reporter, timers: Timers, sent: list[float]) -> None:
    reporter.report(said(1), later=False)
    reporter.report(said(2), later=False)
    reporter.close(tell=True)
    assert (sent, timers.due) == ([1, 2], [])
    reporter.report(said(3), later=False)
    assert sent == [1, 2]


def test_nothing_more_goes_of_a_step_that_is_someone_elses_now(reporter: Reporter, sent: list[float]) -> None:
    reporter.report(said(1), later=False)
    reporter.report(said(2), later=False)
    reporter.close(tell=False)
    assert sent == [1]


def test_what_a_replay_passes_by_is_not_told_but_its_newest(
    reporter: Reporter, timers: Timers, sent: list[float]
) -> None:
    for done in range(10):
        reporter.report(said(done), later=True)
    assert sent == []
    timers.pass_time()
    assert sent == [9]


def test_a_thread_may_report_in_a_tight_loop(reporter: Reporter, timers: Timers, sent: list[float]) -> None:
    def work() -> None:
        for done in range(10_000):
            reporter.report(said(done), later=False)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (wake,) = timers.soon
    assert sent == []
    wake()
    assert sent == [9_999]
