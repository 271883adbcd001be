"""`up`, `down` and `logs`: a script stands for the daemon's program."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from wfctl.cli.project import state_folder
from wfctl.cli.shell import Shell
from wfctl.client.blocking import Connection
from wfctl.errors import DaemonDownError
from wfctl.protocol.calls import Ok, RunPage
from wfctl.protocol.views import StatusView

Start = Callable[..., FakeDaemon]
Play = Callable[[str], None]


def status(project: Path, **more: Any) -> StatusView:
    facts: dict[str, Any] = {
        "pid": os.getpid(), "version": "0.1.0", "project": str(project), "config": str(project / "wfctl.toml"),
        "socket": str(project / "d.sock"), "database": "", "database_bytes": 0, "log": "", "started_at": NOW - 60_000,
        "now": NOW, "generation": 1, "source_hash": "", "python": "", "workers": [], "queued_steps": 0,
        "counts": {"running": 2, "waiting": 1, "failed": 7},
    }  # fmt: skip
    return StatusView(**{**facts, **more})


@pytest.fixture
def play(project: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Let `wfd` be a few lines of Python; `fd` is its readiness descriptor."""

    def play(program: str) -> None:
        script = project / "wfd_stand_in.py"
        script.write_text(f"import os, sys, time\nfd = int(sys.argv[sys.argv.index('--ready-fd') + 1])\n{program}\n")
        monkeypatch.setattr(
            "wfctl.cli.daemon.command", lambda config: [sys.executable, "-S", str(script), "--project", str(config)]
        )

    return play


def test_up_returns_when_the_daemon_says_that_it_is_ready(cli: Cli, play: Play, project: Path) -> None:
    play("""os.write(fd, b'{"ready": {"pid": 77, "socket": "/s", "problems": []}}\\n')""")
    said = cli("up")
    assert said == (0, "", f"wfctl daemon is up for {project} (pid 77)\n")
    document: Any = cli("up", "-o", "json").json
    assert document == {
        "schema": "wfctl.up/1", "pid": 77, "socket": "/s", "problems": [], "already_up": False, "new_database": None,
        "former_state": None,
    }  # fmt: skip
    assert cli("up", "-o", "id", "-q") == (0, "77\n", "")


def test_up_tells_of_a_new_database_and_where_the_runs_of_before_are(cli: Cli, play: Play, project: Path) -> None:
    ready = '{"ready": {"pid": 77, "new_database": "/p/data/wfctl.db", "former_state": "/p/.wfctl"}}\n'
    play(f"os.write(fd, {ready!r}.encode())")
    said = cli("up")
    assert said == (
        0,
        "",
        f"wfctl daemon is up for {project} (pid 77)\nmade a new database: /p/data/wfctl.db\n"
        "warning[new_database]: the runs that this project had are not in it: they are in /p/.wfctl, its state folder before\n"
        "  hint: to go on with them, name that as `state` in wfctl.toml again, then wfctl down && wfctl up\n",
    )
    document: Any = cli("up", "-o", "json").json
    assert (document["new_database"], document["former_state"]) == ("/p/data/wfctl.db", "/p/.wfctl")


def test_modules_that_cannot_be_served_are_warnings(cli: Cli, play: Play) -> None:
    play(
        'os.write(fd, b\'{"ready": {"pid": 77, "socket": "/s", "problems": [{"module": "flows/bad.py", '
        '"message": "NameError: x", "file": "flows/bad.py", "line": 3, "hint": "define x"}]}}\\n\')'
    )
    said = cli("up")
    assert said.code == 0
    assert "warning[workflows]: flows/bad.py: NameError: x\n  at flows/bad.py:3\n  hint: define x\n" in said.err


def test_the_first_error_of_the_daemon_is_raised_as_its_own(cli: Cli, play: Play) -> None:
    play(
        'os.write(fd, b\'{"error": {"code": "config", "message": "wfctl.toml:2: unknown key worker", '
        '"hint": "write workers", "exit": 2}}\\n\'); sys.exit(2)'
    )
    said = cli("up")
    assert said.code == 2
    assert said.err == "error[config]: wfctl.toml:2: unknown key worker\n  hint: write workers\n"


