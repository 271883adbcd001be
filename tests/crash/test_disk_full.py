"""A disk that fills up under load, and one that fails at any commit: who asks is told, nothing acknowledged is missing, and with
room again the daemon goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.shop import Customers, Shop, example_workflows
from support.checker import broken_effects, broken_orders, broken_promises, missing
from support.effects import LOG
from support.faults import Disk
from support.waiting import until
from wfctl import StorageError
from wfd.testing import WorkflowEnvironment

ORDERS = 250
DISK = "6m"
WITHIN_S = 60


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop whose state directory is a small disk of its own."""
    # A short log: it is the orders that are to fill the disk.
    shop = Shop(tmp_path / "shop", settings="wfd.store.connect:CHECKPOINT_PAGES=200")
    state = shop.database.parent
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "wfctl-test", str(state)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a small disk needs the mount command")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        shop.serve()
        yield shop
    finally:
        shop.stop()
        subprocess.run(["umount", "-l", str(state)], check=False)


def _fill(file: Path) -> None:
    """Take every byte that is left on the disk of `file`."""
    with file.open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(_Full):
                while True:
                    _write(filler.fileno(), size)


class _Full(Exception):
    pass


def _write(file: int, size: int) -> None:
    try:
        os.write(file, b"\0" * size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _Full from None


def test_orders_wait_for_room_on_a_full_disk_and_then_go_on_in_the_same_daemon(shop: Shop) -> None:
    customers = Customers(shop)
    filler = shop.database.with_name("filler")

    async def scene() -> None:
        async with asyncio.timeout(WITHIN_S):
            await filled()

    async def filled() -> None:
        load = asyncio.create_task(customers.all(range(ORDERS)))
        await until(lambda: shop.completed() > ORDERS // 8)
        await asyncio.to_thread(_fill, filler)
        await until(lambda: customers.refusals or load.done())
        assert not load.done(), "all orders fitted on the disk"
        await asyncio.to_thread(full)
        filler.unlink()
        await load
        await customers.leave()

    def full() -> None:
        refused = shop.run("start", "Order", "--id", "order-late", "order_id=late", "amount=1")
        assert refused.returncode == 8, refused
        assert str(shop.database) in refused.stderr
        assert "bytes free" in refused.stderr
        assert "make room" in refused.stderr
        status = shop.json("status")
        assert str(shop.database) in status["storage_error"]
        assert missing(shop.database, customers.acknowledged) == []
        assert broken_promises(shop.database) == []

    assert shop.daemon is not None
    pid = shop.daemon.pid
    asyncio.run(scene())
    for refusal in customers.refusals:
        assert refusal.exit_status == 8
        assert str(shop.database) in refusal.message
        assert refusal.detail["free_bytes"] < 1 << 16, refusal.detail
    assert shop.pid() == pid
    assert shop.daemon.poll() is None
    assert shop.completed() == ORDERS
    assert broken_orders(shop.database, range(ORDERS)) == []
    assert broken_effects(shop.database, shop.effects, outlived=True) == []
    assert missing(shop.database, customers.acknowledged) == []
    assert broken_promises(shop.database) == []


async def test_an_io_error_at_any_commit_of_an_order_changes_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "effects.log"
    monkeypatch.setenv(LOG, str(log))
    async with WorkflowEnvironment(example_workflows(tmp_path), path=tmp_path) as env:
        disk = Disk(env)
        await _order(env, disk, 0)
        commits = env.store.writer.stats.commits
        failures = 0
        for nth in range(1, commits + 1):
            disk.fail(nth)
            failures += await _order(env, disk, nth)
            disk.work()
        await env.settle()
        assert failures >= commits // 2
        assert broken_orders(env.store.path, range(commits + 1)) == []
        assert broken_effects(env.store.path, log, outlived=True) == []
        assert broken_promises(env.store.path) == []


async def _order(env: WorkflowEnvironment, disk: Disk, number: int) -> int:
    """Get one order through; what is refused is asked again when the disk works. How often that was."""
    failures = 0
    order = env.client.handle(f"order-{number}")
    given = {"order_id": str(number), "amount": number}
    for ask in (
        lambda: env.client.start("Order", workflow_id=order.workflow_id, workflow_input=given),
        lambda: order.send("start_payment"),
        lambda: order.result(),
    ):
        while True:
            try:
                await asyncio.wait_for(ask(), WITHIN_S)
                break
            except StorageError:
                failures += 1
                await disk.heal()
    return failures
