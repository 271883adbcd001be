"""One life cycle for every service: `start` returns when it is started, `stop` when it is stopped, twice is fine."""

from __future__ import annotations

import abc
import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

log = logging.getLogger("wfd.lifecycle")


class Startable(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Service(abc.ABC):
    """Base of a service; a subclass says what `_start` and `_stop` do. Never both at once, never one twice in a row."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._running = False

    @property
    def running(self) -> bool:
        return self._running

    async def start(self) -> None:
        """Returns when started. A start that raises leaves the service stopped; it has cleaned up after itself."""
        async with self._turn:
            if not self._running:
                await self._start()
                self._running = True

    async def stop(self) -> None:
        """Returns when stopped; at once where it never was started."""
        async with self._turn:
            if self._running:
                # Also when it raises: what could not be stopped once is not stopped by asking again.
                self._running = False
                await self._stop()

    @abc.abstractmethod
    async def _start(self) -> None: ...

    @abc.abstractmethod
    async def _stop(self) -> None: ...


class Services:
    """Starts services in order and stops them in reverse."""

    def __init__(self, services: Sequence[tuple[str, Startable]]) -> None:
        self._services = list(services)
        self._started: list[tuple[str, Startable]] = []

    async def start(self) -> None:
        """Start all; where one fails, stop those before it and raise its error."""
        for name, service in self._services:
            if (name, service) in self._started:
                continue
            try:
                await service.start()
            except BaseException:
                await self.stop()
                raise
            self._started.append((name, service))

    async def stop(self) -> None:
        """Stop all that started, last first. One that fails is logged and does not keep the others from stopping."""
        while self._started:
            name, service = self._started.pop()
            try:
                await service.stop()
            except Exception:
                log.exception("%s did not stop cleanly", name)
