"""Section 4 of the rules: errors and warnings, in text and in JSON, and what they advise. Each test names its rule."""

from __future__ import annotations

import ast
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon, welcome
from support.source import leading_text, modules, report
from support.verbs import options
from wfctl.cli.app import ELSEWHERE, VERBS, ActionGroup, load
from wfctl.cli.commands import schedule
from wfctl.cli.explanations import ERRORS, WARNINGS
from wfctl.cli.options import Settings
from wfctl.errors import BY_CODE
from wfctl.protocol.calls import RunPage

pytestmark = pytest.mark.xdist_group("rules")

WRONG = [
    ("show", "no-such-run"), ("start", "Hodl"), ("send", "hold-1", "relaese"), ("list", "--status", "failde"), ("lst",),
    ("list", "--statsu", "x"), ("start", "Hold", "when=noon"), ("start", "Hold", "--id", "hold-1"), ("result", "broken-1"),
    ("result", "hold-1", "--no-wait"), ("cancel", "hold-1", "hold-2"), ("retry", "hold-1"), ("show", "hold-"),
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_an_error_has_a_code_three_lines_at_most_and_says_what_to_type(cli: Cli, words: tuple[str, ...]) -> None:
    """Rule 4, text: error[code], why, and last what to type; the user's own value is quoted."""
    said = cli(*words)
    lines = said.err.splitlines()
    match = re.match(r"error\[(\w+)\]: .", lines[0])
    assert match is not None
    assert match[1] in BY_CODE
    assert len(lines) <= 3
    assert re.match(r"  (try: wfctl |hint: )\S", lines[-1]), lines
    assert (said.out, said.code) == ("", BY_CODE[match[1]].exit_status)


@pytest.mark.parametrize("words", WRONG)
def test_the_same_in_json_is_one_line_on_stderr(cli: Cli, words: tuple[str, ...]) -> None:
    """Rule 4, JSON: {"error": {code, message, detail, hint, exit}}; stdout stays empty, but for the document of an outcome."""
    said = cli(*words, "-o", "json")
    if said.code in (10, 14):
        assert json.loads(said.out)["schema"] == "wfctl.outcome/1"
        return
    assert said.out == ""
    (told,) = said.err.splitlines()
    error: dict[str, Any] = json.loads(told)["error"]
    assert list(error) == ["code", "message", "detail", "hint", "exit"]
    assert error["exit"] == said.code == BY_CODE[error["code"]].exit_status
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("strat",), "'start'"), (("list", "--statsu", "failed"), "'--status'"), (("list", "--status", "failde"), "'failed'"),
        (("list", "-o", "jsno"), "'json'"), (("list", "--time", "loca"), "'local'"), (("list", "--color", "nevr"), "'never'"),
        (("init", "--template", "ordrs"), "'orders'"), (("completion", "install", "fsh"), "'fish'"),
        (("service", "instal"), "'install'"),
        (("wait", "hold-1", "--for", "waitng"), "'waiting'"), (("explain", "daemondown"), "'daemon_down'"),
        (("start", "Hold", "--if-running", "ues"), "'use'"), (("list", "--fields", "statsu"), "'status'"),
        (("start", "Hodl", "--id", "h"), "try: wfctl start Hold --id h\n"),
        (("send", "hold-1", "relase"), "try: wfctl send hold-1 release\n"),
        (("query", "hold-1", "stat"), "try: wfctl query hold-1 state\n"),
        (("start", "Hold", "nte=1"), "'note'"), (("show", "broken-2"), "'broken-1'"),
    ],
)  # fmt: skip
def test_what_is_spelled_nearly_right_is_named_at_every_level(cli: Cli, words: tuple[str, ...], near: str) -> None:
    """Rule 4: the nearest of commands, flags, words, types, events, queries, parameters and IDs; never with exit 0."""
    said = cli(*words)
    assert said.code in (2, 4)
    assert near in said.err


