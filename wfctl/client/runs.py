"""What programs ask of many runs at once: lists, counts, trees, and what happens in them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from wfctl.client import following
from wfctl.client.connection import Link
from wfctl.client.handle import Run, check_runs, run_ids
from wfctl.client.naming import EITHER, StatusNames, Texts, since_ms, statuses, texts, types
from wfctl.errors import InvalidArgumentError
from wfctl.protocol import calls, views
from wfctl.values.kinds import chosen_kinds
from wfctl.values.times import moment_ms, to_ms

Runs = list[views.RunView]

_PAGE = 500
# More than there is room for in any tree.
_NEVER = 1_000_000


class AboutRuns:
    """A part of `Client`."""

    _link: Link
    # What ages are counted from.
    _now_ms: Callable[[], int]

    async def list(
        self,
        *,
        status: StatusNames = (),
        workflow_type: Texts = (),
        parent: Run | None = None,
        since: datetime | timedelta | None = None,
        limit: int | None = None,
    ) -> Runs:
        """Runs, newest first; all of them where `limit` is None (pages are fetched as needed).

        `status` and `workflow_type` take one or several, `status` also "open" and "closed"; `parent` is a workflow ID, run ID or
        handle; `since` a moment (local time where it has no zone) or how long ago.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise InvalidArgumentError(f"limit must be a whole number and not negative, not {limit!r}")
        wanted = await self._filter(status, workflow_type, parent, since)
        runs: Runs = []
        after: str | None = None
        while limit is None or len(runs) < limit:
            page: calls.RunPage = await self._link.call(
                calls.List(**wanted, limit=_PAGE if limit is None else min(_PAGE, limit - len(runs)), after=after)
            )
            runs += page.items
            after = page.next
            if after is None:
                break
        return runs

    async def list_page(
        self,
        *,
        status: StatusNames = (),
        workflow_type: Texts = (),
        parent: Run | None = None,
        since: datetime | timedelta | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> calls.RunPage:
        """One page of what `list` gives: its `items`, at most `limit`; `next`, to be given as `after` for the page that follows
        (None: there is none); and `total`, how many runs match in all. A cursor stays good, also across restarts of the daemon.
        """
        wanted = await self._filter(status, workflow_type, parent, since)
        page: calls.RunPage = await self._link.call(calls.List(**wanted, limit=limit, after=after))
        return page

    async def count(
        self,
        *,
        by: Literal["status", "type"] = "status",
        status: StatusNames = (),
        workflow_type: Texts = (),
        parent: Run | None = None,
        since: datetime | timedelta | None = None,
    ) -> dict[str, int]:
        """How many runs there are in each status, or of each type; those without any are missing. Filters as in `list`."""
        wanted = await self._filter(status, workflow_type, parent, since)
        found: calls.Counted = await self._link.call(calls.Count(by=by, **wanted))
        return found.counts

    async def _filter(
        self, status: StatusNames, workflow_type: Texts, parent: Run | None, since: datetime | timedelta | None
    ) -> dict[str, Any]:
        ids = [] if parent is None else await run_ids(self._link, check_runs((parent,)))
        return {
            "statuses": statuses(status),
            "types": types(workflow_type),
            "parent": ids[0] if ids else None,
            "exact": bool(ids),
            "since_ms": since_ms(since, self._now_ms()),
        }

    async def purge(
        self,
        *,
        status: StatusNames = (),
        workflow_type: Texts = (),
        older_than: timedelta | datetime | None = None,
        limit: int | None = None,
        dry_run: bool = False,
        progress: Callable[[calls.PurgedSoFar], object] | None = None,
    ) -> calls.Purged:
        """Take closed runs away for good, and return how many, and the bytes that are free by that; of several purges at once,
        those that this one took away.

        Trees go whole, and only when every run in them is closed, is in one of `status` and closed at least `older_than` ago
        (or at or before that moment; local time where it has no zone). `workflow_type` narrows by the type of the root. A status
        or an age must be given: InvalidArgumentError. The oldest go first, at most `limit` trees. With `dry_run` nothing is
        changed. `progress` is called with how far it is, and with the trees that went since. Whatever interrupts it, no tree is
        left in part.
        """
        call = calls.Purge(
            statuses=statuses(status), types=types(workflow_type), limit=limit, dry_run=dry_run,
            each=progress is not None,
        )  # fmt: skip
        if isinstance(older_than, timedelta):
            call = msgspec.structs.replace(call, older_than_ms=to_ms(older_than, "older_than"))
        elif older_than is not None:
            call = msgspec.structs.replace(call, closed_until_at=moment_ms(older_than, "older_than", EITHER))
        async with self._link.stream(call) as stream:
            async for so_far in stream:
                if progress is not None:
                    progress(so_far)
            purged: calls.Purged = stream.answer
        return purged

    async def tree(
        self,
        *runs: Run,
        depth: int = 60,
        group_at: int | None = 8,
        sample: int = 5,
        limit: int = 20,
        only_failed: bool = False,
        expand: Texts = (),
        keep: Iterable[str] = (),
    ) -> views.Tree:
        """Runs with their steps and all below them, as of one moment: a snapshot at revision `rev`.

        Of these runs (a TreeNode each in `roots`), or without any of the `limit` newest open ones that have no parent. Children
        lie at most `depth` deep. More than `group_at` children of one type (None: however many) are one TreeGroup of counts, with
        `sample` of them, those that went wrong first; what `expand` names (types, statuses, IDs) is neither grouped nor left out
        of a sample. `complete` is false where anything was left out. `only_failed` leaves the ways to runs that failed, timed out
        or are stuck; without runs then of the newest trees, open or closed, that have such. The run IDs of `keep` stay in their
        samples, so that a picture that is drawn again is quiet. Times are UTC epoch milliseconds.
        """
        call = calls.GetTree(
            ids=await run_ids(self._link, check_runs(runs)), exact=True, depth=depth,
            group_at=_NEVER if group_at is None else group_at, sample=sample, limit=limit, only_failed=only_failed,
            expand=texts(expand, "expand"), keep=texts(keep, "keep"),
        )  # fmt: skip
        tree: views.Tree = await self._link.call(call)
        return tree

    def changes(
        self,
        *runs: Run,
        since_rev: int | None = None,
        progress: bool = False,
        every: timedelta = timedelta(milliseconds=250),
    ) -> AsyncGenerator[views.WatchItem, None]:
        """A notice whenever something has happened in the trees of these runs (without any: in any run), at most one in `every`;
        the first at once. It ends when they have closed.

        Each has `changes`, the runs that have another status since the notice before (after revision `since_rev`, by default from
        now on), each change once and in order, and `problems`, what is wrong with the user's code. It is when to ask for a `tree`
        anew; to go on after a `tree` nothing is missed of, give its `rev` as `since_rev`. With `progress` there are notices for
        what running steps say with `ctx.progress`, too.

        When the daemon goes away: DaemonDownError, or as long as `Client.connect(reconnect=)` says it goes on with the next one
        where it was.
        """
        named = check_runs(runs)
        call = calls.Watch(changes=True, since_rev=since_rev, progress=progress, every_ms=to_ms(every, "every"))
        return following.changes(self._link, call, lambda: run_ids(self._link, named))

    def tail(
        self,
        *runs: Run,
        follow: bool = False,
        children: bool = False,
        since: datetime | timedelta | None = None,
        since_rev: int | None = None,
        last: int | None = None,
        kinds: Texts = (),
        logs: bool = True,
        progress: bool = False,
        code: bool = False,
    ) -> following.Tail:
        """The histories of these runs (without any: of all) merged into one stream, in the order in which they were committed, each
        entry once. It ends at what there is now, or with `follow` goes on until the runs that were named have closed.

        `children` adds those of all descendants, also of such that are started later. It begins with the first entry; after
        revision `since_rev`; `since` a moment (local time where it has no zone) or so long ago; or with the newest `last` ones,
        of those. `kinds` narrows: "run.failed", or all of "task". `logs` are the lines that handlers log (kind `log`). With
        `follow` there are, where asked for, `progress` of running steps (kind `progress`, which has no `rev`, and the newest
        counts) and `code`, which tells that other code serves or is wrong (kind `code`, of no run).

        When the daemon goes away: DaemonDownError, and the `rev` of what this returns says where to go on. As long as
        `Client.connect(reconnect=)` says it goes on by itself, with nothing twice and nothing left out.
        """
        named = check_runs(runs)
        call = calls.Tail(
            children=children, follow=follow, since_rev=since_rev, since_ms=since_ms(since, self._now_ms()), last=last,
            kinds=chosen_kinds(texts(kinds, "kinds")), logs=logs, progress=progress, code=code,
        )  # fmt: skip
        return following.Tail(self._link, call, lambda: run_ids(self._link, named))
