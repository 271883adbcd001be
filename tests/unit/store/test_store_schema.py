"""The schema: what it is the sum of, what it refuses, and that old databases load for ever."""

from __future__ import annotations

import itertools
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.old_databases import DATA, file_of, write
from support.rows import Ledger, check, commit, contents
from wfctl.errors import IncompatibleError
from wfctl.values.status import Status
from wfd.store import queries
from wfd.store.connect import APPLICATION_ID, SCHEMA_VERSION, connect_writer, migrate
from wfd.store.rows import RunRow
from wfd.store.store import Store, open_store


def _described(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    rows = db.execute("select type, name, sql from sqlite_master where sql is not null order by 1, 2").fetchall()
    return [(kind, name, re.sub(r"\s*--[^\n]*|\s+", " ", sql).strip()) for kind, name, sql in rows]


def test_the_schema_is_the_sum_of_its_migrations() -> None:
    whole, summed = sqlite3.connect(":memory:"), sqlite3.connect(":memory:", isolation_level=None)
    whole.executescript((queries.HERE / "schema.sql").read_text())
    migrate(summed, 0, SCHEMA_VERSION)
    assert _described(whole) == _described(summed)
    for db in (whole, summed):
        assert db.execute("pragma application_id").fetchone()[0] == APPLICATION_ID
        db.close()


def test_a_sqlite_that_guards_its_schema_is_refused_with_what_to_do_or_is_made_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def guarded(path: Path, **settings: Any) -> sqlite3.Connection:
        if sys.version_info >= (3, 12):
            db = connect(path, **settings)
            db.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
            return db
        return connect(path, factory=Guarded, **settings)

    monkeypatch.setattr(sqlite3, "connect", guarded)
    path = tmp_path / "old.db"
    shutil.copyfile(file_of(4), path)
    if sys.version_info >= (3, 12):
        connect_writer(path).close()
    else:
        with pytest.raises(IncompatibleError, match=r"guard the schema .* 0005_plain_checks.sql") as refused:
            connect_writer(path)
        assert "Python 3.12" in str(refused.value.hint)
    db = connect(path)
    assert db.execute("pragma user_version").fetchone()[0] == (SCHEMA_VERSION if sys.version_info >= (3, 12) else 4)
    assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
    db.close()


class Guarded(sqlite3.Connection):
    """In its defensive mode SQLite takes no notice of this pragma; Python 3.11 cannot put it in that mode."""

    def executescript(self, script: str) -> sqlite3.Cursor:
        return super().executescript(script.replace("pragma writable_schema = on;", ""))


def test_the_one_check_of_a_status_refuses_what_the_checks_before_it_did() -> None:
    columns = ("closed_at", "wake_at", "waiting_for", "reason", "result", "error")
    there = itertools.product(*((None, 5 if name.endswith("at") else "{}") for name in columns))
    fields: list[dict[str, Any]] = [
        {"status": status, **dict(zip(columns, values, strict=True))}
        for values in there
        for status in (*map(str, Status), "asleep", "")
    ]
    fields += [{"children": among, "open_children": number} for among in (-1, 0, 1) for number in (-2, -1, 0, 1, 2)]
    before, now = (_taken(version, fields) for version in (6, 7))
    assert now == before
    assert 0 < sum(now) < len(now)


def _taken(version: int, runs: list[dict[str, Any]]) -> list[bool]:
    """Which of these runs a database of that version takes."""
    db, taken = sqlite3.connect(":memory:", isolation_level=None), []
    migrate(db, 0, version)
    for fields in runs:
        row = RunRow(1, "01JF", "o-1", "Order", None, 1, 0, "{}", 1, **fields)
        try:
            db.execute(queries.load("write")["run_new"], msgspec.structs.astuple(row))
        except sqlite3.IntegrityError:
            taken.append(False)
        else:
            taken.append(True)
            db.execute("delete from runs")
    db.close()
    return taken


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _, _ in queries.migrations()] == list(range(1, SCHEMA_VERSION + 1))


