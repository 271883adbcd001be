"""What the machine gives: the same rows and the same durability with no engine around them.

One process with SQLite (WAL, synchronous=FULL, group commit), one worker process on a socketpair that answers each step at
once. No checks, timers, replay, reload or recovery. A full engine's rate divided by this one's, in the same minute on the same
machine, is what its features cost.

    python tests/bench/floor.py ORDERS CONCURRENCY    prints {"rate": orders a second, "p50_ms": ...} as JSON
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = full;
create table runs (id integer primary key, wid text, status text, step text, parent integer, input text, at integer);
create index runs_wid on runs (wid);
create table history (run integer, seq integer, kind text, at integer, data text, primary key (run, seq)) without rowid;
create table store (run integer, key text, value text, primary key (run, key)) without rowid;
"""
INSERT_RUN = "insert into runs values (?, ?, ?, ?, ?, ?, ?)"
UPDATE_RUN = "update runs set status = ?, step = ? where id = ?"
INSERT_HISTORY = "insert into history values (?, ?, ?, ?, ?)"
PUT = "insert or replace into store values (?, ?, ?)"
ORDERED = (INSERT_RUN, UPDATE_RUN, INSERT_HISTORY, PUT)

pack, unpack = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
to_json = msgspec.json.Encoder().encode
Unit = list[tuple[str, tuple[Any, ...]]]


class Writer:
    """Group commit: what waits when one commit ends goes into the next."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(SCHEMA)
        self._waiting: list[tuple[Unit, Callable[[], None]]] = []
        self._busy = False

    def submit(self, unit: Unit, done: Callable[[], None]) -> None:
        self._waiting.append((unit, done))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        batch, self._waiting = self._waiting, []
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._write, [unit for unit, _ in batch])
        future.add_done_callback(lambda _: self._written(batch))

    def _written(self, batch: list[tuple[Unit, Callable[[], None]]]) -> None:
        for _, done in batch:
            done()
        if self._waiting:
            self._next()
        else:
            self._busy = False

    def _write(self, units: list[Unit]) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {sql: [] for sql in ORDERED}
        for unit in units:
            for sql, row in unit:
                rows[sql].append(row)
        self._db.execute("begin")
        for sql, batch in rows.items():
            if batch:
                self._db.executemany(sql, batch)
        self._db.execute("commit")


class Pipe(asyncio.Protocol):
    def __init__(self, heard: Callable[[Any], None]) -> None:
        self._heard = heard
        self._held = b""
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        held, at = self._held + data, 0
        while len(held) - at >= 4:
            end = at + 4 + int.from_bytes(held[at : at + 4], "big")
            if end > len(held):
                break
            self._heard(unpack(held[at + 4 : end]))
            at = end
        self._held = held[at:]

    def say(self, message: Any) -> None:
        body = pack(message)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(len(body).to_bytes(4, "big") + body)

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._out))
        self._out.clear()


# What each step does: its operation before the directive, then the directive.
STEPS: dict[str, tuple[str | None, str]] = {
    "order.place": ("child", "wait"),
    "payment.begin": (None, "payment.process"),
    "payment.process": (None, "payment.done"),
    "payment.done": ("parent", "complete"),
    "order.paid": (None, "complete"),
}


async def worker(sock: socket.socket) -> None:
    """Asks for the step's operation, and when that is durable says its directive."""

    def heard(message: Any) -> None:
        run, step, asked = message
        operation, directive = STEPS[step]
        pipe.say((run, step, "op", operation) if operation and not asked else (run, step, "end", directive))

    _, pipe = await asyncio.get_running_loop().create_connection(lambda: Pipe(heard), sock=sock)
    await pipe.closed


