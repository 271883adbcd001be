"""History entries as lines: when, which run, what kind, and the part of the record a person looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.cli.exit import look
from wfctl.cli.render.document import as_sent
from wfctl.cli.render.text import SHORT_ID, Line, cells, clean, clip, cut, cut_middle, line_cells, pad, wrap
from wfctl.cli.render.times import absolute, ago, clock, clock_seconds, was_chosen, when
from wfctl.protocol.runs import HistoryEntry
from wfctl.values.times import format_duration

KIND_WIDTH = 23
LEAST_DETAIL, LEAST_ID = 24, 8
LEAST_BESIDE = 16  # cells: with less, what happened says more on a line of its own
LONGEST_CLOCK = 14  # cells: `14:30:00+02:00`, without a date
NARROW = 64  # cells: below, what is said of an entry would not stand beside its columns
_VALUE_CHARS = 200
_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_LAST_WORD_LOOKS = {
    "completed": "completed", "failed": "failed", "attempt_failed": "retrying", "timed_out": "timed_out",
    "cancelled": "cancelled", "cancel_requested": "cancelling", "terminated": "terminated", "stuck": "stuck",
    "interrupted": "interrupted",
}  # fmt: skip
_TROUBLES = {"failed", "attempt_failed", "timed_out", "stuck", "interrupted", "refused"}


class Describer:
    """Turns entries into lines, in order.

    It remembers which handler each step ran, for the records that give its number only, and how wide IDs have been, so that
    columns stay where they are.
    """

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._widest_id = 0
        self._handlers: dict[tuple[str, int], str] = {}
        self._sources: dict[str, str] = {}

    def lacks(self, entry: HistoryEntry) -> bool:
        """Whether the record refers to a step whose handler none of those before has told."""
        refers = entry.kind.startswith("step.") and entry.kind != "step.started" and "step" in entry.data
        return refers and (entry.run_id, entry.data["step"]) not in self._handlers

    def detail(self, entry: HistoryEntry) -> str:
        """What the entry says beyond its kind, as one line of text."""
        data = entry.data
        if entry.kind == "step.started" and "handler" in data:
            self._handlers[entry.run_id, data.get("step", 0)] = str(data["handler"])
        elif entry.kind == "run.resumed" and "step" in (data.get("phase") or {}):
            self._handlers[entry.run_id, data["phase"]["step"]] = str(data["phase"].get("handler", ""))
        timed = _TIMED.get(entry.kind)
        words = timed(data, entry.at) if timed is not None else _DETAILS.get(entry.kind, _generic)(data)
        if entry.kind.startswith("step.") and "step" in data and entry.kind != "step.started":
            name = self._handlers.get((entry.run_id, data["step"]), f"step {data['step']}")
            words = f"{name}  {words}" if words else name
        return clean(words)

    def code_change(self, entry: HistoryEntry, *, width: int | None) -> Line | None:
        """The line to put before the first entry of a run that other code made than the entries before it."""
        if entry.source is None:
            return None
        before = self._sources.get(entry.run_id)
        self._sources[entry.run_id] = entry.source
        if before in (None, entry.source):
            return None
        words = f"code changed: {clean(before)} -> {clean(entry.source)}"
        if width is None:
            return [(f"{absolute(entry.at)}\t--\t{words}", "")]
        return [(cut(f"-- {words} --", width - 1), "yellow")]

    def line(self, entry: HistoryEntry, now_ms: int, *, width: int | None) -> Line:
        """The entry for a terminal of `width` cells, or with tabs and whole times without one."""
        detail = self.detail(entry)
        if width is None:
            run = f"{entry.workflow_id}\t" if self._several else ""
            if entry.kind == "log":
                detail = f"{str(entry.data.get('level', 'INFO')).upper()} {detail}"
            remedy = f"; hint: {hint}" if (hint := _hint(entry)) else ""
            return [(f"{when(entry.at, now_ms, relative=False)}\t{run}{entry.kind}\t{detail}{remedy}", "")]
        if self._is_narrow(width):
            return self._narrow(entry, detail, now_ms, width)
        line: Line = [(clock(entry.at, now_ms), "dim"), ("  ", "")]
        if self._several:
            room = width - line_cells(line) - 2 - KIND_WIDTH - LEAST_DETAIL - 1
            id = cut_middle(clean(entry.workflow_id), max(min(room, SHORT_ID), LEAST_ID))
            self._widest_id = max(self._widest_id, cells(id))
            line += [(pad(id, self._widest_id), "cyan"), ("  ", "")]
        if entry.kind == "log":
            level = str(entry.data.get("level", "INFO")).upper()
            return [*line, (f"{level.lower():<{KIND_WIDTH}}", _LEVEL_STYLES.get(level, "")), (detail, "")]
        line.append((f"{entry.kind:<{KIND_WIDTH}}", _kind_style(entry.kind)))
        used = line_cells(line)
        return [*line, (_fitted(entry, detail, max(width - used - 1, LEAST_DETAIL)), "")]

    def lines(self, entry: HistoryEntry, now_ms: int, *, width: int | None) -> list[Line]:
        """The same, with what happened on a line of its own where a narrow terminal has no room for it beside the rest; and for a
        terminal the remedy that the failure of a run brought along."""
        return [*self._told(entry, now_ms, width=width), *_remedy(entry, width=width)]

    def _told(self, entry: HistoryEntry, now_ms: int, *, width: int | None) -> list[Line]:
        line = self.line(entry, now_ms, width=width)
        if width is None or not self._is_narrow(width) or entry.kind == "log":
            return [line]
        detail, head = self.detail(entry), self._narrow(entry, "", now_ms, width)
        room = width - 1 - line_cells(head) - 2
        if cells(detail) <= room or room >= LEAST_BESIDE:
            return [line]
        return [head, [("  ", ""), (_fitted(entry, detail, max(width - 3, LEAST_ID)), "")]]

    def _is_narrow(self, width: int) -> bool:
        return width < NARROW + (LEAST_ID + 2 if self._several else 0)

    def _narrow(self, entry: HistoryEntry, detail: str, now_ms: int, width: int) -> Line:
        """The same where columns would leave no room for what happened. What a handler logs is never cut."""
        shown = clock_seconds(entry.at, now_ms)
        if cells(shown) > LONGEST_CLOCK and not was_chosen():
            shown = ago(entry.at, now_ms)
        line: Line = [(shown, "dim"), (" ", "")]
        if self._several:
            line += [(cut_middle(clean(entry.workflow_id), LEAST_ID), "cyan"), (" ", "")]
        if entry.kind == "log":
            level = str(entry.data.get("level", "INFO"))
            return [*line, (f"{level.lower()}  ", _LEVEL_STYLES.get(level.upper(), "")), (detail, "")]
        line.append((entry.kind, _kind_style(entry.kind)))
        room = width - 1 - line_cells(line) - 2
        if detail and room >= LEAST_ID:
            line.append((f"  {_fitted(entry, detail, room)}", ""))
        return clip(line, width - 1)


def _hint(entry: HistoryEntry) -> str:
    """The remedy of what a run failed with. The record of its step has the same error, and tells it no second time."""
    error = entry.data.get("error") if entry.kind == "run.failed" else None
    detail = error.get("detail") if isinstance(error, dict) else None
    hint = detail.get("hint") if isinstance(detail, dict) else None
    return clean(hint) if isinstance(hint, str) else ""


def _remedy(entry: HistoryEntry, *, width: int | None) -> list[Line]:
    hint = _hint(entry)
    return [] if width is None or not hint else wrap([("  hint: ", "dim"), (hint, "")], width - 1)


def _fitted(entry: HistoryEntry, detail: str, width: int) -> str:
    """`detail` cut to `width`. Of what went wrong both ends tell something: which handler, and what was the matter."""
    if entry.kind.rpartition(".")[2] not in _TROUBLES:
        return cut(detail, width)
    error = entry.data.get("error")
    if cells(detail) > width and isinstance(error, dict) and error.get("frame"):
        # The place is the first to go; `-o json` and 'wfctl show' have it.
        detail = detail.replace(clean(f" ({error['frame']})"), "")
    return cut_middle(detail, width)


def _kind_style(kind: str) -> str:
    word = _LAST_WORD_LOOKS.get(kind.rpartition(".")[2])
    # Of what goes well only the end of a run stands out.
    return look(word).style if word and not (word == "completed" and not kind.startswith("run.")) else ""


def _json(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"


def failure_text(error: Any) -> str:
    """`CardDeclined: limit exceeded (flows/orders.py:12 in charge)` of a failure as data."""
    if not isinstance(error, dict):
        return str(error)
    text = str(error.get("type") or error.get("code") or "error")
    if error.get("message"):
        text += f": {error['message']}"
    return f"{text} ({error['frame']})" if error.get("frame") else text


def _started(data: dict[str, Any]) -> str:
    words = [str(data.get("workflow_type", "")), _json(data.get("input"))]
    if data.get("parent"):
        words.append(f"child of {data['parent'].get('workflow_id', '?')}")
    if data.get("begins_at"):
        words.append(f"begins {absolute(data['begins_at'])}")
    if data.get("deadline"):
        words.append(f"times out {absolute(data['deadline'])}")
    return "  ".join(words)


def _step_started(data: dict[str, Any]) -> str:
    words = str(data.get("handler", ""))
    return words + (f"  ({data['kind']})" if data.get("kind") not in (None, "step") else "")


def _step_completed(data: dict[str, Any]) -> str:
    words = f"then {data.get('next', '?')}"
    if data.get("handler"):
        words += f" {data['handler']}"
    if data.get("wake_at"):
        words += f" at {absolute(data['wake_at'])}"
    stored = [*data.get("put", {}), *(f"-{key}" for key in data.get("deleted", []))]
    return words + (f"  stored {', '.join(stored)}" if stored else "")


def _wait_started(data: dict[str, Any]) -> str:
    names = data.get("names")
    words = "for " + (", ".join(names) if names else "any event")
    if data.get("deadline"):
        words += f", times out {absolute(data['deadline'])}"
    return words + (f" -> {data['on_timeout']}" if data.get("on_timeout") else "")


def _event_received(data: dict[str, Any]) -> str:
    words = str(data.get("name", ""))
    if payload := _unless_empty(as_sent(data.get("payload"))):
        words += f"  {payload}"
    if data.get("sender"):
        words += f"  from {data['sender']}"
    return words + (f"  refused: {data['refused']}" if data.get("refused") else "")


def _child_started(data: dict[str, Any]) -> str:
    words = f"{data.get('workflow_type', '')}({data.get('workflow_id', '')})"
    return words + ("  already started" if data.get("existing") else "")


def _sent(data: dict[str, Any]) -> str:
    target = f" to {data['workflow_id']}" if data.get("workflow_id") else ""
    return f"{data.get('event', '')}{target}  {data.get('outcome', '')}".rstrip()


def _child_closed(data: dict[str, Any]) -> str:
    words = f"{data.get('workflow_id', '')}  {data.get('status', '')}"
    return words + (f"  then {data['step']}" if data.get("step") else "")


def _child_ended(data: dict[str, Any]) -> str:
    words = [str(data.get("workflow_id", "")), *([f"already {data['closed']}"] if data.get("closed") else [])]
    return "  ".join([*words, *([str(data["reason"])] if data.get("reason") else [])])


def _child_result(data: dict[str, Any]) -> str:
    words, outcome = f"{data.get('workflow_id', '')}  {data.get('status', '')}", data.get("outcome") or {}
    if data.get("status") == "completed":
        return f"{words}  {_json(outcome.get('result'))}"
    why = failure_text(outcome["error"]) if outcome.get("error") else str(outcome.get("reason") or "")
    return f"{words}  {why}".rstrip()


def _task(data: dict[str, Any], words: str) -> str:
    """A task's record, with the attempt where it is not the first."""
    again = f"  attempt {data['attempt']}" if data.get("attempt", 1) > 1 else ""
    return f"{data.get('name', '')}{again}  {words}".rstrip()


