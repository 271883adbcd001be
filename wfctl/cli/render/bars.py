"""Where the time of a run went, as bars: its steps, waits and delays, and in them tasks, sleeps and children. From its history.

Data for programs; `wfctl.cli.render.timeline` draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from wfctl.cli.render.history import failure_text
from wfctl.protocol.runs import HistoryEntry
from wfctl.values.times import format_duration

RUNS, WAITS, RETRIES, STUCK = "runs", "waits", "retries", "stuck"
DOINGS = (RUNS, STUCK, RETRIES, WAITS)
_IDLE_KINDS = ("wait", "sleep")
_CLOSINGS = ("run.completed", "run.failed", "run.cancelled", "run.terminated", "run.timed_out")


class Part(msgspec.Struct, kw_only=True):
    """A stretch of a bar: it `runs`, `waits`, `retries` (waits for its next attempt), or is `stuck`; without an end, still."""

    doing: str
    begun_at: int
    ended_at: int | None = None


class Bar(msgspec.Struct, kw_only=True):
    """One step (`kind` start, step or event), wait, delay or sleep (`sleep`), task or child.

    `depth` is 0 for what the run was at, 1 for what was begun inside the bar of depth 0 before it. `id` is a child's workflow ID.
    `took_ms` reaches up to now where it has not ended.
    """

    kind: str
    name: str
    status: str
    depth: int
    begun_at: int
    ended_at: int | None = None
    took_ms: int = 0
    attempts: int = 1
    id: str | None = None
    run_id: str | None = None
    error: str | None = None
    parts: list[Part] = []

    def turn(self, doing: str, at: int) -> None:
        """From `at` on it is `doing` something else."""
        if self.parts and self.parts[-1].ended_at is None:
            if self.parts[-1].doing == doing:
                return
            self.parts[-1].ended_at = max(at, self.parts[-1].begun_at)
        self.parts.append(Part(doing=doing, begun_at=at))

    def end(self, status: str, at: int, error: str | None = None) -> None:
        # A clock that was set back makes nothing shorter than nothing.
        self.status, self.ended_at = status, max(at, self.begun_at)
        self.error = error or self.error
        if self.parts and self.parts[-1].ended_at is None:
            self.parts[-1].ended_at = max(at, self.parts[-1].begun_at)

    def again(self, status: str, doing: str, at: int) -> None:
        self.status, self.ended_at = status, None
        self.turn(doing, at)


class Totals(msgspec.Struct, kw_only=True):
    """How long the run was at what, in milliseconds. Steps, waits, delays and stuck together are all the time it was open.

    Of that, tasks ran for `tasks_ms` and waited for their next attempt for `retries_ms`, and children were open for `children_ms`:
    what was at it at the same time counts once.
    """

    steps_ms: int = 0
    waits_ms: int = 0
    delays_ms: int = 0
    stuck_ms: int = 0
    tasks_ms: int = 0
    retries_ms: int = 0
    children_ms: int = 0


class Timeline(msgspec.Struct, kw_only=True):
    """Bars in the order they began, from `begun_at` to `ended_at`: the last end of anything, now where something goes on."""

    begun_at: int
    ended_at: int
    bars: list[Bar]
    totals: Totals


def timeline(entries: Iterable[HistoryEntry], now_ms: int) -> Timeline:
    """What `entries`, the whole history of one run, tell."""
    reading = _Reading()
    for entry in entries:
        reading.take(entry)
    return reading.finish(now_ms)


class _Reading:
    """The bars so far. At any time at most one of those of depth 0, the last, has not ended."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self._top: Bar | None = None
        self._operations: dict[str, Bar] = {}
        self._children: dict[str, Bar] = {}
        self._sleeps: list[tuple[Bar, int]] = []
        self._begun_at: int | None = None
        self._ended_at = 0
        self._interrupted = False

    def take(self, entry: HistoryEntry) -> None:
        if entry.kind == "log":
            return
        self._begun_at = entry.at if self._begun_at is None else self._begun_at
        self._ended_at = max(self._ended_at, entry.at)
        handle = _RECORDS.get(entry.kind)
        if handle is not None:
            handle(self, entry, entry.data)
        elif entry.kind in _CLOSINGS:
            self._close(entry)
        self._interrupted = entry.kind == "step.interrupted"

    def finish(self, now_ms: int) -> Timeline:
        for bar, wake_at in self._sleeps:
            if bar.ended_at is None and wake_at <= now_ms:
                bar.end("completed", wake_at)
        begun = self._begun_at or now_ms
        ended = max(self._ended_at, begun)
        for bar in self.bars:
            ended = max(ended, now_ms if bar.ended_at is None else bar.ended_at)
        for bar in self.bars:
            bar.took_ms = max((ended if bar.ended_at is None else bar.ended_at) - bar.begun_at, 0)
        return Timeline(begun_at=begun, ended_at=ended, bars=self.bars, totals=_totals(self.bars, ended))

    # -- what the run is at --------------------------------------------------------------------

    def _begin(self, kind: str, name: str, at: int, status: str = "running") -> Bar:
        self._end("completed", at)
        bar = Bar(kind=kind, name=name, status=status, depth=0, begun_at=at, parts=[])
        bar.turn(WAITS if kind in _IDLE_KINDS else RUNS, at)
        self.bars.append(bar)
        self._top = bar
        return bar

    def _end(self, status: str, at: int, error: str | None = None) -> None:
        """The bar of depth 0 ends, and what was begun in it and has no end of its own; but children live on."""
        if self._top is None:
            return
        self._top.end(status, at, error)
        self._top = None
        for bar, wake_at in self._sleeps:
            if bar.ended_at is None:
                bar.end("completed" if wake_at <= at else "interrupted", min(wake_at, at))
        for bar in self._operations.values():
            if bar.ended_at is None:
                bar.end("interrupted", at)
        self._sleeps.clear()
        self._operations.clear()

    def _close(self, entry: HistoryEntry) -> None:
        status = entry.kind.removeprefix("run.")
        error = entry.data.get("error")
        text = failure_text(error) if error else None
        if self._top is not None:
            self._top.attempts -= self._interrupted
            self._end(status, entry.at, text)
        elif text is not None and self.bars:
            last = next(bar for bar in reversed(self.bars) if bar.depth == 0)
            last.error = last.error or (text if last.status == status else None)

    def step_started(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._begin(str(data.get("kind", "step")), str(data.get("handler", "")), entry.at)

    def step_completed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._end("failed" if data.get("next") == "fail" else "completed", entry.at)
        if data.get("wake_at") is not None:
            self._begin("sleep", str(data.get("handler") or ""), entry.at, "sleeping")

    def step_failed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._end("failed", entry.at, failure_text(data.get("error", "")))

    def step_timed_out(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._end("timed_out", entry.at, f"took longer than {format_duration(data.get('timeout_ms', 0))}")

    def step_interrupted(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        if self._top is not None:
            # The next attempt follows without a record of its own, unless the run closes.
            self._top.attempts = data.get("attempt", 1) + 1

    def wait_started(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._begin("wait", ", ".join(data.get("names") or ["any event"]), entry.at, "waiting")

    def wait_timed_out(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        self._end("timed_out", entry.at)

    def stuck(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        if self._top is not None:
            self._top.attempts -= self._interrupted
            self._top.status, self._top.error = "stuck", str(data.get("reason", ""))
            self._top.turn(STUCK, entry.at)

    def resumed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        phase = data.get("phase")
        if phase is None:
            if self._top is not None:
                self._top.status, self._top.error = "running", None
                self._top.attempts = max(self._top.attempts, data.get("attempt", 1))
                self._top.turn(RUNS, entry.at)
            return
        if self._top is not None:
            self._end(self._top.status, entry.at)
        match phase.get("phase"):
            case "waiting":
                self._begin("wait", ", ".join(phase.get("names") or ["any event"]), entry.at, "waiting")
            case "sleeping":
                self._begin("sleep", str(phase.get("handler", "")), entry.at, "sleeping")
            case _:
                bar = self._begin(str(phase.get("kind", "step")), str(phase.get("handler", "")), entry.at)
                bar.attempts = data.get("attempt", 1)

    def cancel_requested(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        if self._top is not None and self._top.status == "running":
            self._top.status = "cancelling"

    # -- what is begun inside ------------------------------------------------------------------

    def _inside(self, kind: str, name: str, at: int, status: str, doing: str) -> Bar:
        bar = Bar(kind=kind, name=name, status=status, depth=1, begun_at=at, parts=[])
        bar.turn(doing, at)
        self.bars.append(bar)
        return bar

    def task_started(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        key = str(data.get("key", ""))
        bar = self._operations.get(key)
        if bar is None:
            name = str(data.get("name", ""))
            bar = self._operations[key] = self._inside("task", name, entry.at, "running", RUNS)
        bar.again("running", RUNS, entry.at)
        bar.attempts = max(bar.attempts, data.get("attempt", 1))

    def task_attempt_failed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._operations.get(str(data.get("key", "")))
        if bar is not None:
            bar.status, bar.error = "retrying", failure_text(data.get("error", ""))
            bar.turn(RETRIES, entry.at)

    def task_completed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._operations.get(str(data.get("key", "")))
        if bar is not None:
            bar.error = None
            bar.end("completed", entry.at)

    def task_failed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._operations.get(str(data.get("key", "")))
        if bar is not None:
            bar.end("failed", entry.at, failure_text(data.get("error", "")))

    def slept(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._inside("sleep", "", entry.at, "sleeping", WAITS)
        self._sleeps.append((bar, int(data.get("wake_at", entry.at))))

    def child_started(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        run_id = str(data.get("run_id", ""))
        if run_id in self._children:
            return  # the same child once more
        bar = self._inside("child", str(data.get("workflow_type", "")), entry.at, "running", RUNS)
        bar.id, bar.run_id = str(data.get("workflow_id", "")), run_id
        self._children[run_id] = bar

    def child_closed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._children.get(str(data.get("run_id", "")))
        if bar is not None:
            outcome = data.get("outcome")
            error = outcome.get("error") if isinstance(outcome, dict) else None
            bar.end(str(data.get("status", "")), entry.at, failure_text(error) if error else None)

    def child_resumed(self, entry: HistoryEntry, data: dict[str, Any]) -> None:
        bar = self._children.get(str(data.get("run_id", "")))
        if bar is not None:
            bar.error = None
            bar.again("running", RUNS, entry.at)


def _run_started(reading: _Reading, entry: HistoryEntry, data: dict[str, Any]) -> None:
    if data.get("begins_at") is not None:
        reading.step_completed(entry, {"wake_at": data["begins_at"], "handler": data.get("handler")})


_RECORDS: dict[str, Callable[[_Reading, HistoryEntry, Any], None]] = {
    "run.started": _run_started,
    "step.started": _Reading.step_started,
    "step.completed": _Reading.step_completed,
    "step.failed": _Reading.step_failed,
    "step.timed_out": _Reading.step_timed_out,
    "step.interrupted": _Reading.step_interrupted,
    "wait.started": _Reading.wait_started,
    "wait.timed_out": _Reading.wait_timed_out,
    "run.stuck": _Reading.stuck,
    "run.resumed": _Reading.resumed,
    "run.cancel_requested": _Reading.cancel_requested,
    "task.started": _Reading.task_started,
    "task.attempt_failed": _Reading.task_attempt_failed,
    "task.completed": _Reading.task_completed,
    "task.failed": _Reading.task_failed,
    "sleep.recorded": _Reading.slept,
    "child.started": _Reading.child_started,
    "child.closed": _Reading.child_closed,
    "child.resumed": _Reading.child_resumed,
}


# -- how long at what ----------------------------------------------------------------------------


def _totals(bars: list[Bar], end: int) -> Totals:
    def spent(kinds: tuple[str, ...], *doings: str, depth: int) -> int:
        parts = (part for bar in bars if bar.depth == depth and bar.kind in kinds for part in bar.parts)
        return _union((part.begun_at, _until(part, end)) for part in parts if part.doing in doings)

    steps = ("start", "step", "event")
    return Totals(
        steps_ms=spent(steps, RUNS, depth=0),
        waits_ms=spent(("wait",), WAITS, depth=0),
        delays_ms=spent(("sleep",), WAITS, depth=0),
        stuck_ms=spent(steps, STUCK, depth=0),
        tasks_ms=spent(("task",), RUNS, depth=1),
        retries_ms=spent(("task",), RETRIES, depth=1),
        children_ms=spent(("child",), RUNS, depth=1),
    )


def _until(part: Part, end: int) -> int:
    return end if part.ended_at is None else part.ended_at


def _union(stretches: Iterable[tuple[int, int]]) -> int:
    """How long at least one of them was going on."""
    total, reached = 0, -1
    for begin, end in sorted(stretches):
        total += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return total
