"""What all steps of one worker have in common, and how each of them comes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

import msgspec

from wfctl.protocol.channel import ToDaemon
from wfctl.sdk.current import CurrentStep, Limit
from wfctl.sdk.port import Ops
from wfctl.sdk.sources import Sources
from wfctl.sdk.threads import Threads
from wfctl.sdk.workflow import Workflow
from wfd.worker.branches import Branch


class Host(msgspec.Struct, frozen=True, eq=False):
    """The loaded code, the way to the daemon, and the loop, the threads and the clocks that handlers and their tasks run by."""

    workflows: Mapping[str, Workflow]
    sources: Sources
    send: Callable[[ToDaemon], None]
    loop: asyncio.AbstractEventLoop
    threads: Threads
    now_ms: Callable[[], int]
    time_limit: Callable[[int | None, float], Limit]


class Hosted(Branch, eq=False, kw_only=True):
    """The part of a step's execution that is the same on any host. `handed_out` are the coroutines that a handler was given."""

    _host: Host
    handed_out: list[Coroutine[Any, Any, Any]] = []

    @property
    def types(self) -> Mapping[str, Workflow]:
        return self._host.workflows

    @property
    def sources(self) -> Sources:
        return self._host.sources

    @property
    def current(self) -> CurrentStep:
        host, port = self._host, cast("Ops", self)  # with what derives from this
        return CurrentStep(port, host.loop, host.threads, self.handed_out, host.time_limit)
