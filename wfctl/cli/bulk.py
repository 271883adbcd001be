"""One call for several runs: asked about first, told one by one, and never half silent. `cancel` and `terminate` are this."""

from __future__ import annotations

import getpass
import socket
import sys
from collections.abc import Callable

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.problem import error_lines
from wfctl.cli.render.text import counted
from wfctl.cli.shell import Shell
from wfctl.cli.words import given_ids
from wfctl.errors import DaemonDownError, DeclinedError, UsageError, WfctlError
from wfctl.protocol.calls import Call, Changed

SHOWN_TARGETS = 10


def change_runs(
    shell: Shell, verb: str, done: str, ids: list[str], *, yes: bool, children: bool, make: Callable[[str], Call]
) -> int:
    """Make and call `make(id)` for every ID. One alone raises its error; of several, each error is told and the code is 9.

    With `children` it is told how many runs below were changed too.
    """
    targets = [shell.run_id(id) for id in given_ids(ids)]
    if len(targets) == 1:
        changed: Changed = shell.call(make(targets[0]))
        _tell(shell, done, [changed], children=children, one=True)
        return exit.OK
    if not yes:
        _confirm(shell, verb, targets)
    results: list[Changed] = []
    failures: list[tuple[str, WfctlError]] = []
    for target in targets:
        try:
            results.append(shell.call(make(target)))
        except DaemonDownError:
            raise
        except WfctlError as error:
            failures.append((target, error))
    _tell(shell, done, results, children=children, one=False, failures=failures)
    return exit.PARTIAL if failures else exit.OK


def _tell(
    shell: Shell,
    done: str,
    results: list[Changed],
    *,
    children: bool,
    one: bool,
    failures: list[tuple[str, WfctlError]] | None = None,
) -> None:
    failed = failures or []
    items = [
        *({**as_data(result), "error": None} for result in results),
        *({"id": id, "error": as_data(error.to_data())} for id, error in failed),
    ]
    if shell.output is Output.JSON:
        if one:
            shell.document("change", results[0])
        else:
            shell.listing("changes", items, total=len(items))
        return
    if shell.output is Output.JSONL:
        for item in items:
            shell.json_line(item)
        return
    if shell.output is Output.ID:
        shell.print_ids(result.run_id for result in results)
    else:
        for result in results:
            shell.note(sentence(result, done, children=children))
    for _, error in failed:
        shell.err.prose(error_lines(error))
    if not one:
        changed = sum(result.changed for result in results)
        below = sum(result.descendants for result in results)
        also = f"; {_descendants(below)} {done}" if children else ""
        shell.note(f"{changed} {done}, {len(results) - changed} had nothing to do, {len(failed)} failed{also}")


def sentence(result: Changed, done: str, *, children: bool = False) -> str:
    """What was done to one run, and, where its `children` were meant too, to how many of those."""
    name = f"{result.workflow_id} (run {result.run_id})"
    if not result.changed:
        text = f"{name} is {result.status} already"
        below = f"{_descendants(result.descendants)} {done}" if result.descendants else "no open descendants"
        return f"{text}; {below}" if children else text
    below = f" and {_descendants(result.descendants)}" if children else ""
    return f"{done} {name}{below}" + (f": now {result.status}" if result.status.open else "")


def _descendants(number: int) -> str:
    return counted(number, "descendant") if number else "no descendants"


def _confirm(shell: Shell, verb: str, targets: list[str]) -> None:
    """Several runs are only changed by somebody who has seen which. The default is no."""
    listed = ", ".join(targets[:SHOWN_TARGETS])
    if len(targets) > SHOWN_TARGETS:
        listed += f" and {len(targets) - SHOWN_TARGETS} more"
    if shell.json or not sys.stdin.isatty():
        raise UsageError(
            f"{verb} {len(targets)} runs ({listed}) needs to be confirmed", hint="add --yes", count=len(targets)
        )
    shell.err.write(f"{verb} {len(targets)} runs: {listed}")
    shell.err.stream.write("Go on? [y/N] ")
    shell.err.flush()
    answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        if not answer.endswith("\n"):
            shell.err.write("")
        raise DeclinedError(f"{verb} was declined; nothing was changed")


def signed(reason: str | None) -> str:
    """The reason to record: who did it, where none was given."""
    if reason is not None:
        return reason
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"by {user}@{socket.gethostname()}"
