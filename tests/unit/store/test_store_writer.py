"""The writer: order, group commit, what a failed commit does, and how it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.rows import Ledger, check, commit, contents, join
from support.waiting import until
from wfctl.errors import StorageError
from wfd.store import writer as writing
from wfd.store.rows import CHANGES, InboxRow, LogRow, Unit, changed
from wfd.store.store import Store, open_store
from wfd.store.writer import Writer


class Gate:
    """Holds commits back until it is opened; fails those it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen: list[int] = []
        self.error: Exception | None = None

    def __call__(self, number: int) -> None:
        self.seen.append(number)
        assert self.open.wait(30)
        if self.error is not None:
            raise self.error


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def gated(path: Path, gate: Gate) -> AsyncIterator[Store]:
    """A store whose commits the gate holds back."""
    store = await open_store(path, before_commit=gate)
    yield store
    gate.open.set()
    await store.stop()


async def test_a_unit_is_on_disk_when_it_is_answered(store: Store, ledger: Ledger, path: Path) -> None:
    await commit(store.writer, ledger.start("o-1"))
    rows = contents(path)
    assert [row[2] for row in rows["runs"]] == ["o-1"]
    assert [row[4] for row in rows["history"]] == ["run.started", "step.started"]


async def test_units_are_answered_in_the_order_they_were_submitted(store: Store, ledger: Ledger) -> None:
    answered: list[int] = []
    for number in range(300):
        unit = ledger.start(f"o-{number}")
        store.writer.submit(unit, lambda error, number=number: answered.append(number))  # type: ignore[misc]
        if number % 50 == 0:
            await asyncio.sleep(0)
    await store.writer.flush()
    assert answered == list(range(300))


async def test_what_waits_when_a_commit_ends_goes_into_the_next(gated: Store, gate: Gate, ledger: Ledger) -> None:
    first = asyncio.ensure_future(commit(gated.writer, ledger.start("o-0")))
    await until(lambda: gate.seen)
    rest = asyncio.ensure_future(commit(gated.writer, *(ledger.start(f"o-{n}") for n in range(1, 100))))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, rest)
    assert gated.writer.stats.commits == 2
    assert gated.writer.stats.units == 100
    assert gated.writer.stats.last_batch == 99


async def test_a_batch_has_a_bound_in_units_and_in_bytes(
    gated: Store, gate: Gate, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_UNITS", 10)
    monkeypatch.setattr(writing, "MAX_BYTES", 50_000)
    first = asyncio.ensure_future(commit(gated.writer, ledger.start("o-0")))
    await until(lambda: gate.seen)
    small = [ledger.start(f"o-{n}") for n in range(1, 25)]
    large = [ledger.change(1, ("step.completed", {}), store={"k": "x" * 40_000}) for _ in range(4)]
    rest = asyncio.ensure_future(commit(gated.writer, *small, *large))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, rest)
    # 1, then 10, 10, 4 small and 2 large, 2 large
    assert gated.writer.stats.commits == 5


async def test_flush_returns_when_everything_submitted_is_on_disk(store: Store, ledger: Ledger, path: Path) -> None:
    for number in range(50):
        store.writer.submit(ledger.start(f"o-{number}"), lambda error: None)
    await store.writer.flush()
    assert len(contents(path)["runs"]) == 50


async def test_a_unit_with_nothing_in_it_costs_no_commit(store: Store) -> None:
    await commit(store.writer, Unit())
    assert store.writer.stats.commits == 0


async def test_a_callback_that_raises_does_not_keep_the_others_from_being_called(store: Store, ledger: Ledger) -> None:
    reported: list[Any] = []
    answered: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))

    def bad(error: BaseException | None) -> None:
        raise ZeroDivisionError("a bug of the engine")

    store.writer.submit(ledger.start("o-1"), bad)
    store.writer.submit(ledger.start("o-2"), lambda error: answered.append("o-2"))
    await store.writer.flush()
    assert answered == ["o-2"]
    assert [type(error) for error in reported] == [ZeroDivisionError]


async def test_stop_writes_what_is_on_its_way_and_twice_is_fine(path: Path, ledger: Ledger) -> None:
    store = await open_store(path)
    answers: list[BaseException | None] = []
    for number in range(20):
        store.writer.submit(ledger.start(f"o-{number}"), answers.append)
    await store.stop()
    await store.stop()
    assert answers == [None] * 20
    assert not path.with_name("wfctl.db-wal").exists()
    assert len(contents(path)["runs"]) == 20