def test_a_daemon_that_dies_before_it_is_ready_is_told_with_its_last_words(cli: Cli, play: Play) -> None:
    play("raise SystemExit('out of luck')")
    said = cli("up")
    assert said.code == 1
    assert said.err == (
        "error[internal]: the daemon exited with 1 before it was ready\n  out of luck\n  try: wfctl logs\n"
    )
    play("os.kill(os.getpid(), 9)")
    assert "was killed by SIGKILL" in cli("up").err


def test_a_daemon_that_is_not_ready_in_time_is_stopped(cli: Cli, play: Play, project: Path) -> None:
    play(f"open({str(project / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    said = cli("up", "--timeout", "1s")
    assert said.code == 14
    assert "was not ready within 1 s" in said.err
    with pytest.raises(ProcessLookupError):
        os.kill(int((project / "pid").read_text()), 0)


def test_up_when_it_is_up_already_is_no_error(cli: Cli, daemon: Start, project: Path) -> None:
    daemon(status=status(project))
    said = cli("up")
    assert said == (0, "", f"already up for {project} (pid {os.getpid()}, for 1m)\n")
    assert cli("up", "-o", "json").json["already_up"] is True  # type: ignore[index]


def test_losing_the_race_to_another_up_is_being_up(cli: Cli, play: Play, daemon: Start, project: Path) -> None:
    play(
        """os.write(fd, b'{"error": {"code": "daemon_running", "message": "another daemon has the lock", "exit": 5}}\\n')"""
    )
    assert cli("up").code == 5
    answers = iter([None, status(project), status(project)])
    daemon(status=lambda _: next(answers) or _raise())
    assert cli("up").code == 0


def _raise() -> Any:
    from support.fake_daemon import HangUp

    raise HangUp


def test_a_socket_that_belongs_to_another_project_is_a_conflict(cli: Cli, daemon: Start, project: Path) -> None:
    daemon(status=status(project, config="/other/wfctl.toml"))
    said = cli("up")
    assert said.code == 5
    assert "belongs to /other/wfctl.toml" in said.err
    assert said.err.endswith("  hint: unset WFCTL_SOCKET, or give this project a socket of its own\n")


def test_up_without_a_project_names_the_remedy(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "wfctl.toml").unlink()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("up").code == 2


def test_down_waits_until_the_daemon_is_gone_and_counts_what_survives(cli: Cli, daemon: Start, project: Path) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        asked = threading.Event()

        def leave() -> None:
            asked.wait(10)
            fake.stop()
            # The socket is gone first; that alone is not the end of the process.
            threading.Event().wait(0.2)
            process.communicate()

        def down(call: Any) -> Ok:
            asked.set()
            return Ok()

        fake = daemon(status=status(project, pid=process.pid), down=down)
        thread = threading.Thread(target=leave)
        thread.start()
        began = time.monotonic()
        said = cli("down", "--timeout", "3s")
        thread.join()
    assert said == (0, "", f"stopped the daemon (pid {process.pid}); 3 open runs go on with 'wfctl up'\n")
    assert time.monotonic() - began >= 0.2
    assert fake.asked("down")[0].drain_ms == 3_000


def test_down_without_a_daemon_is_no_error(cli: Cli) -> None:
    assert cli("down") == (0, "", "no daemon was running\n")
    assert cli("down", "-o", "json").json == {  # type: ignore[comparison-overlap]
        "schema": "wfctl.down/1", "stopped": False, "pid": None, "open_runs": 0,
    }  # fmt: skip


def test_a_daemon_that_does_not_stop_is_named(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfctl.cli.daemon.STOP_GRACE_S", 0.2)
    daemon(status=status(project), down=Ok())
    said = cli("down", "--timeout", "100ms")
    assert said.code == 14
    assert f"kill {os.getpid()}" in said.err


def test_logs_are_read_from_the_file_without_a_daemon(cli: Cli, project: Path) -> None:
    log = project / ".wfctl" / "wfd.log"
    assert cli("logs").code == 4
    log.write_text("".join(f"line {number}\n" for number in range(5)) + '{"at": 1}\n')
    assert cli("logs", "-n", "2").out == 'line 4\n{"at": 1}\n'
    assert cli("logs", "-n", "2", "-o", "jsonl").lines == [{"line": "line 4"}, {"at": 1}]
    assert cli("logs", "-n", "1", "-o", "json").json == {  # type: ignore[comparison-overlap]
        "schema": "wfctl.logs/1", "items": [{"at": 1}], "next": None, "total": 6,
    }  # fmt: skip
    assert cli("logs", "-o", "id").out == f"{log}\n"


def test_the_state_folder_is_where_the_project_says(cli: Cli, project: Path) -> None:
    (project / "wfctl.toml").write_text('[daemon]\nstate = "var/state"\n')
    (project / "var" / "state").mkdir(parents=True)
    (project / "var" / "state" / "wfd.log").write_text("here\n")
    assert cli("logs").out == "here\n"


def test_the_state_folder_is_found_behind_a_mark_of_utf8_and_is_the_usual_one_where_the_file_is_no_text(
    project: Path,
) -> None:
    file = project / "wfctl.toml"
    file.write_bytes(b'\xef\xbb\xbf[daemon]\nstate = "var"\n')
    assert state_folder(file) == project / "var"
    file.write_bytes(b'[daemon]\nstate = "\xff"\n')
    assert state_folder(file) == project / ".wfctl"


def test_following_the_log_outlives_its_rotation(project: Path) -> None:
    from wfctl.cli.commands.logs import _appended

    log = project / "wfd.log"
    log.write_bytes(b"old\n")
    lines = _appended(log, 4, lambda: None)
    log.write_bytes(b"old\nnew \xc3")
    with log.open("ab") as file:
        file.write(b"\xa9\n")
    assert next(lines) == "new é"
    log.rename(project / "wfd.log.1")
    log.write_bytes(b"fresh\n")
    assert next(lines) == "fresh"


def test_the_words_of_compose_are_understood(cli: Cli, daemon: Start, project: Path) -> None:
    """Rule 5, borrowed conventions: up -d, logs --tail."""
    daemon(status=status(project))
    assert cli("up", "-d").code == 0
    both = cli("up", "-d", "-F")
    assert (both.code, both.err.splitlines()[0]) == (2, "error[usage]: -F stays in the foreground and -d does not")
    (project / ".wfctl" / "wfd.log").write_text("one\ntwo\n")
    assert cli("logs", "--tail", "1").out == "two\n"


def test_a_bare_wfctl_is_its_status(cli: Cli, daemon: Start, project: Path) -> None:
    """Rule 5."""
    daemon(status=status(project))
    assert cli() == cli("status")
    assert cli().out.startswith("daemon ")
    assert cli("-o", "json").json == cli("status", "-o", "json").json


def test_a_daemon_that_is_there_and_does_not_answer_is_not_said_to_be_gone(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI.md 4: why. What is shown then comes from the database, as where none runs."""
    daemon(list=RunPage(items=[], next=None, total=0))

    def unanswered(shell: Shell) -> Connection:
        raise DaemonDownError("the daemon did not answer 'hello' within 5 s", hint="wfctl logs")

    monkeypatch.setattr(Shell, "dial", unanswered)
    monkeypatch.setattr("wfctl.cli.standin.read_database", lambda *_: Connection.connect(project / "d.sock"))
    assert cli("list").err == "the daemon does not answer; this is read from its database as it lies\n"
    monkeypatch.setenv("WFCTL_SOCKET", str(project / "gone.sock"))
    assert cli("list").err == "no daemon runs; this is read from its database as it lies\n"