def _unless_empty(value: Any) -> str:
    return "" if value in (None, {}, []) else _json(value)


def _attempt_failed(data: dict[str, Any], at_ms: int) -> str:
    of = f" of {data['max_attempts']}" if data.get("max_attempts") else ""
    words = f"{data.get('name', '')}  attempt {data.get('attempt', 1)}{of}  {_error(data)}"
    return words + (f"  next after {format_duration(max(data['retry_at'] - at_ms, 0))}" if "retry_at" in data else "")


def _task_failed(data: dict[str, Any]) -> str:
    tries = data.get("attempt", 1)
    return f"{data.get('name', '')}  {f'after {tries} attempts  ' if tries > 1 else ''}{_error(data)}"


def _slept(data: dict[str, Any], at_ms: int) -> str:
    wake_at = data.get("wake_at", at_ms)
    return f"{format_duration(max(wake_at - at_ms, 0))}, until {absolute(wake_at)}"


def _value(data: dict[str, Any]) -> str:
    value = data.get("value")
    return value if isinstance(value, str) else _json(value)


def _resumed(data: dict[str, Any]) -> str:
    phase = data.get("phase") or {}
    words = [f"was {data['was']}"] if data.get("was") else []
    if data.get("from_step"):
        words.append(f"back at {phase.get('handler', '')}, step {data['from_step']}")
    elif phase:
        words.append(str(phase.get("handler") or phase.get("phase", "")))
    if data.get("attempt", 1) > 1:
        words.append(f"attempt {data['attempt']}")
    stored = [*data.get("put", {}), *(f"-{key}" for key in data.get("deleted", []))]
    words += [f"stored {', '.join(stored)}"] if stored else []
    again = [str(event.get("name", "")) for event in data.get("requeued", [])]
    words += [f"in the inbox again: {', '.join(again)}"] if again else []
    return "  ".join([*words, *([str(data["reason"])] if data.get("reason") else [])])


