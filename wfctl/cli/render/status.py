"""`wfctl status` as facts: the daemon, its project, the runs, the workers, what is wrong."""

from __future__ import annotations

import os

from wfctl.cli.exit import look
from wfctl.cli.holder import STOPPED, process_state
from wfctl.cli.project import LastBackup
from wfctl.cli.render.problem import one_line, warning_lines
from wfctl.cli.render.table import facts
from wfctl.cli.render.text import Line, clean, count, counted, cut
from wfctl.cli.render.times import when
from wfctl.protocol.daemon import ProblemView, StatusView, WorkerView
from wfctl.values.status import Status
from wfctl.values.times import format_duration

# So soon after its start a daemon may have found what it lines up.
RECOVERED_MS = 10_000
_MISSING: Line = [("  open runs need handlers that it lacks: wfctl workflows", "magenta")]


def status_lines(
    view: StatusView, backup: LastBackup | None, *, lacks: bool = False, person: bool, ascii: bool
) -> list[Line]:
    """`lacks`: open runs need what the loaded code does not have."""
    state: Line = [("running", "green")]
    if view.storage_error:
        state = [("stopped working", "bold red")]
    elif view.draining:
        state = [("stopping", "yellow")]
    began = when(view.started_at, view.now, relative=person)
    up = f" for {began.removesuffix(' ago')}" if began.endswith(" ago") else f" since {began}"
    pairs: list[tuple[str, Line]] = [
        ("daemon", [*state, (f"{up}  pid {view.pid}  version {view.version}", "")]),
        ("project", [(clean(view.project), "")]),
        ("socket", [(clean(view.socket), "")]),
        ("database", [(f"{clean(view.database)}  {_database(view)}", "")]),
        ("backup", [(_backup(backup, view.now, person=person), "")]),
        ("log", [(clean(view.log), "")]),
        ("code", [(_code(view), ""), *_MISSING * lacks]),
        ("python", [(clean(view.python), "")]),
        ("runs", _counts(view.counts, person=person, ascii=ascii)),
        ("workers", [(_workers(view, person), "")]),
    ]
    if view.schedules.total:
        pairs.append(("schedules", _schedules(view, person=person)))
    pairs += [(name, [(clean(value), "")]) for name, value in view.settings.items()]
    pairs += [("full" if index == 0 else "", [(clean(text), "yellow")]) for index, text in enumerate(view.full)]
    lines = facts(pairs)
    if view.storage_error:
        lines += [[(f"storage error: {clean(view.storage_error)}", "bold red")]]
    if view.displaced:
        lines += [[(f"storage error: {clean(view.displaced)}", "bold red")]]
    if view.log_readers:
        lines += _long_log(view)
    if view.unreadable:
        lines += _unreadable(view.unreadable)
    for worker in view.workers:
        if worker.blocked_ms:
            lines += blocked_lines(worker)
        elif worker.held_ms:
            lines += held_lines(worker)
    for why in view.no_worker:
        lines += warning_lines("no_worker", f"steps wait for a worker: {why}", "wfctl explain no_worker")
    for problem in view.problems:
        lines += problem_lines(problem)
    return lines


def _unreadable(runs: list[str]) -> list[Line]:
    others = len(runs) - 1
    more = f", as {'is' if others == 1 else 'are'} {others} more" if others else ""
    message = f"{runs[0]}\nit is set aside as it is{more}; the other runs go on"
    return warning_lines("unreadable_run", message, "wfctl explain unreadable_run")


def _long_log(view: StatusView) -> list[Line]:
    who = ", ".join(view.log_readers)
    message = f"the log of the database is {size(view.wal_bytes)} long, and grows as long as it is read by {who}"
    return warning_lines("long_log", message, "wfctl explain long_log")


def _database(view: StatusView) -> str:
    log = f", {size(view.wal_bytes)} of it in its log" if view.wal_bytes else ""
    return f"{size(view.database_bytes)}{log}"


def _backup(backup: LastBackup | None, now_ms: int, *, person: bool) -> str:
    if backup is None:
        return "none yet: wfctl backup FILE"
    gone = "" if os.path.exists(backup.path) else ", not there any more"
    return f"{clean(backup.path)}  {when(backup.at, now_ms, relative=person)}  {size(backup.bytes)}{gone}"


def _code(view: StatusView) -> str:
    # A worker of a newer one is about to import it.
    others = sorted({worker.generation for worker in view.workers if worker.generation < view.generation})
    older = f", older code in use too: generation {', '.join(map(str, others))}" if others else ""
    # An import that is over in a moment is not worth a word.
    loading = f", new code is loading for {format_duration(view.loading_ms)}" if view.loading_ms > 1_000 else ""
    if not view.generation:
        return f"none is loaded{loading}"
    return f"generation {view.generation}  {view.source_hash[:12]}{older}{loading}"


