"""`RetryPolicy`: what it refuses, what it tries again, and how long it waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from wfctl import InvalidArgumentError, RetryPolicy

second = timedelta(seconds=1)


def test_without_anything_there_is_one_attempt() -> None:
    assert not RetryPolicy().retries(ValueError(), 1)


def test_the_waits_grow_up_to_the_longest() -> None:
    policy = RetryPolicy(attempts=9, delay=second, backoff=2, max_delay=5 * second, jitter=0)
    assert [policy.delay_ms(attempt, 0.9) for attempt in (1, 2, 3, 4, 5_000)] == [1_000, 2_000, 4_000, 5_000, 5_000]


def test_a_delay_over_the_longest_stays_as_it_is() -> None:
    policy = RetryPolicy(attempts=3, delay=timedelta(hours=1), jitter=0)
    assert [policy.delay_ms(attempt, 0.0) for attempt in (1, 2)] == [3_600_000, 3_600_000]


@given(st.integers(1, 2_000), st.floats(0, 1, exclude_max=True), st.floats(1, 1e6), st.floats(0, 1))
def test_jitter_spreads_a_wait_and_never_makes_it_longer_than_the_longest(
    attempt: int, random01: float, backoff: float, jitter: float
) -> None:
    policy = RetryPolicy(attempts=3, delay=second, backoff=backoff, max_delay=60 * second, jitter=jitter)
    exact = RetryPolicy(attempts=3, delay=second, backoff=backoff, max_delay=60 * second, jitter=0).delay_ms(attempt, 0)
    wait = policy.delay_ms(attempt, random01)
    assert 0 <= wait <= 60_000
    assert exact * (1 - jitter) - 1 <= wait <= exact * (1 + jitter) + 1


def test_only_what_is_worth_it_is_tried_again() -> None:
    policy = RetryPolicy(attempts=3, retry_on=OSError, never_on=(FileNotFoundError,))
    assert policy.retries(ConnectionError(), 2)
    assert not policy.retries(ConnectionError(), 3)
    assert not policy.retries(FileNotFoundError(), 1)
    assert not policy.retries(ValueError(), 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": True}, "attempts is True"),
        ({"attempts": 2.5}, "attempts is 2.5"),
        ({"delay": 3}, "delay must be a timedelta"),
        ({"delay": -second}, "delay is negative"),
        ({"max_delay": None}, "max_delay must be a timedelta"),
        ({"backoff": 0.5}, "backoff is 0.5"),
        ({"backoff": float("nan")}, "backoff is nan"),
        ({"jitter": 2}, "jitter is 2"),
        ({"retry_on": ["OSError"]}, "retry_on holds 'OSError'"),
        ({"never_on": KeyboardInterrupt}, "never_on holds <class 'KeyboardInterrupt'>"),
        ({"never_on": 5}, "never_on holds 5"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_remedy(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        RetryPolicy(**given)
    assert caught.value.hint