def test_every_schema_version_has_its_database_in_the_tests() -> None:
    assert sorted(DATA.glob("schema_v*.db")) == [file_of(number) for number in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
async def test_a_database_of_every_version_loads_and_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "old.db"
    shutil.copyfile(file_of(version), path)
    store = await open_store(path)
    reader = store.reader
    assert set(await reader.open_workflow_ids()) == {
        "running-1", "waiting-1", "sleeping-1", "cancelling-1", "stuck-1", "parent-1", "child-1", "child-2"
    }  # fmt: skip
    loaded = await reader.load_run(2)
    assert loaded is not None
    assert loaded.run.waiting_for == '["paid","refused"]'
    assert [event.name for event in loaded.inbox] == ["other"]
    assert len(await reader.recoverable()) == 5
    assert await reader.stuck_runs() == [(5, "Order")]
    ledger = Ledger(await reader.max_rev())
    await commit(store.writer, ledger.start("new-1", key=await reader.max_key() + 1))
    await store.stop()
    check(path)


async def test_the_database_in_the_tests_is_what_its_script_writes(tmp_path: Path) -> None:
    await write(tmp_path / "now.db")
    shutil.copyfile(file_of(SCHEMA_VERSION), tmp_path / "kept.db")
    assert contents(tmp_path / "now.db") == contents(tmp_path / "kept.db")


def test_a_migration_that_fails_leaves_the_database_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_writer(path).close()
    before = contents(path)
    broken = [
        (SCHEMA_VERSION + 1, "0002_broken.sql", "create table good (a integer) strict; create table runs (b integer);")
    ]
    monkeypatch.setattr(queries, "migrations", lambda: broken)
    db = connect_writer(path)
    with pytest.raises(sqlite3.OperationalError, match="runs already exists") as caught:
        migrate(db, SCHEMA_VERSION, SCHEMA_VERSION + 1)
    assert caught.value.__notes__ == ["in migration 0002_broken.sql"]
    assert not db.in_transaction
    assert db.execute("pragma user_version").fetchone()[0] == SCHEMA_VERSION
    assert db.execute("select count(*) from sqlite_master where name = 'good'").fetchone()[0] == 0
    db.close()
    assert contents(path) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "asleep"},
        {"status": "completed"},
        {"closed_at": 5},
        {"result": "1"},
        {"error": "{}"},
        {"status": "sleeping"},
        {"status": "stuck"},
        {"status": "failed", "closed_at": 5, "wake_at": 6},
        {"status": "failed", "closed_at": 5, "result": "1"},
        {"waiting_for": "[]"},
        {"attempt": 0},
        {"open_children": 1},
        {"queued": -1},
        {"seq": -1},
        {"depth": 1},
        {"parent": 1},
        {"root": 2},
        {"key": 0},
        {"started_at": "today"},
        {"state": None},
    ],
    ids=lambda fields: ",".join(f"{name}={value}" for name, value in fields.items()),
)
async def test_a_row_that_cannot_be_is_refused(store: Store, fields: dict[str, Any]) -> None:
    ledger = Ledger()
    unit = ledger.start("o-1")
    for name, value in fields.items():
        setattr(unit.runs_new[0], name, value)
    unit.history.clear()
    with pytest.raises(Exception, match=r"CHECK constraint|NOT NULL constraint|Expected `(int|str)`"):
        await commit(store.writer, unit)


def test_the_file_is_set_up_once_for_its_whole_life(path: Path) -> None:
    db = connect_writer(path)
    asked = ("auto_vacuum", "journal_mode", "synchronous", "user_version", "application_id", "foreign_keys")
    assert [db.execute(f"pragma {name}").fetchone()[0] for name in asked] == [
        2,
        "wal",
        2,
        SCHEMA_VERSION,
        APPLICATION_ID,
        0,
    ]
    db.close()


def test_every_table_is_strict(path: Path) -> None:
    db = connect_writer(path)
    tables = db.execute(
        "select name, strict from pragma_table_list where schema = 'main' and name not like 'sqlite_%'"
    ).fetchall()
    db.close()
    assert {name for name, _ in tables} == {"runs", "history", "logs", "store", "inbox", "meta", "totals", "schedules"}
    assert all(strict for _, strict in tables)


def test_json_can_be_read_with_the_sqlite_tool(path: Path) -> None:
    shutil.copyfile(file_of(SCHEMA_VERSION), path)
    db = sqlite3.connect(path)
    value = db.execute("select json_extract(error, '$.type') from runs where workflow_id = 'failed-1'").fetchone()[0]
    db.close()
    assert value == "CardDeclined"
