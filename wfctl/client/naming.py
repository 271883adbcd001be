"""How programs name runs, types, statuses and times: checked here, before anything is asked."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from datetime import datetime, timedelta

from wfctl.client.connection import Link
from wfctl.errors import AmbiguousIdError, InvalidArgumentError, RunNotFoundError
from wfctl.protocol import calls, views
from wfctl.values.ids import check_name
from wfctl.values.status import SETS, Status
from wfctl.values.times import moment_ms, to_ms

PathLike = str | os.PathLike[str]
# One or several; also "open" and "closed".
StatusNames = Status | str | Iterable[Status | str]
Texts = str | Iterable[str]

EITHER = "datetime or a timedelta"


async def exact_run_id(link: Link, id: str) -> str:
    """The run whose workflow ID (its newest) or run ID is `id`, or RunNotFoundError."""
    try:
        found: views.Outcome = await link.call(calls.Result(id=id, wait=False))
    except AmbiguousIdError:
        pass
    else:
        if id in (found.workflow_id, found.run_id):
            return found.run_id
    raise RunNotFoundError(f"no run {id!r}", hint="wfctl list", id=id)


def texts(given: Texts, what: str) -> list[str]:
    if isinstance(given, str):
        return [given]
    try:
        return [*given]
    except TypeError:
        raise InvalidArgumentError(f"{what} is a text or several, not {type(given).__name__} {given!r}") from None


def types(given: Texts) -> list[str]:
    return [check_name(one, "workflow type") for one in texts(given, "workflow_type")]


def statuses(given: StatusNames, what: str = "status") -> list[Status]:
    found: list[Status] = []
    for one in texts(given, what):
        among = SETS.get(one) if isinstance(one, str) else None
        found += [_status(one)] if among is None else [status for status in Status if status in among]
    return list(dict.fromkeys(found))


def _status(given: Status | str) -> Status:
    try:
        return Status(given)
    except ValueError:
        near = difflib.get_close_matches(str(given), list(Status), n=1)
        advice = f"did you mean {str(near[0])!r}?" if near else f"there are {', '.join([*Status, *SETS])}"
        raise InvalidArgumentError(f"unknown status {given!r}; {advice}", value=str(given)) from None


def since_ms(since: datetime | timedelta | None, now_ms: int) -> int | None:
    """The moment, or how long before now."""
    if since is None:
        return None
    return now_ms - to_ms(since, "since") if isinstance(since, timedelta) else moment_ms(since, "since", EITHER)


def path(file: PathLike, what: str) -> str:
    """Absolute, from the working directory of this program."""
    try:
        return os.path.abspath(os.fsdecode(file))
    except TypeError as error:
        raise InvalidArgumentError(f"{what}: {error}") from None
