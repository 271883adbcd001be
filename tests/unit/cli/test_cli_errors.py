from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon, welcome
from support.runs import run
from wfctl.cli.app import VERBS
from wfctl.cli.render.problem import error_json, error_lines
from wfctl.cli.render.text import plain, wrap
from wfctl.cli.words import given_ids
from wfctl.errors import (
    ConfigError,
    IncompatibleError,
    UnknownEventError,
    UnknownWorkflowTypeError,
    UsageError,
    WfctlError,
)
from wfctl.protocol.calls import RunPage
from wfctl.protocol.views import Outcome, RunDetail
from wfctl.values.failure import Failure
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]
EMPTY = RunPage(items=[], next=None, total=0)


def wfctl(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wfctl.cli.main", *arguments], capture_output=True, text=True, timeout=30, **options
    )


def test_python_runs_the_command_by_the_name_of_its_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfctl", "strat"], capture_output=True, text=True, timeout=30, check=False
    )
    named = wfctl("strat")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", named.stderr)


@pytest.mark.parametrize(
    ("arguments", "first", "last"),
    [
        (("strat",), "wfctl has no command 'strat'; did you mean 'start'?", "  try: wfctl start --help"),
        (("frobnicate",), "wfctl has no command 'frobnicate'", "  try: wfctl --help"),
        (("help", "start"), "wfctl has no command 'help'", "  try: wfctl start --help"),
        (("help", "strat"), "wfctl has no command 'help'", "  try: wfctl --help"),
        (("schedule", "help", "add"), "wfctl schedule has no command 'help'", "  try: wfctl schedule add --help"),
        (("version",), "wfctl has no command 'version'", "  try: wfctl --version"),
        (("start", "Order", "--timout", "5m"), "wfctl start has no option '--timout'; did you mean '--timeout'?", None),
        (("list", "-z"), "wfctl list has no option '-z'", "  try: wfctl list --help"),
        (("send", "order 1"), "wfctl send: missing argument 'EVENT'", "  try: wfctl show 'order 1'"),
        (("send",), "wfctl send: missing argument 'ID'", "  try: wfctl send --help"),
        (("start",), "wfctl start: missing argument 'TYPE'", "  try: wfctl workflows"),
        (("start", "O", "--workflow-id", "x"), "wfctl start has no option '--workflow-id'; did you mean '--id'?", None),
        (("list", "-n", "5"), "wfctl list has no option '-n'; did you mean '--limit'?", None),
        (
            ("schedule", "add", "--id", "x"),
            "wfctl schedule add has no option '--id': SCHEDULE is an argument",
            "  try: wfctl schedule add --help",
        ),
        (("timeline", "a", "b"), "wfctl timeline: got unexpected extra argument", None),
        (("list", "--limit", "x"), "wfctl list: invalid value for '--limit': 'x' is no whole number", None),
        (("list", "-o"), "wfctl list: option '-o' requires an argument", None),
    ],
)
def test_usage_errors_have_the_one_format_and_code_two(
    cli: Cli, arguments: tuple[str, ...], first: str, last: str | None
) -> None:
    said = cli(*arguments)
    assert (said.code, said.out) == (2, "")
    lines = said.err.splitlines()
    assert lines[0].startswith(f"error[usage]: {first}")
    assert lines[-1] == (last or f"  try: wfctl {arguments[0]} --help")