async def test_a_unit_after_stop_is_answered_with_an_error(path: Path, ledger: Ledger) -> None:
    store = await open_store(path)
    await store.stop()
    with pytest.raises(StorageError, match="is closed"):
        await commit(store.writer, ledger.start("o-1"))


async def test_a_writer_that_was_stopped_starts_again(path: Path, ledger: Ledger) -> None:
    store = await open_store(path)
    await commit(store.writer, ledger.start("o-1"))
    await store.stop()
    await store.start()
    await commit(store.writer, ledger.close(1))
    await store.stop()
    assert contents(path)["runs"][0][9] == "completed"


# -- what is refused -------------------------------------------------------------------------------


async def test_a_change_decided_on_another_version_is_refused_and_nothing_of_its_batch_is_kept(
    store: Store, ledger: Ledger, path: Path
) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.start("o-2"))
    before = contents(path)
    good = ledger.change(2, ("step.completed", {}), store={"k": 1})
    stale = ledger.change(1, ("step.completed", {}))
    stale.runs_changed = [(1, 1, *stale.runs_changed[0][2:])]
    with pytest.raises(StorageError, match="not at the version"):
        await commit(store.writer, join(good, stale))
    assert contents(path) == before


async def test_a_chain_of_changes_with_a_gap_is_refused_within_one_batch(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    first = ledger.start("o-1")
    second = ledger.change(1, ("step.completed", {}))
    second.runs_changed = [(1, 7, *second.runs_changed[0][2:])]
    gate.open.set()
    with pytest.raises(StorageError, match="its change was decided at 7"):
        await commit(gated.writer, join(first, second))
    assert contents(path)["runs"] == []


async def test_an_event_that_is_not_in_the_inbox_cannot_be_handed_over(
    store: Store, ledger: Ledger, path: Path
) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.event(1))
    before = contents(path)
    with pytest.raises(StorageError, match="not in the inbox"):
        await commit(store.writer, ledger.take(1, 99))
    assert contents(path) == before


async def test_a_revision_never_appears_below_one_that_is_out(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, ledger.start("o-1"))
    with pytest.raises(StorageError, match="revision 1 comes after 2"):
        await commit(store.writer, Unit(logs=[LogRow(1, 1, 0, "INFO", "late")]))


@pytest.mark.parametrize("wrong", [3, 15, 20])
async def test_a_record_that_cannot_be_is_refused_wherever_it_stands_among_many(
    store: Store, ledger: Ledger, path: Path, wrong: int
) -> None:
    await commit(store.writer, ledger.start("o-1"))
    before = contents(path)
    many = [("task.started", {"n": number}) for number in range(20)]
    other, unit = ledger.start("o-2"), ledger.change(1, *many)
    rev, run, _, *rest = unit.history[wrong - 1]
    unit.history[wrong - 1] = rev, run, 1, *rest
    with pytest.raises(StorageError, match=r"history\.run, history\.seq"):
        await commit(store.writer, join(other, unit))
    assert contents(path) == before
    await store.writer.reset()
    again = Ledger()
    again.start("o-1")
    await commit(store.writer, again.change(1, *many))
    assert [row[2] for row in contents(path)["history"]] == list(range(1, 23))


@pytest.mark.parametrize("wrong", [0, 7, 9])
async def test_a_run_that_cannot_be_is_refused_wherever_it_stands_among_many_new_ones(
    store: Store, ledger: Ledger, path: Path, wrong: int
) -> None:
    await commit(store.writer, ledger.start("o-0"))
    before = contents(path)
    started = [ledger.start("o-0" if number == wrong else f"n-{number}") for number in range(10)]
    many = functools.reduce(join, started)
    with pytest.raises(StorageError, match="UNIQUE"):
        await commit(store.writer, many)
    assert contents(path) == before
    await store.writer.reset()
    await commit(store.writer, Ledger(rev=2).start("o-1", key=2))
    assert len(contents(path)["runs"]) == 2