def _workers(view: StatusView, person: bool) -> str:
    busy = sum(worker.steps for worker in view.workers)
    queued = f", {count(view.queued_steps, grouped=person)} queued" if view.queued_steps else ""
    if view.queued_steps and view.oldest_queued_at is not None:
        oldest = when(min(view.oldest_queued_at, view.now), view.now, relative=person)
        # A daemon counts from when it had the step itself; another one may have had it before.
        least = ", or longer" if view.oldest_queued_at < view.started_at + RECOVERED_MS else ""
        queued += f" (the oldest {f'for {oldest[:-4]}' if oldest.endswith(' ago') else f'since {oldest}'}{least})"
    youngest = max((worker.started_at for worker in view.workers), default=None)
    since = f", youngest started {when(youngest, view.now, relative=person)}" if youngest is not None else ""
    blocked = sum(worker.blocked_ms > 0 for worker in view.workers)
    return (
        f"{counted(len(view.workers), 'process', plural='processes')}, {counted(busy, 'step')} running{queued}"
        f"{f', {blocked} blocked' if blocked else ''}{since}"
    )


def _schedules(view: StatusView, *, person: bool) -> Line:
    """How many there are, which are blocked, and when the next of them comes."""
    found = view.schedules
    line: Line = [(count(found.total, grouped=person), "")]
    if found.paused:
        line.append((f", {count(found.paused, grouped=person)} paused", "yellow"))
    if found.blocked:
        line.append((f", {len(found.blocked)} blocked: wfctl schedule list --status blocked", "magenta"))
    if found.next_at is not None:
        line.append((f", next {when(found.next_at, view.now, relative=person)}", ""))
    return line


def blocked_lines(worker: WorkerView) -> list[Line]:
    """A worker whose event loop does not turn: for how long, and which handlers may be why, longest first."""
    if process_state(worker.pid) == STOPPED:
        told = f"worker {worker.pid} has not answered for {format_duration(worker.blocked_ms)}: its process is stopped"
        return warning_lines("blocked_worker", told, f"kill -CONT {worker.pid}")
    why = (
        "".join(f"\nit runs {handler}" for handler in worker.handlers)
        or "\nit runs no step: a query, or what a step left running"
    )
    return warning_lines(
        "blocked_worker",
        f"worker {worker.pid} has not answered for {format_duration(worker.blocked_ms)}: "
        f"{'a handler' if worker.handlers else 'something'} blocks its event loop{why}",
        "await what takes long, or write the handler with 'def' alone, which gets a thread",
    )


def held_lines(worker: WorkerView) -> list[Line]:
    """A worker all of whose threads are taken: who waits for one, for how long, and which handlers have had theirs longest."""
    return warning_lines(
        "no_thread",
        f"worker {worker.pid} has no thread left: {waiting(worker)} for one, the first for {format_duration(worker.held_ms)}"
        + "".join(f"\nit runs {handler}" for handler in worker.handlers),
        "limit the time of what blocks there, write it with 'async def', or raise `workers`",
    )


def waiting(worker: WorkerView) -> str:
    """`2 handlers and 1 task wait`"""
    named = [(worker.held, "handler"), (worker.held_tasks, "task")]
    who = " and ".join(counted(number, what) for number, what in named if number)
    return f"{who} wait{'s' if worker.held + worker.held_tasks == 1 else ''}"


def counts_line(view: StatusView) -> Line:
    """The runs by status alone, and whether something is wrong."""
    line = _counts(view.counts, person=False, ascii=True)
    if view.problems:
        line.append((f"  {counted(len(view.problems), 'problem', grouped=False)}: wfctl status", ""))
    return line


def _counts(counts: dict[str, int], *, person: bool, ascii: bool) -> Line:
    line: Line = []
    for status in Status:
        if number := counts.get(status, 0):
            shown = look(status)
            mark = shown.ascii if ascii else shown.glyph
            line.append((f"{'  ' if line else ''}{count(number, grouped=person)} ", ""))
            line.append((f"{mark} {shown.word}" if person else shown.word, shown.style))
    return line or [("none", "dim")]


def size(number: int) -> str:
    """`4.0 KiB`"""
    amount = float(number)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def problem_lines(problem: ProblemView) -> list[Line]:
    """A module that could not be loaded as it is: what, where, and the remedy."""
    where = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file or problem.module
    return warning_lines("workflows", f"{problem.module}: {problem.message}\nat {where}", problem.hint or None)


def problem_notes(problems: list[ProblemView], width: int) -> list[Line]:
    """What is wrong with the code, a line each, for the foot of a live picture."""
    notes: list[Line] = []
    for problem in problems:
        where = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file or problem.module
        text = f"code: {where}: {one_line(problem.message)}; the code loaded before stays in use"
        notes.append([(cut(clean(text), width - 1), "bold yellow")])
    return notes
