"""`wfd` as a process: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import wfctl
from support.raw_peer import Peer
from support.waiting import wait_until
from support.wfd_process import Wfd, ask, ended
from wfctl.client import Client
from wfctl.protocol.calls import Down, GetStatus


def test_ready_means_accepting_and_private(wfd: Wfd) -> None:
    process, said = wfd.spawn()
    made = str(wfd.state / "wfctl.db")
    assert said == {"ready": {"pid": process.pid, "socket": str(wfd.socket), "problems": [], "new_database": made}}
    assert asyncio.run(ask(wfd)) == "hello"
    assert stat.S_IMODE(wfd.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(wfd.state.stat().st_mode) == 0o700


def test_sigterm_stops_it_cleanly(wfd: Wfd) -> None:
    process = wfd.up()
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    assert not wfd.socket.exists()
    assert wfd.log().splitlines()[-1].endswith(" INFO daemon stopped")
    assert not (wfd.state / "wfctl.db-wal").exists()


def test_it_starts_again_after_a_kill_and_replaces_the_stale_socket(wfd: Wfd) -> None:
    first = wfd.up()
    first.kill()
    ended(first)
    assert wfd.socket.exists()
    wfd.up()
    assert asyncio.run(ask(wfd)) == "hello"


def test_it_starts_again_at_once_after_a_down(wfd: Wfd) -> None:
    for _ in range(3):
        process = wfd.up()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not wfd.socket.exists())
    assert ended(process) == 0


def test_it_says_of_a_new_database_that_it_is_one_and_only_then(wfd: Wfd) -> None:
    for expected in (1, 1):
        process = wfd.up()
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
        assert wfd.log().count(f" INFO daemon made a new database: {wfd.state / 'wfctl.db'}\n") == expected
    assert "WARNING" not in wfd.log()
    assert not (wfd.state / "states").exists()


def test_it_says_so_too_of_a_database_whose_log_with_all_there_was_is_gone(wfd: Wfd) -> None:
    wfd.state.mkdir(mode=0o700)
    db = sqlite3.connect(wfd.state / "wfctl.db")
    db.execute("pragma journal_mode = wal")
    db.close()
    process, said = wfd.spawn()
    assert said["ready"]["new_database"] == str(wfd.state / "wfctl.db")
    process.kill()
    ended(process)
    assert (wfd.state / "wfctl.db-wal").exists()
    _, said = wfd.spawn()
    assert "new_database" not in said["ready"]


def test_it_names_the_state_folder_of_the_start_before_where_the_runs_are(wfd: Wfd, tmp_path: Path) -> None:
    before = wfd.state
    for state in (wfd.folder / "data", tmp_path / "far"):
        process = wfd.up()
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
        wfd.write("wfctl.toml", f'[daemon]\nstate = "{state}"\nworkers = 1\n[workflows]\nmodules = ["flows.py"]\n')
        process, said = wfd.spawn()
        made = {"new_database": str(state / "wfctl.db"), "former_state": str(before)}
        assert {**said["ready"], **made} == said["ready"]
        told = f" WARNING daemon the runs that this project had are not in it: they are in {before}, "
        assert told in (state / "wfd.log").read_text()
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
        before = state
    # It has a database by now: to be there twice is nothing to be told.
    _, said = wfd.spawn()
    assert said["ready"].keys() == {"pid", "socket", "problems"}


def test_a_second_daemon_is_told_who_is_there(wfd: Wfd) -> None:
    first = wfd.up()
    error, status = wfd.refused()
    assert (error["code"], status, error["detail"]["pid"]) == ("daemon_running", 5, first.pid)
    assert f"pid {first.pid}" in error["message"]
    assert asyncio.run(ask(wfd)) == "hello"


def test_a_daemon_of_another_project_at_the_same_socket_is_left_alone(wfd: Wfd, tmp_path: Path) -> None:
    first = wfd.up()
    other = Wfd(tmp_path / "other")
    other.environment["WFCTL_SOCKET"] = str(wfd.socket)
    error, status = other.refused()
    assert (error["code"], status, error["detail"]["pid"]) == ("daemon_running", 5, first.pid)
    assert asyncio.run(ask(wfd)) == "hello"
    other.end()


def test_a_directory_instead_of_the_database_is_one_clear_error(wfd: Wfd) -> None:
    (wfd.state / "wfctl.db").mkdir(parents=True)
    wfd.state.chmod(0o700)
    error, status = wfd.refused()
    assert (error["code"], error["exit"], status) == ("storage", 8, 8)
    assert "is a directory" in error["message"]


def test_a_database_that_is_not_ours_is_left_as_it_is(wfd: Wfd) -> None:
    wfd.state.mkdir(mode=0o700)
    with sqlite3.connect(wfd.state / "wfctl.db") as db:
        db.execute("create table theirs (x)")
    db.close()
    before = (wfd.state / "wfctl.db").read_bytes()
    error, status = wfd.refused()
    assert (error["code"], status) == ("storage", 8)
    assert "not one of wfctl's" in error["message"]
    assert (wfd.state / "wfctl.db").read_bytes() == before


def test_a_file_that_is_no_database_is_one_clear_error(wfd: Wfd) -> None:
    wfd.state.mkdir(mode=0o700)
    (wfd.state / "wfctl.db").write_text("just some text, long enough to be no header of SQLite" * 100)
    error, status = wfd.refused()
    assert (error["code"], status) == ("storage", 8)


def test_a_file_in_the_place_of_the_state_is_one_clear_error(wfd: Wfd) -> None:
    wfd.state.write_text("")
    error, status = wfd.refused()
    assert (error["code"], status) == ("storage", 8)


def test_a_link_to_a_state_that_is_not_there_is_one_clear_error(wfd: Wfd) -> None:
    wfd.state.symlink_to("unmounted")
    error, status = wfd.refused()
    assert (error["code"], status) == ("storage", 8)
    assert error["message"] == f"{wfd.state} is a link, and {wfd.folder / 'unmounted'} is not there"


def test_a_wrong_configuration_is_told_with_file_and_line(wfd: Wfd) -> None:
    wfd.write("wfctl.toml", "[daemon]\nworker = 1\n")
    error, status = wfd.refused()
    assert (error["code"], status) == ("config", 2)
    assert "wfctl.toml:2: unknown key 'worker' in [daemon]; did you mean 'workers'?" in error["message"]


def test_a_module_that_does_not_import_is_a_problem_and_not_an_error(wfd: Wfd) -> None:
    wfd.write("wfctl.toml", '[workflows]\nmodules = ["flows.py", "broken.py", "missing.py"]\n')
    wfd.write("broken.py", "import nothing_like_it\n")
    _, said = wfd.spawn()
    assert sorted(problem["module"] for problem in said["ready"]["problems"]) == ["broken.py", "missing.py"]
    assert asyncio.run(ask(wfd)) == "hello"


def test_in_the_foreground_errors_stand_on_stderr(wfd: Wfd) -> None:
    wfd.write("wfctl.toml", "[daemon\n")
    done = subprocess.run(
        [sys.executable, "-m", "wfd"], cwd=wfd.folder, env=wfd.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error[config]: wfctl.toml:1:")
    assert done.stderr.splitlines()[-1] == "  hint: correct the TOML there"


def test_in_the_foreground_it_logs_to_stderr_and_sigint_stops_it(wfd: Wfd) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "wfd", "--project", str(wfd.folder)],
        env=wfd.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: wfd.socket.exists())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"INFO server listening on {wfd.socket}" in said
    assert "INFO daemon got SIGINT" in said


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_it_serves_where_standard_descriptors_are_closed(wfd: Wfd, closed: str) -> None:
    command = f'exec "$0" -m wfd --project "$1" {closed}'
    with subprocess.Popen(
        ["/bin/sh", "-c", command, sys.executable, str(wfd.folder)],
        env=wfd.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        # The socket is there a moment before anybody can connect to it.
        wait_until(lambda: "INFO daemon ready" in wfd.log() if wfd.socket.exists() else process.poll() is not None)
        try:
            assert asyncio.run(ask(wfd)) == "hello"
        finally:
            process.terminate()
    assert process.returncode == 0
    assert "ended: signal" not in wfd.log()


def test_it_serves_on_where_nobody_reads_its_stderr_any_more(wfd: Wfd) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [sys.executable, "-m", "wfd", "--project", str(wfd.folder)], env=wfd.environment, stderr=writer
    ) as process:
        os.close(writer)
        wait_until(lambda: "INFO daemon ready" in wfd.log() if wfd.socket.exists() else process.poll() is not None)
        try:
            assert asyncio.run(ask(wfd)) == "hello"
        finally:
            process.terminate()
    assert wfd.log().splitlines()[-1].endswith(" INFO daemon stopped")


def test_what_it_says_of_itself() -> None:
    done = subprocess.run([sys.executable, "-m", "wfd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"wfd {wfctl.__version__}\n"
    bad = subprocess.run(
        [sys.executable, "-m", "wfd", "--ready-fd", "777"], capture_output=True, text=True, check=False
    )
    assert (bad.returncode, "not an open descriptor" in bad.stderr) == (2, True)


def test_a_hangup_does_nothing_in_the_background(wfd: Wfd) -> None:
    process = wfd.up()
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "got SIGHUP" in wfd.log())
    assert asyncio.run(ask(wfd)) == "hello"
    assert process.poll() is None


def test_stopping_waits_for_running_steps_and_takes_nothing_new(wfd: Wfd) -> None:
    flag = wfd.folder / "flag"

    async def scenario() -> None:
        async with Client.connect(wfd.socket) as client:
            handle = await client.start("Slow", workflow_id="s", workflow_input=str(flag))
            await asyncio.to_thread(wait_until, lambda: Path(f"{flag}.running").exists())
            waiting = asyncio.ensure_future(handle.result())
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: "stopping; " in wfd.log())
            with pytest.raises(wfctl.DaemonDownError):
                await client.start("Echo")
            assert (await client.status()).draining
            flag.touch()
            assert await waiting == "done"

    process = wfd.up()
    asyncio.run(scenario())
    assert ended(process) == 0


def test_a_second_signal_stops_at_once_and_the_step_runs_again_later(wfd: Wfd) -> None:
    flag = wfd.folder / "flag"

    async def begin() -> None:
        async with Client.connect(wfd.socket) as client:
            await client.start("Slow", workflow_id="s", workflow_input=str(flag))
            await asyncio.to_thread(wait_until, lambda: Path(f"{flag}.running").exists())

    async def result() -> Any:
        async with Client.connect(wfd.socket) as client:
            return await client.handle("s").result(timedelta(seconds=20))

    process = wfd.up()
    asyncio.run(begin())
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in wfd.log())
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 0
    assert "some steps have not finished" in wfd.log()
    flag.touch()
    wfd.up()
    assert asyncio.run(result()) == "done"


def test_down_is_answered_and_then_done(wfd: Wfd) -> None:
    async def down() -> None:
        peer = Peer(*await asyncio.open_unix_connection(str(wfd.socket)))
        peer.write(b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{}}\n')
        assert "result" in await peer.read()
        assert (await peer.ask(GetStatus()))["result"]["pid"] == process.pid
        assert (await peer.ask(Down(drain_ms=0)))["result"] == {"ok": True}
        assert await peer.hung_up()
        await peer.close()

    process = wfd.up()
    asyncio.run(down())
    assert ended(process) == 0


def test_asked_to_stop_while_it_starts_it_stops_and_says_nothing_of_being_ready(wfd: Wfd) -> None:
    wfd.write("flows.py", "import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "wfd", "--ready-fd", str(writer)],
        cwd=wfd.folder, env=wfd.environment, pass_fds=(writer,), stderr=subprocess.PIPE,
    )  # fmt: skip
    wfd.processes.append(process)
    os.close(writer)
    wait_until(lambda: (wfd.folder / "importing").exists())
    process.send_signal(signal.SIGTERM)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b""
    assert ended(process) == 0
