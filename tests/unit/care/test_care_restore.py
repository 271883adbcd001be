"""Putting a backup in the database's place, and what may come in between."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from support.rows import STATE, Ledger, commit
from wfd.care import restore as restoring
from wfd.config import load
from wfd.store.copy import Copy
from wfd.store.inspect import inspect
from wfd.store.store import open_store


async def test_a_signal_takes_effect_once_the_database_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    config, backup = load(tmp_path / "wfctl.toml"), tmp_path / "a.backup"
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
