"""The rules where they live: on pseudo-terminals, in pipes, with signals, without a daemon. Each test names its rule."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

from support.cli import Cli
from support.project import WFCTL, Project
from support.verbs import BY_ID, options
from support.waiting import wait_until
from wfctl.cli.app import VERBS
from wfctl.errors import IncompatibleError

pytestmark = pytest.mark.xdist_group("rules")

SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"
# How each follower is begun, and what it shows first; where it shows nothing yet, the daemon is asked whether it is there.
FOLLOWERS = {
    "status": (["status", "-w"], "daemon  "),
    "tail": (["tail", "-f", "hold-1"], "wait.started"),
    "tree": (["tree", "-f", "hold-1"], "wait any event"),
    "list": (["list", "-w"], "newest first"),
    "logs": (["logs", "-f"], "daemon ready"),
    "start": (["start", "Hold", "--id", "awaited-1", "--wait"], "started Hold"),
    "retry": (["retry", "cancelled-1", "--new", "--id", "awaited-2", "--wait"], "awaited-2"),
}


def terminal(project: Project, *words: str, columns: int = 80, rows: int = 24, **more: str) -> Any:
    environment = {**project.environment, "TERM": "xterm-256color", "PAGER": "cat", **more}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    return pexpect.spawn(
        WFCTL[0], [*WFCTL[1:], *words], cwd=str(project.folder), env=environment, encoding="utf-8", timeout=30,
        dimensions=(rows, columns),
    )  # fmt: skip


def finished(child: Any) -> tuple[str, int]:
    child.expect(pexpect.EOF)
    child.close()
    return child.before, child.exitstatus


def test_every_follower_is_tried_here() -> None:
    """Rule 5, the list of tests: SIGINT in each follower."""
    followers = {verb for verb in VERBS if options(verb).keys() & {"--follow", "--watch", "--wait"}}
    assert followers <= FOLLOWERS.keys(), "say in FOLLOWERS how it is begun, and what it shows first"


@pytest.mark.parametrize(
    "verb", [verb for verb in FOLLOWERS if options(verb).keys() & {"--follow", "--watch", "--wait"}]
)
def test_ctrl_c_ends_a_follower_with_130_and_the_cursor_back(ruled: Project, verb: str) -> None:
    """Rules 1, 2 and 5: it detaches only, says that the run goes on, and leaves the terminal as it was."""
    words, first = FOLLOWERS[verb]
    child = terminal(ruled, *words)
    child.expect(first)
    before = child.before
    child.sendintr()
    text, code = finished(child)
    assert code == 130
    assert "Traceback" not in text
    if HIDDEN in before + text:
        assert text.rindex(SHOWN) >= 0
    assert ruled.json("show", "hold-1")["status"] == "waiting"


def test_a_resize_redraws_for_the_new_width(ruled: Project) -> None:
    """Rules 1 and 5: SIGWINCH."""
    child = terminal(ruled, "status", "-w", columns=200, rows=60)
    child.expect("reload ")
    child.setwinsize(60, 40)
    child.expect("\x1b\\[J")
    child.expect("database.*reload ")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.after)
    words = [line for line in shown.splitlines() if len(line.split()) > 1]
    assert all(len(line.rstrip()) <= 40 or "/" in line for line in words)
    child.sendintr()
    assert finished(child)[1] == 130


@pytest.mark.parametrize("verb", [verb for verb in BY_ID if "--yes" in options(verb)])
def test_the_end_of_stdin_at_a_prompt_is_a_no(ruled: Project, verb: str) -> None:
    """Rules 2 (code 16), 3.9 and 5: every prompt."""
    runs = ("broken-1", "late-1") if verb == "retry" else ("hold-1", "hold-2")
    child = terminal(ruled, verb, *runs)
    child.expect(rf"{verb} 2 runs: {runs[0]}, {runs[1]}\r\nGo on\? \[y/N\] ")
    child.sendeof()
    text, code = finished(child)
    assert code == 16
    assert "declined" in text
    assert ruled.json("show", "hold-1")["status"] == "waiting"


def test_colour_goes_through_a_pipe_where_it_is_asked_for(ruled: Project) -> None:
    """Rules 3.1 and 5: NO_COLOR, and --color always | cat."""
    done = subprocess.run(
        f"{' '.join(WFCTL)} --color always list | cat; {' '.join(WFCTL)} list --limit 1 | head -c 1",
        shell=True, cwd=ruled.folder, env={**ruled.environment, "NO_COLOR": "1"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "\x1b[" in done.stdout
    assert done.stderr.startswith("1 of ")


def test_a_closed_stdout_is_silent_and_zero(ruled: Project) -> None:
    """Rule 2: a closed pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*WFCTL, "history", "quick-1"], cwd=ruled.folder, env=ruled.environment, stdout=writer, stderr=subprocess.PIPE, check=False
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("schedule list >&-", 0, ""),
        ("show nobody 2>&-", 4, ""),
        ("show - <&-", 2, "error[usage]: no IDs were given on stdin"),
        ("history quick-1 <&- >&- 2>&-", 0, ""),
        (
            "list >/dev/full",
            8,
            "error[storage]: what was asked for cannot be written: No space left on device; what was changed stands",
        ),
        ("show nobody >/dev/full 2>/dev/full", 4, ""),
    ],
)
def test_a_stream_that_takes_nothing_is_nobody_to_tell_and_no_bug(
    ruled: Project, words: str, code: int, told: str
) -> None:
    """Rule 2: closed before the command began as a closed pipe is; on a full disk what was asked for is lost."""
    done = subprocess.run(
        f"{' '.join(WFCTL)} {words}", shell=True, cwd=ruled.folder, env=ruled.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.partition("\n")[0]) == (code, "", told)


