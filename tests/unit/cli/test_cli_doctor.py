"""`wfctl doctor` as it is typed: with a daemon and without, what it shows in each format, and what it exits with."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from wfctl.errors import IncompatibleError
from wfctl.protocol.calls import WorkflowList
from wfctl.protocol.views import MissingView, ProblemView, StatusView, UnloadedView, WorkerView, WorkflowView
from wfctl.values.signature import TypeSpec

Start = Callable[..., FakeDaemon]
WORKER = WorkerView(pid=77, generation=1, steps=1, started_at=NOW)
FLOWS = """
from wfctl import Workflow
wf = Workflow("Greeting")
@wf.start()
async def begin(ctx):
    return ctx.next.complete("hi")
"""


@pytest.fixture(autouse=True)
def well(project: Path) -> None:
    (project / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    (project / "flows.py").write_text(FLOWS)
    (project / ".wfctl").chmod(0o700)
    project.chmod(0o700)


def status(**changes: Any) -> StatusView:
    facts: dict[str, Any] = {
        "pid": 4121, "version": "0.1.0", "project": "/shop", "config": "/shop/wfctl.toml", "socket": "/s",
        "database": "/shop/.wfctl/wfctl.db", "database_bytes": 40_960, "log": "/shop/.wfctl/wfd.log",
        "started_at": NOW - 60_000, "now": NOW, "generation": 2, "source_hash": "abc", "python": "3", "counts": {},
        "workers": [WORKER], "queued_steps": 0,
    }  # fmt: skip
    return StatusView(**{**facts, **changes})


def checks(cli: Cli, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    said = cli("doctor", "-o", "json", *arguments)
    document: Any = said.json
    assert document["schema"] == "wfctl.doctor/1"
    assert document["healthy"] == (said.code == 0)
    assert said.err == ""
    return said.code, {check["code"]: check for check in document["checks"]}


def test_without_a_daemon_all_is_looked_at_and_nothing_is_made(cli: Cli, project: Path) -> None:
    code, found = checks(cli)
    assert code == 0
    assert [name for name, check in found.items() if check["status"] != "ok"] == ["daemon"]
    assert found["daemon"]["remedy"] == "wfctl up"
    assert found["modules"]["message"] == "flows.py: Greeting"
    assert list((project / ".wfctl").iterdir()) == []


def test_a_failure_exits_with_nine_and_a_warning_does_not(cli: Cli, project: Path) -> None:
    (project / ".wfctl").chmod(0o755)
    assert checks(cli)[0] == 0
    (project / "flows.py").write_text("import nothing_of_this_name")
    code, found = checks(cli)
    assert (code, found["modules"]["status"]) == (9, "fail")
    assert cli("doctor", "-o", "id").out.split() == ["modules", "state", "daemon"]


def test_fix_mends_what_is_safe_and_says_so(cli: Cli, project: Path) -> None:
    (project / ".wfctl").chmod(0o755)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(project / "d.sock"))
    said = cli("doctor", "--fix", tty=True, columns=200)
    assert said.code == 0
    assert "is for you alone now" in said.out
    assert "was stale and is removed" in said.out
    assert "does not exist" in said.out
    assert said.err.endswith(", 1 warning; 2 mended\n")
    assert not (project / "d.sock").exists()


@pytest.mark.parametrize(
    ("changes", "name", "expected", "words"),
    [
        ({}, "daemon", "ok", "pid 4121, up for 1m"),
        ({"version": "9.9"}, "daemon", "warn", "this wfctl is"),
        ({"draining": True}, "daemon", "warn", "is stopping"),
        ({"counts": {"stuck": 1}}, "runs", "warn", "1 run needs code or a person"),
        ({"unreadable": ["run 'a': column state", "b"]}, "runs", "fail", "run 'a': column state, and 1 more"),
        ({"storage_error": "disk full\nreally"}, "storage", "fail", "disk full; really"),
        (
            {"wal_bytes": 300 << 20, "log_readers": ["sqlite3 (pid 7)", "cp (pid 8)"]},
            "storage", "warn", "the log of the database is 300.0 MiB long, and is read by sqlite3 (pid 7), cp (pid 8)",
        ),
        ({"displaced": "the database is not at /x any more"}, "storage", "fail", "is not at /x any more"),
        ({"workers": []}, "workers", "fail", "no worker process runs"),
        ({"workers": [], "no_worker": ["none can be started"]}, "workers", "fail", "runs; none can be started"),
        (
            {"problems": [ProblemView(module="a.py", message="SyntaxError: x", file="a.py", line=3, hint="mend it")]},
            "modules", "fail", "a.py: SyntaxError: x (a.py:3)",
        ),
        (
            {"workers": [WorkerView(pid=7, generation=1, steps=1, started_at=NOW, blocked_ms=9, handlers=["Order.pay"])]},
            "workers", "warn", "7 runs Order.pay",
        ),
        (
            {"workers": [WorkerView(pid=7, generation=1, steps=0, started_at=NOW, blocked_ms=9)]},
            "workers", "warn", "1 worker blocked: 7 runs no step",
        ),
        (
            {"workers": [WorkerView(pid=7, generation=1, steps=65, started_at=NOW, held=1, held_ms=9)]},
            "workers", "warn", "worker 7 has no thread left: 1 handler waits",
        ),
    ],
)  # fmt: skip
def test_what_the_daemon_says_of_itself_is_a_check(
    cli: Cli, daemon: Start, changes: dict[str, Any], name: str, expected: str, words: str
) -> None:
    daemon(status=status(**changes), workflows=WorkflowList(items=[], problems=[]))
    code, found = checks(cli)
    assert code == (9 if expected == "fail" else 0)
    assert found[name]["status"] == expected
    assert words in found[name]["message"]
    assert (found[name]["remedy"] is None) == (expected == "ok")


def test_what_open_runs_need_of_the_code_and_is_not_there_is_a_warning(cli: Cli, daemon: Start) -> None:
    spec = TypeSpec("Approval", ())
    served = WorkflowView(spec=spec, generation=2, missing=[MissingView(kind="event", name="approve", runs=2)])
    gone = UnloadedView(workflow_type="Old", open_runs=1)
    answers = [WorkflowList(items=[served], problems=[], unloaded=[gone]), WorkflowList(items=[served], problems=[])]
    daemon(status=status(), workflows=lambda _: answers.pop(0))
    code, found = checks(cli)
    told = "workflow type Old is not there, and 1 open run needs it, and 1 more"
    assert (code, found["modules"]["message"], found["modules"]["remedy"]) == (0, told, "wfctl check")
    found = checks(cli)[1]
    assert found["modules"]["message"] == "event approve of Approval is not there, and 2 open runs need it"
    assert found["modules"]["status"] == "warn"


def test_a_daemon_that_cannot_be_talked_to_is_a_failure_and_the_rest_is_looked_at(cli: Cli, daemon: Start) -> None:
    daemon(hello=IncompatibleError("this wfctl is too old", hint="pip install --upgrade wfctl"))
    code, found = checks(cli)
    assert (code, found["daemon"]["status"], found["state"]["status"]) == (9, "fail", "ok")


def test_a_terminal_gets_signs_and_remedies_and_a_pipe_gets_columns(cli: Cli) -> None:
    said = cli("doctor", "--color", "never", tty=True, columns=100)
    assert "\n✓ state        " in said.out
    assert "\n! daemon       " in said.out
    assert "\n    try: wfctl up\n" in said.out
    assert max(map(len, said.out.splitlines())) < 100
    rows = [row.split("\t") for row in cli("doctor").out.splitlines()]
    assert rows[0] == ["CHECK", "STATUS", "MESSAGE", "REMEDY"]
    assert {len(row) for row in rows} == {4}
    lines: Any = cli("doctor", "-o", "jsonl").lines
    assert [line["code"] for line in lines] == [row[0] for row in rows[1:]]


def test_outside_of_a_project_it_says_what_it_can(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    monkeypatch.delenv("WFCTL_SOCKET")
    code, found = checks(cli)
    assert (code, found["config"]["status"]) == (9, "fail")
    assert list(found) == ["python", "config", "sqlite", "daemon"]
