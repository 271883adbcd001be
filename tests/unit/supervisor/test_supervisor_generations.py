"""Generations of code: who serves, who is on trial, and what comes of workers that load late, differently or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.waiting import a_moment
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo
from wfctl.values.signature import HandlerSpec, TypeSpec
from wfd.config import Config
from wfd.runtime.clock import SystemClock
from wfd.supervisor import Catalog, StepOrder, Supervisor, supervisor as module


class Process:
    """A worker that does what the test says. Every one that was made is in `made`; `unstartable` makes the next fail."""

    made: list[Process] = []
    unstartable = 0

    def __init__(
        self, config: Config, load: channel.Load, received: Callable[..., None], ended: Callable[..., None]
    ) -> None:
        self.generation = load.generation
        self.steps: set[int] = set()
        self.ready = False
        self.leaving = False
        self.pid = len(Process.made) + 1
        self.started_at = 0
        self.killed_for = ""
        self.last_words: list[str] = []
        self.sent: list[Any] = []
        self.alive = True
        self.received, self.ended = received, ended

    def __getattr__(self, name: str) -> Any:
        # What the heartbeat keeps on a worker is of no interest here.
        return 0

    async def start(self) -> None:
        if Process.unstartable:
            Process.unstartable -= 1
            raise OSError(11, "Resource temporarily unavailable")
        Process.made.append(self)

    def send(self, message: Any) -> None:
        self.sent.append(message)
        if isinstance(message, channel.Stop) and self.ready:
            self.end("exit code 0")

    def kill(self, why: str) -> None:
        self.killed_for = self.killed_for or why
        self.end("signal SIGKILL")

    def end(self, why: str) -> None:
        if self.alive:
            self.alive = False
            asyncio.get_running_loop().call_soon(self.ended, self, self.killed_for or why)

    async def gone(self) -> None:
        self.end("stopped")

    def loaded(self, source: str, *types: str, problem: str = "") -> None:
        handler = HandlerSpec("start", "begin", "begin")
        specs = [TypeSpec(name, (handler,)) for name in types]
        problems = [channel.Problem("flows", problem)] if problem else []
        self.received(self, channel.Loaded(specs, problems, source, ["flows.py"], "3.11"))


class Listening:
    def __init__(self) -> None:
        self.catalogs: list[Catalog] = []

    def heard(self, message: Any) -> None: ...

    def timed_out(self, token: int, timeout_ms: int) -> None: ...

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None: ...

    def catalog_changed(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def of(generation: int) -> list[Process]:
    return [one for one in Process.made if one.generation == generation and one.alive]


def taking(supervisor: Supervisor) -> list[int]:
    """The generations of the workers that get new steps."""
    return sorted(worker.generation for worker in supervisor._taking())


@pytest.fixture
async def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Process, "made", [])
    monkeypatch.setattr(Process, "unstartable", 0)
    monkeypatch.setattr(module, "Worker", Process)
    config = Config(
        project=tmp_path, file=tmp_path / "wfctl.toml", state=tmp_path, socket=tmp_path / "s", workers=2, crash_limit=5,
        modules=("flows.py",), path=(), python=Path("python"), reload=True, sources={},
    )  # fmt: skip
    supervisor = Supervisor(config, SystemClock())
    supervisor.listen(Listening())
    yield supervisor
    await supervisor.stop()


async def serving(supervisor: Supervisor, source: str = "one") -> None:
    """Generation 1 serves `Order`."""
    starting = asyncio.ensure_future(supervisor.start())
    await turns()
    for worker in of(1):
        worker.loaded(source, "Order")
    await starting
    assert taking(supervisor) == [1, 1]


async def test_a_slow_first_generation_does_not_put_an_end_to_the_trial_of_the_second(supervisor: Supervisor) -> None:
    await supervisor.start(wait_ms=1)
    supervisor.reload()
    await turns()
    of(1)[0].loaded("one", "Order")
    of(1)[1].loaded("one", "Order")
    assert taking(supervisor) == [1, 1]
    of(2)[0].loaded("two", "Order")
    of(2)[1].loaded("two", "Order")
    await turns()
    assert supervisor.catalog.generation == 2
    assert taking(supervisor) == [2, 2]


async def test_a_candidate_whose_worker_cannot_be_started_does_not_end_reloading_for_ever(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    Process.unstartable = 2
    supervisor.reload()
    await turns()
    assert taking(supervisor) == [1, 1]
    assert "cannot start a worker" in supervisor.catalog.problems[0].message
    supervisor.reload()
    await turns()
    for worker in Process.made:
        if worker.generation > 1:
            worker.loaded("two", "Order")
    await turns()
    assert supervisor.catalog.source_hash == "two"
    assert supervisor.catalog.problems == ()
    assert len(taking(supervisor)) == 2


async def test_a_worker_that_is_started_again_late_does_not_serve_beside_a_newer_generation(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPAWN_MS", (20,))
    await serving(supervisor)
    of(1)[0].end("signal SIGSEGV")
    await turns()
    supervisor.reload()
    await turns()
    for worker in of(2):
        worker.loaded("two", "Order")
    await a_moment(0.1)
    for worker in of(1):
        worker.loaded("two", "Order")
    await turns()
    assert taking(supervisor) == [2, 2]


async def test_a_worker_of_a_candidate_that_was_given_up_never_serves(supervisor: Supervisor) -> None:
    await serving(supervisor)
    started, Process.start = Process.start, slow_start  # type: ignore[method-assign]
    try:
        supervisor.reload()
        await turns()
        of(2)[0].loaded("two", problem="SyntaxError")
        go_on.set()
        await turns()
    finally:
        Process.start = started  # type: ignore[method-assign]
        go_on.clear()
    for worker in of(2):
        worker.loaded("two", problem="SyntaxError")
    await turns()
    assert taking(supervisor) == [1, 1]


go_on = asyncio.Event()


async def slow_start(self: Process) -> None:
    if any(worker.generation == self.generation for worker in Process.made):
        await go_on.wait()
    Process.made.append(self)


async def test_a_worker_that_loads_less_than_its_generation_gets_no_steps(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESPAWN_MS", (0,))
    await serving(supervisor)
    of(1)[0].end("signal SIGSEGV")
    await turns()
    late = next(worker for worker in of(1) if not worker.ready)
    late.loaded("one", problem="ConnectionError: the database is down")
    await turns()
    assert taking(supervisor) == [1]
    await a_moment(0.02)
    next(worker for worker in of(1) if not worker.ready).loaded("one", "Order")
    await turns()
    assert taking(supervisor) == [1, 1]
    assert supervisor.catalog.generation == 1


async def test_several_reloads_in_a_row_end_with_the_last(supervisor: Supervisor) -> None:
    await serving(supervisor)
    for _ in range(3):
        supervisor.reload()
        await turns()
    of(2)[0].loaded("two", "Order")
    await turns()
    for worker in of(2):
        if not worker.ready:
            worker.loaded("two", "Order")
    await turns()
    for worker in of(3):
        worker.loaded("three", "Order", "Payment")
    await turns()
    assert sorted(supervisor.catalog.types) == ["Order", "Payment"]
    assert taking(supervisor) == [3, 3]
    assert of(2) == []
    assert of(4) == []


async def test_a_step_given_before_a_reload_ends_where_it_began(supervisor: Supervisor) -> None:
    await serving(supervisor)
    run = RunInfo("01J", "order-1", "Order", None, "01J", 1, 0)
    supervisor.run(StepOrder(7, channel.RunStep(7, run, "start", "begin", b"{}", {}, [])))
    owner = next(worker for worker in of(1) if 7 in worker.steps)
    supervisor.reload()
    await turns()
    for worker in of(2):
        worker.loaded("two", "Order")
    assert owner.leaving
    owner.received(owner, channel.StepDone(7, "complete"))
    assert owner.steps == set()
