"""`kill -9` of workers and of the daemon in the middle of orders: afterwards it is as if nothing had happened."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from pathlib import Path

import pytest

from support.checker import broken_promises
from support.project import SAMPLES, Project
from support.waiting import until_async
from wfctl import Client, DaemonDownError, WorkflowAlreadyRunning

ORDERS = 200
FLOWS = (Path(__file__).parents[1] / "bench" / "flows.py").read_text()


async def _place(socket: Path, number: int) -> None:
    """Start one order, and again after every connection that broke: the workflow ID makes that harmless."""
    while True:
        try:
            async with Client.connect(socket=socket) as client:
                await client.start(
                    "Order",
                    workflow_id=f"order-{number}",
                    workflow_input={"order_id": str(number), "amount": 9.99},
                )
                return
        except WorkflowAlreadyRunning:
            return
        except DaemonDownError:
            if await _known(socket, number):
                return


async def _known(socket: Path, number: int) -> bool:
    """Whether the daemon, once there is one again, has the order: it may have closed before the answer came."""

    async def ask() -> bool:
        try:
            async with Client.connect(socket=socket) as client:
                found.append(bool([run for run in await client.list(workflow_type="Order", limit=1000)
                                   if run.workflow_id == f"order-{number}"]))  # fmt: skip
        except DaemonDownError:
            return False
        return True

    found: list[bool] = []
    await until_async(ask)
    return found[-1]


async def _load(socket: Path, numbers: range) -> None:
    waiting = iter(numbers)

    async def lane() -> None:
        for number in waiting:
            await _place(socket, number)

    await asyncio.gather(*(lane() for _ in range(20)))


def _closed(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        return int(db.execute("select count(*) from runs where type = 'Order' and status = 'completed'").fetchone()[0])


@pytest.mark.parametrize("seed", [1, 2])
def test_two_hundred_orders_survive_the_death_of_workers_and_of_the_daemon(tmp_path: Path, seed: int) -> None:
    project = Project(tmp_path / "shop", {"flows.py": FLOWS}, daemon="workers = 2", workflows="reload = false")
    rng = random.Random(seed)
    project.serve()
    try:

        async def scene() -> None:
            load = asyncio.create_task(_load(project.socket, range(ORDERS)))
            for done in (ORDERS // 8, ORDERS // 4, ORDERS // 2, ORDERS * 3 // 4):

                async def reached(done: int = done) -> bool:
                    return _closed(project.database) >= done

                await until_async(reached)
                if rng.random() < 0.5 or done == ORDERS // 2:
                    await asyncio.to_thread(project.end)
                    await asyncio.to_thread(project.serve)
                else:
                    os.kill(rng.choice(await asyncio.to_thread(project.workers)), signal.SIGKILL)
            await load

            async def all_done() -> bool:
                return _closed(project.database) == ORDERS

            await until_async(all_done)

        asyncio.run(scene())
        with sqlite3.connect(f"file:{project.database}?mode=ro", uri=True) as db:
            payments = db.execute("select workflow_id, count(*) from runs where type = 'Payment' group by 1").fetchall()
            results = db.execute("select distinct result from runs").fetchall()
        assert sorted(payments) == sorted((f"payment-{number}", 1) for number in range(ORDERS))
        assert results == [('"txn-1"',)]
        assert broken_promises(project.database) == []
    finally:
        project.stop()


def test_an_order_that_waits_goes_on_after_the_daemon_was_killed(tmp_path: Path) -> None:
    project = Project(tmp_path / "shop", {"orders.py": (SAMPLES / "orders" / "orders.py").read_text()})
    project.up()
    try:
        project.ok("start", "Order", "--id", "order-1", "order_id=1", "amount=5")
        project.kill()
        project.up()
        project.ok("send", "order-1", "start_payment")
        project.kill()
        project.up()
        assert project.ok("result", "order-1").strip()
        assert broken_promises(project.database) == []
    finally:
        project.stop()
