"""Saving the file again and again while orders come: no request fails, no step is lost, and none runs twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

from crash.shop import Customers, Shop, example
from support.checker import broken_effects, broken_orders, broken_promises, missing
from support.effects import effects
from support.waiting import until, until_async
from wfctl import Client

SAVES = 20
LANES = 50
BROKEN_EVERY = 5


class Author:
    """Saves versions of the code, as an editor does it, and waits until each has taken over, or was found to be broken."""

    def __init__(self, shop: Shop, client: Client) -> None:
        self._shop = shop
        self._client = client

    async def save(self, number: int) -> None:
        broken = number % BROKEN_EVERY == 0
        before = (await self._client.status()).source_hash
        self._shop.write(
            "orders.py.new", example() + (f"\ndef version_{number}(:\n" if broken else f"\nVERSION = {number}\n")
        )
        os.replace(self._shop.folder / "orders.py.new", self._shop.folder / "orders.py")

        async def seen() -> bool:
            status = await self._client.status()
            return bool(status.problems) if broken else status.source_hash != before

        await until_async(seen)


def test_orders_do_not_notice_that_their_code_is_saved_again_and_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", reload=True)
    customers = Customers(shop)
    served = 0

    async def scenario() -> None:
        nonlocal served
        over = False

        async def lane() -> None:
            nonlocal served
            while not over:
                number, served = served, served + 1
                await customers.order(number)

        async with Client.connect(socket=shop.socket) as client:
            author = Author(shop, client)
            lanes = [asyncio.ensure_future(lane()) for _ in range(LANES)]
            for number in range(1, SAVES + 1):
                await author.save(number)
            over = True
            await asyncio.gather(*lanes)
            # The workers that serve, one in reserve, and the process that writes: those of old code have left.
            await until(lambda: len(shop.children()) == 4)
        await customers.leave()

    shop.serve()
    try:
        asyncio.run(scenario())
        database = shop.database
        assert customers.cut_off == 0
        assert shop.sql("select count(*) from history where kind = 'step.interrupted'") == [(0,)]
        assert [
            key for key, times in Counter(effect.key for effect in effects(shop.effects)).items() if times > 1
        ] == []
        assert broken_promises(database) == []
        assert broken_effects(database, shop.effects) == []
        assert broken_orders(database, range(served)) == []
        assert missing(database, customers.acknowledged) == []
        [(codes,)] = shop.sql("select count(distinct source) from history where kind = 'step.completed'")
        assert isinstance(codes, int)
        assert codes > SAVES // 2
    finally:
        shop.stop()
