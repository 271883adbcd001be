"""Runs as clients see them: one by one, in pages, by ID."""

from __future__ import annotations

from typing import Any

import pytest

from support.rows import T0, Ledger, commit, run_id
from wfctl.errors import AmbiguousIdError, InvalidArgumentError, PayloadTooLargeError, RunNotFoundError
from wfctl.protocol import calls
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo
from wfctl.values.status import Status
from wfd.engine.reads import Reads
from wfd.store.store import Store
from wfd.supervisor import Catalog

# -- one run ---------------------------------------------------------------------------------------


async def test_get_shows_the_run_with_its_input_store_and_inbox(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("o-1"),
        ledger.wait(1, ["paid"], wake_at=T0 + 5, deadline=T0 + 9),
        ledger.change(1, ("timestamp.recorded", {}), store={"b": 2, "a": "x"}),
        ledger.event(1, "other", {"n": 1}),
    )
    detail = await reads.get(calls.Get(id="o-1"))
    run = detail.run
    assert (run.run_id, run.workflow_type, run.status) == (run_id(1), "Order", Status.WAITING)
    assert (run.waiting_for, run.wake_at, run.deadline, run.queued_events) == (["paid"], T0 + 5, T0 + 9, 1)
    assert (run.root_id, run.depth, run.parent) == (run_id(1), 0, None)
    assert run.rev == ledger.rev
    assert bytes(detail.input) == b'{"amount":12.5}'
    assert {key: bytes(value) for key, value in detail.store.items()} == {"a": b'"x"', "b": b"2"}
    assert [(event.seq, event.event, bytes(event.payload)) for event in detail.inbox] == [(6, "other", b'{"n":1}')]
    assert detail.history_entries == 6
    assert bytes(detail.result) == b"null"


