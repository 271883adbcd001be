"""A crash at any moment leaves a prefix of the units, whole."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from support.rows import Ledger, check, commit, contents
from support.waiting import wait_until
from wfd.store.store import Store, open_store

CHILD = """
import asyncio, sys
from pathlib import Path
from support.rows import Ledger, commit
from wfd.store.store import open_store

async def main():
    store = await open_store(Path(sys.argv[1]))
    ledger = Ledger()
    number = 0
    while True:
        units = []
        for _ in range(number % 7 + 1):
            number += 1
            units.append(ledger.start(f"o-{number}"))
            units.append(ledger.change(number, ("step.completed", {}), store={"number": number}))
        await commit(store.writer, *units)
        print(number, flush=True)

asyncio.run(main())
"""


def _runs(path: Path) -> int:
    """How many runs there are; each of them with all its records and its store, from the first without a gap."""
    check(path)
    rows = contents(path)
    number = len(rows["runs"])
    assert [row[0] for row in rows["history"]] == list(range(1, len(rows["history"]) + 1))
    assert [row[0] for row in rows["runs"]] == list(range(1, number + 1))
    changed = {row[0] for row in rows["store"]}
    assert changed >= set(range(1, number)), "a run is there before the change of the one before it"
    assert len(rows["history"]) == 2 * number + len(changed)
    return number


@pytest.mark.parametrize("acknowledged", [1, 40, 300])
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "wfctl.db"
    output = tmp_path / "output"
    with output.open("w") as out:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=out, cwd=Path(__file__).parents[2])
        try:
            wait_until(lambda: _acknowledged(output) >= acknowledged)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert _runs(path) >= _acknowledged(output)


def _acknowledged(output: Path) -> int:
    lines = output.read_text().split("\n")[:-1]
    return int(lines[-1]) if lines else 0


async def test_a_copy_taken_before_each_commit_holds_exactly_the_units_committed_so_far(tmp_path: Path) -> None:
    path = tmp_path / "wfctl.db"

    def copy(number: int) -> None:
        _copy(path, tmp_path / f"copy-{number}.db")

    store = await open_store(path, before_commit=copy)
    ledger = Ledger()
    for number in range(1, 15):
        await commit(store.writer, ledger.start(f"o-{number}"), ledger.change(number, ("x", {}), store={"n": number}))
    # Two units each, but the second may have missed the commit of the first.
    commits = store.writer.stats.commits
    await store.stop()
    sizes = [_runs(tmp_path / f"copy-{number}.db") for number in range(1, commits + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[-1] in (13, 14)


async def test_a_log_that_is_cut_off_anywhere_opens_to_a_prefix_of_the_units(tmp_path: Path) -> None:
    path = tmp_path / "wfctl.db"
    store = await open_store(path)
    ledger = Ledger()
    for number in range(1, 40):
        await commit(store.writer, ledger.start(f"o-{number}"), ledger.change(number, ("x", {}), store={"n": number}))
    whole = tmp_path / "whole.db"
    _copy(path, whole)
    await store.stop()
    wal = whole.with_name("whole.db-wal").read_bytes()
    found = []
    for part in range(0, 41):
        cut = tmp_path / "cut.db"
        _copy(whole, cut)
        cut.with_name("cut.db-wal").write_bytes(wal[: len(wal) * part // 40 - 13 * (part % 3) if part else 0])
        if part < 3:
            # So little is there that it may not even be the schema.
            db = sqlite3.connect(cut)
            db.execute("pragma integrity_check").fetchall()
            db.close()
            continue
        found.append(await _opened(cut))
    assert found == sorted(found)
    assert len(set(found)) > 10
    assert found[-1] in (38, 39)


async def _opened(path: Path) -> int:
    """How many runs a daemon finds that starts on this file, and that it can go on writing."""
    store: Store = await open_store(path)
    number = len(contents(path)["runs"])
    await commit(store.writer, Ledger(await store.reader.max_rev()).start("next", key=await store.reader.max_key() + 1))
    await store.stop()
    check(path)
    assert len(contents(path)["runs"]) == number + 1
    return number


def _copy(path: Path, to: Path) -> None:
    for ending in ("", "-wal"):
        source = path.with_name(path.name + ending)
        target = to.with_name(to.name + ending)
        target.unlink(missing_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
    to.with_name(f"{to.name}-shm").unlink(missing_ok=True)
