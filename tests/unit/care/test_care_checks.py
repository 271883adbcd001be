"""The checks of `wfctl doctor`, one thing wrong at a time: it is seen, told with a remedy, and nothing is harmed by the look."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.old_databases import file_of
from support.rows import STATE, Ledger, commit
from wfctl.protocol.care import Check
from wfd.care import code, database as database_checks, places
from wfd.care.doctor import examine
from wfd.config import Config, load
from wfd.runtime.lock import StateLock
from wfd.store.connect import SCHEMA_VERSION
from wfd.store.store import open_store

FLOWS = """
from wfctl import Context, Directive, Workflow
wf = Workflow("Greeting")
@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete("hi")
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    (tmp_path / "flows.py").write_text(FLOWS)
    file = tmp_path / "wfctl.toml"
    file.write_text('[workflows]\nmodules = ["flows.py"]\n')
    tmp_path.chmod(0o700)
    return load(file)


async def fill(config: Config, runs: int = 3) -> Ledger:
    config.state.mkdir(mode=0o700, exist_ok=True)
    store, ledger = await open_store(config.database), Ledger()
    for number in range(runs):
        await commit(store.writer, ledger.start(f"o-{number}", state=STATE))
    await store.stop()
    return ledger


def told(check: Check) -> tuple[str, str]:
    assert (check.remedy is None) == (check.status == "ok")
    return check.code, check.status


# -- places ----------------------------------------------------------------------------------------


def test_a_state_that_is_not_there_yet_is_well_and_is_not_made(config: Config) -> None:
    for check in (places.state(config, fix=True), places.lock(config), places.disk(config)):
        assert check.status == "ok"
    assert not config.state.exists()


async def test_a_state_that_is_open_to_others_is_closed_only_when_asked(config: Config) -> None:
    await fill(config)
    config.state.chmod(0o755)
    config.database.chmod(0o644)
    check = places.state(config, fix=False)
    assert told(check) == ("state", "warn")
    assert ".wfctl had mode 755, wfctl.db had mode 644" in check.message
    assert stat.S_IMODE(config.state.stat().st_mode) == 0o755
    fixed = places.state(config, fix=True)
    assert (fixed.status, fixed.fixed) == ("ok", True)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config.state, config.database)] == [0o700, 0o600]
    assert not places.state(config, fix=True).fixed


@pytest.mark.parametrize("linked", ["the folder", "what it is in"])
def test_a_state_that_is_a_link_to_what_is_not_there_is_a_failure(config: Config, linked: str) -> None:
    link = config.state if linked == "the folder" else config.project / "volume"
    link.symlink_to("unmounted")
    check = places.state(
        msgspec.structs.replace(config, state=link / "state" if link.name == "volume" else link), fix=True
    )
    assert told(check) == ("state", "fail")
    assert check.message == f"{link} is a link, and {link.parent / 'unmounted'} is not there"
    assert check.remedy == "mount or make that folder, or remove the link"


def test_a_file_in_the_place_of_the_state_is_a_failure(config: Config) -> None:
    config.state.write_text("")
    assert told(places.state(config, fix=True)) == ("state", "fail")


def test_the_lock_tells_who_has_it_and_is_free_again_afterwards(config: Config) -> None:
    config.state.mkdir()
    held = StateLock(config.lock)
    held.acquire(config.socket)
    check = places.lock(config)
    assert told(check) == ("lock", "warn")
    assert f"held by process {os.getpid()}, which does not listen" in check.message
    held.release()
    other = config.project / "other.sock"
    held.acquire(other)
    check = places.lock(config)
    assert told(check) == ("lock", "fail")
    assert f"belongs at {other}, and nothing is there" in check.message
    assert check.remedy == f"make the folder {config.project} again, or: kill {os.getpid()}"
    other.touch()
    check = places.lock(config)
    assert told(check) == ("lock", "fail")
    assert check.remedy is not None
    assert check.remedy.startswith("export WFCTL_SOCKET="), "it may have been started with another XDG_RUNTIME_DIR too"
    assert "other.sock and not at" in check.message
    held.release()
    held.acquire(config.socket, "/other/wfctl.toml")
    check = places.lock(config)
    assert told(check) == ("lock", "fail")
    assert check.message == f"held by process {os.getpid()}, the daemon of another project: /other/wfctl.toml"
    assert check.remedy == f"name a `state` of its own in {config.file}"
    held.release()
    assert places.lock(config).status == "ok"
    held.acquire(config.socket)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(config.socket))
        listener.listen()
        assert told(places.lock(config)) == ("lock", "ok")
        assert told(places.socket_place(config, fix=True)) == ("socket", "ok")
    held.release()


@pytest.fixture
def stale(config: Config) -> Path:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(config.socket))
    return config.socket


