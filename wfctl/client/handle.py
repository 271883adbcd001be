"""A handle on one run: send to it, wait for it, end it, look at it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar, overload

import msgspec

from wfctl.client.connection import Link
from wfctl.client.following import Tail, outcome_of
from wfctl.client.naming import exact_run_id, statuses
from wfctl.client.telling import RunDescription, described, info_of, outcome_error, stuck_error
from wfctl.errors import InvalidArgumentError, NotFinishedError
from wfctl.protocol import calls, views
from wfctl.values import codec
from wfctl.values.commands import command
from wfctl.values.handle import WorkflowHandle
from wfctl.values.ids import check_name, check_workflow_id
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import Status
from wfctl.values.times import format_duration, to_ms

T = TypeVar("T")
# A workflow ID (its newest run) or a run ID, a handle, or a run as `Client.list` and `Client.tree` tell of it: that very run.
Run = str | WorkflowHandle | views.RunView

_PAGE = 1_000


class ClientHandle(WorkflowHandle):
    """Made by `Client.start` (then it is that very run) or `Client.handle` (then the newest run of the ID at each call).

    `run_info` is set by a start, or once `describe` has learnt it; else None. `existing` is True where a start has begun nothing,
    since `if_running` or `if_closed` had it use the run that there was. IDs are exact, never prefixes. Every method
    raises RunNotFoundError for a run that does not exist, and DaemonDownError where there is no daemon; where that has
    `detail["dropped"]`, what was asked may have happened.
    """

    def __init__(
        self, link: Link, workflow_id: str, run_info: RunInfo | None = None, *, existing: bool = False
    ) -> None:
        self._link = link
        self.existing = existing
        self._pinned = None if run_info is None else run_info.id
        self.workflow_id = workflow_id
        self.run_info = run_info

    def __repr__(self) -> str:
        run = f", run {self.run_info.id}" if self.run_info is not None else ""
        return f"<ClientHandle {self.workflow_id!r}{run}>"

    async def send(
        self,
        event: str,
        payload: Any = None,
        *,
        event_id: str | None = None,
        start: str | None = None,
        start_input: Any = None,
        allow_unknown: bool = False,
    ) -> calls.Sent:
        """Hand the run an event; returns when it is on disk. A dict is keyword arguments, any other value the one argument.

        Of several with the same `event_id` the run accepts one; the answer to the others says `duplicate`, also once it has closed.
        So a sender that got no answer may send again.

        With `start`, a workflow type, a run of it with the input `start_input` is begun where the workflow ID has no open one, in
        one commit with the event that goes into its inbox; the answer says `started`. That is for handles of `Client.handle`: one
        of `Client.start` is of its own run alone, and raises InvalidArgumentError.

        `allow_unknown` keeps an event that the type has no handler for, with its payload as it is, in the inbox until there is one.
        A run that waits for any event takes it, and is stuck until then.

        Raises RunClosedError, UnknownEventError, or InvalidPayloadError where the handler's signature cannot take it; with `start`
        UnknownWorkflowTypeError too. Nothing is started or sent then.
        """
        check_name(event, "event name")
        data = codec.encode(payload, f"payload of event {event!r}")
        first = None if start is None else self._first(start, start_input)
        if first is None and start_input is not None:
            raise InvalidArgumentError(
                "start_input is for the run that start begins", hint="give start, a workflow type"
            )
        sent: calls.Sent = await self._link.call(
            calls.Send(
                id=await self._id() if first is None else self.workflow_id,
                exact=first is None,
                event=event,
                payload=msgspec.Raw(data),
                event_id=event_id,
                start=first,
                any_event=allow_unknown,
                positional=codec.one_argument(payload, data),
            )
        )
        return sent

    def _first(self, workflow_type: str, workflow_input: Any) -> calls.StartFirst:
        check_name(workflow_type, "workflow type")
        if self._pinned is not None:
            raise InvalidArgumentError(
                f"this handle is of run {self._pinned} alone, and cannot begin another",
                hint=f"client.handle({self.workflow_id!r}).send(..., start={workflow_type!r})",
            )
        data = codec.encode(workflow_input, f"input of workflow {workflow_type!r}")
        return calls.StartFirst(
            workflow_type=workflow_type, input=msgspec.Raw(data), positional=codec.one_argument(workflow_input, data)
        )

    @overload
    async def result(self, timeout: timedelta | None = None, *, fail_if_stuck: bool = False) -> Any: ...

    @overload
    async def result(self, timeout: timedelta | None = None, *, type: type[T], fail_if_stuck: bool = False) -> T: ...

    async def result(self, timeout: timedelta | None = None, type: Any = Any, *, fail_if_stuck: bool = False) -> Any:
        """What the run completed with, waiting for it; as plain data, or converted to `type`.

        Raises RunFailedError, RunCancelledError, RunTerminatedError or RunTimedOutError (`detail`: run_id, workflow_id,
        status, error), and NotFinishedError when `timeout` is over first; the run goes on. One that is stuck is waited for, as code
        may cure it, or with `fail_if_stuck` is a RunStuckError.
        """
        outcome = await self._outcome(timeout, [Status.STUCK] if fail_if_stuck else [])
        if outcome.status is Status.STUCK:
            raise stuck_error(outcome)
        if outcome.status is not Status.COMPLETED:
            raise outcome_error(outcome)
        return codec.convert(codec.decode(outcome.result), type, f"result of run {outcome.workflow_id!r}")

    async def wait(self, *until: Status | str, timeout: timedelta | None = None) -> views.Outcome:
        """Wait until the run has closed, or its status is one of `until` ("open" is any open one); how it stands then, of which
        nothing is raised. Its `result` is JSON as it was recorded. A status that it only passes through may go by.

        Raises NotFinishedError when `timeout` is over first.
        """
        return await self._outcome(timeout, statuses(until, "until"))

    async def _outcome(self, timeout: timedelta | None, until: list[Status]) -> views.Outcome:
        timeout_ms = None if timeout is None else to_ms(timeout, "timeout")
        call = calls.Result(id=self._pinned or await self._id(), exact=True, timeout_ms=timeout_ms, until=until)
        outcome = await outcome_of(self._link, call)
        if not call.ends_with(outcome.status):
            raise NotFinishedError(
                f"run {outcome.workflow_id!r} has not finished within {format_duration(timeout_ms or 0)}; "
                f"it is {outcome.status}",
                hint=command("show", outcome.workflow_id),
                run_id=outcome.run_id,
                workflow_id=outcome.workflow_id,
                status=outcome.status.value,
            )
        return outcome

    @overload
    async def query(self, name: str, payload: Any = None) -> Any: ...

    @overload
    async def query(self, name: str, payload: Any = None, *, type: type[T]) -> T: ...

    async def query(self, name: str, payload: Any = None, *, type: Any = Any) -> Any:
        """What the run's query handler `name` answers, as plain data, or converted to `type`. Changes nothing.

        It sees the store as it was last committed; closed runs answer too. A dict is keyword arguments, any other value the
        one argument. Raises UnknownQueryError, InvalidPayloadError where the handler's signature cannot take it, or
        QueryFailedError where the handler raised.
        """
        check_name(name, "query name")
        data = codec.encode(payload, f"arguments of query {name!r}")
        call = calls.Query(
            id=await self._id(),
            exact=True,
            name=name,
            input=msgspec.Raw(data),
            positional=codec.one_argument(payload, data),
        )
        answer: calls.QueryAnswer = await self._link.call(call)
        what = f"answer of run {answer.workflow_id!r} to query {name!r}"
        return codec.convert(codec.decode(answer.value), type, what)

    async def cancel(
        self, reason: str | None = None, children: bool = False, *, dry_run: bool = False
    ) -> calls.Changed:
        """Ask the run to end; its handler gets `asyncio.CancelledError` and may clean up. A closed run is no error.

        `children` asks every open run below it as well; `descendants` of the answer counts those. With `dry_run` nothing is
        changed: the answer is what would have been.
        """
        changed: calls.Changed = await self._link.call(
            calls.Cancel(id=await self._id(), exact=True, reason=reason, children=children, dry_run=dry_run)
        )
        return changed

    async def terminate(
        self, reason: str | None = None, children: bool = False, *, dry_run: bool = False
    ) -> calls.Changed:
        """End the run now; its handler is not asked. A closed run is no error. The rest is as in `cancel`."""
        changed: calls.Changed = await self._link.call(
            calls.Terminate(id=await self._id(), exact=True, reason=reason, children=children, dry_run=dry_run)
        )
        return changed

    async def retry(
        self,
        *,
        from_step: str | None = None,
        new: bool = False,
        workflow_id: str | None = None,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> calls.Retried:
        """Re-open the run, which failed, timed out or is stuck, at the step that failed: what its operations recorded is kept.

        `from_step` (a handler's name or a step's number) goes back to an earlier step, with the store as it was then. `new` begins
        another run of the same type and input instead, under `workflow_id` or the same one; the answer has its `run_id`.
        `dry_run` only tells what would be done.

        Raises ConflictError where nothing has failed, WorkflowAlreadyRunning where the workflow ID has another open run, and
        NotFoundError for a step that the run has not come through.
        """
        retried: calls.Retried = await self._link.call(
            calls.Retry(
                id=await self._id(),
                exact=True,
                from_step=from_step,
                new=new,
                workflow_id=workflow_id,
                reason=reason,
                dry_run=dry_run,
            )
        )
        return retried

    async def describe(self) -> RunDescription:
        """The run as it stands, with its input, store and inbox."""
        detail: views.RunDetail = await self._link.call(calls.Get(id=await self._id(), exact=True))
        self.run_info = info_of(detail.run, detail.schedule)
        return described(detail)

    async def history(
        self, *, logs: bool = False, after: int = 0, before: int | None = None, limit: int | None = None, newest: bool = False
    ) -> list[views.HistoryEntry]:  # fmt: skip
        """What is recorded of the run, oldest first; with `logs` its log lines in their place.

        All of it, or of the records with a number (`seq`, from 1) over `after` and under `before` the first `limit`, with
        `newest` the last ones. Log lines do not count.
        """
        if limit is not None and (not isinstance(limit, int) or limit < 0):
            raise InvalidArgumentError(f"limit must be a whole number and not negative, not {limit!r}")
        id = await self._id()
        pages: list[list[views.HistoryEntry]] = []
        left = limit
        while left is None or left > 0:
            page: calls.HistoryPage = await self._link.call(
                calls.History(
                    id=id, exact=True, after_seq=after, before_seq=before, newest=newest, logs=logs,
                    limit=_PAGE if left is None else min(left, _PAGE),
                )
            )  # fmt: skip
            pages.append(page.items)
            if page.next is None:
                break
            if newest:
                before = page.next
            else:
                after = page.next
            if left is not None:
                left -= sum(entry.seq > 0 for entry in page.items)
        return [entry for page in (reversed(pages) if newest else pages) for entry in page]

    def watch(self, *, children: bool = False, logs: bool = True, progress: bool = False) -> Tail:
        """The history from its beginning, then on as it happens, until the run is closed. Each entry once, in order.

        `children` adds those of all descendants, `logs` the handlers' log lines (kind `log`), `progress` what running steps say
        with `ctx.progress` (kind `progress`): that is recorded nowhere, has no `rev`, and the newest counts. `Client.tail` does the
        same for several runs, and from where one left it: also when the daemon goes away, which is DaemonDownError here.
        """

        async def find() -> list[str]:
            return [await self._id()]

        return Tail(self._link, calls.Tail(follow=True, children=children, logs=logs, progress=progress), find)

    async def _id(self) -> str:
        """The run ID to address, and that alone: the daemon also takes workflow IDs and prefixes, and somebody's workflow ID may be
        this run ID."""
        return self._pinned or await exact_run_id(self._link, self.workflow_id)


async def run_ids(link: Link, runs: tuple[Run, ...]) -> list[str]:
    """The runs that are meant, each once."""
    return list(dict.fromkeys([await _run_id(link, run) for run in runs]))


async def _run_id(link: Link, run: Run) -> str:
    if isinstance(run, views.RunView):
        return run.run_id
    if isinstance(run, ClientHandle):
        return await run._id()
    if isinstance(run, WorkflowHandle) and run.run_info is not None:
        run_id: str = run.run_info.id
        return run_id
    return await exact_run_id(link, run if isinstance(run, str) else run.workflow_id)


def check_runs(runs: tuple[Run, ...]) -> tuple[Run, ...]:
    """The same runs, each of which is named in a way that there is."""
    given: Any
    for given in runs:
        if isinstance(given, str):
            check_workflow_id(given)
        elif not isinstance(given, WorkflowHandle | views.RunView):
            kind = type(given).__name__
            raise InvalidArgumentError(f"a run is an ID, a handle or a run of a list, not {kind} {given!r}")
    return runs
