"""What the machine gives: the same work and the same durability with no engine around it.

One process with SQLite (WAL, synchronous=FULL, group commit in one thread), and one worker process on a socketpair that runs
each step as a coroutine with the run's store. The same commits as the engine's, with rows of the same kind: a run starts, a child
starts, a task is recorded, an event reaches the parent, runs complete. No checks, timers, replay, queries, reload or recovery.

Orders are made inside the process. A full engine is asked by a client in a process of its own, and that is counted against it: a
program that uses it has to pay for that as well.

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
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from load import drive

SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = full;
create table runs (id text primary key, wid text, type text, status text, parent text, input text, at real, step text)
without rowid;
create index runs_wid on runs (wid);
create index runs_parent on runs (parent);
create table history (run text, seq integer, kind text, at real, data text, primary key (run, seq)) without rowid;
create table store (run text, key text, value text, primary key (run, key)) without rowid;
create table inbox (id integer primary key, run text, name text, payload text);
"""
INSERT_RUN = "insert into runs (id, wid, type, status, parent, input, at) values (?, ?, ?, ?, ?, ?, ?)"
UPDATE_RUN = "update runs set status = ?, step = ? where id = ?"
INSERT_HISTORY = "insert into history values (?, ?, ?, ?, ?)"
PUT = "insert or replace into store values (?, ?, ?)"
QUEUE = "insert into inbox values (?, ?, ?, ?)"
TAKE = "delete from inbox where id = ?"
ORDERED = (INSERT_RUN, UPDATE_RUN, INSERT_HISTORY, PUT, QUEUE, TAKE)

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
        future.add_done_callback(lambda done: self._written(done, batch))

    def _written(self, future: asyncio.Future[None], batch: list[tuple[Unit, Callable[[], None]]]) -> None:
        future.result()
        for _, done in batch:
            done()
        if self._waiting:
            self._next()
        else:
            self._busy = False

    def _write(self, units: list[Unit]) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for unit in units:
            for sql, row in unit:
                rows.setdefault(sql, []).append(row)
        self._db.execute("begin")
        for sql in ORDERED:
            if sql in rows:
                self._db.executemany(sql, rows[sql])
        self._db.execute("commit")


class Pipe(asyncio.Protocol):
    """Frames in and out; all that is said in one turn of the loop leaves in one write."""

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


# -- the worker ----------------------------------------------------------------------------------

Ask = Callable[[str, Any], Awaitable[Any]]
Step = Callable[[Ask, dict[str, Any], dict[str, Any]], Awaitable[tuple[str, Any]]]


async def _place(ask: Ask, store: dict[str, Any], args: dict[str, Any]) -> tuple[str, Any]:
    store.update(args)
    await ask("child", {"id": f"payment-{args['order_id']}", "input": {"amount": args["amount"]}})
    return "wait", None


async def _begin(ask: Ask, store: dict[str, Any], args: dict[str, Any]) -> tuple[str, Any]:
    store["amount"] = args["amount"]
    return "step", "process"


async def _process(ask: Ask, store: dict[str, Any], args: dict[str, Any]) -> tuple[str, Any]:
    await ask("task", {"name": "charge", "args": {"amount": store["amount"]}, "result": "txn-1"})
    store["txn_id"] = "txn-1"
    return "step", "done"


async def _done(ask: Ask, store: dict[str, Any], args: dict[str, Any]) -> tuple[str, Any]:
    await ask("parent", {"name": "paid", "payload": {"txn_id": store["txn_id"]}})
    return "complete", store["txn_id"]


async def _paid(ask: Ask, store: dict[str, Any], args: dict[str, Any]) -> tuple[str, Any]:
    store["txn_id"] = args["txn_id"]
    return "complete", args["txn_id"]


STEPS: dict[str, Step] = {
    "start Order": _place,
    "start Payment": _begin,
    "process": _process,
    "done": _done,
    "paid": _paid,
}