async def test_a_run_that_is_too_large_for_one_answer_is_refused_with_what_is_large_and_where_to_read_it(
    store: Store, ledger: Ledger, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfd.engine.reads.MAX_DETAIL_BYTES", 2_000)
    await commit(
        store.writer,
        ledger.start("o-1"),
        ledger.change(1, ("timestamp.recorded", {}), store={"a": "x" * 998}),
        ledger.event(1, "paid", "x" * 998),
    )
    assert (await reads.get(calls.Get(id="o-1"))).history_entries == 4
    await commit(store.writer, ledger.event(1, "paid", 1))
    with pytest.raises(
        PayloadTooLargeError, match="its store is 1,000 bytes, its inbox 1,001; the limit is 2,000"
    ) as caught:
        await reads.get(calls.Get(id="o-1"))
    assert caught.value.hint is not None
    assert f"wfctl history {run_id(1)}" in caught.value.hint
    assert len((await reads.detail(calls.Get(id="o-1"))).inbox) == 2


async def test_get_shows_a_child_with_its_parent(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.start("p-1", "Payment", 1))
    run = (await reads.get(calls.Get(id="p-1"))).run
    assert run.parent == ParentInfo(run_id(1), "o-1", "Order")
    assert (run.root_id, run.depth) == (run_id(1), 1)
    above = (await reads.get(calls.Get(id="o-1"))).run
    assert (above.children, above.open_children) == (1, 1)


@pytest.mark.parametrize("status", ["cancelled", "terminated"])
async def test_get_tells_who_ended_a_run(store: Store, ledger: Ledger, reads: Reads, status: str) -> None:
    ended, unsigned = ledger.start("o-1", status=status, closed_at=T0), ledger.start("o-2", status=status, closed_at=T0)
    ended.runs_new[0].reason, unsigned.runs_new[0].reason = "by ann@shop", ""
    stuck = ledger.start("o-3", status="stuck", reason="no step 'pay'")
    await commit(store.writer, ended, unsigned, stuck)
    assert (await reads.get(calls.Get(id="o-1"))).reason == "by ann@shop"
    assert (await reads.get(calls.Get(id="o-2"))).reason is None
    assert (await reads.get(calls.Get(id="o-3"))).reason is None, "it goes on; why it is stuck is told as such"


async def test_a_failure_is_whole_in_get_and_without_its_traceback_in_lists(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    unit = ledger.start("o-1", status="failed", closed_at=T0)
    error = '{"type":"Boom","message":"no","qualified":"flows.Boom","frame":"flows.py:3","traceback":"Traceback..."}'
    unit.runs_new[0].error = error
    await commit(store.writer, unit)
    whole = (await reads.get(calls.Get(id="o-1"))).run.error
    listed = (await reads.list(calls.List())).items[0].error
    assert whole == Failure("Boom", "no", "flows.Boom", "flows.py:3", "Traceback...")
    assert listed == Failure("Boom", "no", "flows.Boom", "flows.py:3")


async def test_a_stuck_run_says_why(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, ledger.start("o-1", status="stuck", reason="no step 'pay'"))
    assert (await reads.get(calls.Get(id="o-1"))).run.stuck_reason == "no step 'pay'"
    assert (await reads.outcome(1)).stuck_reason == "no step 'pay'"


async def test_a_deadline_of_the_whole_run_is_not_shown_as_the_end_of_a_wait(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    await commit(
        store.writer,
        ledger.start("running", deadline=T0 + 9, wake_at=T0 + 9),
        ledger.start("waiting", deadline=T0 + 9, wake_at=T0 + 9),
        ledger.wait(2),
        ledger.start("sleeping", status="sleeping", deadline=T0 + 9, wake_at=T0 + 9),
    )
    shown = {run.workflow_id: (run.wake_at, run.deadline) for run in (await reads.list(calls.List())).items}
    assert shown == {"running": (None, T0 + 9), "waiting": (None, T0 + 9), "sleeping": (T0 + 9, T0 + 9)}


async def test_an_outcome_has_the_result_or_what_went_wrong(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("done"),
        ledger.close(1),
        ledger.start("failed"),
        ledger.close(2, "failed", ("Boom", "no")),
        ledger.start("ended"),
        ledger.close(3, "terminated", reason="by hand"),
        ledger.start("open"),
    )
    done, failed, ended, running = [await reads.outcome(key) for key in range(1, 5)]
    assert (done.status, bytes(done.result)) == ("completed", b'"done"')
    assert (failed.status, failed.error) == ("failed", Failure("Boom", "no"))
    assert (ended.status, ended.reason) == ("terminated", "by hand")
    assert (running.status, running.reason, running.stuck_reason) == ("running", None, None)
    with pytest.raises(RunNotFoundError):
        await reads.outcome(99)


# -- pages -----------------------------------------------------------------------------------------


async def _many(store: Store, ledger: Ledger) -> None:
    """Thirty runs: every third failed, of three types in turn, one a second; five children of the first."""
    units = []
    for number in range(30):
        ledger.now = T0 + number * 1_000
        units.append(ledger.start(f"o-{number}", ("Order", "Invoice", "Refund")[number % 3]))
        if number % 3 == 2:
            units.append(ledger.close(number + 1, "failed", ("Boom", "no")))
    units += [ledger.start(f"c-{number}", ("Payment", "Parcel")[number % 2], parent=1) for number in range(5)]
    units.append(ledger.close(31))
    await commit(store.writer, *units)


async def _listed(reads: Reads, **words: Any) -> list[str]:
    page = await reads.list(calls.List(**words))
    assert page.total == len(page.items)
    return [run.workflow_id for run in page.items]


async def test_a_list_is_newest_first(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _many(store, ledger)
    everything = await _listed(reads)
    assert everything == [f"c-{n}" for n in range(4, -1, -1)] + [f"o-{n}" for n in range(29, -1, -1)]


async def test_a_list_takes_statuses_types_parents_and_times(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _many(store, ledger)
    failed = [f"o-{n}" for n in range(29, 0, -3)]
    assert await _listed(reads, statuses=[Status.FAILED]) == failed
    assert await _listed(reads, statuses=[Status.FAILED, Status.COMPLETED]) == ["c-0", *failed]
    assert await _listed(reads, types=["Refund"]) == failed
    assert await _listed(reads, types=["Refund", "Payment", "Unknown"]) == ["c-4", "c-2", "c-0", *failed]
    assert await _listed(reads, types=["Refund"], statuses=[Status.RUNNING]) == []
    assert await _listed(reads, parent="o-0") == ["c-4", "c-3", "c-2", "c-1", "c-0"]
    assert await _listed(reads, parent="o-0", types=["Payment"], statuses=[Status.RUNNING]) == ["c-4", "c-2"]
    assert await _listed(reads, parent="o-1") == []
    late = T0 + 28_000
    assert await _listed(reads, since_ms=late) == ["c-4", "c-3", "c-2", "c-1", "c-0", "o-29", "o-28"]
    assert await _listed(reads, since_ms=late, statuses=[Status.FAILED]) == ["o-29"]
    assert await _listed(reads, since_ms=late, types=["Invoice"]) == ["o-28"]
    assert await _listed(reads, since_ms=late, parent="o-0", types=["Parcel"]) == ["c-3", "c-1"]
    assert await _listed(reads, since_ms=T0 + 10**9) == []


async def test_words_that_are_given_twice_count_once(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _many(store, ledger)
    twice = await _listed(reads, types=["Refund", "Refund"], statuses=[Status.FAILED, Status.FAILED])
    assert len(twice) == 10


async def test_a_run_that_started_before_the_clock_was_set_back_is_not_lost(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    ledger.now = T0 + 5_000
    await commit(store.writer, ledger.start("before"))
    ledger.now = T0
    await commit(store.writer, ledger.start("after"))
    assert await _listed(reads, since_ms=T0 + 1) == ["before"]
    assert await _listed(reads, since_ms=T0) == ["after", "before"]


@pytest.mark.parametrize(
    "words",
    [{}, {"statuses": list(Status)}, {"types": ["Order", "Invoice", "Refund", "Payment", "Parcel"]}, {"since_ms": T0}],
)
@pytest.mark.parametrize("limit", [1, 7, 34, 35, 36])
async def test_pages_together_are_the_whole_list(
    store: Store, ledger: Ledger, reads: Reads, words: dict[str, Any], limit: int
) -> None:
    await _many(store, ledger)
    whole = [run.run_id for run in (await reads.list(calls.List())).items]
    found: list[str] = []
    after: str | None = None
    while True:
        page = await reads.list(calls.List(limit=limit, after=after, **words))
        assert page.total == 35
        assert len(page.items) <= limit
        found += [run.run_id for run in page.items]
        if page.next is None:
            break
        after = page.next
    assert found == whole


async def test_a_run_that_starts_meanwhile_moves_no_page(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _many(store, ledger)
    first = await reads.list(calls.List(limit=5))
    await commit(store.writer, ledger.start("new"))
    second = await reads.list(calls.List(limit=5, after=first.next))
    assert [run.workflow_id for run in second.items] == [f"o-{n}" for n in range(29, 24, -1)]


@pytest.mark.parametrize(
    "words", [{"limit": 0}, {"limit": -1}, {"after": "x"}, {"after": "-1"}, {"after": "²"}, {"after": "9" * 40}]
)
async def test_a_page_that_cannot_be_is_refused(reads: Reads, words: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        await reads.list(calls.List(**words))


async def test_counts_are_of_all_runs_and_open_runs_by_type(store: Store, ledger: Ledger, reads: Reads) -> None:
    assert (await reads.counts(), await reads.open_needs(Catalog())) == ({}, ({}, {}))
    await _many(store, ledger)
    assert await reads.counts() == {"running": 24, "failed": 10, "completed": 1}
    assert (await reads.open_needs(Catalog()))[0] == {"Order": 10, "Invoice": 10, "Parcel": 2, "Payment": 2}


# -- ids -------------------------------------------------------------------------------------------


async def test_an_unknown_id_is_told_with_what_is_spelled_nearly_so(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, ledger.start("shipment-1"), ledger.start("order-1"))
    with pytest.raises(RunNotFoundError) as caught:
        await reads.resolve("shipmnet-1")
    assert caught.value.message == "no run 'shipmnet-1' (did you mean 'shipment-1'?)"
    assert caught.value.detail["near"] == ["shipment-1"]
    with pytest.raises(RunNotFoundError, match=r"no run 'zzz'$"):
        await reads.resolve("zzz")


async def test_an_id_means_the_open_run_that_is_called_so_else_the_run_of_that_run_id(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    await commit(store.writer, ledger.start("a"), ledger.start(run_id(1)), ledger.start(run_id(9)))
    assert [(await reads.resolve(id)).key for id in ("a", run_id(1), run_id(2), run_id(9))] == [1, 2, 2, 3]
    await commit(store.writer, ledger.close(2), ledger.close(3))
    assert [(await reads.resolve(id)).key for id in ("a", run_id(1), run_id(2), run_id(9))] == [1, 1, 2, 3]


async def test_a_run_id_that_is_meant_exactly_is_no_workflow_id_and_no_prefix(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    await commit(store.writer, ledger.start("a"), ledger.start(run_id(1)), ledger.start(run_id(9)))
    assert (await reads.resolve(run_id(1), exact=True)).key == 1
    for other in ("a", run_id(9), run_id(2)[:-1]):
        with pytest.raises(RunNotFoundError):
            await reads.resolve(other, exact=True)


async def test_an_ambiguous_id_is_told_with_five_candidates_at_most(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, *(ledger.start(f"order-{number}") for number in range(7)))
    with pytest.raises(AmbiguousIdError) as caught:
        await reads.resolve("order-")
    assert caught.value.detail["candidates"] == [f"order-{number}" for number in range(5)]
    assert "order-4 and more" in caught.value.message


async def test_candidates_are_named_by_the_id_that_was_written(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, ledger.start("a"), ledger.start("b"))
    with pytest.raises(AmbiguousIdError) as caught:
        await reads.resolve("01JF")
    assert caught.value.detail["candidates"] == [run_id(1), run_id(2)]
    assert "and more" not in caught.value.message


@pytest.mark.parametrize("verb", ["get", "history", "tree"])
async def test_every_verb_refuses_an_unknown_id(reads: Reads, verb: str) -> None:
    call: Any = {"get": calls.Get, "history": calls.History, "tree": calls.GetTree}[verb]
    with pytest.raises(RunNotFoundError):
        await getattr(reads, verb)(call(id="nothing"))
    with pytest.raises(RunNotFoundError):
        await reads.list(calls.List(parent="nothing"))


async def test_the_tree_of_a_run_is_known_by_key(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("root"),
        ledger.start("a", parent=1),
        ledger.start("b", parent=2),
        ledger.start("other"),
        ledger.start("c", parent=2),
    )
    assert sorted(await reads.descendants(1)) == [2, 3, 5]
    assert sorted(await reads.descendants(2)) == [3, 5]
    assert await reads.descendants(4) == []
    assert (await reads.root_of(5), await reads.root_of(4)) == (1, 4)
    with pytest.raises(RunNotFoundError):
        await reads.root_of(99)


# -- counts, and what is tried again ---------------------------------------------------------------


async def test_runs_are_counted_by_status_or_type(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("o-1", status="waiting"), ledger.start("p-1", "Payment", 1), ledger.start("p-2", "Payment", 1),
        ledger.close(3, "failed"), ledger.start("o-2", started_at=T0 + 50_000),
    )  # fmt: skip

    async def counted(by: str = "status", **wanted: Any) -> dict[str, int]:
        found = await reads.count(calls.Count(by=by, **wanted))
        assert found.total == sum(found.counts.values())
        return found.counts

    assert await counted() == {"waiting": 1, "running": 2, "failed": 1}
    assert await counted("type") == {"Order": 2, "Payment": 2}
    assert await counted(statuses=[Status.FAILED, Status.WAITING]) == {"waiting": 1, "failed": 1}
    assert await counted("type", statuses=[Status.RUNNING]) == {"Order": 1, "Payment": 1}
    assert await counted(parent="o-1") == {"running": 1, "failed": 1}
    assert await counted("type", parent="o-1", types=["Order"]) == {}
    assert await counted("type", since_ms=T0 + 50_000) == {"Order": 1}
    with pytest.raises(InvalidArgumentError, match="by is 'status' or 'type'"):
        await counted("colour")


async def test_nothing_is_counted_in_an_empty_database(reads: Reads) -> None:
    for call in (calls.Count(), calls.Count(by="type", since_ms=5), calls.Count(types=["Order"])):
        assert (await reads.count(call)).total == 0


async def test_a_list_tells_the_attempt_that_comes_next_and_no_other(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    def failed(key: str, retry_at: int, attempt: int = 1) -> tuple[str, dict[str, Any]]:
        error = {"type": "E", "message": "no", "traceback": "..."}
        told = {"key": key, "name": f"task-{key}", "attempt": attempt, "error": error, "retry_at": retry_at}
        return "task.attempt_failed", told

    soon, later = T0 + 61_000, T0 + 90_000
    await commit(
        store.writer,
        ledger.start("retries"), ledger.change(1, failed("a", later), failed("b", soon, 2), ("random.recorded", {})),
        ledger.start("again"), ledger.change(2, failed("a", soon), ("task.started", {"key": "a", "name": "task-a"})),
        ledger.start("due"), ledger.change(3, failed("a", T0)),
        ledger.start("next"), ledger.change(4, failed("a", soon), ("step.started", {"step": 2})),
        ledger.start("waits"), ledger.change(5, failed("a", soon)), ledger.wait(5),
    )  # fmt: skip
    shown = {item.workflow_id: item.retry for item in (await reads.list(calls.List())).items}
    found = shown.pop("retries")
    assert found is not None
    assert (found.task, found.attempt, found.retry_at, found.error) == ("task-b", 2, soon, Failure("E", "no"))
    assert set(shown.values()) == {None}


async def test_a_list_tells_when_a_running_step_that_sleeps_goes_on(store: Store, ledger: Ledger, reads: Reads) -> None:
    def slept(until: int, key: str = "s") -> tuple[str, dict[str, Any]]:
        return "sleep.recorded", {"key": key, "wake_at": until}

    soon, later = T0 + 61_000, T0 + 90_000
    await commit(
        store.writer,
        ledger.start("sleeps"), ledger.change(1, slept(later), ("step.interrupted", {"step": 1, "attempt": 1})),
        ledger.start("sleeps again"), ledger.change(2, slept(later), slept(soon, "t")),
        ledger.start("awake"), ledger.change(3, slept(T0)),
        ledger.start("next"), ledger.change(4, slept(later), ("step.started", {"step": 2})),
        ledger.start("back"), ledger.change(5, slept(later), ("run.resumed", {"from_step": 1})),
        ledger.start("goes on"), ledger.change(6, slept(later), ("run.resumed", {"phase": {}})),
        ledger.start("waits"), ledger.change(7, slept(later)), ledger.wait(7),
    )  # fmt: skip
    shown = {item.workflow_id: item.wake_at for item in (await reads.list(calls.List())).items}
    assert {id: wake_at for id, wake_at in shown.items() if wake_at is not None} == {
        "sleeps": later, "sleeps again": soon, "goes on": later,
    }  # fmt: skip


# -- IDs that are being typed ------------------------------------------------------------------------


async def test_what_an_id_may_become_is_found_among_all_runs(store: Store, ledger: Ledger, reads: Reads) -> None:
    units = [
        ledger.start("old-1", "Payment"),
        ledger.close(1),
        ledger.start("old-1"),
        ledger.start("old-2"),
        ledger.close(3),
    ]
    await commit(store.writer, *units, *(ledger.start(f"new-{number:03}") for number in range(40)))

    async def found(prefix: str, **words: Any) -> list[str]:
        return [one.workflow_id for one in (await reads.ids(calls.Ids(prefix=prefix, **words))).items]

    assert await found("old") == ["old-1", "old-2"]
    assert await found("old", open=True) == ["old-1"]
    one = (await reads.ids(calls.Ids(prefix="old-1"))).items[0]
    assert (one.run_id, one.workflow_type, one.status) == (run_id(2), "Order", Status.RUNNING), "the one that is open"
    assert await found("nothing") == await found("OLD") == []
    assert await found("new", limit=2) == ["new-000", "new-001", "new-039"], "all of them begin so, and no further"
    assert await found("new", open=True, limit=2) == ["new-000", "new-001", "new-039"]
    assert await found(run_id(3).lower()) == ["old-2"]
    assert await found(run_id(3), open=True) == []
    twice = await found("", limit=5)
    assert (len(twice), {"old-1", "old-2", "new-039"} < set(twice)) == (9, True), (
        "each run once, by whichever of its IDs"
    )
    with pytest.raises(InvalidArgumentError, match="limit must be at least 1"):
        await found("old", limit=0)