@pytest.mark.parametrize("wrong", [0, 7, 9])
@pytest.mark.parametrize("what", ["event", "log line"])
async def test_an_event_or_log_line_that_cannot_be_is_refused_wherever_it_stands_among_many(
    store: Store, ledger: Ledger, path: Path, what: str, wrong: int
) -> None:
    await commit(store.writer, ledger.start("o-1"))
    before = contents(path)
    unit = functools.reduce(join, [*(ledger.event(1) for _ in range(10)), *(ledger.log(1, "line") for _ in range(10))])
    if what == "event":
        unit.inbox_add[wrong].seq = 0
    else:
        unit.logs[wrong].rev = unit.logs[wrong - 1].rev
    with pytest.raises(StorageError, match="constraint failed"):
        await commit(store.writer, unit)
    assert contents(path) == before
    await store.writer.reset()
    await commit(store.writer, Ledger(rev=2).start("o-2", key=2))
    assert len(contents(path)["runs"]) == 2


async def test_values_of_many_keys_are_put_in_one_commit_whether_they_are_new_or_not(
    store: Store, ledger: Ledger, path: Path
) -> None:
    done = ("step.completed", {})
    await commit(store.writer, ledger.start("o-1"))
    await commit(store.writer, ledger.change(1, done, store={f"k{number}": "old" for number in range(0, 20, 3)}))
    await commit(store.writer, ledger.change(1, done, store={f"k{number}": number for number in range(19)}))
    expected = {f"k{number}": str(number) for number in range(19)}
    assert {key: value for _, key, value in contents(path)["store"]} == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"result": "1"},
        {"error": "{}"},
        {"closed_at": 5},
        {"waiting_for": "[]"},
        {"status": "stuck"},
        {"status": "waiting", "result": "1"},
        {"status": "failed"},
        {"open_children": 1},
    ],
    ids=lambda fields: ",".join(f"{name}={value}" for name, value in fields.items()),
)
async def test_a_change_that_cannot_be_is_refused(
    store: Store, ledger: Ledger, path: Path, fields: dict[str, Any]
) -> None:
    await commit(store.writer, ledger.start("o-1"))
    before = contents(path)
    unit = ledger.change(1, ("step.completed", {}), **fields)
    unit.totals.clear()
    with pytest.raises(StorageError, match="CHECK constraint"):
        await commit(store.writer, unit)
    assert contents(path) == before


async def test_what_went_wrong_with_a_run_is_gone_when_it_runs_on(store: Store, ledger: Ledger, path: Path) -> None:
    await commit(store.writer, ledger.start("o-1"))
    await commit(store.writer, ledger.change(1, ("run.stuck", {}), status="stuck", reason="no handler"))
    await commit(store.writer, ledger.change(1, ("run.cancel_requested", {}), status="running", reason="no use"))
    await commit(store.writer, ledger.change(1, ("step.completed", {}), reason=None))
    assert ledger.runs[1].reason is None
    (row,) = contents(path)["runs"]
    assert "no use" not in row


async def test_a_second_open_run_of_a_workflow_id_is_refused(store: Store, ledger: Ledger, path: Path) -> None:
    await commit(store.writer, ledger.start("o-1"))
    with pytest.raises(StorageError, match="UNIQUE"):
        await commit(store.writer, ledger.start("o-1"))
    assert len(contents(path)["runs"]) == 1


async def test_a_workflow_id_may_close_and_open_again_in_one_batch(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    first = asyncio.ensure_future(commit(gated.writer, ledger.start("o-1")))
    await until(lambda: gate.seen)
    again = asyncio.ensure_future(
        commit(gated.writer, ledger.close(1), ledger.start("o-1"), ledger.close(2), ledger.start("o-1"))
    )
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, again)
    assert [row[9] for row in contents(path)["runs"]] == ["completed", "completed", "running"]


async def test_an_older_run_may_take_its_workflow_id_back_in_the_batch_that_frees_it(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    first = asyncio.ensure_future(
        commit(gated.writer, ledger.start("o-1"), ledger.close(1, "failed", ("Boom", "")), ledger.start("o-1"))
    )
    await until(lambda: gate.seen)
    late = ledger.change(1, ("child.closed", {"run_id": "x"}))
    again = asyncio.ensure_future(
        commit(
            gated.writer, late, ledger.close(2, "failed", ("Boom", "")), ledger.reopen(1),
            ledger.close(1, "failed", ("Boom", "")), ledger.reopen(2), ledger.close(2), ledger.reopen(1),
        )
    )  # fmt: skip
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, again)
    assert [row[9] for row in contents(path)["runs"]] == ["running", "completed"]


