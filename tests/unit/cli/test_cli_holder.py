"""A daemon that has the project's state and is not heard: it hangs, or listens where nobody looks for it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon
from wfctl.client.blocking import Connection
from wfctl.protocol.calls import RunPage
from wfctl.values.project import real_config
from wfctl.values.states import note_state
from wfd.runtime.lock import StateLock

Start = Callable[..., FakeDaemon]


@pytest.fixture
def lock(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateLock]:
    """This process has the state, and listens at elsewhere.sock."""
    monkeypatch.setattr("wfctl.cli.daemon.STOP_GRACE_S", 0.1)
    monkeypatch.setitem(Connection.connect.__func__.__kwdefaults__, "timeout_s", 0.1)  # type: ignore[attr-defined]
    held = StateLock(project / ".wfctl" / "lock")
    held.acquire(project / "elsewhere.sock")
    (project / "elsewhere.sock").touch()
    yield held
    held.release()


@pytest.fixture
def silent(project: Path) -> Iterator[None]:
    """Somebody takes connections at d.sock, and says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(project / "d.sock"))
        listener.listen()
        yield


def move(lock: StateLock, pid: int, at: Path) -> None:
    lock.path.write_text(json.dumps({"pid": pid, "socket": str(at)}))


def test_down_names_the_daemon_that_listens_elsewhere_and_how_to_reach_it(
    cli: Cli, project: Path, lock: StateLock
) -> None:
    at = project / "elsewhere.sock"
    said = cli("down")
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        f"error[daemon_down]: the daemon of this project (pid {os.getpid()}) listens at {at}\n"
        f"  it was looked for at {project / 'd.sock'}\n"
        f"  try: WFCTL_SOCKET={at} wfctl down\n"
    )
    error: Any = json.loads(cli("down", "-o", "json").err)["error"]
    assert (error["exit"], error["detail"]["pid"], error["detail"]["listens_at"]) == (3, os.getpid(), str(at))


def test_no_socket_that_is_not_there_is_recommended(cli: Cli, project: Path, lock: StateLock) -> None:
    at = project / "elsewhere.sock"
    at.unlink()
    said = cli("status")
    assert said.code == 3
    assert f"(pid {os.getpid()}) belongs at {at}, and nothing is there" in said.err
    assert said.err.endswith("  try: wfctl logs\n")
    assert cli("down").err.endswith(f"  try: kill {os.getpid()}\n")


def test_a_daemon_of_another_project_that_has_the_same_state_is_not_recommended(
    cli: Cli, project: Path, lock: StateLock
) -> None:
    lock.release()
    lock.acquire(project / "elsewhere.sock", "/other/wfctl.toml")
    for command in ("status", "down"):
        said = cli(command)
        assert (said.code, said.out) == (3, "")
        assert said.err == (
            f"error[daemon_down]: the state folder of this project is that of another, /other/wfctl.toml, whose daemon "
            f"(pid {os.getpid()}) has it\n  hint: name a `state` of its own in {project / 'wfctl.toml'}\n"
        )


def test_status_says_the_same_and_how_to_look_there_from_now_on(cli: Cli, project: Path, lock: StateLock) -> None:
    said = cli("status")
    assert said.code == 3
    assert f"(pid {os.getpid()}) listens at {project / 'elsewhere.sock'}" in said.err
    assert said.err.endswith(f"  try: export WFCTL_SOCKET={project / 'elsewhere.sock'}\n")
    document: Any = cli("status", "-o", "json").json
    assert (document["running"], document["pid"]) == (False, os.getpid())
    assert document["hint"] == f"export WFCTL_SOCKET={project / 'elsewhere.sock'}"


