"""Section 2 of the command line's rules: what each exit code stands for. Each test names the code it is about."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon, welcome
from support.project import Project
from support.verbs import BY_ID, line
from wfctl.cli import exit
from wfctl.cli.app import VERBS
from wfctl.cli.statuses import EXITS
from wfctl.errors import BY_CODE
from wfctl.protocol.views import Outcome
from wfctl.values.status import Status

pytestmark = pytest.mark.xdist_group("rules")

# What these do needs no daemon, or they start one.
WITHOUT_DAEMON = {
    "up",
    "down",
    "logs",
    "demo",
    "explain",
    "init",
    "doctor",
    "backup",
    "restore",
    "completion",
    "service",
}


def test_zero_is_done_and_also_nothing_to_do(cli: Cli) -> None:
    """Rule 2, code 0: already up, already cancelled, --if-running use, a waited run that completed."""
    again = cli("up")
    assert again.code == 0
    assert again.err.startswith("already up for ")
    assert " (pid " in again.err
    assert cli("cancel", "cancelled-1").code == 0
    assert cli("start", "Hold", "--id", "hold-1", "--if-running", "use").code == 0
    assert cli("result", "quick-1").code == cli("wait", "quick-1").code == 0


def test_one_is_a_bug_and_names_a_report(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 2, code 1."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("wfctl.cli.render.runs.runs_table", broken)
    said = cli("list")
    assert said.code == 1
    (report,) = tmp_path.iterdir()
    assert str(report) in said.err
    assert "ZeroDivisionError: by zero" in report.read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--stauts", "failed"), ("list", "--limit", "many"), ("start", "Hold", "-i", "{"), ("list", "--status", "failde"),
        ("start", "Hold", "--if-running", "maybe"), ("show",), ("frobnicate",), ("cancel", "hold-1", "hold-2"),
        ("show", "hold"), ("list", "--time", "zulu"), ("list", "--fields", "wrkflow_id"), ("wait", "hold-1", "--reconnect", "soon"),
        ("start", "Hold", "when=noon"), ("status", "-w", "-o", "json"),
    ],
)  # fmt: skip
def test_two_is_usage(cli: Cli, words: tuple[str, ...]) -> None:
    """Rule 2, code 2: flags, arguments, JSON, enums, ambiguous prefixes, a prompt that nobody can answer."""
    said = cli(*words)
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_DAEMON])
def test_three_is_that_no_daemon_runs(
    cli: Cli, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ruled: Project
) -> None:
    """Rule 2, code 3, status included; and a command that may read without a daemon makes no database where there is none."""
    (tmp_path / "wfctl.toml").write_text((ruled.folder / "wfctl.toml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "none.sock"))
    said = cli(*line(verb, "some-run"))
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith("error[daemon_down]: ")
    assert said.err.endswith("  try: wfctl up\n")
    assert sorted(os.listdir(tmp_path)) == ["wfctl.toml"]


@pytest.mark.parametrize("verb", BY_ID)
def test_four_is_an_id_that_no_run_has_whatever_the_verb(cli: Cli, verb: str) -> None:
    """Rule 2, code 4: runs."""
    said = cli(*line(verb, "no-such-run"))
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("error[run_not_found]: ")


@pytest.mark.parametrize(
    ("words", "code", "near"),
    [
        (("start", "Hodl"), "unknown_type", "Hold"),
        (("send", "hold-1", "relaese"), "unknown_event", "release"),
        (("query", "hold-1", "stat"), "unknown_query", "state"),
        (("show", "hold-11"), "run_not_found", "hold-1"),
        (("explain", "daemon_dwon"), "not_found", "daemon_down"),
    ],
)
def test_four_is_also_a_type_an_event_a_query_and_says_the_nearest(
    cli: Cli, words: tuple[str, ...], code: str, near: str
) -> None:
    """Rule 2, code 4, and rule 4: the nearest match."""
    said = cli(*words)
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith(f"error[{code}]: ")
    assert near in said.err


def test_five_is_a_conflict(cli: Cli, tmp_path: Path) -> None:
    """Rule 2, code 5: an open run has the workflow ID, a run is in the wrong state, the daemon is of another project (rule 5)."""
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    assert cli("up", "--project", str(tmp_path)).code == 5
    assert cli("start", "Hold", "--id", "hold-1").code == 5
    assert cli("retry", "hold-1").code == 5
    assert cli("send", "quick-1", "release").code in (4, 5)
    assert cli("send", "cancelled-1", "release").code == 5


def test_six_is_that_versions_do_not_fit(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 2, code 6."""
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    with FakeDaemon(tmp_path / "d.sock", {"hello": welcome(protocol=9, protocol_min=9)}):
        said = cli("status")
    assert said.code == 6
    assert "is the older side" in said.err


def test_seven_is_no_permission(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 2, code 7."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wfctl.client.blocking.socket.socket.connect", refuse, raising=False)
    assert cli("list").code == 7


