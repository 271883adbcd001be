"""Databases with a long past: a block of runs that the engine has really run, copied many times by SQLite itself.

A block is 50 closed runs (20 orders with their payments, five that failed, five that waited) and five open ones that wait: for an
event, with and without a deadline, for a time, and a parent with its child. Of the `overdue` it is a hundred that wait for what was
to be a day later, half of them for an event. Each copy has names, IDs and times of its own. A million runs take minutes and
gigabytes, so the file is kept, and used again until something it is made from changes.

    python tests/bench/fill.py [--closed 1000000]    prints the folder
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flows
from place import FLOWS
from ulid import ULID

from wfctl.values.times import to_ms
from wfd.store.connect import SCHEMA_VERSION
from wfd.testing import WorkflowEnvironment

CLOSED = 1_000_000
CLOSED_IN_BLOCK = 50
LATE_IN_BLOCK = 100
PAST = timedelta(days=90)
SHORT, LONG = timedelta(days=1), timedelta(days=400)
KEPT = Path(os.environ.get("BENCH_KEEP") or Path(__file__).parents[2] / ".bench")
TYPES = [flows.order, flows.payment, flows.waiter, flows.nap, flows.broken, flows.parent]
NUMBER = "COPY"  # in names, stands for the number of the copy
TIME_OF_ULID = 10
KEYS = {"runs": ("key", "parent", "root"), "history": ("run",), "logs": ("run",), "store": ("run",), "inbox": ("run",)}


def filled(closed: int = CLOSED) -> Path:
    """A folder with `wfctl.db` as a daemon that is down leaves it: `closed` runs that have closed, and a tenth of that waiting."""
    return _kept("filled", _block, datetime.now(UTC), closed // CLOSED_IN_BLOCK)


def overdue(waiting: int) -> Path:
    """The same with so many runs whose deadline or delay has passed, and none that has closed."""
    return _kept("overdue", _late, datetime.now(UTC) - timedelta(days=3), waiting // LATE_IN_BLOCK)


def _kept(what: str, block: Callable[[Path, datetime], Coroutine[Any, Any, None]], now: datetime, copies: int) -> Path:
    made_from = [Path(__file__).read_bytes(), FLOWS.read_bytes(), str((what, copies, SCHEMA_VERSION)).encode()]
    folder = KEPT / hashlib.sha256(b"\0".join(made_from)).hexdigest()[:12]
    if not folder.exists():
        making = folder.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        asyncio.run(block(making, now))
        _multiply(making / "wfctl.db", to_ms(now - datetime.fromtimestamp(0, UTC)), copies)
        making.rename(folder)
    return folder


async def _block(folder: Path, now: datetime) -> None:
    """All at one instant: so the block has few different times, which are easily replaced."""
    async with WorkflowEnvironment(TYPES, now=now, path=folder) as env:
        start = env.client.start
        for n in range(20):
            order_id = f"old-{NUMBER}-{n}"
            await start("Order", workflow_id=f"order-{order_id}", workflow_input={"order_id": order_id, "amount": 9.99})
        for n in range(5):
            await start("Broken", workflow_id=f"broken-{NUMBER}-{n}")
            waited = await start("Waiter", workflow_id=f"waited-{NUMBER}-{n}", workflow_input={"days": n % 2})
            await env.settle()
            await waited.send("go")
        await start("Waiter", workflow_id=f"waiter-{NUMBER}")
        await start("Waiter", workflow_id=f"deadline-{NUMBER}", workflow_input={"days": LONG.days})
        await start("Nap", workflow_id=f"nap-{NUMBER}", workflow_input={"days": LONG.days})
        await start("Parent", workflow_id=f"parent-{NUMBER}")
        await env.settle()


async def _late(folder: Path, now: datetime) -> None:
    async with WorkflowEnvironment(TYPES, now=now, path=folder) as env:
        for n in range(LATE_IN_BLOCK // 2):
            for kind in ("Waiter", "Nap"):
                id = f"{kind.lower()}-{NUMBER}-{n}"
                await env.client.start(kind, workflow_id=id, workflow_input={"days": SHORT.days})
        await env.settle()


def _multiply(path: Path, now_ms: int, copies: int) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    # A file that a crash leaves half made is thrown away.
    for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -500000", "locking_mode = exclusive"):
        db.execute(f"pragma {pragma}").fetchall()
    # The triggers as well: what is deleted and inserted here is nothing to count.
    made = db.execute(
        "select type, name, sql from sqlite_master where type in ('index', 'trigger') and sql is not null"
    )
    aside = made.fetchall()
    for kind, name, _ in aside:
        db.execute(f"drop {kind} {name}")
    for table in KEYS:
        db.execute(f"create temp table block_{table} as select * from main.{table}")
        db.execute(f"delete from {table}")
    runs, revs, prefix = db.execute(
        f"select (select max(key) from block_runs), max(rev), (select substr(run_id, 1, {TIME_OF_ULID}) from block_runs)"
        " from (select rev from block_history union all select rev from block_logs)"
    ).fetchone()
    back = to_ms(PAST) // copies
    db.execute("create temp table copies (number integer primary key, shift integer, prefix text)")
    db.executemany(
        "insert into copies values (?, ?, ?)",
        (
            (n, shift, str(ULID.from_timestamp((now_ms + shift) / 1_000))[:TIME_OF_ULID])
            for n in range(copies)
            for shift in [(n - copies) * back]
        ),
    )
    texts = [(f"'{prefix}'", "c.prefix"), (f"'{NUMBER}'", "c.number")]
    times = (now_ms, now_ms + to_ms(SHORT), now_ms + to_ms(LONG))
    texts += [(f"'{at}'", f"cast({at} + c.shift as text)") for at in times]
    db.execute("begin")
    for table, keys in KEYS.items():
        columns = db.execute(f"pragma table_info({table})").fetchall()
        values = []
        for _, name, kind, *_ in columns:
            value = f"t.{name}"
            if name in keys:
                value += f" + c.number * {runs}"
            elif name == "rev":
                value += f" + c.number * {revs}"
            elif name == "at" or name.endswith("_at") or name == "deadline":
                value += " + c.shift"
            elif kind == "TEXT":
                for old, new in texts:
                    if db.execute(f"select 1 from block_{table} where instr({name}, {old})").fetchone():
                        value = f"replace({value}, {old}, {new})"
            values.append(value)
        db.execute(f"insert into {table} select {', '.join(values)} from copies as c cross join block_{table} as t")
    db.execute("update totals set runs = runs * ?", (copies,))
    counts = "select type, status, sum(runs) from totals group by 1, 2 having sum(runs) <> 0 order by 1, 2"
    there = "select type, status, count(*) from runs group by 1, 2 order by 1, 2"
    assert db.execute(counts).fetchall() == db.execute(there).fetchall()
    db.execute("commit")
    for _, _, sql in aside:
        db.execute(sql)
    db.execute("pragma journal_mode = wal").fetchall()
    db.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", type=int, default=CLOSED)
    print(filled(parser.parse_args().closed))