@pytest.mark.parametrize(("words", "code"), [("list", 143), ("show nobody", 4)])
def test_a_terminal_that_is_gone_is_no_bug(ruled: Project, words: str, code: int) -> None:
    """Rule 2: as SIGTERM is, whether the hang-up comes as a signal too or not."""
    terminal, line = os.openpty()
    os.close(terminal)
    command = [*WFCTL, *words.split()]
    done = subprocess.run(command, cwd=ruled.folder, env=ruled.environment, stdout=line, stderr=line, check=False)
    os.close(line)
    assert done.returncode == code


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not installed")
def test_less_pages_what_is_longer_than_the_screen_and_leaves_the_rest(ruled: Project) -> None:
    """Rule 3.6: less -FRX by default; quitting it is no error."""
    child = terminal(ruled, "list", rows=6, PAGER="less -FRX")
    child.expect("WORKFLOW ID")
    child.expect(":")
    child.send("q")
    assert finished(child)[1] == 0
    text, code = finished(terminal(ruled, "show", "quick-1", rows=60, PAGER="less -FRX"))
    assert code == 0
    assert "quick-1" in text


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_a_multiplexer_the_last_frame_stays_in_the_scrollback(ruled: Project, tmp_path: Path) -> None:
    """Rule 1, live: no alternate screen; the final frame is there when the command is not any more."""
    tmux = ["tmux", "-S", str(tmp_path / "t.sock"), "-f", "/dev/null"]
    environment = {**ruled.environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)

    def run(*words: str) -> str:
        return subprocess.run([*tmux, *words], env=environment, capture_output=True, text=True, check=True).stdout

    command = f"cd {ruled.folder} && {' '.join(WFCTL)} tree -f tmux-1; echo code $?; exec sleep 60"
    ruled.ok("start", "Hold", "--id", "tmux-1")
    run("new-session", "-d", "-x", "70", "-y", "20", command)
    try:
        wait_until(lambda: "wait any event" in run("capture-pane", "-p"))
        ruled.ok("send", "tmux-1", "release", "by=ann")
        wait_until(lambda: "code 0" in run("capture-pane", "-p"))
        pane = run("capture-pane", "-p", "-S", "-")
        assert pane.count("wait any event") == 1
        assert "completed" in pane
    finally:
        run("kill-server")


# -- rule 5: without a daemon --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(ruled: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with the same runs, whose daemon is gone."""
    folder = tmp_path_factory.mktemp("left")
    project = Project(folder / "shop", {"flows.py": (ruled.folder / "flows.py").read_text()})
    ruled.ok("backup", str(folder / "runs.backup"))
    project.ok("restore", str(folder / "runs.backup"))
    return project


