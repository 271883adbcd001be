"""One run as one screen (`show`): where it stands, what its step is at, what is in it, and what to do when it is stuck."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wfctl.cli.render.document import as_sent
from wfctl.cli.render.pending import Pending, pending_line
from wfctl.cli.render.progress import progress_notes
from wfctl.cli.render.runs import position, status_span
from wfctl.cli.render.table import facts
from wfctl.cli.render.text import Line, clean, count, counted
from wfctl.cli.render.times import both, when
from wfctl.protocol.daemon import ProblemView
from wfctl.protocol.runs import RunDetail, RunView
from wfctl.values.commands import command
from wfctl.values.signature import HandlerSpec
from wfctl.values.status import Status
from wfctl.values.times import format_duration

MOST_EVENTS = 3


def show_lines(
    detail: RunDetail,
    doing: list[Pending],
    now_ms: int,
    *,
    below: dict[str, int] | None = None,
    person: bool,
    ascii: bool = False,
    width: int | None = None,
) -> list[Line]:
    """The whole of one run, broken to `width` where there is one; `doing` is what its step is at, `below` how many of its children
    are in which status."""
    run = detail.run

    def moment(at_ms: int) -> Line:
        return [(both(at_ms, now_ms) if person else when(at_ms, now_ms, relative=False), "")]

    pairs: list[tuple[str, Line]] = [
        ("workflow ID", [(clean(run.workflow_id), "bold")]),
        ("run ID", [(run.run_id, "")]),
        ("type", [(clean(run.workflow_type), "")]),
        ("status", [status_span(run.status, person=person, ascii=ascii)]),
        ("started", moment(run.started_at)),
    ]
    if run.closed_at is not None:
        pairs.append(("closed", moment(run.closed_at)))
    pairs.append(
        ("took" if run.closed_at else "for", [(format_duration((run.closed_at or now_ms) - run.started_at), "")])
    )
    if detail.reason:
        pairs += _told("reason", detail.reason, "", person=person)
    if detail.schedule is not None:
        due = detail.schedule
        pairs.append(("started by", [(f"schedule {clean(due.id)}, for ", ""), *moment(due.at_ms)]))
    if run.parent is not None:
        pairs.append(("parent", [(clean(f"{run.parent.workflow_type}({run.parent.workflow_id})"), "")]))
    if position(run):
        label = "waits for" if run.status is Status.WAITING else "step" if run.status.open else "last step"
        pairs.append((label, [(clean(position(run)), "")]))
    if run.wake_at is not None and run.status.open:
        pairs.append(("until", moment(run.wake_at)))
    if run.deadline is not None and run.status.open:
        pairs.append(("times out", moment(run.deadline)))
    if run.children:
        stand = f"{run.open_children} open" + "".join(
            f", {count(number, grouped=person)} {status}"
            for status, number in (below or {}).items()
            if Status(status).closed or status == Status.STUCK
        )
        pairs.append(("children", [(f"{counted(run.children, 'run')}: {stand}", "")]))
    if run.progress is not None:
        pairs.append(("progress", [(progress_notes(run.progress, drawn=person)[0], "")]))
    pairs += [(one.kind, pending_line(one, now_ms, person=person)) for one in doing]
    pairs += _problem_facts(run, person=person)
    data = _data_facts(detail)
    entries = counted(detail.history_entries, "entry", plural="entries", grouped=person)
    pairs += [*data, ("history", [(entries, "")])]
    return facts(pairs, width, whole={name for name, _ in data})


def _data_facts(detail: RunDetail) -> list[tuple[str, Line]]:
    """What its users put into a run, and what it returned."""
    pairs = [("input", _payload(detail.input))]
    if detail.run.status is Status.COMPLETED:
        pairs.append(("result", _payload(detail.result)))
    pairs += [(f"store {clean(key)}", _payload(value)) for key, value in detail.store.items()]
    for entry in detail.inbox:
        pairs.append(
            (f"inbox {entry.seq}", [(clean(entry.event), "bold"), ("  ", ""), *_payload(as_sent(entry.payload))])
        )
    return pairs


def _told(name: str, text: str, style: str, *, person: bool) -> list[tuple[str, Line]]:
    """Why something went wrong: for people on as many lines as its author gave it."""
    lines = text.splitlines() if person else [text]
    return [(name if index == 0 else "", [(clean(line), style)]) for index, line in enumerate(lines or [""])]


def _problem_facts(run: RunView, *, person: bool) -> list[tuple[str, Line]]:
    pairs: list[tuple[str, Line]] = []
    if run.stuck_reason:
        pairs += _told("stuck", run.stuck_reason, "magenta", person=person)
    if run.error is not None:
        pairs += _told("error", str(run.error), "red", person=person)
        if run.error.frame:
            pairs.append(("at", [(clean(run.error.frame), "")]))
        if run.error.hint:
            pairs += _told("hint", run.error.hint, "", person=person)
    return pairs


def stuck_advice(id: str, *, reload: bool, problems: int) -> list[str]:
    """What a stuck run needs from a person, and what to type. `problems`: modules that did not load."""
    cure = "correct the code and save it; the run then goes on by itself"
    if not reload:
        cure = "correct the code, then 'wfctl down && wfctl up'; the run then goes on by itself"
    lines = [f"to go on: {cure}"]
    if problems:
        lines.append(f"  {counted(problems, 'module')} did not load, see: wfctl workflows")
    again = command("retry", id, options="[--from STEP]")
    return [
        *lines,
        f"  what led to it: {command('history --logs', id)}",
        f"  to try again at once, or from an earlier step: {again}",
        f"  to give it up: {command('cancel', id)}",
    ]


def retry_advice(id: str) -> list[str]:
    """What a run that failed or timed out needs, and what to type."""
    return [
        f"to go on where it stopped, once that is corrected: {command('retry', id)}",
        f"  what led to it: {command('history --logs', id)}",
    ]


def waiting_advice(run: RunView, events: list[HandlerSpec] | None, problems: Sequence[ProblemView] = ()) -> list[str]:
    """The events that take a waiting run further, as they are sent. `events` are the handlers its type has, where that is known;
    where they are not, `problems` may keep its code from being loaded."""
    if events is None and problems:
        first = problems[0]
        where = f"{first.file}:{first.line}" if first.file and first.line else first.file or first.module
        return [
            f"the code of {clean(run.workflow_type)} is not loaded: {clean(f'{where}: {first.message}')}",
            "  correct it and save it; then this tells what the run waits for",
        ]
    known = {one.name: one for one in events or ()}
    names = run.waiting_for if run.waiting_for is not None else list(known)
    if not names:
        return advice(run)
    lines = []
    for name in names[:MOST_EVENTS]:
        spec = known.get(name)
        inputs = "" if spec is None else "".join(f" {one.name}=..." for one in spec.params if one.required)
        lacks = f"put the handler of {clean(name)} back, then" if events is not None and spec is None else "to go on"
        lines.append(f"{lacks}: {command('send', run.workflow_id, name)}{inputs}")
    if len(names) > MOST_EVENTS:
        lines.append(f"  or one of {len(names) - MOST_EVENTS} more: wfctl workflows")
    return lines


def advice(run: RunView) -> list[str]:
    """What to type next about a run that nothing is wrong with, or that somebody has ended."""
    id = run.workflow_id
    match run.status:
        case Status.RUNNING | Status.WAITING:
            return [f"to see it go on: {command('tail -f', id)}"]
        case Status.SLEEPING:
            return ["it goes on by itself", f"  to see that: {command('tail -f', id)}"]
        case Status.CANCELLING:
            return ["its handler was asked to end, and cleans up", f"  to end it at once: {command('terminate', id)}"]
        case Status.CANCELLED | Status.TERMINATED:
            return [f"to do it anew with the same input: {command('retry --new', id)}"]
        case _:
            return [f"where its time went: {command('timeline', id)}"]


def _payload(raw: msgspec.Raw) -> Line:
    return [(clean(bytes(raw).decode()), "")]