def test_eight_is_storage(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ruled: Project) -> None:
    """Rule 2, code 8: a backup that is none."""
    (tmp_path / "wfctl.toml").write_text((ruled.folder / "wfctl.toml").read_text())
    (tmp_path / "junk").write_bytes(b"junk" * 4096)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "none.sock"))
    assert cli("restore", "junk").code == 8


def test_nine_is_that_some_failed(cli: Cli) -> None:
    """Rule 2, code 9."""
    said = cli("cancel", "cancelled-1", "no-such-run", "--yes")
    assert said.code == 9
    assert "1 failed" in said.err


OUTCOMES = [
    ("quick-1", 0), ("broken-1", 10), ("cancelled-1", 11), ("terminated-1", 12), ("late-1", 13),
]  # fmt: skip


@pytest.mark.parametrize(("id", "code"), OUTCOMES)
def test_ten_to_thirteen_tell_how_the_awaited_run_closed(cli: Cli, id: str, code: int) -> None:
    """Rule 2, codes 10 to 13, of every command that waits for a run; --exit-zero makes them 0."""
    waiting = [("result", id), ("wait", id), ("tail", "-f", id), ("tree", "-f", id)]
    assert {words[0]: cli(*words).code for words in waiting} == {words[0]: code for words in waiting}
    assert {words[0]: cli(*words, "--exit-zero").code for words in waiting} == {words[0]: 0 for words in waiting}
    assert cli("--exit-zero", "result", id).code == 0
    assert cli("show", id).code == 0


def test_fourteen_is_an_open_run_and_exit_zero_forgives_it(cli: Cli) -> None:
    """Rule 2, code 14: --timeout ran out, or --no-wait."""
    waiting = [
        ("result", "hold-1", "--no-wait"),
        ("result", "hold-1", "--timeout", "1ms"),
        ("wait", "hold-1", "--timeout", "1ms"),
    ]
    for words in waiting:
        assert cli(*words).code == 14
        assert cli(*words, "--exit-zero").code == 0


def test_exit_zero_hides_no_other_code(cli: Cli) -> None:
    """Rule 2: --exit-zero is about outcomes alone."""
    assert cli("result", "no-such-run", "--exit-zero").code == 4
    assert cli("result", "--exit-zero").code == 2


def test_fifteen_is_a_stuck_run_where_that_was_asked_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 2, code 15."""
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    stuck = Outcome(run_id="01A", workflow_id="o", workflow_type="Order", status=Status.STUCK, stuck_reason="no code")
    with FakeDaemon(tmp_path / "d.sock", {"result": stuck}):
        assert cli("result", "o", "--fail-if-stuck").code == cli("wait", "o", "--fail-if-stuck").code == 15
        assert cli("result", "o", "--fail-if-stuck", "--exit-zero").code == 0
        assert cli("result", "o", "--no-wait").code == 14


def test_of_several_awaited_runs_the_most_severe_counts(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 2: 15 > 10 > 13 > 12 > 11 > 14 > 0."""
    order = [15, 10, 13, 12, 11, 14, 0]
    for index, code in enumerate(order):
        assert exit.most_severe(reversed(order[index:])) == code
    assert cli("wait", "quick-1", "late-1", "cancelled-1").code == 13


def test_every_status_has_a_code_a_glyph_a_word_and_a_json_value_from_one_enum() -> None:
    """Rule 2: one enum."""
    assert list(exit.LOOKS) == list(Status)
    assert (
        len({look.glyph for look in exit.LOOKS.values()})
        == len({look.ascii for look in exit.LOOKS.values()})
        == len(Status)
    )
    for status, look in exit.LOOKS.items():
        assert look.word == status.value == msgspec.json.decode(msgspec.json.encode(status))
        assert status.value == status.value.lower()
        assert look.exit in EXITS


def test_every_code_of_an_error_is_explained_and_below_ten_or_of_a_run() -> None:
    """Rule 2: codes from 10 mean that wfctl worked and the run did not; 16 is a person's no."""
    of_runs = {"failed", "cancelled", "terminated", "timed_out", "not_finished", "stuck", "declined"}
    assert {cls.exit_status for cls in BY_CODE.values()} <= EXITS.keys()
    assert {code for code, cls in BY_CODE.items() if cls.exit_status >= 10} == of_runs


def test_a_failure_tells_type_message_and_the_users_own_line(cli: Cli) -> None:
    """Rule 4: the innermost user frame, all of it with --traceback."""
    said = cli("result", "broken-1")
    assert said.err.splitlines()[0] == "error[failed]: Broken broken-1 failed: ValueError: limit exceeded"
    assert said.err.splitlines()[1].startswith("  at flows.py:")
    assert said.err.splitlines()[1].endswith("in charge")
    whole = cli("result", "broken-1", "--traceback").err
    assert "  Traceback (most recent call last):\n" in whole
    assert whole.count("flows.py") > said.err.count("flows.py")
    assert "Traceback" in cli("wait", "broken-1", "--traceback").err
    assert "Traceback" in cli("show", "broken-1", "--traceback").out