@pytest.fixture
def alone(left: Project, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command line in that project."""
    monkeypatch.chdir(left.folder)
    monkeypatch.setenv("WFCTL_SOCKET", str(left.socket))
    return left.folder


READING = ["list --status failed", "show broken-1", "history quick-1", "tree quick-1", "result quick-1 --no-wait"]


def test_what_only_reads_reads_the_database_where_no_daemon_runs(
    cli: Cli, alone: Path, monkeypatch: pytest.MonkeyPatch, ruled: Project
) -> None:
    """Rule 5: list, show, history, tree and result --no-wait, with a note on stderr; nothing is made or changed."""
    database = alone / ".wfctl" / "wfctl.db"
    before = (sorted(os.listdir(database.parent)), database.read_bytes())
    for words in map(str.split, READING):
        said = cli(*words)
        assert said.code == 0, said
        assert said.err.startswith("no daemon runs; this is read from its database as it lies\n")
        with monkeypatch.context() as patch:
            patch.setenv("WFCTL_SOCKET", str(ruled.socket))
            assert cli(*words).out == said.out or words[0] == "list"
    assert cli("show", "no-such-run").code == 4
    assert cli("result", "hold-1", "--no-wait").code == 14
    assert (sorted(os.listdir(database.parent)), database.read_bytes()) == before


@pytest.mark.parametrize("words", ["result hold-1", "tree -f hold-1", "tail hold-1", "send hold-1 release"])
def test_what_needs_a_daemon_says_so_whatever_can_be_read(cli: Cli, alone: Path, words: str) -> None:
    """Rule 5 and rule 2, code 3."""
    assert cli(*words.split()).code == 3


def test_a_list_is_not_watched_where_only_the_database_could_be_read(cli: Cli, alone: Path) -> None:
    """Rules 3.10 and 5: what follows needs somebody to follow, and says so at once."""
    said = cli("list", "-w", tty=True)
    assert (said.code, "read from its database" in said.err) == (3, False)


@pytest.mark.parametrize(
    ("schema", "said"), [(0, "the next wfctl up brings it to"), (99, "this wfctl knows schemas up to")]
)
def test_a_database_of_another_schema_is_not_read(cli: Cli, alone: Path, schema: int, said: str) -> None:
    """Rule 2, code 6."""
    database = alone / ".wfctl" / "wfctl.db"
    whole = database.read_bytes()
    try:
        # Where SQLite keeps user_version.
        database.write_bytes(whole[:60] + schema.to_bytes(4, "big") + whole[64:])
        told = cli("list")
    finally:
        database.write_bytes(whole)
    assert told.code == IncompatibleError.exit_status
    assert said in told.err


def test_status_tells_the_last_backup(cli: Cli, ruled: Project, tmp_path: Path) -> None:
    """Rule 5: status shows daemon, config values with their source, size, counts, and the last backup."""
    target = tmp_path / "kept.backup"
    assert cli("backup", str(target)).code == 0
    told: Any = cli("status", "-o", "json").json
    assert told["last_backup"]["path"] == str(target)
    assert told["last_backup"]["bytes"] == target.stat().st_size
    assert told["settings"]["workers"] == "1 (wfctl.toml)"
    assert told["counts"]["failed"] >= 1
    lines = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in cli("status").out.splitlines())
    assert lines["backup"].startswith(f"{target}  20")
    target.unlink()
    assert "not there any more" in cli("status").out


def test_status_quiet_only_exits(cli: Cli, alone: Path, monkeypatch: pytest.MonkeyPatch, ruled: Project) -> None:
    """Rule 5: as systemctl is-active."""
    assert cli("status", "-q") == (3, "", "")
    monkeypatch.setenv("WFCTL_SOCKET", str(ruled.socket))
    assert cli("status", "-q") == (0, "", "")


def test_the_daemons_log_can_be_read_from_a_time_on(
    cli: Cli, ruled: Project, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 5: logs -f --since -n."""
    log = alone / ".wfctl" / "wfd.log"
    log.write_text("".join(f"2026-11-23T03:0{minute}:00.000Z INFO daemon line {minute}\n" for minute in range(10)))
    assert len(cli("logs").out.splitlines()) == 10
    assert cli("logs", "--since", "2026-11-23T03:08:00Z").out.splitlines() == [
        f"2026-11-23T03:0{minute}:00.000Z INFO daemon line {minute}" for minute in (8, 9)
    ]
    assert cli("logs", "--since", "2026-11-23T03:02:00Z", "-n", "1").out.endswith("line 9\n")
    assert cli("logs", "--since", "2027-01-01").out == ""
    # What was written before the log was rotated counts too.
    log.with_name("wfd.log.1").write_text("2026-11-23T02:59:59.000Z INFO daemon before\n")
    assert len(cli("logs", "--since", "2026-11-23T02:59:00Z").out.splitlines()) == 11
    assert len(cli("logs").out.splitlines()) == 10
