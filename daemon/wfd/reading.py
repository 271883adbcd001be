"""`python -P -m wfd.reading --project PATH --fd N`: answers one command from the database while no daemon runs.

Started by the command line, which may not open a database itself, with one end of a socket pair. It speaks as the daemon does and
serves what only reads; it never makes a database, and never changes one. Queries are asked of the code as it is now, in a worker
that is started for that and ends with the command.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

import wfctl
from wfctl.errors import DaemonDownError, StorageError, UnknownWorkflowTypeError, WfctlError
from wfctl.protocol import calls, channel, rpc, schedules, views
from wfctl.protocol.calls import PROTOCOL_MAX, PROTOCOL_MIN, Call, Welcome
from wfctl.values.project import find_config
from wfctl.values.runinfo import RunInfo
from wfd.config import Config, load
from wfd.engine.arguments import bind_any
from wfd.engine.code import problem_view
from wfd.engine.reads import Reads
from wfd.engine.scheduling import ScheduleReads
from wfd.runtime.clock import SystemClock
from wfd.runtime.pressure import Pressure
from wfd.server.route import Kind, Route
from wfd.server.router import routes
from wfd.server.session import Host, Session
from wfd.store.connect import SCHEMA_VERSION, still_uri
from wfd.store.inspect import State, check_readable
from wfd.store.reader import Reader
from wfd.supervisor import Catalog, Generation, Unanswered
from wfd.supervisor.questions import Questions
from wfd.supervisor.worker import Worker

LOAD_S = 30.0
# For all that a query is: to load the code, to check what it is asked with, and to answer. Less than what the command line waits.
QUERY_S = 50.0


class Code:
    """The project's code as it is now, in one worker. `start` it first; `close` ends it, whatever it is doing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._worker = Worker(config, self._received, self._gone)
        self._loaded: asyncio.Future[channel.Loaded] = asyncio.get_running_loop().create_future()
        self._questions = Questions(self._ready)
        self._started = False
        self._error: WfctlError | None = None
        self.catalog = Catalog()
        self.check, self.query = self._questions.check, self._questions.query

    async def start(self) -> None:
        """Load the code, once. A WfctlError says what keeps it from being loaded."""
        if self._started:
            return
        self._started = True
        config = self._config
        try:
            await self._worker.start()
            self._worker.load(
                channel.Load(str(config.project), [*config.modules], [str(one) for one in config.path], 1)
            )
            loaded = await asyncio.wait_for(self._loaded, LOAD_S)
        except OSError as error:  # TimeoutError is one
            why = error.strerror or f"not within {LOAD_S:g} s"
            raise _no_answer(why) from None
        now = SystemClock().now_ms()
        served = Generation.of(loaded, 1, now)
        self.catalog = Catalog(
            1, served.types, tuple(loaded.problems), loaded.source_hash, served.files, loaded.python, now
        )

    async def close(self) -> None:
        if self._started:
            self._worker.kill("the command is over")
            await self._worker.gone()

    def _received(self, worker: Worker, message: Any) -> None:
        match message:
            case channel.Loaded():
                if not self._loaded.done():  # as it is where nobody waits any more
                    self._loaded.set_result(message)
            case (
                channel.Checked(call=call, kwargs=value, error=error)
                | channel.Answered(call=call, value=value, error=error)
            ):
                self._questions.answered(call, value, error)

    def _gone(self, worker: Worker, why: str) -> None:
        said = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        error = _no_answer(f"its process ended: {why}{said}")
        if not self._loaded.done():
            self._loaded.set_exception(error)
        self._error = error
        self._questions.lose(worker)

    def _ready(self, workflow_type: str) -> list[Worker]:
        if self._error is not None:
            raise self._error  # there will be no other
        return [self._worker]


def _no_answer(why: str) -> WfctlError:
    return WfctlError(f"the code could not answer: {why}", hint="wfctl doctor")