def test_a_stale_socket_is_removed_only_when_asked_and_nobody_has_the_state(config: Config, stale: Path) -> None:
    assert told(places.socket_place(config, fix=True)) == ("socket", "warn")
    config.state.mkdir()
    assert told(places.socket_place(config, fix=False)) == ("socket", "warn")
    held = StateLock(config.lock)
    held.acquire(config.socket)
    assert told(places.socket_place(config, fix=True)) == ("socket", "warn")
    held.release()
    assert stale.exists()
    assert places.socket_place(config, fix=True).fixed
    assert not stale.exists()


def test_what_stands_in_the_place_of_a_socket_is_left_there(config: Config) -> None:
    config.state.mkdir()
    config.socket.write_text("mine")
    assert told(places.socket_place(config, fix=True)) == ("socket", "fail")
    assert config.socket.read_text() == "mine"
    config.socket.unlink()
    config.project.chmod(0o777)
    assert told(places.socket_place(config, fix=True)) == ("socket", "fail")


@pytest.mark.parametrize(("free", "status"), [(10 << 20, "fail"), (100 << 20, "warn"), (1 << 40, "ok")])
def test_a_disk_that_fills_is_told_in_time(
    config: Config, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    real = os.statvfs(config.project)

    class Facts:
        f_bavail, f_frsize, f_files, f_favail = free // 4096, 4096, real.f_files, real.f_favail

    monkeypatch.setattr(os, "statvfs", lambda path: Facts)
    assert told(places.disk(config)) == ("disk", status)


# -- the database ----------------------------------------------------------------------------------


async def test_a_whole_database_is_read_without_a_trace(config: Config) -> None:
    ledger = await fill(config)
    before = {path.name: path.read_bytes() for path in config.state.iterdir()}
    checks = database_checks.database(config, ledger.now)
    assert [told(check) for check in checks] == [("database", "ok"), ("clock", "ok")]
    assert f"is whole: 3 runs, revision 6, schema {SCHEMA_VERSION}" in checks[0].message
    assert {path.name: path.read_bytes() for path in config.state.iterdir()} == before


async def test_a_database_in_use_is_read_as_well(config: Config) -> None:
    config.state.mkdir()
    store, ledger = await open_store(config.database), Ledger()
    await commit(store.writer, ledger.start("o-1", state=STATE))
    assert "is whole: 1 run, " in database_checks.database(config, ledger.now)[0].message
    await store.stop()


async def test_a_clock_that_was_set_back_is_told_by_how_much(config: Config) -> None:
    ledger = await fill(config)
    _, clock = database_checks.database(config, ledger.now - 3_600_000)
    assert told(clock) == ("clock", "warn")
    assert "was set back by 1h" in clock.message


def test_a_database_that_is_not_there_is_not_made(config: Config) -> None:
    config.state.mkdir()
    assert [told(check) for check in database_checks.database(config, 0)] == [("database", "ok")]
    assert list(config.state.iterdir()) == []
    config.database.with_name("wfctl.db-wal").write_text("")
    assert [told(check) for check in database_checks.database(config, 0)] == [("database", "fail")]


async def test_a_database_that_is_in_the_state_folder_of_before_is_told(config: Config) -> None:
    await fill(config)
    moved = msgspec.structs.replace(config, state=config.project / "data")
    (check,) = database_checks.database(moved, 0)
    assert told(check) == ("database", "warn")
    assert f"the project's runs are in {config.state}, its state folder before" in check.message


@pytest.mark.parametrize("how", ["damaged", "other", "newer"])
async def test_a_database_that_cannot_be_used_is_a_failure(
    config: Config, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    await fill(config, runs=300)
    if how == "damaged":
        data = bytearray(config.database.read_bytes())
        for page in range(3, len(data) // 4096):
            data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        config.database.write_bytes(data)
    elif how == "other":
        config.database.write_text("words " * 2_000)
    else:
        monkeypatch.setattr("wfd.store.connect.SCHEMA_VERSION", 0)
    (check,) = database_checks.database(config, 0)
    assert told(check) == ("database", "fail")


def test_a_database_of_an_older_schema_is_told_to_be_brought_up(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.state.mkdir()
    config.database.write_bytes(file_of(1).read_bytes())
    monkeypatch.setattr(database_checks, "SCHEMA_VERSION", 2)
    whole, rows, _ = database_checks.database(config, 1 << 44)
    assert "schema 1, which the next wfctl up brings to 2" in whole.message
    # Its states were made up.
    assert told(rows) == ("rows", "fail")
    assert "column state of its row in table runs: Object missing required field `phase`" in rows.message
    assert rows.remedy == "wfctl explain unreadable_run"


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ((3, 30, 0), "fail", "too old"),
        ((3, 51, 2), "ok", "one connection alone"),
        ((3, 51, 3), "ok", "SQLite 3.51.3"),
    ],
)
def test_the_known_defect_of_sqlite_is_told_with_why_it_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], status: str, words: str
) -> None:
    monkeypatch.setattr(database_checks, "sqlite_version", lambda: version)
    check = database_checks.sqlite()
    assert told(check) == ("sqlite", status)
    assert words in check.message