def test_the_remedy_of_a_name_that_is_nearly_one_is_the_command_as_it_was_meant(cli: Cli, daemon: Start) -> None:
    """CLI.md 4: the last line says what to type."""
    daemon(
        start=UnknownWorkflowTypeError("no such type", hint="did you mean 'Order'?", workflow_type="Ordr"),
        send=UnknownEventError("no such event", hint="did you mean 'paid'?", event="payd"),
    )
    for words, meant in (
        (("start", "Ordr", "note=a b", "--id", "Ordr"), "wfctl start Order 'note=a b' --id Ordr"),
        (("send", "order-1", "payd", "-o", "json"), "wfctl send order-1 paid -o json"),
    ):
        assert meant in cli(*words).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "-o", "yaml"), "'yaml' is no output format (--output)"),
        (("list", "--color", "alway"), "'alway' is no colour setting; did you mean 'always'?"),
        (
            ("start", "Order", "--if-running", "us"),
            "'us' is no answer to an open run (--if-running); did you mean 'use'?",
        ),
        (("start", "Order", "--if-closed", "no"), "'no' is no answer to a closed run (--if-closed)"),
        (("start", "Order", "--timeout", "5 minutes"), "'5 minutes' is not a duration"),
        (("list", "--since", "yesterday"), "'yesterday' is not a time"),
        (("list", "--since", "0001-01-01"), "'0001-01-01' is too far away"),
        (("list", "--since", "99999w"), "'99999w' is over 100 years\n  hint: give a shorter time"),
        (("start", "Order", "--in", "99999w"), "'99999w' is over 100 years\n  hint: give a shorter time"),
        (
            ("start", "Order", "amount"),
            "'amount' is no input\n  hint: write key=value, key:=json, key=@file, or -i with JSON; "
            "a workflow ID is given with --id",
        ),
        (("start", "Order", "-i", "{"), "-i is not JSON: it ends too early (after 1 bytes)"),
    ],
)
def test_bad_values_are_named_before_anything_is_sent(
    cli: Cli, daemon: Start, arguments: tuple[str, ...], message: str
) -> None:
    fake = daemon()
    said = cli(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error[invalid_argument]: {message}")
    assert [call.method for call in fake.calls if call.method != "hello"] == []


def test_an_error_in_json_mode_is_one_line_on_stderr(cli: Cli) -> None:
    for arguments in (("list", "-o", "json"), ("-o", "jsonl", "list"), ("list", "--output=json"), ("list", "-ojson")):
        said = cli(*arguments)
        assert (said.code, said.out) == (3, "")
        (line,) = said.err.splitlines()
        error = msgspec.json.decode(line)["error"]
        assert list(error) == ["code", "message", "detail", "hint", "exit"]
        assert (error["code"], error["exit"], error["hint"]) == ("daemon_down", 3, "wfctl up")
        assert error["detail"]["stale"] is False
    assert msgspec.json.decode(cli("lst", "-o", "json").err)["error"]["code"] == "usage"


def test_the_environment_chooses_the_format_too(cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon(list=EMPTY)
    monkeypatch.setenv("WFCTL_OUTPUT", "json")
    assert cli("list").json == {"schema": "wfctl.runs/1", "items": [], "next": None, "total": 0}
    assert cli("list", "-o", "id").out == ""
    monkeypatch.setenv("WFCTL_OUTPUT", "xml")
    assert "(WFCTL_OUTPUT)" in cli("list").err


def test_the_later_of_two_formats_wins(cli: Cli, daemon: Start) -> None:
    daemon(list=RunPage(items=[run(run_id="01A")], next=None, total=1))
    assert cli("-o", "json", "list", "-o", "id").out == "01A\n"


def test_a_stale_socket_is_called_stale(cli: Cli, project: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(project / "d.sock"))
    said = cli("list")
    assert said.code == 3
    assert f"socket {project}/d.sock is stale" in said.err
    assert said.err.endswith("  try: wfctl up\n")


def test_the_project_without_a_daemon_is_named(cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WFCTL_SOCKET")
    said = cli("list", "--project", str(project))
    assert said.err.startswith(f"error[daemon_down]: no wfctl daemon for project {project}\n")
    assert said.err.endswith(f"  try: wfctl up --project {project}\n")


def test_no_project_is_an_error_with_a_remedy(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WFCTL_SOCKET")
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    said = cli("list")
    assert said.code == 2
    assert said.err.startswith("error[config]: no wfctl.toml in ")
    assert cli("list", "--project", "nowhere").err.startswith("error[config]: no wfctl.toml at ")


def test_a_daemon_of_another_protocol_says_which_side_is_older(cli: Cli, daemon: Start) -> None:
    fake = daemon(hello=welcome(protocol=9, version="9.0"))
    said = cli("list")
    assert said.code == 6
    assert "9.0" in said.err
    assert said.err.endswith("  try: pip install --upgrade wfctl\n")
    fake.answers["hello"] = IncompatibleError("this wfctl is too old", hint="pip install --upgrade wfctl")
    assert cli("list").code == 6


def test_another_version_of_the_same_protocol_is_one_warning(cli: Cli, daemon: Start) -> None:
    daemon(hello=welcome(version="0.9.9"), list=EMPTY)
    said = cli("list")
    assert said.code == 0
    assert said.err.count("warning[version_skew]") == 1
    assert cli("-q", "list").err == ""


def test_a_daemon_that_would_not_see_all_that_a_start_says_is_not_asked(cli: Cli, daemon: Start) -> None:
    fake = daemon(hello=welcome(protocol=1, protocol_max=1), start=UnknownWorkflowTypeError("asked"))
    assert "error[unknown_type]: asked" in cli("start", "Order", "--if-closed", "start").err
    said = cli("start", "Order", "--if-closed", "use")
    assert (said.code, len(fake.asked("start"))) == (6, 1)
    assert said.err.startswith("error[incompatible]: the daemon is too old for this 'start': it speaks protocol 1")
    assert "  hint: wfctl down && wfctl up" in said.err or "  try: wfctl down && wfctl up" in said.err


def test_a_peer_that_talks_garbage_is_incompatible(cli: Cli, project: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project / "d.sock"))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"HTTP/1.1 400 Bad Request\n")

        thread = threading.Thread(target=serve)
        thread.start()
        assert cli("list").code == 6
        thread.join()


def test_a_message_the_daemon_would_not_read_is_refused_with_both_sizes(cli: Cli, daemon: Start) -> None:
    daemon(hello=welcome(limit_bytes=2_000))
    said = cli("start", "Order", "note=" + "x" * 3_000)
    assert said.code == 2
    assert said.err.startswith("error[payload_too_large]: the 'start' message is 3,")
    assert "2,000" in said.err


def test_no_permission_is_code_seven(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wfctl.client.blocking.socket.socket.connect", refuse, raising=False)
    said = cli("list")
    assert said.code == 7
    assert said.err.startswith("error[denied]: no permission to use the daemon's socket ")


def test_an_argument_that_is_no_text_is_named(cli: Cli) -> None:
    said = cli("start", "Order", "note=\udcff")
    assert said.code == 2
    assert "argument 3" in said.err


def test_a_bug_leaves_a_report_and_exits_with_one(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    daemon(list=EMPTY)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("wfctl.cli.render.runs.runs_table", broken)
    said = cli("list")
    assert said.code == 1
    assert said.err.startswith("error[internal]: this should not happen: ZeroDivisionError: division by zero\n")
    (report,) = tmp_path.glob("wfctl-report-*.txt")
    assert str(report) in said.err
    assert "in broken" in report.read_text()
    assert "Traceback" not in said.err
    monkeypatch.setenv("WFCTL_DEBUG", "1")
    assert "Traceback" in cli("list").err


def test_text_errors_have_at_most_three_lines() -> None:
    lines = error_lines(WfctlError("what\nwhy\nmore\nyet more", hint="wfctl list"))
    assert [plain(line) for line in lines] == ["error[internal]: what", "  why", "  try: wfctl list"]


def test_several_problems_of_one_input_are_all_told() -> None:
    problems = [f"wfctl.toml:{line}: unknown key" for line in range(1, 6)]
    message = "5 problems in /shop/wfctl.toml:\n  " + "\n  ".join(problems)
    error = ConfigError(message, hint="edit /shop/wfctl.toml", problems=problems)
    assert [plain(line) for line in error_lines(error)] == [
        "error[config]: 5 problems in /shop/wfctl.toml:",
        *(f"  {problem}" for problem in problems),
        "  hint: edit /shop/wfctl.toml",
    ]
    assert msgspec.json.decode(error_json(error))["error"]["message"] == (
        "5 problems in /shop/wfctl.toml: " + "; ".join(problems)
    )


def test_a_failure_of_many_lines_still_tells_where_it_comes_from(cli: Cli, daemon: Start) -> None:
    error = Failure("ValueError", "one\ntwo\nthree", frame="orders.py:12 in charge")
    daemon(result=Outcome(run_id="01A", workflow_id="o", workflow_type="Order", status=Status.FAILED, error=error))
    assert cli("result", "o").err == (
        "error[failed]: Order o failed: ValueError: one two three\n"
        "  at orders.py:12 in charge\n"
        "  try: wfctl history o\n"
    )


REMEDY = "it has: amount; ctx.store.get('amuont', default=...) does not raise"


def test_the_remedy_that_a_failure_brings_along_is_told_in_the_same_three_lines(cli: Cli, daemon: Start) -> None:
    error = Failure(
        "StoreKeyNotFoundError",
        "the store has no key 'amuont'",
        frame="orders.py:12 in charge",
        detail={"hint": REMEDY},
    )
    daemon(
        result=Outcome(run_id="01A", workflow_id="o", workflow_type="Order", status=Status.FAILED, error=error),
        get=RunDetail(run=run(status="failed", error=error)),
    )
    assert cli("result", "o").err == (
        "error[failed]: Order o failed: StoreKeyNotFoundError: the store has no key 'amuont'\n"
        f"  at orders.py:12 in charge; hint: {REMEDY}\n"
        "  try: wfctl history o\n"
    )
    assert f"at           orders.py:12 in charge\nhint         {REMEDY}\n" in cli("show", "o").out


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_help_with_an_example_and_the_shared_options(cli: Cli, verb: str) -> None:
    said = cli(verb, "--help")
    assert said.code == 0
    assert "Examples:\n" in said.out
    assert f"  wfctl {verb}" in said.out
    for option in ("--output", "--quiet", "--color", "--project"):
        assert option in said.out


def test_help_lists_every_command_and_the_version_is_told(cli: Cli) -> None:
    said = cli("--help")
    assert all(f"\n  {verb} " in said.out for verb in VERBS)
    assert cli("--version").out.startswith("wfctl 0.")


def test_a_closed_stdout_is_silent_and_no_failure(daemon: Start, project: Path) -> None:
    daemon(list=RunPage(items=[run(f"order-{number}" * 50) for number in range(500)], next=None, total=500))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "wfctl.cli.main", "list"], stdout=writer, stderr=subprocess.PIPE, timeout=30
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_detaches_with_its_code_and_says_the_run_goes_on(
    daemon: Start, project: Path, name: str, code: int
) -> None:
    import signal

    asked = threading.Event()

    def answer(call: Any) -> Any:
        asked.set()
        threading.Event().wait(20)

    daemon(result=answer)
    child = subprocess.Popen(
        [sys.executable, "-m", "wfctl.cli.main", "result", "order-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asked.wait(20)
    child.send_signal(getattr(signal, name))
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (code, "")
    assert err == ("stopped waiting; the run goes on\n" if name == "SIGINT" else "")


def test_a_command_that_does_not_draw_imports_only_what_it_needs(daemon: Start, project: Path) -> None:
    daemon(list=EMPTY)
    check = (
        "import sys\nfrom wfctl.cli.app import execute\ncode = execute(['list'])\n"
        "heavy = {'asyncio', 'rich', 'wfd', 'tomllib', 'importlib.resources'} & set(sys.modules)\n"
        "verbs = sorted(m for m in sys.modules if m.startswith('wfctl.cli.commands.'))\n"
        "print(code, heavy, verbs, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{check}"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr.strip().splitlines()[-1] == "0 set() ['wfctl.cli.commands.list']"


@pytest.mark.parametrize(
    ("environment", "flags", "colored"),
    [
        ({}, [], False),
        ({"FORCE_COLOR": "1"}, [], True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, [], True),
        ({}, ["--color", "always"], True),
        ({"NO_COLOR": "1"}, ["--color", "always"], True),
        ({"FORCE_COLOR": "1"}, ["--color", "never"], False),
        ({"FORCE_COLOR": "1"}, ["-o", "json"], False),
    ],
)
def test_colour_off_a_terminal_comes_only_when_asked_for(
    cli: Cli,
    daemon: Start,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flags: list[str],
    colored: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    daemon(list=RunPage(items=[run(status="failed")], next=None, total=1))
    assert ("\x1b[" in cli("list", *flags).out) is colored


@pytest.mark.parametrize(
    ("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colour_on_a_terminal_can_be_switched_off(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], colored: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    daemon(list=RunPage(items=[run(status="failed")], next=None, total=1))
    said = cli("list", tty=True)
    assert ("\x1b[" in said.out) is colored
    assert ("x failed" in said.out) is (environment.get("TERM") == "dumb")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_on_a_terminal_an_error_is_broken_between_words(cli: Cli, daemon: Start, columns: int) -> None:
    message = "workflow type 'Order' has no query 'totl'; it takes total, state, and what_is_longer_than_twenty_cells"
    daemon(list=WfctlError(message, hint="wfctl list"))
    said = cli("--color", "never", "list", tty=True, columns=columns)
    assert " ".join(said.err.split()) == f"error[internal]: {message} try: wfctl list"
    assert all(len(line) < columns or len(line.split()) == 1 for line in said.err.splitlines())
    assert cli("list").err == f"error[internal]: {message}\n  try: wfctl list\n"


def test_wrapping_keeps_styles_and_wide_characters_whole() -> None:
    line = [("error[x]", "bold red"), (": 注文 注文 注文", "")]
    drawn = wrap(line, 14, indent=2)
    assert [plain(part) for part in drawn] == ["error[x]: 注文", "  注文 注文"]
    assert drawn[0][0] == ("error[x]", "bold red")
    assert wrap(line, 80) == [line]
    narrow = [plain(part) for part in wrap([("error[too_long]", "bold"), (": what it is", "")], 12)]
    assert narrow == ["error[too_long]:", "    what it", "    is"]
    assert [plain(part) for part in wrap([("a few ", ""), ("words", "bold")], 8)] == ["a few ", "    words"]


def test_an_interrupt_that_was_kept_back_until_the_command_could_understand_it_shows_no_traceback(
    project: Path,
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        child = subprocess.Popen([sys.executable, "-m", "wfctl.cli.main", "status"], stderr=subprocess.PIPE, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    child.send_signal(signal.SIGINT)
    assert (child.communicate()[1], child.returncode) == ("", 130)


@pytest.mark.parametrize("words", [("show", "-"), ("cancel", "--yes", "-"), ("wait", "a", "-"), ("tree", "-")])
def test_bytes_on_stdin_that_are_no_text_name_no_runs(cli: Cli, daemon: Start, words: tuple[str, ...]) -> None:
    fake = daemon()
    said = cli(*words, stdin=b"\xff\xfe\n")
    assert (said.code, said.out) == (2, "")
    assert said.err == ("error[usage]: what stdin has is not UTF-8 text, so it names none\n  try: wfctl list -o id\n")
    assert not [call for call in fake.calls if call.method != "hello"]


def test_ids_that_never_end_are_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfctl.cli.words.MOST_OF_STDIN", 1_000)
    with open("/dev/zero", encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        with pytest.raises(UsageError, match="stdin has no end") as caught:
            given_ids(["-"])
    assert caught.value.hint == "wfctl list -o id"
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n" * 500))
    assert given_ids(["-"]) == ["a"]


def test_a_locale_that_lets_such_bytes_through_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "ascii", "surrogateescape"))
    with pytest.raises(UsageError, match="not UTF-8"):
        given_ids(["-"])


@pytest.mark.parametrize("words", [("status",), ("init",), ("backup", "b.db"), ("list", "-o", "json")])
def test_a_working_directory_that_was_removed_is_told_and_is_no_bug(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.delenv("WFCTL_SOCKET")
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = cli(*words)
    assert (said.code, said.out) == (2, "")
    assert "the working directory does not exist any more" in said.err
    assert "cd into a folder that is there" in said.err
    found = cli("doctor")
    assert found.code == 9, "the doctor says what is wrong of that too"
    assert "the working directory does not exist any more" in found.out


def test_a_project_that_is_named_needs_no_working_directory(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.delenv("WFCTL_SOCKET")
    assert cli("status", "--project", str(project)).code == 3


@pytest.mark.parametrize(
    "words", ["logs -n", "tail order-1 -n", "tree --depth", "history order-1 --after", "list --limit", "purge --limit"]
)
def test_a_number_that_has_no_room_is_refused_before_anybody_is_asked(cli: Cli, daemon: Start, words: str) -> None:
    fake = daemon()
    said = cli(*words.split(), "99999999999999999999")
    assert (said.code, fake.calls) == (2, [])
    assert " 99999999999999999999 is more than 9007199254740991\n  hint: give a smaller number\n" in said.err


@pytest.mark.parametrize("value", ["x" * 120_000, "many words " * 11_000], ids=["one word", "many words"])
def test_a_value_too_long_to_be_read_loses_its_middle_in_text_and_nothing_in_json(value: str) -> None:
    error = WfctlError(f"no run '{value}'\n  nor '{value}'", hint=f"wfctl show '{value}'")
    first, second, hint = ("".join(text for text, _ in line) for line in error_lines(error))
    for line in (first, second):
        assert len(line) < 4_100
        assert value[:400] in line
        assert value[-200:] in line
        assert " more characters ... " in line
    assert value in hint
    assert error_json(error).count(value) == 3


def test_a_message_that_can_be_read_is_shown_whole() -> None:
    message = f"{'p' * 1_000} and {'some words ' * 200}to the end"
    [line] = error_lines(WfctlError(message))
    assert "".join(text for text, _ in line).endswith(message)


@pytest.mark.parametrize(
    "value",
    ["x" * 5_000, "some words " * 1_000, f"{'x' * 2_000} " * 10],
    ids=["one word", "many words", "many long words"],
)
def test_of_what_an_error_leaves_out_it_is_said_how_much_it_is(value: str) -> None:
    [line] = error_lines(WfctlError(value))
    said = "".join(text for text, _ in line).partition(": ")[2]
    found = re.fullmatch(r"(.*) \.\.\. ([\d,]+) more characters \.\.\. (.*)", said)
    assert found is not None
    head, left_out, tail = found.groups()
    assert "more characters" not in head
    assert len(head) + int(left_out.replace(",", "")) + len(tail) == len(value)
