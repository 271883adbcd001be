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
from wfctl.protocol import calls, rpc, schedules, views
from wfctl.protocol.calls import PROTOCOL_MAX, PROTOCOL_MIN, Call, Welcome
from wfctl.values.project import find_config
from wfctl.values.runinfo import RunInfo
from wfd.config import Config, load
from wfd.engine.arguments import bind_any, rebound
from wfd.engine.code import problem_view
from wfd.engine.reads import Reads
from wfd.engine.scheduling import ScheduleReads
from wfd.runtime.clock import SystemClock
from wfd.runtime.pressure import Pressure
from wfd.server.connections import Connections
from wfd.server.host import Host
from wfd.server.route import Kind, Route
from wfd.server.router import routes
from wfd.server.session import Session
from wfd.store.connect import SCHEMA_VERSION, still_uri
from wfd.store.inspect import State, check_readable
from wfd.store.reader import Reader
from wfd.supervisor import Unanswered
from wfd.supervisor.respondent import Respondent, no_answer
from wfd.supervisor.trial import GenerationCode

# For all that a query is: to load the code, to check what it is asked with, and to answer. Less than what the command line waits.
QUERY_S = 50.0


class Standin:
    """The part of a backend that needs no daemon."""

    def __init__(self, reader: Reader, state: State, code: Respondent) -> None:
        reads = Reads(reader, SystemClock())
        timetables = ScheduleReads(reader, SystemClock())
        self._reads = reads
        self._state = state
        self._code = code
        self._detail = self._undisturbed(reads.detail)
        self._answers: dict[type[Call], Callable[[Any], Awaitable[Any]]] = {
            calls.Get: self._undisturbed(reads.get),
            calls.List: self._undisturbed(reads.list),
            calls.Ids: self._undisturbed(reads.ids),
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
        outcome = await self._reads.outcome((await self._reads.resolve(call.id, exact=call.exact)).key)
        if call.wait and outcome.status.open:
            raise _no_daemon(call.method)
        return outcome

    async def _query(self, call: calls.Query) -> calls.QueryAnswer:
        # Once that is read it does not matter any more who writes: it is what was committed when somebody asked.
        detail = await self._detail(calls.Get(id=call.id, exact=call.exact))
        try:
            async with asyncio.timeout(QUERY_S):
                return await self._answer(call, detail)
        except TimeoutError:
            raise no_answer(f"not within {QUERY_S:g} s") from None
        except Unanswered as error:
            raise no_answer(error.message) from None

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
        kwargs = await bind_any(code, spec, handler, rebound(handler, call.input, call.positional), call.text)
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
        standin = Standin(reader, state, code := Respondent(GenerationCode(config, None)))
        session = Session(_host(config, standin))
        await asyncio.get_running_loop().create_connection(lambda: session, sock=sock)
        try:
            await session.lost.wait()
        finally:
            await code.close()
    finally:
        await reader.stop()


def _host(config: Config, standin: Standin) -> Host[Session]:
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
    return Host(
        standin,  # type: ignore[arg-type]
        standin.routes(),
        welcome,
        Pressure(),
        Connections(),
        uid=os.getuid(),
        handshake_s=10.0,
    )


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
