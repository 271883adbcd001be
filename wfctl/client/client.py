"""The asyncio client: start runs and get handles on them. One connection carries all its calls."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

import msgspec

from wfctl.client.connection import Link
from wfctl.client.daemon import AboutDaemon
from wfctl.client.handle import ClientHandle
from wfctl.client.naming import PathLike
from wfctl.client.runs import AboutRuns
from wfctl.client.schedules import Schedules
from wfctl.client.telling import info_of
from wfctl.protocol import calls, views
from wfctl.values import codec
from wfctl.values.ids import check_name, check_new_id, check_workflow_id
from wfctl.values.project import find_config, socket_path
from wfctl.values.times import moment_ms, to_ms

T = TypeVar("T")


class Client(AboutRuns, AboutDaemon):
    """A program's access to the daemon of a project.

        async with Client.connect() as client:
            handle = await client.start("Order", workflow_id="order-1", workflow_input={"order_id": "1", "amount": 5})
            await handle.send("start_payment")
            print(await handle.result())

    Any number of tasks of one event loop may use it at a time. When the daemon goes away, the calls under way raise
    DaemonDownError, and the next call connects again. `schedules` are the workflows that the clock starts.

    It can do what commands do with runs, schedules and a daemon that runs. To start and stop one, to set up or examine a project
    and to restore a backup are for the command line, and so is what only draws what is known here (`timeline`, `graph`,
    `explain`).
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._now_ms: Callable[[], int] = _machine_ms
        self.schedules = Schedules(link)

    @classmethod
    def connect(
        cls, socket: PathLike | None = None, project: PathLike | None = None, *, reconnect: timedelta = timedelta(0)
    ) -> Connecting:
        """Use as `async with Client.connect() as client:` or `client = await Client.connect()`.

        The daemon is that at `socket`, or of `project` (a folder with a wfctl.toml, or that file); by default of
        WFCTL_SOCKET, WFCTL_PROJECT, or the nearest wfctl.toml at or above the working directory. Raises DaemonDownError
        where it does not run, ConfigError where there is no project.

        `reconnect` is for how long what waits or follows (`result`, `wait`, `run`; `tail`, `watch`, `changes`) puts up with no
        daemon, once it was there: it goes on with the next one. Zero: it raises DaemonDownError, as every other call does always.
        """
        return Connecting(cls, socket, project, to_ms(reconnect, "reconnect") / 1_000)

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
        if_closed: Literal["start", "use", "fail"] = "start",
        at: datetime | None = None,
        delay: timedelta | None = None,
        dry_run: bool = False,
    ) -> ClientHandle:
        """Start a run; returns when it is on disk. Without `workflow_id` it gets a readable one.

        `at` (local time where it has no zone) or `delay`: its start handler begins then. The run is there from now on and sleeps,
        also across restarts; its timeout counts from its beginning. A time that has passed is now.

        `workflow_input`: a dict is keyword arguments of the start handler, any other value its one argument. Where the workflow
        ID has an open run: WorkflowAlreadyRunning, or with `if_running="use"` a handle on that run. Where it has none, but one
        that has closed: another one is started; with `if_closed="use"` it is a handle on the newest, with "fail"
        WorkflowAlreadyClosed. With "use" for both, a start whose answer was lost can be made again; `existing` of the handle
        tells whether there was one. A run that was purged is not known. Also raises UnknownWorkflowTypeError and
        InvalidPayloadError; nothing is started then. With `dry_run` all that is checked and nothing is started: the handle is of
        the workflow ID, as that of `handle`.
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
                if_closed=if_closed,
                begins_at=None if at is None else moment_ms(at, "at"),
                delay_ms=None if delay is None else to_ms(delay, "delay"),
                dry_run=dry_run,
                positional=codec.one_argument(workflow_input, data),
            )
        )
        info = started.run if started.run.id else None
        return ClientHandle(self._link, started.run.workflow_id, info, existing=started.existing)

    @overload
    async def run(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        if_closed: Literal["start", "use", "fail"] = "start",
        timeout: timedelta | None = None,
        fail_if_stuck: bool = False,
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
        if_closed: Literal["start", "use", "fail"] = "start",
        timeout: timedelta | None = None,
        type: type[T],
        fail_if_stuck: bool = False,
    ) -> T: ...

    async def run(
        self,
        workflow_type: str,
        *,
        workflow_id: str | None = None,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        if_running: Literal["fail", "use"] = "fail",
        if_closed: Literal["start", "use", "fail"] = "start",
        timeout: timedelta | None = None,
        type: Any = Any,
        fail_if_stuck: bool = False,
    ) -> Any:
        """`start`, then `result` of the handle. `timeout` ends the wait, `workflow_timeout` the run."""
        handle = await self.start(
            workflow_type,
            workflow_id=workflow_id,
            workflow_input=workflow_input,
            workflow_timeout=workflow_timeout,
            if_running=if_running,
            if_closed=if_closed,
        )
        return await handle.result(timeout, type=type, fail_if_stuck=fail_if_stuck)

    def handle(self, workflow_id: str | views.RunView) -> ClientHandle:
        """A handle on the newest run of a workflow ID, or on the run of a run ID; or on a run as `list` and `tree` tell of it,
        and on that very run. Asks nothing of the daemon yet.

        The run ID of one run may be the workflow ID of another: that one is meant while it is open.
        """
        if isinstance(workflow_id, views.RunView):
            return ClientHandle(self._link, workflow_id.workflow_id, info_of(workflow_id))
        return ClientHandle(self._link, check_workflow_id(workflow_id))


class Connecting:
    """A client about to connect: await it, or enter it."""

    def __init__(
        self, cls: type[Client], socket: PathLike | None, project: PathLike | None, reconnect_s: float
    ) -> None:
        self._cls = cls
        self._reconnect_s = reconnect_s
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
        link = Link(path, project, self._reconnect_s)
        await link.connect()
        return self._cls(link)


def _address(socket: PathLike | None, project: PathLike | None) -> tuple[Path, str]:
    """The socket to connect to, and the project's folder for messages ("" where only the socket is known)."""
    named = socket if socket is not None else (os.environ.get("WFCTL_SOCKET") if project is None else None)
    if named:
        return Path(os.path.abspath(named)), ""
    config = find_config(project)
    return socket_path(config), str(config.parent)


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000