async def test_an_event_that_is_handed_over_and_comes_back_in_one_batch_stays(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    first = asyncio.ensure_future(commit(gated.writer, ledger.start("o-1"), ledger.event(1)))
    await until(lambda: gate.seen)
    before = ledger.runs[1].seq
    taken, failed, back = ledger.take(1, before), ledger.close(1, "failed", ("Boom", "")), ledger.reopen(1)
    back.inbox_add.append(InboxRow(1, before, ledger.now, "paid"))
    again = asyncio.ensure_future(commit(gated.writer, taken, failed, back))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, again)
    assert [row[1] for row in contents(path)["inbox"]] == [before]


async def test_text_is_stored_as_it_is_whatever_characters_it_has(store: Store, ledger: Ledger) -> None:
    odd = 'quote " back\\slash \\u0000 tab\t line\n \x1f \u2028 é 😀 \uffff'
    unit = ledger.start("o-1")
    unit.store[1, odd] = '"\\u0000 stays an escape"'
    await commit(store.writer, unit)
    loaded = await store.reader.load_run(1)
    assert loaded is not None
    assert loaded.store == {odd: '"\\u0000 stays an escape"'}


async def test_a_nul_in_a_log_line_is_shown_and_does_not_end_the_line(store: Store, ledger: Ledger, path: Path) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.log(1, "before\0after"))
    assert contents(path)["logs"][0][4] == "before␀after"


# -- failure and return ----------------------------------------------------------------------------


