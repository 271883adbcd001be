"""What grows with the runs there have been: the same daemon on an empty database and, in turns, on one with a long past.

python tests/bench/growth.py [--closed 1000000] [--rounds 200]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from fill import CLOSED, CLOSED_IN_BLOCK, filled
from orders import engine
from place import Pids, Place, copied

from wfctl import Client
from wfctl.client.blocking import Connection
from wfctl.protocol import calls
from wfctl.values.status import Status

Figures = dict[str, float]
# What the empty side has, so that the same can be asked of both; and how many different runs are asked about.
FEW = 2_500
ASKED = 40
PATIENCE_S = 300.0


class Side:
    """One of the two daemons, and the runs in it that calls are about: `orders` are closed, `waiting` are not in memory."""

    def __init__(self, place: Place, orders: list[str], waiting: list[str]) -> None:
        self.link = Connection.connect(place.socket)
        self.orders = itertools.cycle(orders)
        self.waiting = itertools.cycle(waiting)

    def call(self, call: calls.Call) -> Any:
        return self.link.call(call, timeout_s=PATIENCE_S)

    def start(self, workflow_type: str, workflow_id: str, **arguments: Any) -> str:
        data = msgspec.Raw(msgspec.json.encode(arguments or None))
        started: calls.Started = self.call(
            calls.Start(workflow_type=workflow_type, workflow_id=workflow_id, input=data)
        )
        return started.run.id

    def until(self, id: str, status: Status) -> None:
        self.call(calls.Result(id=id, until=[status]))


def _life(side: Side) -> Figures:
    """A run that waits for an event: how long its start takes, the sending of the event, and all until the event is handled."""
    id = f"life-{time.time_ns()}"
    times = [time.perf_counter()]
    side.start("Waiter", id)
    times.append(time.perf_counter())
    side.until(id, Status.WAITING)
    times.append(time.perf_counter())
    side.call(calls.Send(id=id, event="go"))
    times.append(time.perf_counter())
    side.call(calls.Result(id=id))
    times.append(time.perf_counter())
    return {"start": times[1] - times[0], "send": times[3] - times[2], "event round trip": times[4] - times[2]}


def _cold(side: Side) -> Figures:
    id = next(side.waiting)
    begun = time.perf_counter()
    side.call(calls.Send(id=id, event="poke"))
    return {"send to a run not in memory": time.perf_counter() - begun}


def _reads(side: Side) -> Figures:
    order = next(side.orders)
    looks: dict[str, calls.Call] = {
        "show": calls.Get(id=order),
        "history": calls.History(id=order),
        "tree": calls.GetTree(id=order),
        "tree of the open roots": calls.GetTree(),
        "list": calls.List(),
        "list --status open": calls.List(statuses=[status for status in Status if status.open]),
        "list --status failed": calls.List(statuses=[Status.FAILED]),
        "list --type Order": calls.List(types=["Order"]),
        "list --since 1h": calls.List(since_ms=time.time_ns() // 1_000_000 - 3_600_000),
        "list --since 30d": calls.List(since_ms=time.time_ns() // 1_000_000 - 30 * 86_400_000),
        "status": calls.GetStatus(),
        "workflows": calls.Workflows(),
    }
    found = {}
    for name, call in looks.items():
        begun = time.perf_counter()
        side.call(call)
        found[name] = time.perf_counter() - begun
    return found


def _check(side: Side) -> Figures:
    begun = time.perf_counter()
    side.call(calls.CheckCode())
    return {"check": time.perf_counter() - begun}


def _paired(sides: tuple[Side, Side], one: Callable[[Side], Figures], rounds: int, warm: int) -> dict[str, Figures]:
    """The lower quartiles of both sides, measured in turns, and the ratio of these."""
    times: dict[str, tuple[list[float], list[float]]] = {}
    for number in range(warm + rounds):
        for index in (0, 1) if number % 2 else (1, 0):
            for name, took in one(sides[index]).items():
                if number >= warm:
                    times.setdefault(name, ([], []))[index].append(took * 1_000)
    found = {}
    for name, (empty, full) in times.items():
        few, many = _low(empty), _low(full)
        found[name] = {"empty_ms": few, "full_ms": many, "ratio": many / few}
    return found


def _low(times: list[float]) -> float:
    """The lower quartile: what else the machine does only ever adds."""
    return sorted(times)[len(times) // 4]


@contextmanager
def _both(closed: int) -> Iterator[tuple[Place, Place]]:
    """The daemon without a past (but for the few runs that calls are about), and the one with."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made:
        with Place(state=copied(filled(FEW), made)) as empty, Place(state=filled(closed)) as full:
            yield empty, full


def _restarted(*places: Place) -> list[float]:
    for place in places:
        place.down()
    return [place.up() for place in places]


