"""`backup`: the database as of now in a file of its own."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend, Stream
from wfd.server.route import stream


@stream(calls.Backup)
def handle(backend: Backend, call: calls.Backup) -> Stream[calls.Copied, calls.BackedUp]:
    return backend.backup(call)
