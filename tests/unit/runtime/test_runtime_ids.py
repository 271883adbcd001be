"""Run IDs: ULIDs, each greater than all before it."""

from __future__ import annotations

from hypothesis import assume, given, strategies as st
from ulid import ULID

from wfd.runtime.clock import ManualClock
from wfd.runtime.ids import IdSource


@given(at_ms=st.integers(0, (1 << 48) - 2), seed=st.integers())
def test_a_run_id_is_the_ulid_of_the_instant_and_grows_from_one_to_the_next(at_ms: int, seed: int) -> None:
    ids = IdSource(ManualClock(at_ms), seed)
    made = [ids.run_id() for _ in range(3)]
    assert [str(ULID.from_str(one)) for one in made] == made
    assert made == sorted(set(made))
    assert int(ULID.from_str(made[0])) >> 80 == at_ms


@given(before=st.integers(0, (1 << 108) - 3), at_ms=st.integers(0, (1 << 48) - 2))
def test_run_ids_of_one_instant_count_on_also_where_many_digits_change(before: int, at_ms: int) -> None:
    ids = IdSource(ManualClock(0), 1)
    # Just before the digits that are remembered change.
    newest = (before >> 20 << 20) + (1 << 20) - 2
    assume(newest + 4 < (newest >> 80) + 1 << 80)  # or that millisecond is full
    ids.after(str(ULID.from_int(newest)))
    assert [int(ULID.from_str(ids.run_id())) for _ in range(4)] == [newest + step for step in range(1, 5)]
    ids.after(str(ULID.from_int(at_ms << 80)))
    made = [ids.run_id() for _ in range(3)]
    assert [str(ULID.from_str(one)) for one in made] == made == sorted(set(made))
