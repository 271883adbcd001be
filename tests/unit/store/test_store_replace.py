"""Another database in the place of the present one: cut short at any step, nothing is lost and nothing is mistaken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.rows import Ledger, commit
from wfctl.errors import StorageError
from wfd.store.copy import Copy
from wfd.store.inspect import inspect
from wfd.store.replace import replace
from wfd.store.store import open_store

STEPS = ("rename", "replace", "fsync", "unlink")


class Died(BaseException):
    pass


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[str]]:
    """The process ends before its step number `at` of those that touch the disk. Yields the steps that were made."""
    made: list[str] = []

    def guarded(name: str) -> Any:
        real = getattr(os, name)

        def step(*arguments: Any, **options: Any) -> Any:
            if len(made) == at:
                raise Died(name)
            made.append(name)
            return real(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, guarded(name))
        yield made


async def database(path: Path, runs: int, *, killed: bool = False) -> None:
    """A database with so many runs; of a killed daemon, all of them only in its log."""
    made = path.with_name("made.db")
    store, ledger = await open_store(made), Ledger()
    for number in range(runs):
        await commit(store.writer, ledger.start(f"o-{number}"))
    if killed:
        for ending in ("", "-wal"):
            path.with_name(f"{path.name}{ending}").write_bytes(made.with_name(f"made.db{ending}").read_bytes())
    await store.stop()
    if killed:
        made.unlink()
    else:
        made.rename(path)


async def runs_of(path: Path) -> int:
    store = await open_store(path)
    key = await store.reader.max_key()
    await store.stop()
    return key


@pytest.mark.parametrize("killed", [False, True])
async def test_the_former_database_is_kept_with_its_log(path: Path, killed: bool) -> None:
    await database(path, 3, killed=killed)
    incoming, kept = path.with_name("incoming"), path.with_name("kept.db")
    await database(incoming, 5)
    assert replace(path, incoming, kept) == kept
    assert await runs_of(path) == 5
    assert await runs_of(kept) == 3
    assert sorted(file.name for file in path.parent.iterdir()) == ["kept.db", "wfctl.db"]


async def test_where_there_was_none_nothing_is_kept(path: Path) -> None:
    await database(path.with_name("incoming"), 5)
    assert replace(path, path.with_name("incoming"), path.with_name("kept.db")) is None
    assert await runs_of(path) == 5
    assert sorted(file.name for file in path.parent.iterdir()) == ["wfctl.db"]


@pytest.mark.parametrize("killed", [False, True])
async def test_cut_short_at_any_step_it_is_old_or_new_or_refused_and_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    seen: list[str] = []
    at = 0
    while True:
        folder = tmp_path / str(at)
        folder.mkdir()
        path, incoming = folder / "wfctl.db", folder / "incoming"
        await database(path, 3, killed=killed)
        await database(folder / "backup", 5)
        Copy(folder / "backup", incoming).run()
        try:
            with dying(monkeypatch, at) as made:
                replace(path, incoming, folder / "kept.db")
        except Died:
            pass
        else:
            break
        seen.append(await _standing(path))
        # The restore is done again from the start, under another name for what it keeps.
        if seen[-1] == "refused":
            Copy(folder / "backup", incoming, force=True).run()
            replace(path, incoming, folder / "kept-2.db")
            assert await runs_of(path) == 5
            assert await runs_of(folder / "kept.db") == 3
        elif seen[-1] == "new":
            assert await runs_of(folder / "kept.db") == 3
        at += 1
    assert len(made) == at
    # Old until the first rename, refused until the last, new from then on.
    assert list(dict.fromkeys(seen)) == ["old", "refused", "new"]


async def _standing(path: Path) -> str:
    try:
        return {3: "old", 5: "new"}[await runs_of(path)]
    except StorageError as error:
        return "refused" if "is missing, but its log" in error.message else error.message


async def test_a_new_database_is_never_given_the_log_of_the_old(path: Path) -> None:
    await database(path, 3, killed=True)
    incoming = path.with_name("incoming")
    await database(incoming, 5)
    replace(path, incoming, path.with_name("kept.db"))
    assert inspect(path, thorough=True).problems == ()
    assert inspect(path).runs == 5


async def test_a_database_that_is_a_symbolic_link_is_read_and_kept_with_the_log_that_it_has(path: Path) -> None:
    elsewhere = path.parent / "disk" / "real.db"
    elsewhere.parent.mkdir()
    await database(elsewhere, 3, killed=True)
    path.symlink_to(elsewhere)
    assert inspect(path).runs == 3
    incoming, kept = path.with_name("incoming"), path.with_name("kept.db")
    await database(incoming, 5)
    assert replace(path, incoming, kept) == kept
    assert inspect(path).runs == 5
    assert inspect(kept).runs == 3
