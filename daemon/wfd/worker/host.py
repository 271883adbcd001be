"""What all steps of one worker have in common, and how each of them comes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, cast

import msgspec

from wfctl.protocol.channel import ToDaemon
from wfctl.sdk.current import CurrentStep, Limit
from wfctl.sdk.port import Ops
from wfctl.sdk.sources import Sources
from wfctl.sdk.threads import Threads
from wfctl.sdk.workflow import Workflow
from wfctl.values.runinfo import RunInfo, decode
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
    """What a step's execution has from its host, and of its run. `handed_out` are the coroutines that its handler was given."""

    _host: Host
    _run: bytes | RunInfo  # read for those that look at it
    _store: dict[str, bytes]
    handed_out: list[Coroutine[Any, Any, Any]] = []

    @property
    def run(self) -> RunInfo:
        run = self._run
        if isinstance(run, bytes):
            run = self._run = decode(run)
        return run

    @property
    def types(self) -> Mapping[str, Workflow]:
        return self._host.workflows

    @property
    def sources(self) -> Sources:
        return self._host.sources

    async def load(self, key: str) -> bytes | None:
        return self._store.get(key)

    def keys(self) -> Iterable[str]:
        return self._store.keys()

    @property
    def current(self) -> CurrentStep:
        host, port = self._host, cast("Ops", self)  # with what derives from this
        return CurrentStep(port, host.loop, host.threads, self.handed_out, host.time_limit)