# -- code ------------------------------------------------------------------------------------------


def test_modules_are_loaded_as_a_worker_loads_them(config: Config) -> None:
    assert told(code.interpreter(config)) == ("interpreter", "ok")
    check = code.modules(config)
    assert told(check) == ("modules", "ok")
    assert check.message == "flows.py: Greeting"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        (
            "import os\nprint('bye')\nos._exit(3)\n",
            "flows.py: ended the process (exit code 3) while it was imported; it last said: bye",
        ),
        ("print('x' * 300_000)\nraise SystemExit('enough')\n", "enough"),
    ],
)
def test_a_module_that_does_not_load_is_a_failure(config: Config, text: str, words: str) -> None:
    (config.project / "flows.py").write_text(text)
    check = code.modules(config)
    assert told(check) == ("modules", "fail")
    assert words in check.message


def test_a_module_that_never_ends_is_not_waited_for(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    (config.project / "flows.py").write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.setattr(code, "LOAD_S", 2.0)
    check = code.modules(config)
    assert told(check) == ("modules", "fail")
    assert check.message == "flows.py: has not been imported after 2 s"


def test_each_module_that_ends_its_process_is_named_and_does_not_hide_the_others(config: Config) -> None:
    config.file.write_text('[workflows]\nmodules = ["one.py", "flows.py", "two.py"]\n')
    (config.project / "one.py").write_text("import helper\n")
    (config.project / "helper.py").write_text("import os\nos._exit(3)\n")
    (config.project / "two.py").write_text("1 +\n")
    check = code.modules(load(config.file))
    assert check.message == "one.py: ended the process (exit code 3) while it was imported (helper.py), and 1 more"


@pytest.mark.parametrize("text", ["#!/bin/sh\necho no module named wfctl >&2\nexit 1\n", "#!/nowhere/at/all\n"])
def test_an_interpreter_without_wfctl_is_a_failure(config: Config, text: str) -> None:
    python = config.project / "python"
    python.write_text(text)
    python.chmod(0o755)
    other = msgspec.structs.replace(config, python=python)
    assert told(code.interpreter(other)) == ("interpreter", "fail")
    assert told(code.modules(other)) == ("modules", "fail")


def test_an_interpreter_that_is_too_old_is_named_with_its_version_and_what_is_needed(config: Config) -> None:
    python = config.project / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -P ] && { echo "Unknown option: -P" >&2; exit 2; }\necho 3.10.13\n')
    python.chmod(0o755)
    check = code.interpreter(msgspec.structs.replace(config, python=python))
    assert told(check) == ("interpreter", "fail")
    assert check.message == f"{python} is Python 3.10.13; wfctl needs 3.11 or later"
    assert check.remedy == "name Python 3.11 or later, with wfctl installed, as [workflows] python in wfctl.toml"


def test_an_interpreter_with_another_wfctl_is_a_warning(config: Config) -> None:
    python = config.project / "python"
    python.write_text("#!/bin/sh\necho 0.0.9 3.12.1\n")
    python.chmod(0o755)
    check = code.interpreter(msgspec.structs.replace(config, python=python))
    assert told(check) == ("interpreter", "warn")
    assert "has wfctl 0.0.9" in check.message


# -- all of them -----------------------------------------------------------------------------------


def test_without_a_configuration_the_rest_is_left_out(config: Config) -> None:
    config.file.write_text("[workflow]\nmodules = []\n[daemon]\nworkers = 0\n")
    checks = examine(str(config.project), fix=True, load_modules=True).checks
    assert [told(check) for check in checks] == [("python", "ok"), ("config", "fail"), ("sqlite", "ok")]
    assert "did you mean [workflows]?" in checks[1].message
    assert "workers must be from 1 to 64" in checks[1].message


def test_a_place_that_may_not_be_looked_at_does_not_hide_the_rest(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(config.database))

    monkeypatch.setattr("wfd.care.database.inspect", refuse)
    config.state.mkdir(mode=0o700)
    config.database.touch(0o600)
    checks = {check.code: check for check in examine(str(config.project), fix=False, load_modules=False).checks}
    assert checks["database"].status == "fail"
    assert checks["database"].message == f"cannot be looked at: Permission denied at {config.database}"
    assert checks["state"].status == checks["disk"].status == "ok"


def test_every_check_is_made_and_told_by_its_code(config: Config) -> None:
    def codes(**options: Any) -> list[str]:
        return [check.code for check in examine(str(config.project), fix=False, **options).checks]

    all_of_them = [
        "python",
        "config",
        "interpreter",
        "modules",
        "state",
        "socket",
        "lock",
        "disk",
        "sqlite",
        "database",
    ]
    assert codes(load_modules=True) == all_of_them
    assert codes(load_modules=False) == [one for one in all_of_them if one != "modules"]
