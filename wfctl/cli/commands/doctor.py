"""`wfctl doctor`: all that can be wrong, looked at in one go, with the daemon or without."""

from typing import Annotated

import typer

from wfctl import __version__
from wfctl.cli import exit
from wfctl.cli.care import ask
from wfctl.cli.options import Output
from wfctl.cli.render.doctor import check_lines, check_table, summary
from wfctl.cli.render.problem import one_line
from wfctl.cli.render.status import size, waiting
from wfctl.cli.render.text import counted
from wfctl.cli.render.times import short
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConfigError, DaemonDownError, WfctlError
from wfctl.protocol.care import Check, Findings
from wfctl.protocol.code import WorkflowList, Workflows
from wfctl.protocol.daemon import GetStatus, StatusView
from wfctl.values.status import Status

EXAMPLES = """
  wfctl doctor
  wfctl doctor --fix
  wfctl doctor -o json
"""
TAKES = ("table",)


def run(
    ctx: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what is safe: permissions of the state, a stale socket.")
    ] = False,
) -> int:
    """Look for what is wrong.

    The environment, the configuration, the daemon's places, the database and the runs, each with a remedy; nothing is changed
    without --fix. Exits with 9 when a check failed; warnings are no failure.
    """
    shell = shell_of(ctx)
    shell.choose_fields(Check)
    view, daemon = _daemon(shell)
    arguments = [*(["--fix"] if fix else []), *([] if view else ["--load-modules"])]
    findings = ask(shell, "doctor", *arguments, answer=Findings)
    if fix and view is None:
        _, daemon = _daemon(shell)  # its socket may be another by now
    checks = [*findings.checks, daemon, *(_running(shell, view) if view else [])]
    _tell(shell, checks)
    return exit.PARTIAL if any(check.status == "fail" for check in checks) else exit.OK


def _tell(shell: Shell, checks: list[Check]) -> None:
    if shell.output is Output.JSON:
        healthy = all(check.status != "fail" for check in checks)
        shell.document("doctor", {"healthy": healthy, "checks": shell.pick(checks)})
        return
    if shell.output is Output.JSONL:
        for check in checks:
            shell.json_line(check)
        return
    if shell.output is Output.ID:
        shell.print_ids(check.code for check in checks if check.status != "ok")
        return
    if shell.out.tty and shell.fields is None:
        shell.out.prose(check_lines(checks, ascii=shell.out.ascii))
    else:
        shell.table(checks, lambda _: check_table(checks))
    shell.out.flush()
    shell.note(summary(checks))


def _daemon(shell: Shell) -> tuple[StatusView | None, Check]:
    """The daemon's own word, and what it means that there is one, or none."""
    try:
        view: StatusView = shell.call(GetStatus())
    except (DaemonDownError, ConfigError) as error:
        shell.hang_up()
        hint = error.hint or "wfctl up"
        return None, Check(code="daemon", status="warn", message=one_line(error.message), remedy=hint)
    except WfctlError as error:
        return None, Check(code="daemon", status="fail", message=one_line(error.message), remedy=error.hint)
    up = f"pid {view.pid}, up for {short(view.now - view.started_at)}"
    if view.draining:
        return view, Check(
            code="daemon", status="warn", message=f"{up}, is stopping", remedy="wfctl up, once it is down"
        )
    if view.version != __version__:
        old = f"{up}, is version {view.version}; this wfctl is {__version__}"
        return view, Check(code="daemon", status="warn", message=old, remedy="wfctl down && wfctl up")
    return view, Check(code="daemon", status="ok", message=up)


def _running(shell: Shell, view: StatusView) -> list[Check]:
    """What only a daemon knows: its modules, its workers, its storage, its runs."""
    return [_modules(shell, view), _workers(view), _storage(view), _stuck(view), _schedules(view)]


def _modules(shell: Shell, view: StatusView) -> Check:
    if not view.problems:
        return _needed(shell) or Check(code="modules", status="ok", message=f"generation {view.generation} is loaded")
    first = view.problems[0]
    where = f" ({first.file}:{first.line})" if first.file and first.line else ""
    more = f", and {len(view.problems) - 1} more" if len(view.problems) > 1 else ""
    message = f"{first.module}: {one_line(first.message)}{where}{more}"
    return Check(code="modules", status="fail", message=message, remedy=first.hint or "correct that line")