@pytest.mark.parametrize("noted", [False, True], ids=["its own folder", "another that was noted"])
def test_a_daemon_is_found_by_its_former_state_folder_where_wfctl_toml_has_been_edited(
    cli: Cli, project: Path, lock: StateLock, silent: None, noted: bool
) -> None:
    (project / "wfctl.toml").write_text('[daemon]\nstate = "new"\n[workflows]\nmodules = []\n')
    if noted:
        lock.release()
        (project / "old").mkdir()
        note_state(project / "wfctl.toml", project / "old")
        lock = StateLock(project / "old" / "lock")
    else:
        lock.release()
    lock.acquire(project / "d.sock", real_config(project / "wfctl.toml"))
    said = cli("down")
    assert said.code == 3
    assert f"process {os.getpid()} has the state of this project, and does not answer" in said.err
    assert f"process {os.getpid()} has the state of this project" in cli("status").err
    lock.release()


def test_a_daemon_of_another_project_that_uses_the_folder_is_not_taken_for_it(
    cli: Cli, project: Path, lock: StateLock
) -> None:
    (project / "wfctl.toml").write_text('[daemon]\nstate = "new"\n[workflows]\nmodules = []\n')
    lock.release()
    lock.acquire(project / "elsewhere.sock", real_config(project / "other.toml"))
    assert cli("down") == (0, "", "no daemon was running\n")


def test_up_says_how_to_reach_the_daemon_that_is_up_and_nobody_hears(
    cli: Cli, project: Path, lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = '{"error": {"code": "daemon_running", "message": "another wfctl daemon has it", "hint": "wfctl down", "exit": 5}}'
    program = f"import os, sys; os.write(int(sys.argv[-1]), {said!r}.encode() + b'\\n')"
    monkeypatch.setattr("wfctl.cli.daemon.command", lambda _: [sys.executable, "-S", "-c", program])
    up = cli("up")
    assert (up.code, up.err.splitlines()[-1]) == (5, f"  try: export WFCTL_SOCKET={project / 'elsewhere.sock'}")


def test_a_list_that_is_read_from_the_database_does_not_say_that_no_daemon_runs(
    cli: Cli, project: Path, lock: StateLock, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon(list=RunPage(items=[], next=None, total=0))
    monkeypatch.setattr("wfctl.cli.standin.read_database", lambda *_: Connection.connect(project / "d.sock"))
    monkeypatch.setenv("WFCTL_SOCKET", str(project / "gone.sock"))
    assert cli("list").err == (
        f"the daemon listens at {project / 'elsewhere.sock'}, not at {project / 'gone.sock'}; "
        "this is read from its database as it lies\n"
    )


def test_down_does_not_say_of_a_daemon_that_hangs_that_none_was_running(
    cli: Cli, project: Path, lock: StateLock, silent: None
) -> None:
    move(lock, os.getpid(), project / "d.sock")
    said = cli("down")
    assert said.code == 3
    assert f"process {os.getpid()} has the state of this project, and does not answer" in said.err
    assert str(project / "d.sock") in said.err
    assert said.err.endswith(f"  try: kill {os.getpid()}\n")
    assert cli("status").err.endswith("  try: wfctl logs\n")


def test_a_daemon_whose_process_is_stopped_is_to_be_let_go_on(
    cli: Cli, project: Path, lock: StateLock, silent: None
) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        try:
            move(lock, process.pid, project / "d.sock")
            said = cli("down")
        finally:
            process.kill()
    assert said.code == 3
    assert "its process is stopped" in said.err
    assert said.err.endswith(f"  try: kill -CONT {process.pid}\n")


def test_down_waits_for_a_daemon_that_goes_away_by_itself(
    cli: Cli, project: Path, lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that are typed at once, the second finds the lock still held when the socket is gone."""
    monkeypatch.setattr("wfctl.cli.daemon.STOP_GRACE_S", 60)
    move(lock, os.getpid(), project / "d.sock")
    monkeypatch.setattr("time.sleep", lambda _: lock.release())
    assert cli("down") == (0, "", "no daemon was running\n")


def test_what_a_daemon_that_has_ended_left_behind_is_no_daemon(cli: Cli, project: Path, lock: StateLock) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    move(lock, process.pid, project / "elsewhere.sock")
    assert cli("down") == (0, "", "no daemon was running\n")
    lock.path.write_text("")
    assert cli("down") == (0, "", "no daemon was running\n")
