"""`RetryPolicy`: how often a task is tried, which exceptions are worth another try, and how long it waits in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from wfctl.errors import InvalidArgumentError
from wfctl.values.times import to_ms

ExceptionTypes = type[Exception] | Sequence[type[Exception]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a task is tried again: `@task(retry=RetryPolicy(attempts=5))`.

    `attempts` counts the first one too. The wait before attempt n+1 is `delay * backoff ** (n - 1)`, spread by `jitter` (0.1: up
    to 10 % shorter or longer); it grows no further than to `max_delay`, and not at all where `delay` is longer. Only exceptions
    that are one of `retry_on` and none of `never_on` are tried again; both take an exception class or several.

    The waits are kept by the daemon: they hold across crashes. They count against the timeout of the step that waits for the task.
    """

    attempts: int = 1
    delay: timedelta = timedelta(seconds=1)
    backoff: float = 2.0
    max_delay: timedelta = timedelta(minutes=1)
    jitter: float = 0.1
    retry_on: ExceptionTypes = (Exception,)
    never_on: ExceptionTypes = ()

    def __post_init__(self) -> None:
        if not _is_number(self.attempts, int) or self.attempts < 1:
            _refuse(f"attempts is {self.attempts!r}", "give a whole number from 1: the first attempt counts")
        for what, value in (("delay", self.delay), ("max_delay", self.max_delay)):
            try:
                to_ms(value, what)
            except InvalidArgumentError as error:
                _refuse(error.message, error.hint or "give a timedelta of zero or more")
        if not _is_number(self.backoff, int, float) or not 1 <= self.backoff < float("inf"):
            _refuse(
                f"backoff is {self.backoff!r}", "give a number from 1 (every delay the same); 2 doubles it each time"
            )
        if not _is_number(self.jitter, int, float) or not 0 <= self.jitter <= 1:
            _refuse(f"jitter is {self.jitter!r}", "give a part of the delay, from 0 to 1")
        object.__setattr__(self, "retry_on", _types(self.retry_on, "retry_on"))
        object.__setattr__(self, "never_on", _types(self.never_on, "never_on"))

    def retries(self, error: Exception, attempt: int) -> bool:
        """Whether another attempt follows number `attempt` (from 1), which raised `error`."""
        return (
            attempt < self.attempts
            and isinstance(error, self.retry_on)  # type: ignore[arg-type]
            and not isinstance(error, self.never_on)  # type: ignore[arg-type]
        )

    def delay_ms(self, attempt: int, random01: float) -> int:
        """Milliseconds to wait after `attempt` failed; `random01`, from 0 up to 1, decides where in the jitter it falls."""
        most_ms = to_ms(max(self.delay, self.max_delay))
        try:
            base_ms = min(to_ms(self.delay) * float(self.backoff) ** (attempt - 1), most_ms)
        except OverflowError:
            base_ms = most_ms
        return min(round(base_ms * (1 + self.jitter * (2 * random01 - 1))), most_ms)


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _types(given: ExceptionTypes, what: str) -> tuple[type[Exception], ...]:
    listed = (given,) if isinstance(given, type) else given
    try:
        types = tuple(listed)
    except TypeError:
        types = (given,)  # type: ignore[assignment]
    for one in types:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            _refuse(f"{what} holds {one!r}", f"give exception classes: {what}=(OSError, TimeoutError)")
    return types


def _refuse(what: str, hint: str) -> NoReturn:
    raise InvalidArgumentError(f"RetryPolicy: {what}", hint=hint)
