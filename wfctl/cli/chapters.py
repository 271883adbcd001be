"""The history of one run, of it what was asked for: from a number on or back from one, of some steps, so many records."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wfctl.cli.pages import history_pages
from wfctl.cli.shell import Shell
from wfctl.errors import NotFoundError
from wfctl.protocol.runs import History, HistoryEntry, HistoryPage, RunView
from wfctl.values.commands import command, quoted

PAGE = 1_000
# So many records before a page are looked through for what its lines refer to: the handler of their step, the code it ran.
CONTEXT = 200
_STEP_ENDS = ("step.completed", "step.failed", "step.timed_out")


class Asked(NamedTuple):
    """Records with numbers between `after` and `before`; at most `limit`, the newest with `reverse`. Log lines come on top."""

    logs: bool
    step: str | None
    since_ms: int | None
    reverse: bool
    limit: int | None
    after: int
    before: int | None


class Chapter:
    """Once all of it was read, `shown` counts its records, and `next` is the number of the last where there are more: to be given
    as `before` with `reverse`, else as `after`. `total` counts all records of the run; None where only some are wanted.

    Raises RunNotFoundError, and NotFoundError for a step that the run does not have, before anything is shown.
    """

    def __init__(self, shell: Shell, id: str, asked: Asked) -> None:
        self._shell = shell
        self.asked = asked
        self.shown = 0
        self.next: int | None = None
        self._page: HistoryPage | None = None
        self._steps: list[HistoryEntry] = []
        if asked.step is None:
            self._page = self._fetch(id, asked.after, asked.before, asked.limit)
            self.run = self._page.run
            self.total = self._page.total if asked.since_ms is None else None
        else:
            pages = history_pages(shell, id, logs=asked.logs)
            first = next(pages)
            self.run, self.total = first.run, None
            entries = (entry for page in (first, *pages) for entry in page.items)
            self._steps = list(_of_step(entries, asked.step, self.run))

    def entries(self) -> Iterator[HistoryEntry]:
        """In the order they are to be shown."""
        for page in self.pages():
            yield from reversed(page) if self.asked.reverse else page

    def pages(self) -> Iterator[list[HistoryEntry]]:
        """The same in parts, the newest part first with `reverse`; within each the oldest entry is first."""
        for page, more in self._read_all():
            kept = self._kept(page)
            more = more and not self._is_too_old(page)
            records = [entry for entry in kept if entry.seq]
            room = None if self.asked.limit is None else self.asked.limit - self.shown
            if room is not None and len(records) > room:
                records = records[-room:] if self.asked.reverse else records[:room]
                kept, more = _with_logs(kept, records), True
            self.shown += len(records)
            if kept:
                yield kept
            full = self.asked.limit is not None and self.shown >= self.asked.limit
            if full and more and records:
                self.next = records[0 if self.asked.reverse else -1].seq
            if full or self._is_too_old(page):
                return

    def before(self, page: list[HistoryEntry]) -> list[HistoryEntry]:
        """Some records before those of a page."""
        first = page[0].seq
        if first <= 1 or self.asked.step is not None:
            return []
        call = History(id=self.run.run_id, exact=True, before_seq=first, limit=CONTEXT, newest=True)
        found: HistoryPage = self._shell.call(call)
        return found.items

    def _fetch(self, id: str, after: int, before: int | None, limit: int | None, *, exact: bool = False) -> HistoryPage:
        asked = self.asked
        number = PAGE if limit is None or asked.since_ms is not None else min(limit, PAGE)
        call = History(
            id=id, exact=exact, after_seq=after, before_seq=before, limit=number, newest=asked.reverse, logs=asked.logs
        )
        page: HistoryPage = self._shell.call(call)
        return page

    def _read_all(self) -> Iterator[tuple[list[HistoryEntry], bool]]:
        """What there is in parts, and whether there are more."""
        asked = self.asked
        if self._page is None:
            end = asked.before or 1 << 62
            seq = 0
            inside = []
            for entry in self._steps:
                seq = entry.seq or seq  # a log line is of the record before it
                if asked.after < seq < end:
                    inside.append(entry)
            yield inside, False
            return
        page = self._page
        while True:
            yield page.items, page.next is not None
            if page.next is None:
                return
            after, before = (asked.after, page.next) if asked.reverse else (page.next, asked.before)
            limit = None if asked.limit is None else asked.limit - self.shown
            page = self._fetch(self.run.run_id, after, before, limit, exact=True)

    def _kept(self, page: list[HistoryEntry]) -> list[HistoryEntry]:
        since = self.asked.since_ms
        return page if since is None else [entry for entry in page if entry.at >= since]

    def _is_too_old(self, page: list[HistoryEntry]) -> bool:
        """Whether, going back, there is nothing more that is wanted."""
        since = self.asked.since_ms
        return self.asked.reverse and since is not None and bool(page) and page[0].at < since


def _with_logs(entries: list[HistoryEntry], records: list[HistoryEntry]) -> list[HistoryEntry]:
    """Of `entries` these records, with the log lines after each."""
    wanted = {entry.seq for entry in records}
    kept, inside = [], False
    for entry in entries:
        inside = entry.seq in wanted if entry.seq else inside
        if inside:
            kept.append(entry)
    return kept


def _of_step(entries: Iterable[HistoryEntry], wanted: str, run: RunView) -> Iterator[HistoryEntry]:
    """What was recorded between the begin and the end of the steps that are meant, both included; NotFoundError for none."""
    names: dict[str, None] = {}
    inside = found = False
    for entry in entries:
        begun = entry.data if entry.kind == "step.started" else (entry.data.get("phase") or {})
        if entry.kind in ("step.started", "run.resumed") and "step" in begun:
            name = str(begun.get("handler", ""))
            names[name] = None
            inside = wanted in (name, str(begun["step"]))
            found = found or inside
        if inside:
            yield entry
        if entry.kind in _STEP_ENDS:
            inside = False
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
        raise NotFoundError(
            f"run {run.workflow_id!r} has no step {wanted!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            hint=command("history", run.workflow_id, options=f"--step {quoted(near[0])}" if near else ""),
            step=wanted,
            known=list(names),
        )
