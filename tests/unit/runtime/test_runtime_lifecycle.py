"""The life cycle of services: ordered, whole, and never twice."""

from __future__ import annotations

import asyncio
import logging

import pytest

from wfd.runtime.lifecycle import Service, Services


class Recorded(Service):
    def __init__(self, name: str, journal: list[str], *, fails: str = "") -> None:
        super().__init__()
        self.name = name
        self.journal = journal
        self.fails = fails

    async def _start(self) -> None:
        await asyncio.sleep(0)
        self.journal.append(f"start {self.name}")
        if self.fails == "start":
            raise OSError("no")

    async def _stop(self) -> None:
        await asyncio.sleep(0)
        self.journal.append(f"stop {self.name}")
        if self.fails == "stop":
            raise OSError("no")


async def test_starting_and_stopping_twice_is_fine() -> None:
    journal: list[str] = []
    service = Recorded("a", journal)
    await service.stop()
    await asyncio.gather(service.start(), service.start())
    assert service.running
    await asyncio.gather(service.stop(), service.stop())
    assert journal == ["start a", "stop a"]
    assert not service.running


async def test_a_service_that_did_not_start_is_not_stopped() -> None:
    journal: list[str] = []
    service = Recorded("a", journal, fails="start")
    with pytest.raises(OSError, match="no"):
        await service.start()
    await service.stop()
    assert journal == ["start a"]


async def test_services_stop_in_reverse_order() -> None:
    journal: list[str] = []
    services = Services([(name, Recorded(name, journal)) for name in "abc"])
    await services.start()
    await services.stop()
    await services.stop()
    assert journal == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_when_one_does_not_start_those_before_it_are_stopped() -> None:
    journal: list[str] = []
    services = Services(
        [("a", Recorded("a", journal)), ("b", Recorded("b", journal, fails="start")), ("c", Recorded("c", journal))]
    )
    with pytest.raises(OSError, match="no"):
        await services.start()
    assert journal == ["start a", "start b", "stop a"]


async def test_one_that_does_not_stop_cleanly_is_logged_and_keeps_nobody(caplog: pytest.LogCaptureFixture) -> None:
    journal: list[str] = []
    services = Services([("a", Recorded("a", journal)), ("b", Recorded("b", journal, fails="stop"))])
    await services.start()
    with caplog.at_level(logging.ERROR, "wfd"):
        await services.stop()
    assert journal[-2:] == ["stop b", "stop a"]
    assert "b did not stop cleanly" in caplog.text