async def test_after_a_failed_commit_everything_gets_the_error_in_order_and_nothing_is_written(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    gate.open.set()
    await commit(gated.writer, ledger.start("o-1"))
    before = contents(path)
    gate.open.clear()
    gate.error = OSError(28, "No space left on device")
    answers: list[tuple[str, BaseException | None]] = []
    for name in ("a", "b", "c"):
        gated.writer.submit(ledger.start(name), lambda error, name=name: answers.append((name, error)))  # type: ignore[misc]
    await until(lambda: len(gate.seen) == 2)
    gated.writer.submit(ledger.start("d"), lambda error: answers.append(("d", error)))
    gate.open.set()
    await until(lambda: len(answers) == 4)
    gate.error = None
    gated.writer.submit(ledger.start("e"), lambda error: answers.append(("e", error)))
    await until(lambda: len(answers) == 5)
    assert [name for name, _ in answers] == ["a", "b", "c", "d", "e"]
    assert {type(error) for _, error in answers} == {StorageError}
    assert contents(path) == before
    failure = gated.writer.failure
    assert failure is not None
    assert str(path) in failure.message
    assert "bytes free" in failure.message
    assert failure.detail["cause"] == "ENOSPC"
    assert failure.detail["free_bytes"] > 0


async def test_reset_makes_the_writer_write_again(path: Path, gated: Store, gate: Gate, ledger: Ledger) -> None:
    gate.open.set()
    gate.error = OSError(5, "Input/output error")
    with pytest.raises(StorageError, match="Input/output error"):
        await commit(gated.writer, ledger.start("o-1"))
    gate.error = None
    with pytest.raises(StorageError):
        await gated.writer.flush()
    await gated.writer.reset()
    assert gated.writer.failure is None
    fresh = Ledger(rev=await gated.reader.max_rev())
    await commit(gated.writer, fresh.start("o-1"))
    await gated.stop()
    check(path)
    assert len(contents(path)["runs"]) == 1


async def test_units_decided_before_the_reset_are_not_written_after_it(
    path: Path, gated: Store, gate: Gate, ledger: Ledger
) -> None:
    gate.open.set()
    gate.error = OSError(5, "Input/output error")
    with pytest.raises(StorageError):
        await commit(gated.writer, ledger.start("lost"))
    gate.error = None
    answers: list[BaseException | None] = []
    resetting = asyncio.ensure_future(gated.writer.reset())
    await asyncio.sleep(0)
    # In the queue behind the reset, yet decided on the memory that is being thrown away.
    gated.writer.submit(ledger.start("stale"), answers.append)
    await resetting
    await commit(gated.writer, Ledger().start("fresh"))
    assert [type(answer) for answer in answers] == [StorageError]
    assert gated.writer.failure is None
    assert [row[2] for row in contents(path)["runs"]] == ["fresh"]


async def test_reset_says_why_it_still_cannot_be_written(path: Path, ledger: Ledger) -> None:
    store = await open_store(path, busy_ms=10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(StorageError, match="another program holds its lock"):
        await commit(store.writer, ledger.start("o-1"))
    with pytest.raises(StorageError, match="another program holds its lock"):
        await store.writer.reset()
    assert store.writer.failure is not None
    other.execute("rollback")
    other.close()
    await store.writer.reset()
    await commit(store.writer, Ledger().start("o-1"))
    await store.stop()


async def test_a_full_disk_leaves_nothing_of_the_batch_behind(path: Path, ledger: Ledger) -> None:
    limited: list[Store] = []

    def limit(number: int) -> None:
        db = limited[0].writer._place._database._connection()  # type: ignore[attr-defined]
        pages = db.execute("pragma page_count").fetchone()[0]
        db.execute(f"pragma max_page_count = {pages + 20}")

    store = await open_store(path, before_commit=limit)
    limited.append(store)
    await commit(store.writer, ledger.start("o-1"))
    before = contents(path)
    with pytest.raises(StorageError, match="full") as caught:
        await commit(store.writer, ledger.change(1, ("step.completed", {}), store={"big": "x" * 1_000_000}))
    assert caught.value.detail["cause"] == "SQLITE_FULL"
    assert caught.value.hint == "make room on its disk"
    assert contents(path) == before
    await store.stop()
    check(path)


async def test_a_row_that_cannot_be_written_is_a_failure_and_not_the_end_of_the_thread(store: Store) -> None:
    with pytest.raises(StorageError, match="surrogates not allowed"):
        await commit(store.writer, Unit(history=[(1, 1, 1, 0, "step.started", "\ud800", None)]))
    await store.writer.reset()
    await commit(store.writer, Ledger().start("o-1"))
    assert store.writer.failure is None


async def test_a_writer_that_could_not_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    writer = Writer(tmp_path / "missing" / "wfctl.db")
    with pytest.raises(StorageError, match="folder does not exist"):
        await writer.start()
    await writer.stop()
    gc.collect()
    assert threading.active_count() == before


_TIMES: list[dict[str, Any]] = [{}, {"deadline": 9, "wake_at": 9}]
# How a run can stand: open, also with a time at which something is due, and closed.
_OPEN = [
    {**stands, **times}
    for times in _TIMES
    for stands in (
        {"status": "running"},
        {"status": "running", "reason": "resumed"},
        {"status": "waiting"},
        {"status": "waiting", "waiting_for": '["paid"]'},
        {"status": "waiting", "waiting_for": '["refused"]'},
        {"status": "cancelling", "reason": "enough"},
        {"status": "stuck", "reason": "no handler"},
    )
]
_CLOSED = [
    {"closed_at": 8, **stands}
    for stands in (
        {"status": "completed", "result": "1"},
        {"status": "completed", "result": "1", "reason": "so"},
        {"status": "failed", "error": "{}"},
        {"status": "cancelled"},
        {"status": "cancelled", "reason": "enough"},
        {"status": "timed_out", "error": "{}"},
    )
]
_NOTHING: dict[str, Any] = dict.fromkeys(
    ("waiting_for", "closed_at", "result", "error", "reason", "deadline", "wake_at")
)


async def test_a_run_is_on_disk_as_it_stands_whatever_it_was_before(store: Store, ledger: Ledger, path: Path) -> None:
    ways = [(first, then) for first in _OPEN for then in _OPEN + _CLOSED] + [
        (first, then) for first in _CLOSED for then in _OPEN
    ]
    for key in range(1, len(ways) + 1):
        await commit(store.writer, ledger.start(f"o-{key}"))
    for at in (0, 1):
        for key, way in enumerate(ways, 1):
            unit = ledger.change(key, ("step.started", {}), **{**_NOTHING, **way[at]}, attempt=at + 2, queued=at)
            if at and way[0] in _CLOSED:
                unit.runs_reopened, unit.runs_changed = unit.runs_changed, []
            await commit(store.writer, unit)
        with contextlib.closing(sqlite3.connect(path)) as db:
            rows = db.execute(f"select key, {', '.join(CHANGES)} from runs order by key").fetchall()
        assert rows == [(key, *changed(row, 0)[2:]) for key, row in ledger.runs.items()]
