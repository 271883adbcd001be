"""The read side: what clients are shown, from committed rows alone. Changes nothing, and never looks into the engine's memory,
so nothing is shown that could still be lost.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from wfctl.errors import AmbiguousIdError, InvalidArgumentError, PayloadTooLargeError, RunNotFoundError
from wfctl.protocol import calls, rpc
from wfctl.protocol.views import (
    HistoryEntry,
    InboxView,
    MissingView,
    Outcome,
    ProgressView,
    RetryView,
    RunChange,
    RunDetail,
    RunView,
    Tree,
)
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ScheduleInfo
from wfctl.values.status import Status
from wfd.engine.changes import Changes
from wfd.engine.trees import Expanded, Forest, run_view
from wfd.engine.watch import Report
from wfd.runtime.clock import Clock
from wfd.store import browse, needs, pauses
from wfd.store.reader import Reader, Snapshot
from wfd.store.rows import Entry, Filter, Match, Retry, Scope
from wfd.supervisor import Catalog

MAX_CANDIDATES = 5
MAX_IDS = 1_000
_STATUSES = frozenset(map(str, Status))
_NEAR_AMONG = 2_000
# Of a run's store and inbox together; an answer has room for more, as its input, its result and the names are in it too.
MAX_DETAIL_BYTES = rpc.MAX_ANSWER_BYTES - (4 << 20)
# Of the trees with failures so many are counted at least.
MAX_COUNTED_ROOTS = 1_000
_decode = msgspec.json.Decoder().decode
_failure = msgspec.json.Decoder(Failure).decode


class _StartedBy(msgspec.Struct):
    """What the saved state says of who started a run."""

    schedule: ScheduleInfo | None = None


_started_by = msgspec.json.Decoder(_StartedBy).decode


class Reads:
    """`reports` is what running steps say of their progress, by the key of their run: the one thing shown that is on no disk."""

    def __init__(self, reader: Reader, clock: Clock, reports: Mapping[int, Report] | None = None) -> None:
        self._reader = reader
        self._clock = clock
        self._reports = {} if reports is None else reports

    # -- verbs ---------------------------------------------------------------------------------

    async def get(self, call: calls.Get) -> RunDetail:
        """One run with its input, result, store and inbox. Raises RunNotFoundError, AmbiguousIdError, and PayloadTooLargeError
        where that is more than one answer."""
        detail = await self.detail(call)
        store = sum([len(bytes(value)) for value in detail.store.values()])
        inbox = sum([len(bytes(event.payload)) for event in detail.inbox])
        if store + inbox > MAX_DETAIL_BYTES:
            name = detail.run.workflow_id
            raise PayloadTooLargeError(
                f"run {name!r} is too large to be shown at once: its store is {store:,} bytes, its inbox {inbox:,}; "
                f"the limit is {MAX_DETAIL_BYTES:,}",
                hint=f"wfctl history {detail.run.run_id} (what came and was stored, in parts), or a query of the workflow's own",
                size_bytes=store + inbox,
                limit_bytes=MAX_DETAIL_BYTES,
            )
        return detail

    async def detail(self, call: calls.Get) -> RunDetail:
        """The same, however large it is."""
        match = await self.resolve(call.id, exact=call.exact)
        async with self._reader.snapshot() as snapshot:
            view = await self._view(snapshot, match.key)
            loaded = await self._reader.load_in(snapshot, match.key)
        if loaded is None:
            raise await self._unknown(call.id)
        row = loaded.run
        if row.error is not None:
            view = msgspec.structs.replace(view, error=_failure(row.error))
        return RunDetail(
            run=view,
            input=_raw(row.input),
            result=_raw(row.result),
            store={key: _raw(value) for key, value in sorted(loaded.store.items())},
            schedule=_started_by(row.state).schedule,
            inbox=[InboxView(event.seq, event.name, _raw(event.payload), event.at) for event in loaded.inbox],
            history_entries=row.seq,
            reason=row.reason if view.status.closed and row.reason else None,
        )

    async def list(self, call: calls.List) -> calls.RunPage:
        """Runs, newest first, and how many there are in all. Raises InvalidArgumentError for a limit or cursor that is none."""
        if call.limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, not {call.limit}", limit=call.limit)
        before = None
        if call.after is not None:
            if not (call.after.isascii() and call.after.isdigit() and len(call.after) <= 18):
                raise InvalidArgumentError(
                    f"{call.after!r} is not a cursor", hint="give the `next` of an earlier page", after=call.after
                )
            before = int(call.after)
        wanted, now = await self._wanted(call), self._clock.now_ms()
        async with self._reader.snapshot() as snapshot:
            keys, more, total = await browse.page(snapshot, wanted, before, call.limit)
            runs = await browse.summaries(snapshot, keys)
            running = [key for key, run in runs.items() if run.status == Status.RUNNING]
            retries = await pauses.retries(snapshot, running, now)
            sleeps = await pauses.sleeps(snapshot, running, now)

        def view(key: int) -> RunView:
            shown = _with_retry(run_view(runs[key], self._progress(key)), retries.get(key))
            return msgspec.structs.replace(shown, wake_at=sleeps[key]) if key in sleeps else shown

        items = [view(key) for key in keys if key in runs]
        return calls.RunPage(items=items, next=str(keys[-1]) if more else None, total=total)

    async def ids(self, call: calls.Ids) -> calls.IdsFound:
        """What an ID that is typed may become. Raises InvalidArgumentError for a limit that is none."""
        if call.limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, not {call.limit}", limit=call.limit)
        async with self._reader.snapshot() as snapshot:
            keys = await self._reader.beginning(snapshot, call.prefix, min(call.limit, MAX_IDS), open=call.open)
            runs = await browse.summaries(snapshot, keys)
        found = [
            calls.IdView(
                run_id=run.run_id, workflow_id=run.workflow_id, workflow_type=run.type, status=Status(run.status)
            )
            for run in (runs[key] for key in keys if key in runs)
        ]
        return calls.IdsFound(items=[one for one in found if one.status.open or not call.open])

    async def count(self, call: calls.Count) -> calls.Counted:
        """How many runs match. Raises InvalidArgumentError for a `by` that is none."""
        if call.by not in ("status", "type"):
            raise InvalidArgumentError(f"by is 'status' or 'type', not {call.by!r}", by=call.by)
        wanted = await self._wanted(call)
        async with self._reader.snapshot() as snapshot:
            counts = await browse.count(snapshot, wanted, by_type=call.by == "type")
        return calls.Counted(by=call.by, counts=counts, total=sum(counts.values()))

    async def _wanted(self, call: calls.List | calls.Count) -> Filter:
        parent = None if call.parent is None else (await self.resolve(call.parent, exact=call.exact)).key
        return Filter(tuple(call.statuses), tuple(call.types), parent, call.since_ms)

    async def history(self, call: calls.History) -> calls.HistoryPage:
        """Records of one run, with its log lines in their places if asked for."""
        if call.limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, not {call.limit}", limit=call.limit)
        match = await self.resolve(call.id, exact=call.exact)
        async with self._reader.snapshot() as snapshot:
            runs = await browse.summaries(snapshot, (match.key,))
            if match.key not in runs:
                raise _purged()
            entries, following = await browse.history_page(
                snapshot, match.key, call.after_seq, call.before_seq, call.limit, newest=call.newest, logs=call.logs
            )
        view = run_view(runs[match.key], self._progress(match.key))
        return calls.HistoryPage(run=view, items=_entries(entries), next=following, total=runs[match.key].seq)

    async def tree(self, call: calls.GetTree) -> Tree:
        """Runs with all below them; or without an ID the newest open roots, or those with failures. Grouped, sampled and cut as the
        call says."""
        for name in ("group_at", "sample", "depth", "limit"):
            if getattr(call, name) < 0:
                raise InvalidArgumentError(f"{name} must not be negative, not {getattr(call, name)}")
        ids = call.ids if call.id is None else [call.id, *call.ids]
        named = list(dict.fromkeys([(await self.resolve(id, exact=call.exact)).key for id in ids]))
        expanded = await self._expanded(call.expand)
        now, total = self._clock.now_ms(), 0
        async with self._reader.snapshot() as snapshot:
            rev = await browse.newest_rev(snapshot)
            if named:
                roots = named
            elif call.only_failed:
                roots = await browse.bad_roots(snapshot, max(call.limit, MAX_COUNTED_ROOTS))
                total, roots = len(roots), roots[: call.limit]
            else:
                roots, total = await browse.open_roots(snapshot, call.limit), await browse.count_open_roots(snapshot)
            # Of runs that are named one may be below another, and is shown in both places.
            trees = [[key] for key in roots] if len(named) > 1 else [roots]
            forests = [Forest(snapshot, call, expanded, now, self._reports) for _ in trees]
            nodes = [node for forest, tree in zip(forests, trees, strict=True) for node in await forest.grow(tree)]
            if len(nodes) < len(named):
                raise _purged()
        complete = all(forest.complete for forest in forests) and total <= len(nodes)
        failed = not named and call.only_failed
        return Tree(
            rev=rev, now=now, roots=nodes, complete=complete, open_roots=0 if failed else total,
            failed_roots=total if failed else 0,
        )  # fmt: skip

    async def _expanded(self, words: Iterable[str]) -> Expanded:
        """What the words of `expand` mean: statuses, workflow types, else runs. RunNotFoundError for what is none of them."""
        statuses, types, keys = [], set(), []
        for word in words:
            async with self._reader.snapshot() as snapshot:
                is_type = await browse.has_type(snapshot, word)
            if word in _STATUSES:
                statuses.append(word)
            elif is_type:
                types.add(word)
            else:
                keys.append((await self._called(word)).key)
        return Expanded(frozenset(types), tuple(statuses), tuple(keys))

    async def _called(self, word: str) -> Match:
        """The run that a word of `expand` means, which is neither a status nor a type."""
        try:
            return await self.resolve(word)
        except RunNotFoundError as error:
            async with self._reader.snapshot() as snapshot:
                known = [*_STATUSES, *await browse.types(snapshot)]
            near = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or error.detail.get("near", [])
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise RunNotFoundError(
                f"{word!r} is no status, no type that has runs, and no run{meant}",
                hint="wfctl list",
                id=word,
                near=near,
            ) from None

    # -- ids -----------------------------------------------------------------------------------

    async def resolve(self, text: str, *, exact: bool = False) -> Match:
        """The run that `text` means; with `exact` that of this run ID alone. Raises RunNotFoundError (with what is spelled nearly
        so) or AmbiguousIdError."""
        found = await self._reader.resolve(text, exact=exact)
        if not found:
            raise await self._unknown(text)
        if len(found) > 1:
            names = [_named(match, text) for match in found[:MAX_CANDIDATES]]
            more = " and more" if len(found) > MAX_CANDIDATES else ""
            raise AmbiguousIdError(
                f"{text!r} is the start of several IDs: {', '.join(names)}{more}",
                hint="write more of it",
                id=text,
                candidates=names,
            )
        return found[0]

    async def _unknown(self, text: str) -> RunNotFoundError:
        near = difflib.get_close_matches(
            text, set(await self._reader.newest_workflow_ids(_NEAR_AMONG)), n=3, cutoff=0.6
        )
        meant = f" (did you mean {', '.join(repr(name) for name in near)}?)" if near else ""
        return RunNotFoundError(f"no run {text!r}{meant}", hint="wfctl list", id=text, near=near)

    async def root_of(self, key: int) -> int:
        """The key of the run at the top of this run's tree."""
        async with self._reader.snapshot() as snapshot:
            root = await browse.root_of(snapshot, key)
        if root is None:
            raise _purged()
        return root

    async def descendants(self, key: int) -> builtins.list[int]:
        """Keys of all runs below this one."""
        async with self._reader.snapshot() as snapshot:
            return await browse.descendants(snapshot, key)

    # -- followers -----------------------------------------------------------------------------

    async def outcome(self, key: int) -> Outcome:
        """How a run stands, or how it ended."""
        loaded = await self._reader.load_run(key)
        if loaded is None:
            raise _purged()
        row = loaded.run
        status = Status(row.status)
        return Outcome(
            run_id=row.run_id,
            workflow_id=row.workflow_id,
            workflow_type=row.type,
            status=status,
            result=_raw(row.result),
            error=None if row.error is None else _failure(row.error),
            reason=row.reason if status.closed else None,
            stuck_reason=row.reason if status is Status.STUCK else None,
        )

    async def newest_rev(self) -> int:
        """The newest committed revision."""
        async with self._reader.snapshot() as snapshot:
            return await browse.newest_rev(snapshot)

    async def rev_before(self, since_ms: int) -> int:
        """The revision after which everything came at `since_ms` or later."""
        async with self._reader.snapshot() as snapshot:
            return await browse.rev_before(snapshot, since_ms)

    async def entries_since(
        self, scope: Scope, rev: int, limit: int, *, logs: bool, kinds: Sequence[str] | None = None
    ) -> builtins.list[HistoryEntry]:
        """The first `limit` entries after revision `rev`, of `scope` and of these kinds (None: all), in order."""
        async with self._reader.snapshot() as snapshot:
            return _entries(await browse.entries_since(snapshot, scope, rev, limit, logs=logs, kinds=kinds))

    async def last_entries(
        self, scope: Scope, count: int, *, rev: int = 0, logs: bool, kinds: Sequence[str] | None = None
    ) -> builtins.list[HistoryEntry]:
        """The newest `count` of all that came after revision `rev`, oldest first; the rest as in `entries_since`."""
        async with self._reader.snapshot() as snapshot:
            return _entries(await browse.newest_entries(snapshot, scope, count, rev=rev, logs=logs, kinds=kinds))

    async def changes(self, changes: Changes) -> AsyncIterator[builtins.list[RunChange]]:
        """All changes of status up to now, in parts; one empty part where there are none."""
        newest = await self.newest_rev()
        more = True
        while more:
            async with self._reader.snapshot() as snapshot:
                found, more = await changes.next(snapshot, newest)
            yield found

    # -- counts --------------------------------------------------------------------------------

    async def counts(self) -> dict[str, int]:
        """How many runs there are in each status."""
        async with self._reader.snapshot() as snapshot:
            return await browse.counts(snapshot)

    async def open_needs(self, catalog: Catalog) -> tuple[dict[str, int], dict[str, builtins.list[MissingView]]]:
        """How many open runs each type has, and by type the handlers that they need and `catalog` does not have."""
        async with self._reader.snapshot() as snapshot:
            open_runs = await browse.open_by_type(snapshot)
            lacking = [
                need
                for need in await needs.needs(snapshot)
                if catalog.step_handler(need.type, need.kind, need.name) is None
            ]
            found = [await needs.exactly(snapshot, need) for need in lacking]
        missing: dict[str, builtins.list[MissingView]] = {}
        for need in found:
            if need is not None:
                view = MissingView(kind=need.kind, name=need.name, runs=need.runs)
                missing.setdefault(need.type, []).append(view)
        return open_runs, missing

    async def _view(self, snapshot: Snapshot, key: int) -> RunView:
        runs = await browse.summaries(snapshot, (key,))
        if key not in runs:
            raise _purged()
        return run_view(runs[key], self._progress(key))

    def _progress(self, key: int) -> ProgressView | None:
        report = self._reports.get(key)
        return None if report is None else report.progress


def _purged() -> RunNotFoundError:
    return RunNotFoundError("the run was purged a moment ago", hint="wfctl list")


def _with_retry(view: RunView, found: Retry | None) -> RunView:
    if found is None:
        return view
    retry = RetryView(
        task=found.task, attempt=found.attempt, retry_at=found.retry_at, error=_failure(found.error),
        max_attempts=found.max_attempts,
    )  # fmt: skip
    return msgspec.structs.replace(view, retry=retry)


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if text is None else text.encode())


def _entries(entries: Iterable[Entry]) -> list[HistoryEntry]:
    return [
        HistoryEntry(
            rev=entry.rev, run_id=entry.run_id, workflow_id=entry.workflow_id, seq=entry.seq, at=entry.at,
            kind=entry.kind, data=_decode(entry.data), source=entry.source,
        )
        for entry in entries
    ]  # fmt: skip


def _named(match: Match, text: str) -> str:
    """A candidate by the ID that starts with what was written."""
    return match.workflow_id if match.workflow_id.startswith(text) else match.run_id
