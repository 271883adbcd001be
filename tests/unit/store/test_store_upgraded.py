"""Another wfctl was installed while the daemon runs: the process that writes for it must not be of that one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import wfctl
from support.rows import Ledger, commit
from wfctl.errors import StorageError
from wfd.store.store import open_store


async def test_one_of_another_version_writes_nothing_for_a_daemon_that_was_there_before(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_store(path, held=tuple)
    await commit(store.writer, ledger.start("o-1"))
    with monkeypatch.context() as upgraded:
        upgraded.setattr(wfctl, "__version__", "0.0.9")
        assert store.writer.pid is not None
        os.kill(store.writer.pid, signal.SIGKILL)
        with pytest.raises(StorageError):
            await commit(store.writer, ledger.start("o-2"))
        with pytest.raises(StorageError, match="exit code 2"):
            await store.writer.reset()
    assert "is installed here, and the daemon is 0.0.9: wfctl down && wfctl up" in caplog.text
    await store.writer.reset()
    fresh = Ledger(rev=await store.reader.max_rev())
    await commit(store.writer, fresh.start("o-3", key=2))
    await store.stop()