def _interrupted(data: dict[str, Any]) -> str:
    return f"attempt {data.get('attempt', 1)}: {data.get('reason', '')}"


def _refused(data: dict[str, Any]) -> str:
    asked = f"{data.get('operation', '')} {data.get('name', '')}".strip()
    return f"{asked}: {failure_text(data.get('error'))}"


def _reason(data: dict[str, Any]) -> str:
    return str(data.get("reason") or "")


def _error(data: dict[str, Any]) -> str:
    return failure_text(data.get("error", ""))


def _generic(data: dict[str, Any]) -> str:
    """A record this version has no words for: its fields as they are."""
    shown = {key: value for key, value in data.items() if key not in ("key", "step", "run_id")}
    return "  ".join(
        f"{key.removesuffix('_ms')}={format_duration(value)}"
        if key.endswith("_ms") and isinstance(value, int)
        else f"{key}={value if isinstance(value, str) else _json(value)}"
        for key, value in shown.items()
    )


# Records whose words depend on when they were made.
_TIMED: dict[str, Callable[[dict[str, Any], int], str]] = {
    "task.attempt_failed": _attempt_failed,
    "sleep.recorded": _slept,
}
_DETAILS: dict[str, Callable[[dict[str, Any]], str]] = {
    "run.started": _started,
    "run.completed": lambda data: _json(data.get("result")),
    "run.failed": _error,
    "run.timed_out": _error,
    "run.cancel_requested": _reason,
    "run.cancelled": _reason,
    "run.terminated": _reason,
    "run.stuck": _reason,
    "run.resumed": _resumed,
    "step.started": _step_started,
    "step.completed": _step_completed,
    "step.failed": _error,
    "step.timed_out": lambda data: f"after {format_duration(data.get('timeout_ms', 0))}",
    "step.interrupted": _interrupted,
    "wait.started": _wait_started,
    "event.received": _event_received,
    "child.started": _child_started,
    "child.closed": _child_closed,
    "child.cancel_requested": _child_ended,
    "child.terminated": _child_ended,
    "child.result_recorded": _child_result,
    "child.resumed": lambda data: str(data.get("workflow_id", "")),
    "parent_event.sent": _sent,
    "event.sent": _sent,
    "timestamp.recorded": lambda data: absolute(data["value"]) if type(data.get("value")) is int else _value(data),
    "random.recorded": _value,
    "uuid.recorded": _value,
    "task.started": lambda data: _task(data, _unless_empty(data.get("arguments"))),
    "task.completed": lambda data: _task(data, _json(data.get("result"))),
    "task.failed": _task_failed,
    "operation.refused": _refused,
    "log": lambda data: str(data.get("message", "")),
}