class Standin:
    """The part of a backend that needs no daemon."""

    def __init__(self, reader: Reader, state: State, code: Code) -> None:
        reads = Reads(reader, SystemClock())
        timetables = ScheduleReads(reader, SystemClock())
        self._reads = reads
        self._state = state
        self._code = code
        self._get = self._undisturbed(reads.get)
        self._answers: dict[type[Call], Callable[[Any], Awaitable[Any]]] = {
            calls.Get: self._get,
            calls.List: self._undisturbed(reads.list),
            calls.Count: self._undisturbed(reads.count),
            calls.History: self._undisturbed(reads.history),
            calls.GetTree: self._undisturbed(reads.tree),
            calls.Result: self._undisturbed(self._result),
            calls.Query: self._query,
            calls.Workflows: self._workflows,
            schedules.ListSchedules: self._undisturbed(timetables.list),
            schedules.ShowSchedule: self._undisturbed(timetables.show),
            schedules.ScheduleNext: self._undisturbed(timetables.next),
        }

    def routes(self) -> dict[str, Route]:
        """Every verb of the protocol: those that it has an answer to, and the refusal of the others."""

        async def answer(_: object, call: Call) -> Any:
            found = self._answers.get(type(call))
            if found is None:
                raise _no_daemon(call.method)
            return await found(call)

        return {method: Route(route.call, Kind.QUESTION, answer) for method, route in routes().items()}

    def _undisturbed(self, read: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
        """`read`, and a StorageError instead of what it found where that cannot be trusted."""

        async def reading(call: Any) -> Any:
            try:
                return await read(call)
            finally:
                # A file that was read as if nobody wrote to it, and somebody has begun to.
                if self._state.disturbed:
                    raise StorageError("a daemon came up while its database was read", hint="try again")

        return reading

    async def _result(self, call: calls.Result) -> views.Outcome:
        outcome = await self._reads.outcome((await self._reads.resolve(call.id)).key)
        if call.wait and outcome.status.open:
            raise _no_daemon(call.method)
        return outcome

    async def _query(self, call: calls.Query) -> calls.QueryAnswer:
        # Once that is read it does not matter any more who writes: it is what was committed when somebody asked.
        detail = await self._get(calls.Get(id=call.id))
        try:
            async with asyncio.timeout(QUERY_S):
                return await self._answer(call, detail)
        except TimeoutError:
            raise _no_answer(f"not within {QUERY_S:g} s") from None
        except Unanswered as error:
            raise _no_answer(error.message) from None

    async def _answer(self, call: calls.Query, detail: views.RunDetail) -> calls.QueryAnswer:
        run, code = detail.run, self._code
        await code.start()
        spec = code.catalog.types.get(run.workflow_type)
        if spec is None:
            raise UnknownWorkflowTypeError(
                code.catalog.missing(run.workflow_type, "query", call.name),
                hint="wfctl doctor",
                workflow_type=run.workflow_type,
            )
        handler = code.catalog.query_of(run.workflow_type, call.name)
        kwargs = await bind_any(code, spec, handler, bytes(call.input), call.text)
        info = RunInfo(
            run.run_id, run.workflow_id, run.workflow_type, run.parent, run.root_id, run.attempt, run.started_at, detail.schedule
        )  # fmt: skip
        value = await code.query(info, call.name, kwargs, {key: bytes(raw) for key, raw in detail.store.items()})
        return calls.QueryAnswer(run_id=run.run_id, workflow_id=run.workflow_id, value=msgspec.Raw(value))

    async def _workflows(self, call: calls.Workflows) -> calls.WorkflowList:
        await self._code.start()
        catalog = self._code.catalog
        return calls.WorkflowList(
            items=[views.WorkflowView(spec=spec.plainly(), generation=0) for spec in catalog.types.values()],
            problems=[*map(problem_view, catalog.problems)],
        )


def _no_daemon(method: str) -> DaemonDownError:
    return DaemonDownError(f"no wfctl daemon runs, and {method!r} needs one", hint="wfctl up")


async def serve(config: Config, sock: socket.socket) -> None:
    """Answer until the other end hangs up; what stands in the way is told there."""
    path = config.database
    try:
        check_readable(path)
        state = State(path)
        reader = Reader(path, still_uri(path))
        await reader.start()
    except WfctlError as error:
        sock.sendall(rpc.failure(None, error))
        sock.close()
        return
    try:
        standin = Standin(reader, state, code := Code(config))
        session = Session(_host(config, standin))
        await asyncio.get_running_loop().create_connection(lambda: session, sock=sock)
        try:
            await session.lost.wait()
        finally:
            await code.close()
    finally:
        await reader.stop()


def _host(config: Config, standin: Standin) -> Host:
    welcome = Welcome(
        protocol=PROTOCOL_MAX,
        protocol_min=PROTOCOL_MIN,
        protocol_max=PROTOCOL_MAX,
        version=wfctl.__version__,
        schema=SCHEMA_VERSION,
        project=str(config.project),
        pid=os.getpid(),
        limit_bytes=rpc.MAX_LINE_BYTES,
        state=str(config.state),
    )
    return Host(standin, standin.routes(), welcome, Pressure(), uid=os.getuid(), handshake_s=10.0)  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wfd.reading", description="Reads a project's database, for wfctl.")
    parser.add_argument("--project", required=True, help="as of wfctl")
    parser.add_argument("--fd", type=int, required=True, help="a connected socket")
    options = parser.parse_args(arguments)
    sock = socket.socket(fileno=options.fd)
    try:
        config = load(find_config(options.project))
    except WfctlError as error:
        sock.sendall(rpc.failure(None, error))
        return error.exit_status
    sock.setblocking(False)
    asyncio.run(serve(config, sock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
