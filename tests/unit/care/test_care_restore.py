"""Putting a backup in the database's place, and what may come in between."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.rows import STATE, Ledger, commit
from wfctl.errors import IncompatibleError, StorageError
from wfd.care import restore as restoring
from wfd.config import Config, load
from wfd.store.copy import Copy
from wfd.store.inspect import inspect
from wfd.store.store import open_store


def configured(folder: Path) -> Config:
    (folder / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    return load(folder / "wfctl.toml")


async def test_a_signal_takes_effect_once_the_database_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, backup = configured(tmp_path), tmp_path / "a.backup"
    config.state.mkdir(mode=0o700)
    store, ledger = await open_store(config.database), Ledger()
    await commit(store.writer, ledger.start("before", state=STATE))
    Copy(config.database, backup).run()
    await commit(store.writer, ledger.start("after", state=STATE))
    await store.stop()
    put, seen = restoring.replace, []

    def interrupted(*files: Any) -> Path | None:
        signal.raise_signal(signal.SIGTERM)
        return put(*files)

    def ended(*_: object) -> None:
        seen.append(inspect(config.database).runs)
        raise SystemExit

    monkeypatch.setattr(restoring, "replace", interrupted)
    before = signal.signal(signal.SIGTERM, ended)
    try:
        with pytest.raises(SystemExit):
            restoring.restore(config, backup, lambda copied, total: None, lambda done: seen.append(-done.runs))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [-1, 1], "that it is done is told first"
    (kept,) = config.state.glob("wfctl.db.before-*")
    assert inspect(kept).runs == 2
    monkeypatch.setattr(restoring, "replace", put)
    assert restoring.restore(config, kept, lambda copied, total: None).runs == 2, "the lock was let go of"


def newer(backup: Path) -> None:
    with closing(sqlite3.connect(backup)) as db:
        db.execute("pragma user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "kind", "told"),
    [
        (lambda backup: backup.write_bytes(b""), StorageError, "the database {} is empty\nnothing was changed"),
        (newer, IncompatibleError, "the database {} has schema 99; this wfctl knows schemas up to "),
        (
            lambda backup: backup.write_bytes(b"no database" * 99),
            StorageError,
            "{} is not a database\nnothing was changed",
        ),
    ],
)
async def test_what_is_wrong_with_a_backup_is_told_of_the_file_that_was_named(
    tmp_path: Path, spoil: Any, kind: type[Exception], told: str
) -> None:
    config, backup = configured(tmp_path), tmp_path / "a.backup"
    store = await open_store(tmp_path / "another.db")
    Copy(tmp_path / "another.db", backup).run()
    await store.stop()
    spoil(backup)
    with pytest.raises(kind) as caught:
        restoring.restore(config, backup, lambda copied, total: None)
    assert str(caught.value).startswith(told.format(backup))
    assert ".part" not in str(caught.value)
    assert not config.database.exists()


def test_a_name_that_no_file_can_have_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        restoring.restore(configured(tmp_path), tmp_path / ("x" * 300), lambda copied, total: None)


async def test_a_disk_without_room_is_not_held_against_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, backup = configured(tmp_path), tmp_path / "a.backup"
    store = await open_store(tmp_path / "another.db")
    Copy(tmp_path / "another.db", backup).run()
    await store.stop()

    def full(self: Copy, *_: Any) -> Any:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise self._explained(error)

    monkeypatch.setattr(Copy, "_copy", full)
    with pytest.raises(StorageError) as caught:
        restoring.restore(config, backup, lambda copied, total: None)
    assert str(caught.value).startswith(f"cannot write the database {config.database}: database or disk is full")
    assert caught.value.hint == "make room on its disk"
