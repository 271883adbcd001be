"""Where the time of a run went: from records to bars, from bars to pictures."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli, Pipe
from support.fake_daemon import NOW, FakeDaemon
from support.runs import entry, run
from wfctl.cli.render.barrows import rows
from wfctl.cli.render.bars import Bar, timeline
from wfctl.cli.render.text import line_cells, plain
from wfctl.cli.render.timeline import timeline_lines
from wfctl.protocol.calls import HistoryPage
from wfctl.protocol.views import HistoryEntry

Start = Callable[..., FakeDaemon]
S = 1_000
DECLINED = {"type": "CardDeclined", "message": "limit <exceeded> & more\x1b[31m"}


def at(second: float, record: str, /, **data: Any) -> HistoryEntry:
    return msgspec.structs.replace(entry(record, at=NOW + int(second * S)), data=data)


STORY = [
    at(0, "run.started", workflow_type="Order"),
    at(0, "step.started", step=1, kind="start", handler="create"),
    at(1, "task.started", key="t", name="charge", attempt=1),
    at(2, "task.attempt_failed", key="t", name="charge", attempt=1, error=DECLINED, retry_at=NOW + 4 * S),
    at(4, "task.started", key="t", name="charge", attempt=2),
    at(5, "task.completed", key="t", name="charge", attempt=2),
    at(5, "sleep.recorded", key="s", wake_at=NOW + 6 * S),
    at(7, "child.started", key="c", run_id="R1", workflow_id="ship-1", workflow_type="Ship"),
    at(8, "step.completed", step=1, next="wait"),
    at(8, "wait.started", names=["paid"]),
    at(12, "child.closed", run_id="R1", workflow_id="ship-1", status="failed", outcome={"error": DECLINED}),
    at(18, "event.received", name="paid"),
    at(18, "step.started", step=2, kind="event", handler="paid", event=11),
    at(19, "step.completed", step=2, next="step", handler="ship", wake_at=NOW + 40 * S),
]


def bar_of(bars: list[Bar], name: str) -> Bar:
    return next(bar for bar in bars if bar.name == name)


def test_bars_tell_what_was_at_work_and_what_waited() -> None:
    shown = timeline(STORY, NOW + 29 * S)
    assert [(bar.kind, bar.name, bar.status, bar.depth, bar.took_ms // S) for bar in shown.bars] == [
        ("start", "create", "completed", 0, 8),
        ("task", "charge", "completed", 1, 4),
        ("sleep", "", "completed", 1, 1),
        ("child", "Ship", "failed", 1, 5),
        ("wait", "paid", "completed", 0, 10),
        ("event", "paid", "completed", 0, 1),
        ("sleep", "ship", "sleeping", 0, 10),
    ]
    charge = bar_of(shown.bars, "charge")
    assert (charge.attempts, [part.doing for part in charge.parts]) == (2, ["runs", "retries", "runs"])
    totals = shown.totals
    assert (totals.steps_ms, totals.waits_ms, totals.delays_ms, totals.stuck_ms) == (9 * S, 10 * S, 10 * S, 0)
    assert (totals.tasks_ms, totals.retries_ms, totals.children_ms) == (2 * S, 2 * S, 5 * S)
    assert shown.ended_at == NOW + 29 * S


def test_what_a_closed_run_left_open_ends_with_it() -> None:
    ended = [
        at(0, "run.started"),
        at(0, "step.started", step=1, kind="start", handler="create"),
        at(1, "task.started", key="t", name="charge", attempt=1),
        at(1, "sleep.recorded", key="s", wake_at=NOW + 9 * S),
        at(2, "step.interrupted", step=1, attempt=1, reason="gone"),
        at(3, "run.cancelled", reason=""),
    ]
    shown = timeline(ended, NOW + 90 * S)
    assert [(bar.status, bar.attempts, bar.took_ms // S) for bar in shown.bars] == [
        ("cancelled", 1, 3), ("interrupted", 1, 2), ("interrupted", 1, 2),
    ]  # fmt: skip
    assert shown.ended_at == NOW + 3 * S


def test_a_step_that_was_stuck_and_one_that_was_begun_anew_show_the_time_between() -> None:
    story = [
        at(0, "run.started", begins_at=NOW + S, handler="create"),
        at(1, "step.started", step=1, kind="start", handler="create"),
        at(2, "run.stuck", reason="no handler"),
        at(5, "run.resumed", attempt=2),
        at(6, "step.failed", step=1, error=DECLINED),
        at(6, "run.failed", error=DECLINED),
        at(10, "run.resumed", attempt=3, phase={"phase": "stepping", "step": 1, "kind": "start", "handler": "create"}),
        at(11, "step.completed", step=1, next="complete"),
    ]  # fmt: skip
    shown = timeline(story, NOW + 90 * S)
    assert [(bar.kind, bar.status, bar.attempts, bar.took_ms // S) for bar in shown.bars] == [
        ("sleep", "completed", 1, 1), ("start", "failed", 2, 5), ("start", "completed", 3, 1),
    ]  # fmt: skip
    assert (shown.totals.steps_ms, shown.totals.stuck_ms, shown.totals.delays_ms) == (3 * S, 3 * S, 1 * S)


def crowd(number: int, failed: int) -> list[HistoryEntry]:
    story = [at(0, "run.started"), at(0, "step.started", step=1, kind="start", handler="create")]
    story += [
        at(1, "child.started", run_id=f"R{n}", workflow_id=f"ship-{n}", workflow_type="Ship") for n in range(number)
    ]
    for n in range(number - 5):
        status = "failed" if n < failed else "completed"
        story.append(at(2 + n / number, "child.closed", run_id=f"R{n}", workflow_id=f"ship-{n}", status=status))
    return story


def test_many_of_one_name_are_one_row_and_failures_are_not_hidden() -> None:
    shown = timeline(crowd(1_000, 7), NOW + 4 * S)
    folded = rows(shown.bars, group_at=8, sample=3)
    assert [(row.depth, len(row.bars), row.more) for row in folded] == [(0, 1, 0), (1, 1_000, 4)] + [(2, 1, 0)] * 3
    text = "\n".join(plain(line) for line in timeline_lines(run(), shown, folded, width=120))
    assert "Ship ×1,000 988✓ 7✗ 5►" in text
    assert "4 more went wrong" in text
    assert len(rows(shown.bars, group_at=0, sample=3)) == 1_001


@pytest.mark.parametrize("width", [1, 8, 13, 20, 26, 32, 40, 80, 200])
@pytest.mark.parametrize("ascii", [False, True])
def test_a_picture_fits_its_terminal(width: int, ascii: bool) -> None:
    for story in (STORY, crowd(30, 2)):
        shown = timeline(story, NOW + 29 * S)
        folded = rows(shown.bars, group_at=8, sample=3)
        lines = timeline_lines(run(), shown, folded, width=width, ascii=ascii)
        assert all(line_cells(line) < width for line in lines), [plain(line) for line in lines]
        if width >= 20:
            drawn = [plain(line) for line in lines[2 : 2 + len(folded)]]
            assert all(re.search(r" \d+\.\ds", line) for line in drawn), "how long each took is never cut"
        assert not ascii or all(plain(line).isascii() or "…" in plain(line) for line in lines)
        assert "\x1b" not in "".join(map(plain, lines))


def test_bars_stand_where_their_time_is() -> None:
    shown = timeline(STORY, NOW + 29 * S)
    lines = [
        plain(line)
        for line in timeline_lines(run(), shown, rows(shown.bars, group_at=8, sample=3), width=80, ascii=True)
    ]
    charge = next(line for line in lines if "charge" in line)
    room = [line.index("#") for line in lines if "#" in line]
    assert charge.index("-") < charge.rindex("#")
    assert room == sorted(room)
    wait = next(line for line in lines if "wait paid" in line)
    assert wait.index(".") > next(line for line in lines if "create" in line).rindex("#") - 1
    assert next(line for line in lines if "delay before ship" in line).rstrip(" 0123456789.s%").endswith(".>")


def page(story: list[HistoryEntry]) -> HistoryPage:
    return HistoryPage(run=run(), items=story)


def test_off_a_terminal_each_bar_is_a_line_of_its_own(cli: Cli, daemon: Start) -> None:
    daemon(history=page(crowd(20, 2)))
    lines = cli("timeline", "order-1").out.splitlines()
    assert lines[0].split("\t") == ["BEGUN", "ENDED", "TOOK", "KIND", "NAME", "STATUS", "ATTEMPTS", "ID", "PROBLEM"]
    assert len(lines) == 22
    assert "2026-11-23T03:00:01.000Z" in lines[2]


def test_json_has_every_bar_with_its_parts_and_the_totals(cli: Cli, daemon: Start) -> None:
    daemon(history=page(STORY))
    document: Any = cli("timeline", "order-1", "-o", "json").json
    assert document["schema"] == "wfctl.timeline/1"
    assert document["run"]["workflow_id"] == "order-1"
    assert document["bars"][1]["parts"][1] == {
        "doing": "retries", "begun_at": "2026-11-23T03:00:02.000Z", "ended_at": "2026-11-23T03:00:04.000Z"
    }  # fmt: skip
    assert document["totals"]["tasks_ms"] == 2_000
    assert len(cli("timeline", "order-1", "-o", "jsonl").lines) == 7
    assert cli("timeline", "order-1", "-o", "id").out == f"{run().run_id}\n"


def test_a_picture_for_sharing_is_whole_and_holds_nothing_in_force(cli: Cli, daemon: Start, project: Path) -> None:
    daemon(
        history=page([*STORY[:-1], at(19, "step.failed", step=2, error=DECLINED), at(19, "run.failed", error=DECLINED)])
    )
    said = cli("timeline", "order-1", "--svg", "a picture.svg")
    file = project / "a picture.svg"
    assert (said.code, said.out) == (0, f"{file}\n")
    text = file.read_text()
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert "&lt;exceeded&gt; &amp; more" in text
    assert not {"script", "image", "link", "a"} & {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "href" not in text
    assert "\x1b" not in text


def test_a_picture_on_stdout_is_the_picture_alone_in_whatever_encoding(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon(history=page(STORY))
    assert cli("timeline", "order-1", "--svg", "t.svg").code == 0
    text = (project / "t.svg").read_text()
    said = cli("timeline", "order-1", "--svg", "-")
    assert (said.code, said.out, said.err) == (0, text, "")
    assert not text.isascii()
    monkeypatch.setattr(Pipe, "encoding", "iso-8859-1")
    narrow = cli("timeline", "order-1", "--svg", "-").out
    assert narrow.isascii()
    assert [one.text for one in ET.fromstring(narrow).iter()] == [one.text for one in ET.fromstring(text).iter()]
    assert cli("timeline", "order-1", "--svg", "t.svg", "--force").code == 0
    assert (project / "t.svg").read_text() == text, "a file is UTF-8 in any case"
    assert not (project / "-").exists()


def test_a_file_that_is_there_is_left_as_it_is_unless_forced(cli: Cli, daemon: Start, project: Path) -> None:
    daemon(history=page(STORY))
    file = project / "t.svg"
    file.write_text("mine")
    said = cli("timeline", "order-1", "--svg", "t.svg")
    assert said.code == 5
    assert "exists" in said.err
    assert "--force" in said.err
    assert file.read_text() == "mine"
    assert cli("timeline", "order-1", "--svg", "t.svg", "--force").code == 0
    assert file.read_text().startswith("<?xml")
    assert cli("timeline", "order-1", "--svg", str(project)).code == 2
    nowhere = cli("timeline", "order-1", "--svg", "nowhere/t.svg")
    assert (nowhere.code, nowhere.err) == (
        2,
        f"error[usage]: there is no folder {project}/nowhere\n  hint: make it, or name another file\n",
    )
    assert sorted(one.name for one in project.iterdir() if "svg" in one.name) == ["t.svg"]


def test_a_terminal_shows_as_many_rows_and_the_characters_that_were_asked_for(
    cli: Cli, daemon: Start, project: Path
) -> None:
    daemon(history=page(crowd(20, 2)))

    def shown(*words: str) -> str:
        return cli("--color", "never", "timeline", "order-1", *words, tty=True, columns=100).out

    grouped, whole = shown(), shown("--group-at", "0")
    assert len(whole.splitlines()) - len(grouped.splitlines()) == 20 - 1 - 2, (
        "one row for all, and the two that went wrong"
    )
    assert len(grouped.splitlines()) - len(shown("--sample", "0").splitlines()) == 2
    assert shown("--ascii").isascii()
    assert not grouped.isascii()
    for file, words in (("a.svg", ()), ("b.svg", ("--group-at", "0"))):
        assert cli("timeline", "order-1", "--svg", file, *words).code == 0
    assert len((project / "b.svg").read_text()) > 2 * len((project / "a.svg").read_text())
    chosen = ("--color", "never", "timeline", "order-1", "--fields", "name,took_ms")
    assert cli(*chosen, tty=True).out.splitlines()[0].split() == [
        "name",
        "took_ms",
    ]