def test_what_other_tools_call_a_command_is_understood(cli: Cli) -> None:
    """Rule 4: the nearest of commands, also where no letter says so."""
    words = [((), *pair) for pair in ELSEWHERE.items()] + [
        (("schedule",), *pair) for pair in schedule.ELSEWHERE.items()
    ]
    for group, word, meant in words:
        said = cli(*group, word)
        assert said.code == 2
        line = " ".join((*group, meant))
        assert said.err.endswith(f"has no command {word!r}; did you mean {meant!r}?\n  try: wfctl {line} --help\n")


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_option_is_named_with_the_nearest_whatever_the_command(cli: Cli, verb: str) -> None:
    """Rule 4: at every nesting level."""
    name = max((name for name in options(verb) if name.startswith("--")), key=len)
    said = cli(verb, f"{name[:-1]}")
    assert said.code == 2
    assert f"wfctl {verb} has no option '{name[:-1]}'; did you mean '{name}'?" in said.err
    assert said.err.endswith(f"  try: wfctl {verb} --help\n")


def test_every_code_can_be_explained(cli: Cli) -> None:
    """Rule 4: wfctl explain CODE."""
    for code in (*ERRORS, *WARNINGS):
        assert cli("explain", f"[{code}]").code == 0


def test_a_bug_shows_its_traceback_only_where_that_was_asked_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rule 4: --debug or WFCTL_DEBUG=1, else a file that is named; and no file is no reason to hide the error."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("wfctl.cli.render.runs.runs_table", broken)
    assert "Traceback" not in cli("list").err
    for words in (("list", "--debug"), ("--debug", "list")):
        assert "Traceback" in cli(*words).err
    monkeypatch.setenv("WFCTL_DEBUG", "0")
    assert "Traceback" not in cli("list").err
    monkeypatch.setenv("WFCTL_DEBUG", "1")
    assert "Traceback" in cli("list").err
    monkeypatch.delenv("WFCTL_DEBUG")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    said = cli("list")
    assert said.code == 1
    assert said.err.splitlines()[:2] == [
        "error[internal]: this should not happen: ZeroDivisionError: by zero",
        "  no report could be written: No such file or directory",
    ]


def test_a_warning_is_told_once_on_stderr(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rule 4: warning[code], once a process, never in stdout; rule 5: a small difference of versions is one warning."""
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    with FakeDaemon(
        tmp_path / "d.sock", {"hello": welcome(version="0.0.9"), "list": RunPage(items=[], next=None, total=0)}
    ):
        said = cli("list")
    assert said.code == 0
    assert said.err.count("warning[version_skew]: ") == 1
    assert "warning" not in said.out


def _hints() -> list[tuple[str, str]]:
    """Every `hint=` of the source that is a command, and all that are made with names in them: where each stands, and the
    command up to what is filled in."""
    found = []
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.keyword) and node.arg in ("hint", "remedy"):
                text = leading_text(node.value)
                if text.startswith("wfctl ") and isinstance(node.value, ast.Constant):
                    found.append((f"{module.place}:{node.value.lineno}", text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command":
                made = f"wfctl {leading_text(node.args[0])}" if node.args else "wfctl "
                if made != "wfctl ":
                    found.append((f"{module.place}:{node.lineno}", made))
    return found


def test_every_command_that_an_error_advises_can_be_typed() -> None:
    """Rule 4: the hint is a runnable command."""
    hints = _hints()
    assert len(hints) > 30
    problems = []
    for where, text in hints:
        # What follows the command is said about it: `wfctl up makes one`, `wfctl init to begin a project here, or ...`.
        for part in re.split(r" && |; | \|\| ", text):
            words = [word.strip(",") for word in shlex.split(part.replace("'", ""))]
            if words[0] != "wfctl" or words[1] == "--help":
                continue
            if words[1] not in VERBS:
                problems.append(f"{where}: {text}: no such command")
                continue
            command = load(words[1])
            action = command.find(words[2]) if isinstance(command, ActionGroup) and words[2:3] else None
            of_action = () if action is None else [name for one in action.params for name in one.opts]
            known = {*options(words[1]), *of_action, "--help"}
            wrong = [word for word in words[2:] if word.startswith("-") and word not in known]
            problems += [f"{where}: {text}: {words[1]} has no {word}" for word in wrong]
    assert not problems, report(problems, "advise what can be typed")


@pytest.mark.parametrize("words", WRONG)
def test_the_advice_of_an_error_that_is_met_can_be_typed(cli: Cli, words: tuple[str, ...]) -> None:
    """Rule 4: the hint is a runnable command, with what is filled in."""
    last = cli(*words).err.splitlines()[-1]
    if not last.startswith("  try: "):
        return
    typed = shlex.split(last.removeprefix("  try: "))
    assert typed[0] == "wfctl"
    if "--help" not in typed:
        load(typed[1]).make_context(typed[1], typed[2:], obj=Settings())
