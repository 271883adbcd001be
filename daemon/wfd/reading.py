"""`python -P -m wfd.reading --project PATH --fd N`: answers one command from the database while no daemon runs.

Started by the command line, which may not open a database itself, with one end of a socket pair. It speaks as the daemon does and
serves what only reads; it never makes a database, and never changes one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import wfctl
from wfctl.errors import DaemonDownError, StorageError, WfctlError
from wfctl.protocol import calls, rpc, schedules, views
from wfctl.protocol.calls import PROTOCOL_MAX, PROTOCOL_MIN, Call, Welcome
from wfctl.values.project import find_config
from wfd.config import Config, load
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


class Standin:
    """The part of a backend that needs no daemon."""

    def __init__(self, reader: Reader, state: State) -> None:
        reads = Reads(reader, SystemClock())
        timetables = ScheduleReads(reader, SystemClock())
        self._reads = reads
        self._state = state
        self._answers: dict[type[Call], Callable[[Any], Awaitable[Any]]] = {
            calls.Get: reads.get,
            calls.List: reads.list,
            calls.Count: reads.count,
            calls.History: reads.history,
            calls.GetTree: reads.tree,
            calls.Result: self._result,
            schedules.ListSchedules: timetables.list,
            schedules.ShowSchedule: timetables.show,
            schedules.ScheduleNext: timetables.next,
        }

    def routes(self) -> dict[str, Route]:
        """Every verb of the protocol: those that it has an answer to, and the refusal of the others."""

        async def answer(_: object, call: Call) -> Any:
            found = self._answers.get(type(call))
            if found is None:
                raise _no_daemon(call.method)
            try:
                return await found(call)
            finally:
                # A file that was read as if nobody wrote to it, and somebody has begun to: nothing of it can be trusted.
                if self._state.disturbed:
                    raise StorageError("a daemon came up while its database was read", hint="try again")

        return {method: Route(route.call, Kind.QUESTION, answer) for method, route in routes().items()}

    async def _result(self, call: calls.Result) -> views.Outcome:
        outcome = await self._reads.outcome((await self._reads.resolve(call.id)).key)
        if call.wait and outcome.status.open:
            raise _no_daemon(call.method)
        return outcome


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
        standin = Standin(reader, state)
        session = Session(_host(config, standin))
        await asyncio.get_running_loop().create_connection(lambda: session, sock=sock)
        await session.lost.wait()
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
