"""`wfctl explain`: every code there is has its long form, and finds its way there."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from support.cli import Cli
from support.source import called, leading_text, modules
from wfctl.cli import exit as cli_exit
from wfctl.cli.app import VERBS
from wfctl.cli.explanations import ERRORS, WARNINGS, Explanation
from wfctl.cli.statuses import EXITS
from wfctl.errors import BY_CODE


def _all() -> list[tuple[str, Explanation]]:
    return [*ERRORS.items(), *WARNINGS.items()]


def test_every_error_of_the_tree_has_an_explanation_and_nothing_else_has() -> None:
    assert ERRORS.keys() == BY_CODE.keys(), "wfctl/cli/explanations.py: explain every code of wfctl/errors.py"


def test_every_warning_that_is_given_has_an_explanation_and_nothing_else_has() -> None:
    given = {
        leading_text(node.args[0])
        for name, module in modules().items()
        if name.startswith("wfctl.cli")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and called(node) in ("warn", "warning_lines") and node.args
    } - {""}
    assert given == WARNINGS.keys(), "wfctl/cli/explanations.py: explain every warning"


def test_every_exit_status_has_an_explanation() -> None:
    statuses = {cls.exit_status for cls in BY_CODE.values()} | {
        value for name, value in vars(cli_exit).items() if name.isupper() and type(value) is int
    }
    assert EXITS.keys() == statuses | {0}


@pytest.mark.parametrize(("code", "found"), _all())
def test_an_explanation_says_what_why_and_what_to_do(code: str, found: Explanation) -> None:
    assert found.meaning.endswith(".")
    assert found.causes
    assert found.remedies
    assert not [line for line in (*found.causes, *found.remedies) if line.endswith(".")]


def test_commands_in_explanations_can_be_typed() -> None:
    texts = " \n".join(" \n".join((*found.causes, *found.remedies)) for _, found in _all())
    words = set(re.findall(r"\bwfctl ([a-z]+)\b", texts))
    assert "up" in words
    assert words <= set(VERBS)


def test_a_code_is_explained_as_it_was_pasted(cli: Cli) -> None:
    for given in ("daemon_down", "error[daemon_down]", "[daemon_down]", "daemon-down", "DAEMON_DOWN"):
        said = cli("explain", given)
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("error[daemon_down]  exit status 3\n  No daemon of this project")
        assert "\nUsual causes\n  - " in said.out
        assert "\nWhat to do\n  - start it: wfctl up\n" in said.out
    assert cli("explain", "warning[blocked_worker]").out.startswith("warning[blocked_worker]\n")


def test_an_exit_status_is_explained_with_its_errors(cli: Cli) -> None:
    said = cli("explain", "13")
    assert said.code == 0
    assert said.out.startswith("exit status 13  timed_out\n  The awaited run timed out.\n")
    assert "  - timed_out: " in said.out
    document: Any = cli("explain", "5", "-o", "json").json
    assert (document["schema"], document["exit"]) == ("wfctl.exit_status/1", 5)
    assert document["codes"] == [
        "conflict", "already_running", "already_closed", "run_closed", "schedule_exists", "daemon_running",
    ]  # fmt: skip
    assert cli("explain", "130").out == (
        "exit status 130  interrupted\n  Ctrl-C. Runs go on: it only ends the command.\n"
    )


def test_all_codes_are_listed_in_every_format(cli: Cli) -> None:
    rows = cli("explain").out.splitlines()
    assert rows[0] == "CODE\tKIND\tEXIT\tMEANING"
    assert len(rows) == 1 + len(ERRORS) + len(WARNINGS)
    assert set(cli("explain", "-o", "id").out.split()) == {*ERRORS, *WARNINGS}
    document: Any = cli("explain", "-o", "json").json
    assert (document["schema"], document["total"]) == ("wfctl.explanations/1", len(rows) - 1)
    assert document["items"] == cli("explain", "-o", "jsonl").lines
    one: Any = cli("explain", "stuck", "-o", "json").json
    assert one == {"schema": "wfctl.explanation/1", **next(i for i in document["items"] if i["code"] == "stuck")}


def test_an_unknown_code_names_the_nearest_and_exits_with_four(cli: Cli) -> None:
    said = cli("explain", "daemon_dwn")
    assert (said.code, said.out) == (4, "")
    assert said.err == (
        "error[not_found]: there is no code 'daemon_dwn'; did you mean 'daemon_down'?\n  try: wfctl explain daemon_down\n"
    )
    assert cli("explain", "99").err == "error[not_found]: there is no code '99'\n  try: wfctl explain\n"


def test_explanations_fit_a_terminal(cli: Cli) -> None:
    for arguments in ((), *((code,) for code in ERRORS)):
        said = re.sub(r"\x1b\[[\d;]*m", "", cli("explain", *arguments, tty=True, columns=60).out)
        assert max(map(len, said.splitlines())) <= 60
