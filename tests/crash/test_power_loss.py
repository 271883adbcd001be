"""The power goes at an arbitrary moment under load: whatever part of the log has reached the disk, the database opens and holds
what it promised, and all that was acknowledged is there when its commit is."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.image import FRAME_HEADER, HEADER, Image, cut, take
from crash.shop import Customers, Shop, example_workflows
from support import effects
from support.checker import broken_promises, missing
from wfd.testing import WorkflowEnvironment

ORDERS = 150
WITHIN_S = 60
Acknowledged = list[tuple[str, str]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose log is copied into the database every few commits."""
    shop = Shop(tmp_path_factory.mktemp("power"), settings="wfd.store.connect:CHECKPOINT_PAGES=150")
    shop.serve()
    yield shop
    shop.stop()


def _images(
    shop: Shop, folder: Path, numbers: range, count: int, rng: random.Random
) -> list[tuple[Image, Acknowledged]]:
    """Images taken while orders are under way, each with what had been acknowledged before."""
    taken: list[tuple[Image, Acknowledged]] = []

    async def scene() -> None:
        customers = Customers(shop)
        load = asyncio.create_task(customers.all(numbers))
        while len(taken) < count and not load.done():
            await asyncio.wait({load}, timeout=rng.uniform(0.01, 0.06))
            before = list(customers.acknowledged)
            taken.append((await asyncio.to_thread(take, shop, folder / f"image-{len(taken)}"), before))
        await load
        await customers.leave()

    asyncio.run(asyncio.wait_for(scene(), WITHIN_S))
    return taken


def _lengths(image: Image, rng: random.Random) -> list[int]:
    """Where to cut the log: within its header, a frame's header, a page, between frames, anywhere."""
    frame = FRAME_HEADER + 4096
    last = rng.randrange(max(image.committed // frame, 1)) * frame + HEADER
    spread = [image.committed * part // 8 for part in range(1, 8)]
    return [0, 7, HEADER, HEADER + 11, last, last + 5, last + FRAME_HEADER + 100, *spread]


def test_every_image_holds_what_was_acknowledged_before_it_was_taken(tmp_path: Path, shop: Shop) -> None:
    rng = random.Random(1)
    begun = len(shop.sql("select 1 from runs where type = 'Order'"))
    images = _images(shop, tmp_path, range(begun, begun + ORDERS), 8, rng)
    assert len(images) > 4
    assert any(acknowledged for _, acknowledged in images)
    for number, (image, acknowledged) in enumerate(images):
        size = image.log.stat().st_size
        after = rng.randint(image.committed, size)
        for name, length, garbage in (
            ("whole", size, b""),
            ("at the commit", image.committed, b""),
            ("behind the commit", after, b""),
            ("spoilt", image.committed, rng.randbytes(5_000)),
        ):
            database = cut(image, tmp_path / f"{number} {name}", length, garbage=garbage)
            assert broken_promises(database) == [], (number, name)
            assert missing(database, acknowledged) == [], (number, name)
        asyncio.run(_goes_on(tmp_path / f"{number} spoilt"))


def test_a_log_cut_anywhere_is_a_database_as_it_was_at_some_commit(tmp_path: Path) -> None:
    rng = random.Random(2)
    shop = Shop(tmp_path / "shop")
    shop.serve()
    try:
        # A first life, whose end copies its log into the database; nothing is copied in the second.
        asyncio.run(asyncio.wait_for(_some(shop, range(20)), WITHIN_S))
        shop.ok("down")
        shop.serve()
        images = _images(shop, tmp_path, range(20, 20 + ORDERS // 2), 8, rng)
    finally:
        shop.stop()
    sizes = []
    for number, (image, _) in enumerate(images):
        for length in (None, *_lengths(image, rng)):
            folder = tmp_path / f"{number} {length}"
            database = cut(image, folder, length)
            assert broken_promises(database) == [], (number, length)
            with sqlite3.connect(database) as db:
                sizes.append(db.execute("select count(*) from history").fetchone()[0])
            if length is None or number == len(images) - 1:
                asyncio.run(_goes_on(folder))
    assert min(sizes) > 100, "the first life is in every image"
    assert len(set(sizes)) > 4


def test_a_real_daemon_goes_on_from_an_image(tmp_path: Path, shop: Shop) -> None:
    begun = len(shop.sql("select 1 from runs where type = 'Order'"))
    numbers = range(begun, begun + 40)
    [(image, acknowledged)] = _images(shop, tmp_path, numbers, 1, random.Random(3))
    after = Shop(tmp_path / "after")
    cut(image, after.database.parent, image.committed)
    after.serve()
    try:
        asyncio.run(asyncio.wait_for(_some(after, numbers), WITHIN_S))
        assert missing(after.database, acknowledged) == []
        assert broken_promises(after.database) == []
    finally:
        after.stop()


async def _some(shop: Shop, numbers: range) -> None:
    customers = Customers(shop)
    await customers.all(numbers)
    await customers.leave()


async def _goes_on(folder: Path) -> None:
    """A new engine opens the copy, finishes what was under way, and everything still holds."""
    async with WorkflowEnvironment(example_workflows(folder), path=folder) as env:
        await env.settle()
        assert await env.client.list(status=["running", "stuck"]) == []
        handle = await env.client.start("Order", workflow_id="after", workflow_input={"order_id": "after", "amount": 7})
        await handle.send("start_payment")
        assert await handle.result() == "txn-7"
    assert broken_promises(folder / "wfctl.db") == []


@pytest.fixture(autouse=True)
def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the handlers in this process write what they did."""
    monkeypatch.setenv(effects.LOG, str(tmp_path / "effects.log"))
