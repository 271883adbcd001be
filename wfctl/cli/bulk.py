"""One call for several runs: asked about first, told one by one, and never half silent. Whatever verb changes runs is this."""

from __future__ import annotations

import getpass
import operator
import socket
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.problem import error_lines
from wfctl.cli.render.text import clean, counted
from wfctl.cli.shell import Shell
from wfctl.cli.types import check_types
from wfctl.cli.words import given_ids
from wfctl.errors import DaemonDownError, DeclinedError, RunNotFoundError, UsageError, WfctlError
from wfctl.protocol.call import Call
from wfctl.protocol.changes import Changed
from wfctl.protocol.lists import List, RunPage
from wfctl.protocol.runs import Get, RunDetail, RunView

SHOWN_TARGETS = 10
PAGE = 1_000


class Verb(NamedTuple):
    """What is done to each run, or whatever the `noun` says: `make` the call for an ID, `tell` its answer in a sentence, `sum_up`
    the answers of several and how many failed. `id_of` is what an answer is about; with `prints_id` that is what was asked for,
    and stands on stdout in a table's place too. `after` is done with each answer before it is told."""

    name: str
    schema: str
    make: Callable[[str], Call]
    tell: Callable[[Any], str]
    sum_up: Callable[[list[Any], int], str]
    noun: str = "run"
    id_of: Callable[[Any], str] = operator.attrgetter("run_id")
    prints_id: bool = False
    after: Callable[[Any], object] | None = None


class Targets(NamedTuple):
    """The IDs to work on. `bulk`: there are several, or filters chose them, so somebody is to confirm it. `known` are the runs that
    filters chose, by run ID, as they were then."""

    ids: list[str]
    bulk: bool
    known: Mapping[str, RunView] = {}

    def names(self) -> list[str]:
        """What a person knows them by."""
        return [clean(self.known[id].workflow_id) if id in self.known else clean(id) for id in self.ids]


def change_runs(
    shell: Shell,
    verb: str,
    done: str,
    targets: Targets,
    *,
    yes: bool,
    children: bool,
    dry_run: bool,
    make: Callable[[str], Call],
) -> int:
    """Make and call `make(id)`, which is answered with a `Changed`, for every target.

    With `children` it is told how many runs below were changed too.
    """

    def tell(result: Changed) -> str:
        return sentence(result, done, children=children, dry_run=dry_run)

    def sum_up(results: list[Changed], failed: int) -> str:
        changed = sum(result.changed for result in results)
        would, had = ("would ", "would have") if dry_run else ("", "had")
        nothing = f"{len(results) - changed} {had} nothing to do"
        ended = (
            would_end_below(shell, results, targets.known) if dry_run else sum(result.descendants for result in results)
        )
        below = f"; {_descendants(ended)} {would}{done}" if children else ""
        return f"{changed} {would}{done}, {nothing}, {failed} failed{below}"

    return carry_out(shell, Verb(verb, "change", make, tell, sum_up), targets, yes=yes, dry_run=dry_run)


def would_end_below(shell: Shell, ends: list[Changed], known: Mapping[str, RunView]) -> int:
    """How many runs would end with those that are named, of which `ends` says what would become of them: each once. What is
    `known` is not asked for.

    Where a named run is below another, that one's descendants have all of it among them: it too, which is named anyway.
    """
    named = {one.run_id: one for one in ends}
    if len(named) < 2 or not any(one.descendants for one in ends):
        return sum(one.descendants for one in named.values())

    @cache
    def parent_of(run_id: str) -> str | None:
        run = known.get(run_id)
        if run is None:
            try:
                detail: RunDetail = shell.call(Get(id=run_id, exact=True))
            except RunNotFoundError:
                return None  # purged
            run = detail.run
        return None if run.parent is None else run.parent.id

    # In other trees nothing is below a run with descendants.
    trees = {known[id].root_id if id in known else None for id, one in named.items() if one.descendants}

    def is_below(run_id: str) -> bool:
        run = known.get(run_id)
        if run is not None and not trees & {None, run.root_id}:
            return False
        at = parent_of(run_id)
        while at is not None and at not in named:
            at = parent_of(at)
        return at is not None

    return sum(-one.changed if is_below(run_id) else one.descendants for run_id, one in named.items())


def named(shell: Shell, ids: list[str]) -> Targets:
    """The runs of a command line's IDs. None at all, where a list of those that something is to be done to is empty."""
    found = [shell.run_id(id) for id in given_ids(ids, or_none=True)]
    return Targets(found, len(found) != 1)


def chosen(shell: Shell, call: List, limit: int | None) -> Targets:
    """The runs that filters choose, the newest first; what a limit leaves out is told."""
    known: dict[str, RunView] = {}
    after: str | None = None
    while True:
        room = PAGE if limit is None else min(limit - len(known), PAGE)
        page: RunPage = shell.call(msgspec.structs.replace(call, limit=room, after=after))
        known.update((run.run_id, run) for run in page.items)
        after = page.next
        if after is None or not page.items or len(known) == limit:
            break
    if after is not None and page.total is not None:
        shell.note(f"{counted(page.total - len(known), 'more run')} would match; --limit is {limit}", always=True)
    check_types(shell, call.types, known.values())
    return Targets([*known], True, known)