class Worker:
    """Runs steps. What they ask for they get when it is durable."""

    def __init__(self) -> None:
        self.pipe: Pipe
        self._asked = 0
        self._waits: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, message: Any) -> None:
        if message[0] == "answer":
            self._waits.pop(message[1]).set_result(message[2])
        else:
            task = asyncio.get_running_loop().create_task(self._run(*message[1:]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, run: str, step: str, args: dict[str, Any] | None, store: dict[str, Any]) -> None:
        async def ask(kind: str, data: Any) -> Any:
            self._asked += 1
            answer = self._waits[self._asked] = asyncio.get_running_loop().create_future()
            self.pipe.say(("ask", run, self._asked, kind, data))
            return await answer

        before = dict(store)
        directive, value = await STEPS[step](ask, store, args or {})
        changed = {key: item for key, item in store.items() if key not in before or before[key] != item}
        self.pipe.say(("end", run, directive, value, changed))


async def work(sock: socket.socket) -> None:
    worker = Worker()
    _, worker.pipe = await asyncio.get_running_loop().create_connection(lambda: Pipe(worker.heard), sock=sock)
    await worker.pipe.closed


# -- the process that writes ---------------------------------------------------------------------


class Run:
    __slots__ = ("end", "id", "inbox", "parent", "seq", "store", "waiting")

    def __init__(self, id: str, parent: Run | None) -> None:
        self.id = id
        self.parent = parent
        self.seq = 0
        self.store: dict[str, Any] = {}
        self.inbox: list[tuple[int, str, Any]] = []
        self.waiting = False
        self.end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Floor:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.pipe: Pipe
        self._runs: dict[str, Run] = {}
        self._events = 0
        self._made = 0

    async def order(self, number: int) -> None:
        data = {"order_id": str(number), "amount": 9.99}
        run, unit = self._open("Order", f"order-{number}", data, None)
        started = asyncio.get_running_loop().create_future()
        self.writer.submit(unit, lambda: started.set_result(None))
        await started
        self._dispatch(run, "start Order", data)
        await run.end

    def heard(self, message: Any) -> None:
        if message[0] == "ask":
            _, id, asked, kind, data = message
            self._ask(self._runs[id], asked, kind, data)
        else:
            _, id, directive, value, changed = message
            self._end(self._runs[id], directive, value, changed)

    def _history(self, run: Run, kind: str, data: Any) -> tuple[str, tuple[Any, ...]]:
        run.seq += 1
        return INSERT_HISTORY, (run.id, run.seq, kind, time.time(), to_json(data))

    def _open(self, type: str, wid: str, data: Any, parent: Run | None) -> tuple[Run, Unit]:
        self._made += 1
        run = Run(f"{self._made:026d}", parent)
        self._runs[run.id] = run
        row = (run.id, wid, type, "running", parent.id if parent else None, to_json(data), time.time())
        started = self._history(run, "step.started", {"step": "start"})
        return run, [(INSERT_RUN, row), self._history(run, "run.started", data), started]

    def _dispatch(self, run: Run, step: str, args: Any) -> None:
        self.pipe.say(("step", run.id, step, args, run.store))

    def _deliver(self, run: Run, name: str, payload: Any, unit: Unit) -> Callable[[], None]:
        if not run.waiting:
            self._events += 1
            run.inbox.append((self._events, name, payload))
            unit.append((QUEUE, (self._events, run.id, name, to_json(payload))))
            return lambda: None
        run.waiting = False
        unit.append(self._history(run, "event.received", {"name": name, "payload": payload}))
        unit.append(self._history(run, "step.started", {"step": name}))
        unit.append((UPDATE_RUN, ("running", name, run.id)))
        return lambda: self._dispatch(run, name, payload)

    def _ask(self, run: Run, asked: int, kind: str, data: Any) -> None:
        answer: Any = None
        after: Callable[[], None] = lambda: None  # noqa: E731
        if kind == "task":
            unit = [
                self._history(run, "task.started", data["args"]),
                self._history(run, "task.completed", data["result"]),
            ]
        elif kind == "child":
            child, unit = self._open("Payment", data["id"], data["input"], run)
            unit.append(self._history(run, "child.started", {"id": child.id}))
            answer, after = child.id, lambda: self._dispatch(child, "start Payment", data["input"])
        else:
            assert run.parent is not None
            unit = [self._history(run, "parent_event.sent", data)]
            after = self._deliver(run.parent, data["name"], data["payload"], unit)

        def durable() -> None:
            self.pipe.say(("answer", asked, answer))
            after()

        self.writer.submit(unit, durable)

    def _end(self, run: Run, directive: str, value: Any, changed: dict[str, Any]) -> None:
        run.store.update(changed)
        unit: Unit = [(PUT, (run.id, key, to_json(item))) for key, item in changed.items()]
        unit.append(self._history(run, "step.completed", None))
        after: Callable[[], None] = lambda: None  # noqa: E731
        if directive == "step":
            unit.append(self._history(run, "step.started", {"step": value}))
            unit.append((UPDATE_RUN, ("running", value, run.id)))
            after = lambda: self._dispatch(run, value, None)  # noqa: E731
        elif directive == "wait":
            unit.append(self._history(run, "wait.started", None))
            run.waiting = True
            if run.inbox:
                event, name, payload = run.inbox.pop(0)
                unit.append((TAKE, (event,)))
                after = self._deliver(run, name, payload, unit)
            else:
                unit.append((UPDATE_RUN, ("waiting", "", run.id)))
        else:
            unit.append(self._history(run, "run.completed", value))
            unit.append((UPDATE_RUN, ("completed", "", run.id)))
            after = lambda: self._closed(run, value)  # noqa: E731
        self.writer.submit(unit, after)

    def _closed(self, run: Run, value: Any) -> None:
        del self._runs[run.id]
        run.end.set_result(value)


async def main(orders: int, concurrency: int, sock: socket.socket, folder: Path) -> dict[str, float]:
    floor = Floor(Writer(folder / "floor.db"))
    _, floor.pipe = await asyncio.get_running_loop().create_connection(lambda: Pipe(floor.heard), sock=sock)
    return await drive(floor.order, orders, concurrency)


if __name__ == "__main__":
    import uvloop

    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        uvloop.run(work(theirs))
        os._exit(0)
    theirs.close()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made:
        figures = uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), ours, Path(made)))
    print(json.dumps(figures))