def _memory(place: Place) -> float:
    async def ask() -> int:
        async with Client.connect(socket=place.socket) as client:
            return (await Pids.of(client)).memory_bytes()

    return asyncio.run(ask()) / 2**20


def _side(place: Place, closed: int) -> Side:
    copies = closed // CLOSED_IN_BLOCK
    spread = [copies * number // ASKED for number in range(ASKED)]
    return Side(place, [f"order-old-{n}-3" for n in spread], [f"waiter-{n}" for n in spread])


def past(closed: int, rounds: int, orders: int, repeats: int = 3) -> dict[str, Any]:
    """Everything of an empty daemon against one with `closed` closed runs and a tenth of that waiting. What takes long is measured
    `repeats` times."""
    with _both(closed) as (empty, full):
        ups = [_restarted(empty, full) for _ in range(repeats)]
        sides = _side(empty, FEW), _side(full, closed)
        # What is not in the system's memory comes from the disk, whoever reads it: once before anything is measured.
        for side in sides:
            for _ in range(ASKED):
                side.call(calls.History(id=next(side.waiting)))
        found = (
            _paired(sides, _life, rounds, 5)
            | _paired(sides, _cold, ASKED, 0)
            | _paired(sides, _reads, rounds, min(ASKED, rounds))
        )
        found |= _paired(sides, _check, repeats, 1)
        rates: list[float] = []
        for number in range(repeats):
            tag = f"past-{time.time_ns()}-{number}"
            few, many = (asyncio.run(engine(place, orders, 50, tag))["rate"] for place in (empty, full))
            rates.append(many / few)
        few_ms, many_ms = (min(times) * 1_000 for times in zip(*ups, strict=True))
        return {
            "closed": closed,
            "waiting": closed // 10,
            "up": {"empty_ms": few_ms, "full_ms": many_ms, "ratio": many_ms / few_ms},
            "memory_mib": {"empty": _memory(empty), "full": _memory(full)},
            "rate_ratio": statistics.median(rates),
            "calls": found,
        }


def _last_end(side: Side, parent: str) -> int:
    """When the last of its children closed, as their rows tell."""
    newest, after = 0, None
    while True:
        page: calls.RunPage = side.call(calls.List(parent=parent, limit=1_000, after=after))
        newest = max([newest, *(run.closed_at or 0 for run in page.items)])
        after = page.next
        if after is None:
            return newest


def family(place: Place, children: int) -> Figures:
    """One parent: how long until all its children have closed, until it has been told of each, and how long its tree takes then."""
    side, id = Side(place, [], []), f"fan-{time.time_ns()}"
    begun = time.perf_counter()
    side.start("Fan", id, children=children)
    outcome = side.call(calls.Result(id=id))
    assert outcome.status is Status.COMPLETED, outcome.error
    told = time.perf_counter() - begun
    started = side.call(calls.Get(id=id)).run.started_at
    trees = []
    for _ in range(5):
        begun = time.perf_counter()
        side.call(calls.GetTree(id=id))
        trees.append(time.perf_counter() - begun)
    return {
        "children": children,
        "all_closed_s": (_last_end(side, id) - started) / 1_000,
        "all_told_s": told,
        "tree_ms": min(trees) * 1_000,
        "wfctl_tree_ms": min(place.cli("tree", id) for _ in range(3)) * 1_000,
    }


def disk(orders: int) -> Figures:
    """Bytes of the database for each order, once its log is emptied into it."""
    with Place() as place:
        place.down()
        before = place.database_bytes()
        place.up()
        asyncio.run(engine(place, orders, 50, "disk"))
        place.down()
        return {"bytes_per_order": (place.database_bytes() - before) / (orders + 1)}


def show(figures: dict[str, Any]) -> None:
    print(f"with {figures['closed']:,} closed and {figures['waiting']:,} waiting runs   empty ms   full ms  ratio")
    for name, row in {"wfctl up": figures["up"], **figures["calls"]}.items():
        print(f"{name:<46} {row['empty_ms']:>9.2f} {row['full_ms']:>9.2f} {row['ratio']:>6.2f}")
    print(f"orders, 50 at a time {figures['rate_ratio']:>46.2f} of the rate on the empty one")
    memory = figures["memory_mib"]
    print(f"memory of the daemon in MiB {memory['empty']:>28.0f} {memory['full']:>9.0f}")


def show_family(figures: Figures) -> None:
    print(
        f"one parent with {figures['children']:,.0f} children: all closed in {figures['all_closed_s']:.1f} s, each told to it "
        f"in {figures['all_told_s']:.1f} s; its tree {figures['tree_ms']:.0f} ms, wfctl tree {figures['wfctl_tree_ms']:.0f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", type=int, default=CLOSED)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--children", type=int, default=10_000)
    arguments = parser.parse_args()
    show(past(arguments.closed, arguments.rounds, 500))
    with Place() as made:
        show_family(family(made, arguments.children))
