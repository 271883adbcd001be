"""`tail`: history as it is committed."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend, Stream
from wfd.server.route import stream


@stream(calls.Tail)
def handle(backend: Backend, call: calls.Tail) -> Stream[views.HistoryEntry, calls.TailEnd]:
    return backend.tail(call)
