"""Run IDs: ULIDs, each greater than all before it."""

from __future__ import annotations

from hypothesis import given, strategies as st
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
