"""`kill -9` at random moments under load. The long storm is `make crash`."""

from __future__ import annotations

from pathlib import Path

from crash.storm import storm

KILLS = 24
ORDERS = 150


def test_orders_come_through_a_storm_of_kills_of_the_daemon_and_its_workers(tmp_path: Path) -> None:
    figures = storm(tmp_path, kills=KILLS, orders=ORDERS, seed=1)
    print(figures)
    assert figures.broken == []
    assert figures.orders == ORDERS
    assert figures.kills >= KILLS
    assert figures.of_the_daemon
    assert figures.of_workers
    assert figures.effects >= ORDERS