def carry_out(shell: Shell, verb: Verb, targets: Targets, *, yes: bool, dry_run: bool) -> int:
    """Do it to every target. One alone raises its error; of several, each is told once it is done, and 9 says that some failed."""
    if not targets.bulk:
        answer = _done(shell, verb, targets, targets.ids[0])
        if shell.output is Output.JSON:
            shell.document(verb.schema, answer)
        else:
            _tell(shell, verb, answer)
        return exit.OK
    if targets.ids and not dry_run:
        _announce(shell, verb, targets.names(), yes=yes)
    results: list[Any] = []
    failures: list[tuple[str, WfctlError]] = []
    for target in targets.ids:
        try:
            results.append(_done(shell, verb, targets, target))
        except DaemonDownError as error:
            raise _broken_off(error, verb, target, len(results) + len(failures), len(targets.ids)) from None
        except WfctlError as error:
            failures.append((target, error))
            with shell.telling():
                _tell_failure(shell, target, error)
        else:
            with shell.telling():
                _tell(shell, verb, results[-1])
    with shell.telling():
        if shell.output is Output.JSON:
            items = [*map(_item, results), *(_failed_item(*failure) for failure in failures)]
            shell.listing(f"{verb.schema}s", items, total=len(items))
        shell.total(verb.sum_up(results, len(failures)))
    return exit.PARTIAL if failures else exit.OK


def _done(shell: Shell, verb: Verb, targets: Targets, target: str) -> Any:
    call = verb.make(target)
    if target in targets.known:
        call = msgspec.structs.replace(call, exact=True)
    answer = shell.call(call)
    if verb.after is not None:
        verb.after(answer)
    return answer


def _broken_off(error: DaemonDownError, verb: Verb, target: str, done: int, total: int) -> DaemonDownError:
    """Whether the run whose answer is missing was changed, nobody knows here; those behind it were not."""
    where = f"{done} of {total} {verb.noun}s were done; {target} may have been"
    return DaemonDownError(f"{error.message}; {where}", hint=error.hint, **{**error.detail, "done": done, "at": target})


def _item(result: Any) -> dict[str, Any]:
    return {**as_data(result), "error": None}


def _failed_item(id: str, error: WfctlError) -> dict[str, Any]:
    return {"id": id, "error": as_data(error.to_data())}


def _tell(shell: Shell, verb: Verb, result: Any) -> None:
    """Told at once: a thousand take a while, and what was done stays done. A JSON document comes at the end."""
    if shell.output is Output.JSONL:
        shell.json_line(_item(result))
        shell.out.flush()
    elif shell.output is not Output.JSON:
        if verb.prints_id or shell.output is Output.ID:
            shell.print_ids([verb.id_of(result)])
            shell.out.flush()
        if shell.output is Output.TABLE:
            shell.note(verb.tell(result))


def _tell_failure(shell: Shell, id: str, error: WfctlError) -> None:
    if shell.output is Output.JSONL:
        shell.json_line(_failed_item(id, error))
        shell.out.flush()
    elif shell.output is not Output.JSON:
        shell.err.prose(error_lines(error))


def sentence(result: Changed, done: str, *, children: bool = False, dry_run: bool = False) -> str:
    """What was done to one run, and, where its `children` were meant too, to how many of those."""
    name = f"{result.workflow_id} (run {result.run_id})"
    would = " would" if dry_run else ""
    if not result.changed:
        text = f"{name} is {result.status} already"
        below = f"{_descendants(result.descendants)}{would} {done}" if result.descendants else "no open descendants"
        return f"{text}; {below}" if children else text
    below = f" and {_descendants(result.descendants)}" if children else ""
    if dry_run:
        return f"{name}{below} would {done}"
    return f"{done} {name}{below}" + (f": now {result.status}" if result.status.open else "")


def _descendants(number: int) -> str:
    return counted(number, "descendant") if number else "no descendants"


def _announce(shell: Shell, verb: Verb, targets: list[str], *, yes: bool) -> None:
    """Several runs are only changed by somebody who has seen which, and wants it. The default is no."""
    listed = ", ".join(targets[:SHOWN_TARGETS])
    if len(targets) > SHOWN_TARGETS:
        listed += f" and {len(targets) - SHOWN_TARGETS} more"
    if yes:
        with shell.telling():
            shell.note(f"{verb.name} {counted(len(targets), verb.noun)}: {listed}")
        return
    if shell.json or not sys.stdin.isatty():
        raise UsageError(
            f"{verb.name} {len(targets)} {verb.noun}s ({listed}) needs to be confirmed",
            hint="add --yes",
            count=len(targets),
        )
    shell.err.prose([[(f"{verb.name} {len(targets)} {verb.noun}s: {listed}", "")]])
    shell.err.stream.write("Go on? [y/N] ")
    shell.err.flush()
    answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        if not answer.endswith("\n"):
            shell.err.write("")
        raise DeclinedError(f"{verb.name} was declined; nothing was changed")


def signed(reason: str | None) -> str:
    """The reason to record: who did it, where none was given."""
    if reason is not None:
        return reason
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"by {user}@{socket.gethostname()}"
