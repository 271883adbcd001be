"""`watch`: a notice whenever something changed."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend, Stream
from wfd.server.route import stream


@stream(calls.Watch)
def handle(backend: Backend, call: calls.Watch) -> Stream[calls.WatchItem, views.Outcome | None]:
    return backend.watch(call)
