"""One line of a tree, before it is laid out: what it says, and the words for waits, sleeps, tries and progress."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from wfctl.cli.render.progress import progress_notes
from wfctl.cli.render.text import clean, counted
from wfctl.cli.render.times import clock_seconds, is_relative, short, was_chosen, when
from wfctl.protocol.runs import RunView, TriesView
from wfctl.protocol.trees import TreeGroup, TreeStep
from wfctl.values.status import Status
from wfctl.values.times import format_duration

BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)
RETRYING = "retrying"


class Fold(NamedTuple):
    """How much is left out.

    What a person asks for: `group_at` (steps of one name beyond so many are one line), runs in a status of `folded` as one row,
    those that a word of `expanded` means (type, status, ID) opened, `whole` nothing left out, `only_failed`
    nothing but the ways to failures. What a screen asks for: finished steps merged (`merge`), samples shortened, subtrees closed
    below `depth`.
    """

    group_at: int = 8
    folded: frozenset[str] = frozenset()
    expanded: frozenset[str] = frozenset()
    whole: bool = False
    only_failed: bool = False
    merge: bool = False
    sample: int | None = None
    depth: int = 1_000


class Item(msgspec.Struct):
    """One line and what hangs below it. Without `status` it is a remainder line; with `group`, a group's line.

    `text` follows the name (`loud`: in the status' colour), `note` (or the first of `short_notes` that there is room for) stands
    right of it, `took` at the edge.
    """

    name: str
    status: str | None = None
    text: str = ""
    note: str = ""
    short_notes: tuple[str, ...] = ()
    took: str = ""
    short_name: str = ""
    style: str = ""
    loud: bool = False
    started_at: int = 0
    run_id: str = ""
    group: TreeGroup | None = None
    children: list[Item] = []

    @property
    def bad(self) -> bool:
        """Whether it tells of something that went wrong, itself."""
        return self.loud or self.status in BAD or self.style == BAD_STYLE


class Moment(NamedTuple):
    now_ms: int
    relative: bool  # on a terminal; elsewhere times are absolute


BAD_STYLE = "bold red"


def show_tries(item: Item, tries: TriesView, moment: Moment) -> None:
    """`retry 2/5 in 8s` while a task waits for that, which then stands behind the name; `3/3 tries` of one that failed."""
    if item.status == Status.RUNNING:
        if tries.retry_at is not None and tries.retry_at > moment.now_ms:
            item.status = RETRYING
            next_one = _out_of(tries.attempt + 1, tries.max_attempts)
            item.note, item.short_notes = f"retry {next_one} {due(tries.retry_at, moment)}", (f"retry {next_one}",)
            item.text = item.text if item.loud else clean(tries.task)
        elif (attempt := tries.attempt + (tries.retry_at is not None)) > 1:
            item.note = item.note or f"attempt {_out_of(attempt, tries.max_attempts)}"
    elif tries.failed:
        if tries.max_attempts is not None or tries.attempt > 1:
            number = _out_of(tries.attempt, tries.max_attempts)
            item.note = f"{number} {'try' if number == '1' else 'tries'}"
    elif tries.attempt > 1:
        item.note = counted(tries.attempt, "attempt")


def _out_of(attempt: int, max_attempts: int | None) -> str:
    return str(attempt) if max_attempts is None else f"{attempt}/{max_attempts}"


def due(at_ms: int, moment: Moment) -> str:
    if is_relative(default=moment.relative):
        return f"in {short(at_ms - moment.now_ms)}"
    return f"at {_instant(at_ms, moment)}"


def show_sleep(item: Item, wake_at: int | None, moment: Moment) -> None:
    """Of a running step that its handler sleeps, and until when. Progress, or a task that waits to be tried again, tells more."""
    if item.status == Status.RUNNING and wake_at is not None and wake_at > moment.now_ms and not item.short_notes:
        item.status = Status.SLEEPING
        item.note, item.short_notes = sleep_note(wake_at, moment), (f"wakes {due(wake_at, moment)}",)


def show_progress(item: Item, run: RunView, moment: Moment) -> None:
    if run.progress is not None:
        item.note, *shorter = progress_notes(run.progress, drawn=moment.relative)
        item.short_notes = tuple(shorter)


def wait_notes(step: TreeStep, moment: Moment) -> tuple[str, str]:
    """Since when an open wait waits, and when it times out."""
    if is_relative(default=moment.relative):
        until = f"in {short(step.wake_at - moment.now_ms)}" if step.wake_at else ""
        since = short(moment.now_ms - step.started_at)
    else:
        since, until = (_instant(at, moment) if at else "" for at in (step.started_at, step.wake_at))
    return f"since {since}", f"times out {until}" if until else ""


def sleep_note(wake_at: int, moment: Moment) -> str:
    wakes = f"wakes {_instant(wake_at, moment)}"
    # Where one way was chosen, it is that alone.
    return f"{wakes} (in {short(wake_at - moment.now_ms)})" if moment.relative and not was_chosen() else wakes


def _instant(at_ms: int, moment: Moment) -> str:
    return clock_seconds(at_ms, moment.now_ms) if moment.relative else when(at_ms, moment.now_ms, relative=False)


def percentiles(p50_ms: int, p99_ms: int) -> str:
    return f"p50 {format_duration(p50_ms)}, p99 {format_duration(p99_ms)}"
