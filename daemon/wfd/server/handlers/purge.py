"""`purge`: take closed runs away for good."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend, Stream
from wfd.server.route import stream


@stream(calls.Purge)
def handle(backend: Backend, call: calls.Purge) -> Stream[calls.PurgedSoFar, calls.Purged]:
    return backend.purge(call)
