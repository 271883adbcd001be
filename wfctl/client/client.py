"""The asyncio client: start runs and get handles on them. One connection carries all its calls."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Generator, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

import msgspec

from wfctl.client.connection import Link
from wfctl.client.handle import ClientHandle, exact_run_id
from wfctl.client.schedules import Schedules
from wfctl.errors import InvalidArgumentError
from wfctl.protocol import calls, views
from wfctl.values import codec
from wfctl.values.handle import WorkflowHandle
from wfctl.values.ids import check_name, check_new_id, check_workflow_id
from wfctl.values.project import find_config, socket_path
from wfctl.values.status import SETS, Status
from wfctl.values.times import moment_ms, to_ms

T = TypeVar("T")
PathLike = str | os.PathLike[str]
Runs = list[views.RunView]

_PAGE = 500
_EITHER = "datetime or a timedelta"


class Client:
    """A program's access to the daemon of a project.

        async with Client.connect() as client:
            handle = await client.start("Order", workflow_id="order-1", workflow_input={"order_id": "1", "amount": 5})
            await handle.send("start_payment")
            print(await handle.result())

    Any number of tasks of one event loop may use it at a time. When the daemon goes away, the calls under way raise
    DaemonDownError, and the next call connects again. `schedules` are the workflows that the clock starts.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        # What ages are counted from.
        self._now_ms: Callable[[], int] = _machine_ms
        self.schedules = Schedules(link)

    @classmethod
    def connect(cls, socket: PathLike | None = None, project: PathLike | None = None) -> Connecting:
        """Use as `async with Client.connect() as client:` or `client = await Client.connect()`.

        The daemon is that at `socket`, or of `project` (a folder with a wfctl.toml, or that file); by default of
        WFCTL_SOCKET, WFCTL_PROJECT, or the nearest wfctl.toml at or above the working directory. Raises DaemonDownError
        where it does not run, ConfigError where there is no project.
        """
        return Connecting(cls, socket, project)

    async def close(self) -> None:
        """Hang up; runs go on. Twice is fine."""
        await self._link.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        at: datetime | None = None,
        delay: timedelta | None = None,
    ) -> ClientHandle:
        """Start a run; returns when it is on disk. Without `workflow_id` it gets a readable one.

        `at` (local time where it has no zone) or `delay`: its start handler begins then. The run is there from now on and sleeps,
        also across restarts; its timeout counts from its beginning. A time that has passed is now.

        `workflow_input`: a dict is keyword arguments of the start handler, any other value its one argument. Where the
        workflow ID has an open run: WorkflowAlreadyRunning, or with `if_running="use"` a handle on that run. Also raises
        UnknownWorkflowTypeError and InvalidPayloadError; nothing is started then.
        """
        check_name(workflow_type, "workflow type")
        if workflow_id is not None:
            check_new_id(workflow_id)
        data = codec.encode(workflow_input, f"input of workflow {workflow_type!r}")
        started: calls.Started = await self._link.call(
            calls.Start(
                workflow_type=workflow_type,
                workflow_id=workflow_id,
                input=msgspec.Raw(data),
                timeout_ms=None if workflow_timeout is None else to_ms(workflow_timeout, "workflow_timeout"),
                if_running=if_running,
                begins_at=None if at is None else moment_ms(at, "at"),
                delay_ms=None if delay is None else to_ms(delay, "delay"),
            )
        )
        return ClientHandle(self._link, started.run.workflow_id, started.run)

    @overload
    async def run(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        timeout: timedelta | None = None,
    ) -> Any: ...

    @overload
    async def run(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        timeout: timedelta | None = None,
        type: type[T],
    ) -> T: ...

    async def run(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        timeout: timedelta | None = None,
        type: Any = Any,
    ) -> Any:
        """`start`, then `result(timeout, type)` of the handle. `timeout` ends the wait, `workflow_timeout` the run."""
        handle = await self.start(
            workflow_type,
            workflow_id=workflow_id,
            workflow_input=workflow_input,
            workflow_timeout=workflow_timeout,
            if_running=if_running,
        )
        return await handle.result(timeout, type=type)

    def handle(self, workflow_id: str) -> ClientHandle:
        """A handle on the newest run of a workflow ID, or on the run of a run ID. Asks nothing of the daemon yet.

        The run ID of one run may be the workflow ID of another: that one is meant while it is open.
        """
        return ClientHandle(self._link, check_workflow_id(workflow_id))

    async def list(
        self,
        *,
        status: Status | str | Iterable[Status | str] = (),
        workflow_type: str | Iterable[str] = (),
        parent: str | WorkflowHandle | None = None,
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

    async def purge(
        self,
        *,
        status: Status | str | Iterable[Status | str] = (),
        workflow_type: str | Iterable[str] = (),
        older_than: timedelta | datetime | None = None,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> calls.Purged:
        """Take closed runs away for good, and return how many, and the bytes that are free by that; of several purges at once,
        those that this one took away.

        Trees go whole, and only when every run in them is closed, is in one of `status` and closed at least `older_than` ago
        (or at or before that moment; local time where it has no zone). `workflow_type` narrows by the type of the root. A status
        or an age must be given: InvalidArgumentError. The oldest go first, at most `limit` trees. With `dry_run` nothing is
        changed. Whatever interrupts it, no tree is left in part.
        """
        call = calls.Purge(statuses=_statuses(status), types=_types(workflow_type), limit=limit, dry_run=dry_run)
        if isinstance(older_than, timedelta):
            call = msgspec.structs.replace(call, older_than_ms=to_ms(older_than, "older_than"))
        elif older_than is not None:
            call = msgspec.structs.replace(call, closed_until_at=moment_ms(older_than, "older_than", _EITHER))
        async with self._link.stream(call) as progress:
            async for _ in progress:
                pass
            purged: calls.Purged = progress.answer
        return purged

    async def count(
        self,
        *,
        by: Literal["status", "type"] = "status",
        status: Status | str | Iterable[Status | str] = (),
        workflow_type: str | Iterable[str] = (),
        parent: str | WorkflowHandle | None = None,
        since: datetime | timedelta | None = None,
    ) -> dict[str, int]:
        """How many runs there are in each status, or of each type; those without any are missing. Filters as in `list`."""
        wanted = await self._filter(status, workflow_type, parent, since)
        found: calls.Counted = await self._link.call(calls.Count(by=by, **wanted))
        return found.counts

    async def _filter(
        self,
        status: Status | str | Iterable[Status | str],
        workflow_type: str | Iterable[str],
        parent: str | WorkflowHandle | None,
        since: datetime | timedelta | None,
    ) -> dict[str, Any]:
        run_id = None
        if isinstance(parent, WorkflowHandle):
            run_id = None if parent.run_info is None else parent.run_info.id
            parent = parent.workflow_id
        if parent is not None and run_id is None:
            run_id = await exact_run_id(self._link, check_name(parent, "parent"))
        return {
            "statuses": _statuses(status),
            "types": _types(workflow_type),
            "parent": run_id,
            "exact": run_id is not None,
            "since_ms": self._since_ms(since),
        }

    def _since_ms(self, since: datetime | timedelta | None) -> int | None:
        if since is None:
            return None
        return (
            self._now_ms() - to_ms(since, "since")
            if isinstance(since, timedelta)
            else moment_ms(since, "since", _EITHER)
        )

    async def workflows(self) -> calls.WorkflowList:
        """The workflow types on offer with their handlers, and what is wrong with the project's modules."""
        found: calls.WorkflowList = await self._link.call(calls.Workflows())
        return found

    async def check(self, *files: PathLike) -> calls.CodeCheck:
        """What the open runs would meet in these files, or (without any) in the modules of wfctl.toml as they are on disk now.

        The code is loaded beside the one that serves, and nothing is changed.
        """
        try:
            paths = [os.path.abspath(os.fsdecode(file)) for file in files]
        except TypeError as error:
            raise InvalidArgumentError(f"a file to check: {error}") from None
        answer: calls.CodeCheck = await self._link.call(calls.CheckCode(files=paths))
        return answer

    async def status(self) -> views.StatusView:
        """The daemon itself: its process, settings, workers, counts of runs."""
        status: views.StatusView = await self._link.call(calls.GetStatus())
        return status


class Connecting:
    """A client about to connect: await it, or enter it."""

    def __init__(self, cls: type[Client], socket: PathLike | None, project: PathLike | None) -> None:
        self._cls = cls
        self._socket = socket
        self._project = project
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _open(self) -> Client:
        path, project = _address(self._socket, self._project)
        link = Link(path, project)
        await link.connect()
        return self._cls(link)


def _address(socket: PathLike | None, project: PathLike | None) -> tuple[Path, str]:
    """The socket to connect to, and the project's folder for messages ("" where only the socket is known)."""
    named = socket if socket is not None else (os.environ.get("WFCTL_SOCKET") if project is None else None)
    if named:
        return Path(os.path.abspath(named)), ""
    config = find_config(project)
    return socket_path(config), str(config.parent)


def _several(given: str | Iterable[str], what: str) -> list[str]:
    if isinstance(given, str):
        return [given]
    try:
        return [*given]
    except TypeError:
        raise InvalidArgumentError(f"{what} is a text or several, not {type(given).__name__} {given!r}") from None


def _types(given: str | Iterable[str]) -> list[str]:
    return [check_name(one, "workflow type") for one in _several(given, "workflow_type")]


def _statuses(given: Status | str | Iterable[Status | str]) -> list[Status]:
    found: list[Status] = []
    for one in _several(given, "status"):
        among = SETS.get(one) if isinstance(one, str) else None
        found += [_status(one)] if among is None else [status for status in Status if status in among]
    return list(dict.fromkeys(found))


def _status(given: Status | str) -> Status:
    try:
        return Status(given)
    except ValueError:
        near = difflib.get_close_matches(str(given), list(Status), n=1)
        advice = f"did you mean {str(near[0])!r}?" if near else f"there are {', '.join([*Status, *SETS])}"
        raise InvalidArgumentError(f"unknown status {given!r}; {advice}", value=str(given)) from None


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000