class Floor:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.pipe: Pipe
        self.runs = 0
        self.seq: dict[int, int] = {}
        self.parent: dict[int, int] = {}
        self.ends: dict[int, asyncio.Future[None]] = {}

    def history(self, run: int, kind: str, data: Any) -> tuple[str, tuple[Any, ...]]:
        self.seq[run] = self.seq.get(run, 0) + 1
        return INSERT_HISTORY, (run, self.seq[run], kind, time.time_ns() // 1_000_000, to_json(data).decode())

    def open(self, wid: str, step: str, parent: int | None, input: Any) -> tuple[int, Unit]:
        self.runs += 1
        run = self.runs
        row = (run, wid, "running", step, parent, to_json(input).decode(), time.time_ns() // 1_000_000)
        unit = [(INSERT_RUN, row), self.history(run, "run.started", input), self.history(run, "step.started", step)]
        return run, unit

    async def order(self, number: int) -> None:
        run, unit = self.open(f"order-{number}", "order.place", None, {"order_id": str(number), "amount": 9.99})
        self.ends[run] = asyncio.get_running_loop().create_future()
        self.writer.submit(unit, lambda: self.pipe.say((run, "order.place", False)))
        await self.ends[run]

    def heard(self, message: Any) -> None:
        run, step, kind, what = message
        if kind == "op":
            self.operation(run, step, what)
        elif what == "wait":
            self.writer.submit(
                [
                    (PUT, (run, "order_id", '"1"')),
                    (PUT, (run, "amount", "9.99")),
                    self.history(run, "step.completed", step),
                    self.history(run, "wait.started", None),
                    (UPDATE_RUN, ("waiting", "", run)),
                ],
                lambda: None,
            )
        elif what == "complete":
            unit = [
                (PUT, (run, "txn_id", '"txn-1"')),
                self.history(run, "step.completed", step),
                self.history(run, "run.completed", "txn-1"),
                (UPDATE_RUN, ("completed", "", run)),
            ]
            end = self.ends.pop(run, None)
            self.writer.submit(unit, lambda: end.set_result(None) if end else None)
        else:
            unit = [
                (PUT, (run, "amount", "9.99")),
                self.history(run, "step.completed", step),
                self.history(run, "step.started", what),
                (UPDATE_RUN, ("running", what, run)),
            ]
            self.writer.submit(unit, lambda: self.pipe.say((run, what, False)))

    def operation(self, run: int, step: str, what: str) -> None:
        if what == "child":
            child, unit = self.open(f"payment-{run}", "payment.begin", run, {"amount": 9.99})
            self.parent[child] = run
            unit.append(self.history(run, "child.started", child))

            def begin() -> None:
                self.pipe.say((run, step, True))
                self.pipe.say((child, "payment.begin", False))

            self.writer.submit(unit, begin)
            return
        parent = self.parent.pop(run)
        unit = [
            self.history(run, "parent_event.sent", "paid"),
            self.history(parent, "event.received", {"txn_id": "txn-1"}),
            self.history(parent, "step.started", "order.paid"),
            (UPDATE_RUN, ("running", "order.paid", parent)),
        ]

        def deliver() -> None:
            self.pipe.say((run, step, True))
            self.pipe.say((parent, "order.paid", False))

        self.writer.submit(unit, deliver)


async def drive(one: Callable[[int], Any], orders: int, concurrency: int) -> dict[str, float]:
    """Run `one(n)` for n orders, so many at a time: orders a second and latencies."""
    await one(0)
    times: list[float] = []
    numbers = iter(range(1, orders + 1))

    async def lane() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await one(number)
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    took = time.perf_counter() - begun
    times.sort()
    return {
        "rate": orders / took,
        "p50_ms": times[len(times) // 2] * 1_000,
        "p99_ms": times[int(len(times) * 0.99)] * 1_000,
    }


async def main(orders: int, concurrency: int, sock: socket.socket, folder: Path) -> dict[str, float]:
    floor = Floor(Writer(folder / "floor.db"))
    _, floor.pipe = await asyncio.get_running_loop().create_connection(lambda: Pipe(floor.heard), sock=sock)
    return await drive(floor.order, orders, concurrency)


if __name__ == "__main__":
    import uvloop

    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        uvloop.run(worker(theirs))
        os._exit(0)
    theirs.close()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made:
        figures = uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), ours, Path(made)))
    print(json.dumps(figures))
