"""`wfctl check` as it is read: problems, findings and good news by type, and how it exits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon
from wfctl.protocol.calls import CheckedCounts, CodeCheck
from wfctl.protocol.views import FindingView, ProblemView

Start = Callable[..., FakeDaemon]


def finding(kind: str, handler: str = "pay", runs: int = 1, **more: Any) -> FindingView:
    facts = {
        "workflow_type": "Order", "handler_kind": "step", "reason": f"why {kind}", "ids": ["R1"], "workflow_ids": ["o-1"],
    }  # fmt: skip
    return FindingView(kind=kind, handler=handler, runs=runs, **{**facts, **more})


def check(runs: int = 9, rehearsed: int = 0, **facts: Any) -> CodeCheck:
    checked = CheckedCounts(runs=runs, steps=1, events=0, rehearsed=rehearsed)
    return CodeCheck(source_hash="3f9a", types=["Order"], checked=checked, **facts)


def test_findings_stand_by_type_with_their_reason_and_their_runs(cli: Cli, daemon: Start) -> None:
    findings = [
        finding("missing", "paid", 100_000, handler_kind="event", stuck=2, workflow_ids=["o-1", "o-2"]),
        finding("missing", "", 3, workflow_type="Parcel", handler_kind="", reason="no module has it"),
    ]
    daemon(check=check(100_003, 4, findings=findings, goes_on=[finding("goes_on", reason="")]))
    said = cli("check")
    assert said.code == 9
    assert said.out.splitlines() == [
        "Order",
        "  event 'paid' is missing: 100000 runs (2 stuck already)",
        "    why missing",
        "    o-1, o-2 and 99998 more",
        "  step 'pay' would go on: 1 run",
        "    o-1",
        "",
        "Parcel",
        "  the type is missing: 3 runs",
        "    no module has it",
        "    o-1 and 2 more",
    ]
    assert said.err == "2 findings among 100003 open runs; 4 steps rehearsed\n"
    drawn = cli("--color", "never", "check", tty=True)
    assert "  event 'paid' is missing: 100,000 runs (2 stuck already)\n" in drawn.out
    assert cli("check", "-q").err == ""


def test_a_module_that_does_not_load_is_told_with_its_traceback(cli: Cli, daemon: Start) -> None:
    problem = ProblemView(
        module="shop", message="SyntaxError: invalid", file="shop.py", line=7, hint="correct line 7", traceback="a\nb\n"
    )
    daemon(check=check(0, problems=[problem]))
    said = cli("check")
    assert said == (
        9,
        "shop does not load (shop.py:7)\n  SyntaxError: invalid\n  a\n  b\n  correct line 7\n",
        "1 finding; no open run could be checked\n",
    )


@pytest.mark.parametrize("kind", ["stopped", "waits", "skipped", "raises", "of_a_newer_daemon"])
def test_notes_and_good_news_are_no_findings(cli: Cli, daemon: Start, kind: str) -> None:
    daemon(check=check(notes=[finding(kind)], goes_on=[finding("goes_on", runs=2)]))
    said = cli("check")
    assert said.code == 0
    assert f"    why {kind}\n" in said.out
    assert said.err == "2 stuck runs would go on, and nothing change for 7 others\n"


def test_each_format_has_what_it_is_for(cli: Cli, daemon: Start, project: Path) -> None:
    findings = [finding("replay"), finding("arguments", ids=["R1", "R2"])]
    fake = daemon(check=check(findings=findings, problems=[ProblemView(module="shop", message="gone")]))
    document: Any = cli("check", "-o", "json").json
    assert (document["schema"], document["source_hash"]) == ("wfctl.check/1", "3f9a")
    assert document["checked"] == {"runs": 9, "steps": 1, "events": 0, "rehearsed": 0}
    assert [found["kind"] for found in document["findings"]] == ["replay", "arguments"]
    lines: Any = cli("check", "-o", "jsonl").lines
    assert [line["kind"] for line in lines] == ["problem", "replay", "arguments"]
    (project / "new.py").touch()
    said = cli("check", "new.py", "-o", "id")
    assert (said.code, said.out) == (9, "R1\nR2\n")
    asked: Any = fake.asked("check")
    assert [(call.files, call.ids) for call in asked] == [
        ([], 5),
        ([], 5),
        ([str(project / "new.py")], 1_000_000),
    ]


def test_a_file_that_is_not_there_is_told_before_a_daemon_is_looked_for(cli: Cli, project: Path) -> None:
    said = cli("check", "nowhere.py")
    assert (said.code, said.err.splitlines()[0]) == (2, "error[usage]: nowhere.py does not exist")
    assert cli("check", ".").err.startswith("error[usage]: . is a folder, not a file")
    assert cli("check").code == 3
