"""Generations of code: who serves, who is on trial, and what comes of workers that load late, differently or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from wfctl.errors import DaemonDownError
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo, encode
from wfctl.values.signature import HandlerSpec, TypeSpec
from wfd.config import Config
from wfd.runtime.clock import ManualClock
from wfd.supervisor import Catalog, Handler, StepOrder, Supervisor, leaving, supervisor as module
from wfd.supervisor.patience import APART_MS, LOAD_MS
from wfd.supervisor.spare import AFTER_MS
from wfd.supervisor.trial import OUTDATED_MS, RETRY_MS, TRIES
from wfd.supervisor.worker import Worker

MODULES = ("flows.py", "bills.py")


class Process:
    """A worker that does what the test says. Every one that was made is in `made`; `unstartable` makes the next fail."""

    made: list[Process] = []
    unstartable = 0
    blocked_at: int | None = None

    def __init__(self, config: Config, received: Callable[..., None], ended: Callable[..., None]) -> None:
        self.config = config
        self.told: channel.Load | None = None
        self.generation = 0
        self.source = ""
        self.steps: set[int] = set()
        self.ready = False
        self.leaving = False
        self.pid = len(Process.made) + 1
        self.started_at = 0
        self.killed_for = ""
        self.last_words: list[str] = []
        self.remedy = "wfctl logs"
        self.sent: list[Any] = []
        self.alive = True
        self.importing: channel.Importing | None = None
        self.keep = False  # it still runs something
        self.received, self.ended = received, ended

    def imports(self, importing: channel.Importing, now: int) -> None:
        Worker.imports(cast(Worker, self), importing, now)

    def unloaded(self, why: str) -> str:
        last = f" ({self.last_words[-1]})" if self.last_words else ""
        return f"the worker ended before it had loaded anything: {why}{last}"

    def __getattr__(self, name: str) -> Any:
        # What the heartbeat keeps on a worker is of no interest here.
        return 0

    async def start(self) -> None:
        if Process.unstartable:
            Process.unstartable -= 1
            raise OSError(11, "Resource temporarily unavailable")
        Process.made.append(self)

    def hear(self, on: bool) -> None: ...

    def load(self, load: channel.Load) -> None:
        self.told = load
        self.generation = load.generation

    def send(self, message: Any) -> None:
        self.sent.append(message)
        if isinstance(message, channel.Stop) and self.ready and not self.keep:
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

    def loaded(self, source: str, *types: str, problem: str = "", broken: str = "", **modules: list[str]) -> None:
        """What it says once it has imported; `modules` are the types of each, where not all are of `flows`. Those that are missing
        have the `problem`, or the one that is `broken`."""
        handler = HandlerSpec("start", "begin", "begin")
        entries = {f"{name}.py": names for name, names in (modules or {"flows": list(types)}).items()}
        specs = [TypeSpec(name, (handler,)) for names in entries.values() for name in names]
        missing = [broken] if broken else [name for name in MODULES if name not in entries]
        problems = [channel.Problem(name, problem) for name in missing if problem]
        versions = {spec.workflow_type: f"{source}-{spec.workflow_type}" for spec in specs}
        code = (
            None if self.told and self.told.code else channel.Code({"flows.py": source.encode()}, {"flows": "flows.py"})
        )
        self.received(self, [channel.Loaded(specs, problems, source, ["flows.py"], "3.11", entries, versions, code)])


class Listening:
    def __init__(self) -> None:
        self.catalogs: list[Catalog] = []

    def heard(self, message: Any, now: int) -> None: ...

    def left_line(self, workflow_type: str) -> None: ...

    def timed_out(self, token: int, timeout_ms: int) -> None: ...

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None: ...

    def catalog_changed(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def of(generation: int) -> list[Process]:
    return [one for one in Process.made if one.generation == generation and one.alive]


def taking(supervisor: Supervisor, workflow_type: str = "Order") -> list[int]:
    """The generations of the workers that get new steps of a type."""
    found: list[Any] = supervisor._taking(workflow_type)
    assert {id(one) for one in Process.made if supervisor._takes(cast(Any, one), workflow_type)} == set(map(id, found))
    return sorted(worker.generation for worker in found)


def order(token: int, workflow_type: str = "Order", timeout_ms: int | None = None) -> StepOrder:
    run = RunInfo("01J", f"run-{token}", workflow_type, None, "01J", 1, 0)
    message = channel.RunStep(token, workflow_type, encode(run), "start", "begin", b"{}", {}, [])
    return StepOrder(token, message, run, Handler(workflow_type, "begin"), timeout_ms)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def supervisor(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Process, "made", [])
    monkeypatch.setattr(Process, "unstartable", 0)
    monkeypatch.setattr(module, "Worker", Process)
    monkeypatch.setattr(module, "RESPAWN_MS", (0,))
    config = Config(
        project=tmp_path, file=tmp_path / "wfctl.toml", state=tmp_path, socket=tmp_path / "s", workers=2, crash_limit=5,
        durability="full", modules=MODULES, path=(), python=Path("python"), reload=False, sources={},
    )  # fmt: skip
    supervisor = Supervisor(config, clock)
    supervisor.listen(Listening())
    yield supervisor
    await supervisor.stop()


async def served(supervisor: Supervisor, generation: int, source: str, **modules: list[str]) -> None:
    """The generation loads: the first worker from disk, the others what that has read."""
    await turns()
    of(generation)[0].loaded(source, **modules)
    await turns()
    for worker in of(generation)[1:]:
        worker.loaded(source, **modules)
    await turns()


async def serving(supervisor: Supervisor, source: str = "one", **modules: list[str]) -> None:
    """Generation 1 serves `Order` of flows.py and `Bill` of bills.py."""
    starting = asyncio.ensure_future(supervisor.start())
    await served(supervisor, 1, source, **(modules or BOTH))
    await starting
    assert taking(supervisor) == [1, 1]


BOTH = {"flows": ["Order"], "bills": ["Bill"]}


async def test_only_one_worker_imports_what_is_on_trial_and_the_others_get_what_it_read(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    assert [bool(worker.told.code) for worker in of(1)] == [False, True]
    assert of(1)[1].told.code == channel.Code({"flows.py": b"one"}, {"flows": "flows.py"})


async def test_a_worker_that_takes_the_place_of_one_that_died_runs_the_same_code(supervisor: Supervisor) -> None:
    await serving(supervisor)
    of(1)[0].end("signal SIGSEGV")
    await turns()
    late = next(worker for worker in of(1) if not worker.ready)
    assert late.told.code == channel.Code({"flows.py": b"one"}, {"flows": "flows.py"})
    late.loaded("one", **BOTH)
    assert taking(supervisor) == [1, 1]


async def test_a_worker_that_has_ended_gets_no_more_steps(supervisor: Supervisor) -> None:
    await serving(supervisor)
    dead = of(1)[0]
    dead.end("signal SIGSEGV")
    await turns()
    assert dead.ready
    assert not dead.leaving
    assert taking(supervisor) == [1]


async def test_a_worker_that_does_not_answer_gets_no_more_steps_and_is_asked_only_where_no_other_is(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    one, other = of(1)
    one.blocked_at = 5
    assert taking(supervisor) == [1]
    assert supervisor._taking("Order", blocked=True) == [other]
    other.blocked_at = 6
    assert taking(supervisor) == []
    assert supervisor._taking("Order", blocked=True) == [one, other]


async def test_new_code_takes_over_when_it_has_loaded(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await served(supervisor, 2, "two", flows=["Order", "Parcel"], bills=["Bill"])
    assert (await asked).fates == {"Order": "new version", "Bill": "new version", "Parcel": "new"}
    assert taking(supervisor) == taking(supervisor, "Parcel") == [2, 2]
    assert of(1) == []


async def test_a_type_whose_files_are_the_same_is_unchanged_in_new_code(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await served(supervisor, 2, "one", **BOTH)
    assert set((await asked).fates.values()) == {"unchanged"}


async def test_a_slow_first_generation_does_not_put_an_end_to_the_trial_of_the_second(supervisor: Supervisor) -> None:
    await supervisor.start(wait_ms=1)
    supervisor.reload()
    await served(supervisor, 1, "one", **BOTH)
    assert taking(supervisor) == [1, 1]
    await served(supervisor, 2, "two", **BOTH)
    assert supervisor.catalog.generation == 2
    assert taking(supervisor) == [2, 2]


async def test_code_whose_worker_cannot_be_started_does_not_end_reloading_for_ever(supervisor: Supervisor) -> None:
    await serving(supervisor)
    Process.unstartable = 1
    asked = supervisor.reload()
    await turns()
    assert taking(supervisor) == [1, 1]
    assert "cannot start a worker" in (await asked).catalog.problems[0].message
    supervisor.reload()
    await served(supervisor, 3, "three", **BOTH)
    assert supervisor.catalog.source_hash == "three"
    assert supervisor.catalog.problems == ()
    assert len(taking(supervisor)) == 2


async def test_nothing_that_serves_is_tried_again_until_something_does(supervisor: Supervisor) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    await turns()
    of(1)[0].end("exit code 3")
    await starting
    assert "exit code 3" in supervisor.catalog.problems[0].message
    asked = supervisor.reload()
    await turns()
    of(1)[0].end("exit code 4")
    await turns()
    assert "exit code 4" in supervisor.catalog.problems[0].message
    await served(supervisor, 2, "one", **BOTH)
    assert len(taking(supervisor)) == 2
    assert (await asked).catalog.problems == ()


async def test_a_worker_that_is_started_again_late_does_not_serve_beside_newer_code(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serving(supervisor)
    started, Process.start = Process.start, slow_start  # type: ignore[method-assign]
    try:
        of(1)[0].end("signal SIGSEGV")
        await turns()
    finally:
        Process.start = started  # type: ignore[method-assign]
    supervisor.reload()
    await served(supervisor, 2, "two", **BOTH)
    go_on.set()
    await turns()
    go_on.clear()
    for worker in of(1):
        worker.loaded("one", **BOTH)
    assert taking(supervisor) == [2, 2]
    await turns()
    assert of(1) == []


go_on = asyncio.Event()


async def slow_start(self: Process) -> None:
    await go_on.wait()
    Process.made.append(self)


async def test_a_module_that_does_not_load_keeps_its_types_while_the_others_are_reloaded(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", flows=["Order"])
    await turns()
    of(2)[1].loaded("two", problem="SyntaxError", flows=["Order"])
    assert (await asked).fates == {"Order": "new version", "Bill": "broken"}
    assert taking(supervisor, "Order") == [2, 2]
    assert taking(supervisor, "Bill") == [1, 1]
    assert [problem.module for problem in supervisor.catalog.problems] == ["bills.py"]
    supervisor.reload()
    await served(supervisor, 3, "three", **BOTH)
    assert taking(supervisor, "Order") == taking(supervisor, "Bill") == [3, 3]
    assert of(1) == of(2) == []


async def test_code_in_which_everything_is_broken_changes_nothing_but_what_is_told(supervisor: Supervisor) -> None:
    await serving(supervisor)
    supervisor.reload()
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", none=[])
    await turns()
    assert taking(supervisor, "Order") == taking(supervisor, "Bill") == [1, 1]
    assert supervisor.catalog.generation == 1
    assert {problem.module for problem in supervisor.catalog.problems} == set(MODULES)
    assert of(2) == []


async def test_a_type_that_its_module_no_longer_has_is_served_no_more(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await served(supervisor, 2, "two", flows=[], bills=["Bill"])
    assert (await asked).fates == {"Order": "removed", "Bill": "new version"}
    assert "Order" not in supervisor.catalog.types


async def test_a_module_that_has_handlers_of_anothers_type_keeps_that_type_when_it_breaks(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor, flows=["Order"], bills=["Order"])
    supervisor.reload()
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", flows=["Order"])
    await turns()
    assert taking(supervisor) == [1, 1]


async def test_a_worker_that_loads_less_than_its_generation_gets_no_steps(supervisor: Supervisor) -> None:
    await serving(supervisor)
    of(1)[0].end("signal SIGSEGV")
    await turns()
    late = next(worker for worker in of(1) if not worker.ready)
    late.loaded("one", problem="ConnectionError: the database is down", bills=["Bill"])
    assert taking(supervisor) == [1]
    await turns()
    next(worker for worker in of(1) if not worker.ready).loaded("one", **BOTH)
    assert taking(supervisor) == [1, 1]
    assert supervisor.catalog.generation == 1


async def test_several_reloads_in_a_row_end_with_the_last(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = [supervisor.reload() for _ in range(3)]
    await served(supervisor, 2, "two", **BOTH)
    await served(supervisor, 3, "three", flows=["Order", "Payment"], bills=["Bill"])
    assert sorted(supervisor.catalog.types) == ["Bill", "Order", "Payment"]
    assert taking(supervisor) == [3, 3]
    assert of(2) == of(4) == []
    assert [(await one).catalog.generation for one in asked] == [2, 3, 3]


async def test_an_import_that_does_not_end_is_given_up_for_newer_code(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    first = supervisor.reload()
    await turns()
    endless = of(2)[0]
    clock.advance(OUTDATED_MS + 1)
    assert supervisor.loading_ms > OUTDATED_MS
    second = supervisor.reload()
    await served(supervisor, 3, "three", **BOTH)
    assert not endless.alive
    assert (await first).catalog.generation == (await second).catalog.generation == 3
    assert supervisor.loading_ms == 0


async def test_an_import_that_does_not_end_leaves_the_old_code_in_use(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await turns()
    clock.advance(LOAD_MS)
    await turns()
    assert "took longer" in (await asked).catalog.problems[0].message
    assert taking(supervisor) == [1, 1]


def imports(worker: Process, entry: str, file: str = "") -> None:
    worker.received(worker, [channel.Importing(entry, file)])


async def test_a_module_that_ends_its_worker_is_named_and_the_others_are_loaded_without_it(
    supervisor: Supervisor,
) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    await turns()
    first = of(1)[0]
    imports(first, "bills.py", "helper.py")
    first.last_words = ["bye"]
    first.end("exit code 3")
    await turns()
    assert of(1)[0].told.modules == ["flows.py"]
    await served(supervisor, 1, "one", flows=["Order"])
    await starting
    assert taking(supervisor) == [1, 1]
    assert [worker.told.modules for worker in of(1)] == [["flows.py"], ["flows.py"]]
    (problem,) = supervisor.catalog.problems
    assert (problem.module, problem.file) == ("bills.py", "helper.py")
    assert problem.message == "ended the process (exit code 3) while it was imported; it last said: bye"
    supervisor.reload()
    await turns()
    assert of(2)[0].told.modules == ["flows.py", "bills.py"]
    await served(supervisor, 2, "two", **BOTH)
    assert taking(supervisor, "Bill") == [2, 2]
    assert supervisor.catalog.problems == ()


async def test_a_module_that_ends_its_worker_keeps_its_types_while_the_others_are_reloaded(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await turns()
    imports(of(2)[0], "bills.py")
    of(2)[0].end("signal SIGSEGV")
    await served(supervisor, 2, "two", flows=["Order"])
    assert (await asked).fates == {"Order": "new version", "Bill": "broken"}
    assert taking(supervisor, "Order") == [2, 2]
    assert taking(supervisor, "Bill") == [1, 1]


async def test_every_module_that_ends_its_worker_is_given_up_and_none_is_tried_twice(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    for entry in MODULES:
        await turns()
        imports(of(2)[0], entry)
        of(2)[0].end("exit code 3")
    await turns()
    assert of(2)[0].told.modules == []
    of(2)[0].loaded("two", none=[])
    assert [problem.module for problem in (await asked).catalog.problems] == list(MODULES)
    assert taking(supervisor, "Order") == taking(supervisor, "Bill") == [1, 1]


async def test_a_worker_that_is_killed_while_it_imports_says_nothing_of_the_module_until_it_happens_again(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    supervisor.reload()
    for _ in range(TRIES):
        await turns()
        assert of(2)[0].told.modules == list(MODULES)
        imports(of(2)[0], "bills.py")
        of(2)[0].end("signal SIGKILL")
    await turns()
    assert of(2)[0].told.modules == ["flows.py"]


async def test_a_module_whose_import_does_not_end_is_named_and_each_has_its_own_time(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    starting = asyncio.ensure_future(supervisor.start(wait_ms=500))
    await turns()
    first = of(1)[0]
    imports(first, "flows.py")
    await starting
    (problem,) = supervisor.catalog.problems
    assert (problem.module, problem.message) == ("flows.py", "has not been imported after 0.5 s")
    clock.advance(APART_MS - 1)
    imports(first, "bills.py", "helper.py")
    clock.advance(LOAD_MS - 1)
    assert first.alive
    await served(supervisor, 2, "one", flows=["Order"])
    assert [(one.module, one.file, one.message) for one in supervisor.catalog.problems] == [
        ("bills.py", "helper.py", "is still being imported; the others are served without it")
    ]
    clock.advance(1)
    await turns()
    assert not first.alive
    assert taking(supervisor) == [2, 2]
    (problem,) = supervisor.catalog.problems
    assert (problem.module, problem.file) == ("bills.py", "helper.py")
    assert problem.message == f"has not been imported after {LOAD_MS // 1_000} s"


async def test_a_step_given_before_a_reload_ends_where_it_began(supervisor: Supervisor) -> None:
    await serving(supervisor)
    supervisor.run(order(7))
    owner = next(worker for worker in of(1) if 7 in worker.steps)
    supervisor.reload()
    await served(supervisor, 2, "two", **BOTH)
    assert owner.leaving
    owner.received(owner, [channel.StepDone(7, "complete")])
    assert owner.steps == set()


async def test_a_step_without_a_timeout_is_moved_to_the_new_code_in_the_end(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    lost: list[Any] = []
    supervisor._listener.lost = lambda *args: lost.append(args)  # type: ignore[union-attr, method-assign]
    supervisor.run(order(7))
    supervisor.run(order(8, timeout_ms=86_400_000))
    owner, other = (next(worker for worker in of(1) if token in worker.steps) for token in (7, 8))
    owner.keep = other.keep = True
    supervisor.reload()
    await served(supervisor, 2, "two", **BOTH)
    clock.advance(leaving.LEAVE_MS)
    assert isinstance(owner.sent[-1], channel.AbandonStep)
    owner.received(owner, [channel.Op(7, 1, "now:1", "now", "", b"{}")])
    assert lost == []
    owner.received(owner, [channel.StepGone(7)])
    assert lost == [([7], "its code was replaced", False)]
    assert 8 in other.steps


async def test_workers_of_old_code_do_not_pile_up(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "MOST_LEAVING", 2)
    await serving(supervisor)
    busy = []
    for generation in range(1, 6):
        supervisor.run(order(generation, timeout_ms=86_400_000))
        worker = next(worker for worker in of(generation) if worker.steps)
        worker.keep = True
        busy.append(worker)
        supervisor.reload()
        await served(supervisor, generation + 1, f"code {generation}", **BOTH)
    told = [any(isinstance(message, channel.AbandonStep) for message in worker.sent) for worker in busy]
    assert told == [True, True, True, False, False]


async def test_that_nothing_can_be_loaded_is_told_to_who_listens(supervisor: Supervisor) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    await turns()
    of(1)[0].end("exit code 3")
    await starting
    listening = supervisor._listener
    assert isinstance(listening, Listening)
    assert "exit code 3" in listening.catalogs[-1].problems[0].message


async def test_a_worker_of_old_code_that_does_nothing_and_does_not_leave_is_ended(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    blocked, busy = of(1)
    blocked.keep = busy.keep = True
    busy.steps.add(7)
    supervisor.reload()
    await served(supervisor, 2, "two", **BOTH)
    assert of(1) == [blocked, busy]
    clock.advance(2 * leaving.IDLE_MS)
    await turns()
    assert of(1) == [busy]
    busy.steps.clear()
    clock.advance(2 * leaving.IDLE_MS)
    await turns()
    assert of(1) == []


async def test_who_asks_for_new_code_of_a_supervisor_that_stops_is_told(supervisor: Supervisor) -> None:
    await serving(supervisor)
    await supervisor.stop()
    with pytest.raises(DaemonDownError):
        await asyncio.wait_for(supervisor.reload(), 5)


async def test_a_spare_worker_that_ends_is_not_started_again_and_again(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    supervisor._config = msgspec.structs.replace(supervisor._config, reload=True)
    await serving(supervisor)
    for _ in range(5):
        clock.advance(AFTER_MS)
        await turns()
        for spare in of(0):
            spare.end("exit code 1")
        await turns()
    assert len([one for one in Process.made if one.generation == 0]) == 1


async def test_a_worker_that_somebody_kills_while_it_imports_says_nothing_about_the_code(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    await turns()
    of(2)[0].end("signal SIGKILL")
    await turns()
    await served(supervisor, 2, "two", **BOTH)
    assert (await asked).fates["Order"] == "new version"
    assert supervisor.catalog.problems == ()


async def test_a_worker_that_is_killed_whenever_it_imports_is_told_of(supervisor: Supervisor) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    for _ in range(TRIES):
        await turns()
        of(2)[0].end("signal SIGKILL")
    assert (await asked).fates == {"Order": "broken", "Bill": "broken"}
    assert "signal SIGKILL" in supervisor.catalog.problems[0].message


async def test_a_limit_of_a_type_that_there_is_not_is_told_with_its_place(supervisor: Supervisor) -> None:
    await serving(supervisor)
    config = msgspec.structs.replace(supervisor._config, limits={"Ordr": 5, "Bill": 1}, limit_lines={"Ordr": 7})
    supervisor.reload(config)
    assert supervisor.demand("Bill").limit == 1  # whatever comes of the code
    await served(supervisor, 2, "two", **BOTH)
    (problem,) = supervisor.catalog.problems
    assert (problem.file, problem.line) == ("wfctl.toml", 7)
    assert "'Ordr', which is not loaded; did you mean 'Order'?" in problem.message
    assert taking(supervisor) == [2, 2]


# -- code that is the same as before -------------------------------------------------------------


async def saved(supervisor: Supervisor, *files: str, config: Config | None = None) -> asyncio.Future[Any]:
    """Reload as when these have come to be other files."""
    asked = supervisor.reload(config, saved=frozenset(files))
    await turns()
    return asked


async def test_code_that_is_the_same_as_before_leaves_the_workers_what_they_are(supervisor: Supervisor) -> None:
    await serving(supervisor)
    workers = of(1)
    asked = await saved(supervisor, "flows.py")
    of(2)[0].loaded("one", **BOTH)
    await turns()
    assert (await asked).fates == {"Order": "unchanged", "Bill": "unchanged"}
    assert supervisor.catalog.generation == 1
    assert of(1) == workers
    assert taking(supervisor) == [1, 1]
    assert of(2) == []


async def test_what_is_wrong_with_a_module_that_has_no_part_is_told_though_the_workers_stay(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor, flows=["Order"])
    for wrong in ("SyntaxError", ""):
        await saved(supervisor)  # it had not been there before
        of(supervisor._trials.number)[0].loaded("one", problem=wrong, flows=["Order"])
        await turns()
        assert [one.message for one in supervisor.catalog.problems] == [wrong] * bool(wrong)
    assert taking(supervisor) == [1, 1]


@pytest.mark.parametrize("files", [["flows.py", "lazy.py"], None], ids=["of which who knows who reads it", "by hand"])
async def test_the_same_code_takes_over_where_what_it_does_may_be_something_else(
    supervisor: Supervisor, files: list[str] | None
) -> None:
    """A handler may import when it runs, and somebody who asks by hand may have installed another library."""
    await serving(supervisor)
    asked = supervisor.reload(saved=None if files is None else frozenset(files))
    await served(supervisor, 2, "one", **BOTH)
    assert set((await asked).fates.values()) == {"unchanged"}
    assert taking(supervisor) == [2, 2]


@pytest.mark.parametrize("then", ["other code", "by hand", "other modules"])
async def test_a_step_may_take_its_time_until_other_code_than_its_own_takes_over(
    supervisor: Supervisor, clock: ManualClock, then: str
) -> None:
    await serving(supervisor)
    supervisor.run(order(7))
    [owner] = [worker for worker in of(1) if 7 in worker.steps]
    owner.keep = True
    for number in (2, 3):
        await saved(supervisor, "unrelated.py")
        await served(supervisor, number, "one", **BOTH)
        assert owner.leaving
        clock.advance(leaving.LEAVE_MS)
    assert owner.steps == {7}
    assert isinstance(owner.sent[-1], channel.Stop)
    config = supervisor._config
    if then == "by hand":
        supervisor.reload()
    elif then == "other modules":
        config = msgspec.structs.replace(config, modules=(*config.modules, "more.py"))
        await saved(supervisor, str(config.file), config=config)
    else:
        await saved(supervisor, "flows.py")
    await served(supervisor, 4, "two" if then == "other code" else "one", **BOTH)
    clock.advance(leaving.LEAVE_MS - 1)
    assert isinstance(owner.sent[-1], channel.Stop)
    clock.advance(1)
    assert isinstance(owner.sent[-1], channel.AbandonStep)


async def test_a_broken_save_limits_nothing_of_a_step_whose_code_still_serves(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    supervisor.run(order(7))
    [owner] = [worker for worker in of(1) if 7 in worker.steps]
    owner.keep = True
    await saved(supervisor, "unrelated.py")
    await served(supervisor, 2, "one", **BOTH)
    await saved(supervisor, "flows.py")
    of(3)[0].loaded("three", problem="SyntaxError", none=[])
    await turns()
    clock.advance(leaving.LEAVE_MS)
    assert isinstance(owner.sent[-1], channel.Stop)


async def test_what_was_saved_while_nothing_could_be_loaded_counts_when_it_can(supervisor: Supervisor) -> None:
    await serving(supervisor)
    await saved(supervisor, "lazy.py")
    of(2)[0].loaded("two", problem="SyntaxError", none=[])
    await turns()
    await saved(supervisor, "flows.py")
    await served(supervisor, 3, "one", **BOTH)
    assert taking(supervisor) == [3, 3]


async def test_the_same_code_takes_over_with_another_number_of_workers_and_not_with_another_limit(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    limited = msgspec.structs.replace(supervisor._config, limits={"Order": 1})
    await saved(supervisor, str(limited.file), config=limited)
    of(2)[0].loaded("one", **BOTH)
    await turns()
    assert taking(supervisor) == [1, 1]
    assert supervisor.demand("Order").limit == 1
    await saved(supervisor, str(limited.file), config=msgspec.structs.replace(limited, workers=3))
    await served(supervisor, 3, "one", **BOTH)
    assert taking(supervisor) == [3, 3, 3]


# -- what no module defines any more while one is broken ------------------------------------------


@pytest.mark.parametrize("entry", ["flows/bills.py", "./bills.py"])
async def test_a_type_whose_module_is_listed_by_another_name_and_broken_is_kept_until_that_loads(
    supervisor: Supervisor, entry: str
) -> None:
    await serving(supervisor)
    renamed = msgspec.structs.replace(supervisor._config, modules=("flows.py", entry))
    asked = supervisor.reload(renamed)
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", broken=entry, flows=["Order"])
    await turns()
    assert (await asked).fates == {"Order": "new version", "Bill": "broken"}
    assert taking(supervisor, "Bill") == [1, 1]
    asked = supervisor.reload()
    await served(supervisor, 3, "three", flows=["Order"])
    assert (await asked).fates == {"Order": "new version", "Bill": "removed"}


async def test_a_type_that_was_moved_to_a_module_that_is_broken_is_kept(supervisor: Supervisor) -> None:
    await serving(supervisor, flows=["Order", "Parcel"], bills=["Bill"])
    asked = supervisor.reload()
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", flows=["Order"])
    await turns()
    assert (await asked).fates == {"Order": "new version", "Parcel": "broken", "Bill": "broken"}
    assert taking(supervisor, "Parcel") == [1, 1]


async def test_a_type_some_handlers_of_which_are_in_a_module_that_is_listed_by_another_name_and_broken_is_kept(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor, flows=["Order"], bills=["Order"])
    paid = HandlerSpec("event", "paid", "paid")
    owner = supervisor.catalog.owner_of("Order")
    owner.types["Order"] = msgspec.structs.replace(
        owner.types["Order"], handlers=(*owner.types["Order"].handlers, paid)
    )
    renamed = msgspec.structs.replace(supervisor._config, modules=("flows.py", "./bills.py"))
    asked = supervisor.reload(renamed)
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", broken="./bills.py", flows=["Order"])
    await turns()
    assert (await asked).fates == {"Order": "broken"}


async def test_a_type_whose_module_is_listed_by_another_name_is_taken_over_while_another_is_broken(
    supervisor: Supervisor,
) -> None:
    await serving(supervisor)
    renamed = msgspec.structs.replace(supervisor._config, modules=("moved.py", "bills.py"))
    asked = supervisor.reload(renamed)
    await turns()
    of(2)[0].loaded("two", problem="SyntaxError", moved=["Order"])
    await turns()
    assert (await asked).fates == {"Order": "new version", "Bill": "broken"}


async def test_a_module_that_ended_its_worker_is_tried_again_though_nothing_is_saved_and_its_file_is_watched(
    supervisor: Supervisor, clock: ManualClock, tmp_path: Path
) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    await turns()
    imports(of(1)[0], "bills.py", "../lib/bills.py")
    of(1)[0].end("exit code 3")
    await turns()
    await served(supervisor, 1, "one", flows=["Order"])
    await starting
    assert str(tmp_path.parent / "lib" / "bills.py") in supervisor.files
    clock.advance(RETRY_MS - 1)
    await turns()
    assert of(2) == []
    clock.advance(1)
    await turns()
    assert of(2)[0].told.modules == ["flows.py", "bills.py"]
    await served(supervisor, 2, "two", **BOTH)
    assert supervisor.catalog.problems == ()
    clock.advance(10 * RETRY_MS)
    await turns()
    assert of(3) == []


# -- modules whose import takes its time -----------------------------------------------------------

UNFINISHED = "is still being imported; the others are served without it"
ENDLESS = f"has not been imported after {LOAD_MS // 1_000} s"


async def takes_its_time(clock: ManualClock, generation: int, entry: str = "bills.py") -> Process:
    """The worker that imports this generation, which the others do not wait for any more."""
    await turns()
    worker = of(generation)[0]
    imports(worker, entry)
    clock.advance(APART_MS)
    await turns()
    return worker


def told(supervisor: Supervisor) -> dict[str, str]:
    return {one.module: one.message for one in supervisor.catalog.problems}


async def test_the_others_are_served_while_a_module_takes_its_time_and_all_is_when_it_is_imported(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    slow = await takes_its_time(clock, 1)
    assert of(2)[0].told.modules == ["flows.py"]
    await served(supervisor, 2, "one", flows=["Order"])
    await starting
    assert taking(supervisor) == [2, 2]
    assert told(supervisor) == {"bills.py": UNFINISHED}
    assert supervisor.loading_ms == APART_MS
    slow.loaded("one", **BOTH)
    await served(supervisor, 3, "one", **BOTH)
    assert taking(supervisor) == taking(supervisor, "Bill") == [3, 3]
    assert (told(supervisor), supervisor.loading_ms, of(2)) == ({}, 0, [])
    clock.advance(10 * RETRY_MS)
    await turns()
    assert supervisor._trials.number == 3


async def test_who_asked_for_new_code_hears_of_all_of_it_and_of_what_became_of_the_others_before(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    slow = await takes_its_time(clock, 2)
    await served(supervisor, 3, "two", flows=["Order"])
    assert (taking(supervisor), taking(supervisor, "Bill")) == ([3, 3], [1, 1])
    assert not asked.done()
    slow.loaded("two", **BOTH)
    await served(supervisor, 4, "two", **BOTH)
    assert (await asked).fates == {"Order": "new version", "Bill": "new version"}
    assert taking(supervisor) == taking(supervisor, "Bill") == [4, 4]
    assert of(1) == of(3) == []


async def test_what_takes_its_time_and_fails_in_the_end_leaves_the_others_and_is_tried_again(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    asked = supervisor.reload()
    slow = await takes_its_time(clock, 2)
    await served(supervisor, 3, "two", flows=["Order"])
    clock.advance(LOAD_MS - APART_MS)
    await turns()
    assert not slow.alive
    done = await asked
    assert done.fates == {"Order": "new version", "Bill": "broken"}
    assert [one.message for one in done.catalog.problems] == [ENDLESS]
    assert (taking(supervisor), taking(supervisor, "Bill")) == ([3, 3], [1, 1])
    clock.advance(RETRY_MS)
    await turns()
    assert [one.told.modules for one in of(4) + of(5)] == [list(MODULES), ["flows.py"]], "nobody waits for it again"
    of(4)[0].loaded("two", **BOTH)
    await turns()
    assert told(supervisor) == {}
    supervisor.reload()
    await turns()
    assert of(7)[0].told.modules == list(MODULES)
    assert of(8) == [], "it is as quick as the others now"


async def test_code_that_is_saved_while_a_module_takes_its_time_is_loaded_at_once(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    await serving(supervisor)
    first = supervisor.reload()
    slow = await takes_its_time(clock, 2)
    await served(supervisor, 3, "two", flows=["Order"])
    second = supervisor.reload()
    await turns()
    assert not slow.alive
    await served(supervisor, 5, "three", flows=["Order"])
    assert taking(supervisor) == [5, 5]
    assert not first.done()
    of(4)[0].loaded("three", **BOTH)
    await turns()
    assert (await first).catalog.generation == (await second).catalog.generation == 6


async def test_every_module_that_takes_its_time_is_set_apart_and_ends_for_itself(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    supervisor._config = msgspec.structs.replace(supervisor._config, modules=(*MODULES, "more.py"))
    starting = asyncio.ensure_future(supervisor.start())
    first = await takes_its_time(clock, 1, "bills.py")
    second = await takes_its_time(clock, 2, "more.py")
    await served(supervisor, 3, "one", flows=["Order"])
    await starting
    assert told(supervisor) == {"bills.py": UNFINISHED, "more.py": UNFINISHED}
    first.end("exit code 3")
    await turns()
    assert told(supervisor)["bills.py"].startswith("ended the process (exit code 3)")
    assert second.alive
    second.loaded("one", flows=["Order"], more=["Parcel"])
    await served(supervisor, 4, "one", flows=["Order"], more=["Parcel"])
    assert taking(supervisor) == taking(supervisor, "Parcel") == [4, 4]
    assert list(told(supervisor)) == ["bills.py"]


async def test_what_is_set_apart_goes_on_without_another_module_that_ends_it(
    supervisor: Supervisor, clock: ManualClock
) -> None:
    starting = asyncio.ensure_future(supervisor.start())
    slow = await takes_its_time(clock, 1, "flows.py")
    imports(slow, "bills.py")
    slow.end("exit code 3")
    imports(of(2)[0], "bills.py")
    of(2)[0].end("exit code 3")
    await turns()
    assert of(1)[0].told.modules == ["flows.py"]
    await served(supervisor, 2, "one", none=[])
    await starting
    of(1)[0].loaded("one", flows=["Order"])
    await served(supervisor, 3, "one", flows=["Order"])
    assert taking(supervisor) == [3, 3]
    assert [name for name, said in told(supervisor).items()] == ["bills.py"]


async def test_a_module_that_is_alone_is_waited_for(supervisor: Supervisor, clock: ManualClock) -> None:
    supervisor._config = msgspec.structs.replace(supervisor._config, modules=("flows.py",))
    starting = asyncio.ensure_future(supervisor.start())
    slow = await takes_its_time(clock, 1, "flows.py")
    clock.advance(LOAD_MS - APART_MS - 1)
    await turns()
    assert len(Process.made) == 1
    slow.loaded("one", flows=["Order"])
    await starting
    assert taking(supervisor) == [1]
