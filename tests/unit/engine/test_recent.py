"""How runs ended that closed lately is known without reading, until they are in memory again or purged."""

from __future__ import annotations

import pytest

from wfctl.values.failure import Failure
from wfctl.values.status import Status
from wfd.core import state
from wfd.core.state import Closed, Raw, Run
from wfd.engine import recent
from wfd.engine.outcomes import outcome_of
from wfd.engine.recent import Recent


def closed(run_id: str, result: bytes = b"1", error: Failure | None = None, reason: str | None = None) -> Run:
    status = Status.COMPLETED if error is None else Status.FAILED
    phase = Closed(status, 1, Raw(result), error, reason)
    key = ord(run_id[0])
    return Run(phase, 1, 0, None, (), 0, 0, None, None, key, run_id, "w", "Order", state.EMPTY, 0, None, key, run_id, 0)


def test_the_oldest_go_where_there_are_too_many_or_too_much_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Recent()
    monkeypatch.setattr(recent, "MOST_RUNS", 2)
    for name in "abc":
        kept.keep(closed(name))
    assert [kept.get(name) is not None for name in "abc"] == [False, True, True]
    monkeypatch.setattr(recent, "MOST_BYTES", 2_800)
    kept.keep(closed("d", b'"%s"' % (b"x" * 2_000)))
    assert [kept.get(name) is not None for name in "bcd"] == [False, False, True]


def test_long_results_reasons_and_failures_are_left_to_the_disk() -> None:
    kept, long = Recent(), "x" * recent.MOST_EACH
    kept.keep(closed("long", b'"%s"' % long.encode()))
    kept.keep(closed("why", reason=long))
    kept.keep(closed("failed", error=Failure("E", long)))
    assert kept.get("long") is None
    assert kept.get("why") is None
    assert kept.get("failed") is None


def test_results_and_details_that_are_nested_too_deep_are_left_to_the_disk() -> None:
    kept, deep = Recent(), [[]]
    for _ in range(3_000):
        deep = [deep]
    kept.keep(closed("long", b"[" * 3_000 + b"]" * 3_000))
    kept.keep(closed("failed", error=Failure("E", "no", detail={"deep": deep})))
    assert kept.get("long") is None
    assert kept.get("failed") is None


def test_what_is_kept_is_what_memory_would_tell() -> None:
    kept = Recent()
    runs = [
        closed("result", b'{"text": "\xc3\xa4\\u00e4", "big": 123456789012345678901234567890, "n": 1e400}'),
        closed("failed", error=Failure("ValueError", "no", traceback="line 1\nline 2", detail={"a": [1, None]})),
        closed("why", reason="so"),
    ]
    for run in runs:
        kept.keep(run)
    for run in runs:
        found = kept.get(run.run_id)
        assert found is not None
        assert (found, bytes(found.result)) == (outcome_of(run), bytes(outcome_of(run).result))


def test_what_is_forgotten_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_BYTES", 1_200)
    kept = Recent()
    for name in "abcdef":
        kept.keep(closed(name))
        kept.forget(name)
    kept.keep(closed("g"))
    kept.keep(closed("h"))
    assert kept.get("g") is not None
    kept.clear()
    assert kept.get("h") is None


def test_of_trees_that_are_purged_nothing_is_kept_and_of_others_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_BYTES", 2_500)
    kept = Recent()
    for name in "abcd":
        kept.keep(closed(name))
    kept.forget_trees({ord("a"), ord("b"), ord("z")})
    assert [kept.get(name) is not None for name in "abcd"] == [False, False, True, True]
    kept.keep(closed("e"))
    kept.keep(closed("f"))
    assert [kept.get(name) is not None for name in "cdef"] == [True] * 4, "there is room for what is gone"
    kept.keep(closed("g"))
    kept.forget_trees({ord("c")})
    assert [kept.get(name) is not None for name in "cdefg"] == [False, True, True, True, True], (
        "c had made room by itself"
    )