def _needed(shell: Shell) -> Check | None:
    """What open runs need of the code that is loaded, and is not there."""
    try:
        served: WorkflowList = shell.call(Workflows())
    except WfctlError as error:
        return Check(code="modules", status="fail", message=one_line(error.message), remedy=error.hint or "wfctl logs")
    lacks = [(f"workflow type {gone.workflow_type}", gone.open_runs) for gone in served.unloaded]
    for item in served.items:
        lacks += [(f"{lost.kind} {lost.name} of {item.spec.workflow_type}", lost.runs) for lost in item.missing]
    if not lacks:
        return None
    what, runs = lacks[0]
    more = f", and {len(lacks) - 1} more" if len(lacks) > 1 else ""
    message = f"{what} is not there, and {counted(runs, 'open run')} {'needs' if runs == 1 else 'need'} it{more}"
    return Check(code="modules", status="warn", message=message, remedy="wfctl check")


def _workers(view: StatusView) -> Check:
    blocked = [worker for worker in view.workers if worker.blocked_ms]
    if blocked:
        names = "; ".join(f"{worker.pid} runs {', '.join(worker.handlers) or 'no step'}" for worker in blocked)
        message = f"{counted(len(blocked), 'worker')} blocked: {names}"
        remedy = "await what takes long, or write the handler with 'def' alone, which gets a thread"
        return Check(code="workers", status="warn", message=message, remedy=remedy)
    if held := [worker for worker in view.workers if worker.held_ms]:
        message = "; ".join(f"worker {worker.pid} has no thread left: {waiting(worker)}" for worker in held)
        return Check(code="workers", status="warn", message=message, remedy="wfctl explain no_thread")
    if not view.workers:
        message = "; ".join(["no worker process runs", *view.no_worker])
        return Check(code="workers", status="fail", message=message, remedy="wfctl logs")
    return Check(code="workers", status="ok", message=f"{counted(len(view.workers), 'process', plural='processes')}")


def _storage(view: StatusView) -> Check:
    if view.displaced:
        return Check(
            code="storage", status="fail", message=view.displaced, remedy="put it back before the daemon stops"
        )
    if view.storage_error is None and view.log_readers:
        message = (
            f"the log of the database is {size(view.wal_bytes)} long, and is read by {', '.join(view.log_readers)}"
        )
        return Check(code="storage", status="warn", message=message, remedy="wfctl explain long_log")
    if view.storage_error is None:
        return Check(code="storage", status="ok", message="the daemon can write")
    message = f"the daemon cannot write, and tries again: {one_line(view.storage_error)}"
    return Check(code="storage", status="fail", message=message, remedy="make room on the disk, or see: wfctl logs")


def _stuck(view: StatusView) -> Check:
    if view.unreadable:
        more = f", and {len(view.unreadable) - 1} more" if len(view.unreadable) > 1 else ""
        remedy = "wfctl explain unreadable_run"
        return Check(code="runs", status="fail", message=f"{view.unreadable[0]}{more}", remedy=remedy)
    stuck = view.counts.get(Status.STUCK, 0)
    if not stuck:
        return Check(code="runs", status="ok", message="none is stuck")
    message = f"{counted(stuck, 'run')} {'needs' if stuck == 1 else 'need'} code or a person"
    return Check(code="runs", status="warn", message=message, remedy="wfctl list --status stuck")


def _schedules(view: StatusView) -> Check:
    blocked = view.schedules.blocked
    if not blocked:
        return Check(code="schedules", status="ok", message=f"{view.schedules.total} there, none is blocked")
    id, problem = next(iter(blocked.items()))
    more = f", and {len(blocked) - 1} more" if len(blocked) > 1 else ""
    message = f"schedule {id} starts nothing: {one_line(problem)}{more}"
    return Check(code="schedules", status="warn", message=message, remedy="wfctl schedule list --status blocked")
