"""Lists, counts, details and history as a person asks for them, and the graph of a type."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli, Terminal
from support.fake_daemon import NOW, FakeDaemon
from support.runs import entry, failure, run
from wfctl.cli.render.graph import graph_lines, graph_of, mermaid
from wfctl.cli.render.runs import runs_table
from wfctl.cli.render.show import advice, waiting_advice
from wfctl.cli.render.text import cells, line_cells, plain
from wfctl.cli.render.times import Times, show_as
from wfctl.errors import DaemonDownError
from wfctl.protocol.calls import Counted, HistoryPage, QueryAnswer, RunPage, WorkflowList
from wfctl.protocol.daemon import ProblemView
from wfctl.protocol.views import HistoryEntry, RetryView, RunDetail, WorkflowView
from wfctl.values.signature import HandlerSpec, ParamSpec, Transition, TypeSpec
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]

# -- lists -----------------------------------------------------------------------------------------


def table(*runs: Any, width: int | None = 160) -> str:
    return "\n".join(plain(line) for line in runs_table(list(runs), NOW, width=width))


def test_a_row_tells_the_next_attempt_and_why_the_last_one_failed() -> None:
    waits = RetryView(
        task="charge", attempt=2, max_attempts=5, retry_at=NOW + 4_000, error=failure("CardDeclined", "limit")
    )
    drawn = table(run(retry=waits, deadline=NOW + 90_000))
    assert "in 4s  retry 3/5 of charge: CardDeclined: limit" in drawn
    assert re.search(r"in 4s +retry 3/5 of charge: Card", table(run(retry=waits), width=80))
    due = msgspec.structs.replace(waits, retry_at=NOW - 1, error=None, max_attempts=None)
    assert "  now  retry 3 of charge" in table(run(retry=due))
    assert "2026-11-23T03:00:04.000Z\tretry 3/5 of charge: CardDeclined: limit" in table(run(retry=waits), width=None)


def test_a_row_tells_until_when_a_run_waits_or_may_take() -> None:
    assert "in 1m" in table(run(status="waiting", wake_at=NOW + 60_000, deadline=NOW + 90_000))
    assert "in 1m30s" in table(run(deadline=NOW + 90_000))
    assert "in 1m " in table(run(wake_at=NOW + 60_000, deadline=NOW + 90_000)), "its step sleeps"
    assert "UNTIL" not in table(run(status="completed", deadline=NOW + 90_000))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_a_time_is_shown_whole_or_not_at_all(width: int) -> None:
    show_as(Times.LOCAL)
    try:
        shown = table(run("order-" + "x" * 30, status="waiting", wake_at=NOW + 60_000), width=width)
    finally:
        show_as(None)
    for text in re.findall(r"\d{4}-\d\d-\d\dT[^ ]*", shown):
        assert re.search(r"[+-]\d\d:\d\d$", text), shown
    assert all(len(line) <= width for line in shown.splitlines())


def test_counts_are_by_status_or_by_type(cli: Cli, daemon: Start) -> None:
    fake = daemon(count=Counted(by="status", counts={"failed": 2, "running": 1_500}, total=1_502))
    said = cli("list", "--count", "--type", "Order", "--since", "2026-11-23")
    assert said == (0, "STATUS\tRUNS\nrunning\t1500\nfailed\t2\n", "1502 in all\n")
    (call,) = fake.asked("count")
    assert (call.by, call.types, call.since_ms is not None) == ("status", ["Order"], True)
    assert "1,500" in cli("list", "--count", tty=True).out
    document: Any = cli("list", "--count", "-o", "json").json
    assert (document["schema"], document["counts"]["failed"]) == ("wfctl.count/1", 2)
    fake.answers["count"] = Counted(by="type", counts={"B": 1, "A": 1, "C": 5}, total=7)
    assert cli("list", "--count", "--by", "type").out.splitlines()[1:] == ["C\t5", "A\t1", "B\t1"]
    assert cli("list", "--count", "--by", "type", "-o", "jsonl").lines[0] == {"type": "B", "count": 1}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--by", "type"), "add --count"),
        (("--count", "--by", "statis"), "did you mean 'status'?"),
        (("--count", "-w"), "without --watch"),
        (("--count", "--limit", "5"), "--limit"),
        (("-w",), "on a terminal"),
        (("-w", "-o", "json"), "as a table"),
        (("--count", "--fields", "status"), "leave out one of them"),
        (("--count", "--fields", "counts"), "leave out one of them"),
    ],
)
def test_list_refuses_what_does_not_go_together(cli: Cli, daemon: Start, words: tuple[str, ...], said: str) -> None:
    daemon(list=RunPage(items=[]))
    answer = cli("list", *words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_count_goes_without_its_header(cli: Cli, daemon: Start) -> None:
    daemon(count=Counted(by="status", counts={"failed": 2}, total=2))
    assert cli("list", "--count", "--no-header").out == "failed\t2\n"


SERVED = WorkflowList(items=[WorkflowView(spec=TypeSpec("Order", ()), generation=1)], problems=[])


def test_a_type_that_no_code_has_and_no_run_is_of_is_unknown_and_named_with_the_nearest(
    cli: Cli, daemon: Start
) -> None:
    """CLI.md 4: the nearest match for workflow types, and not zero."""
    shop = daemon(list=RunPage(items=[], total=0), count=Counted(by="type", counts={}, total=0), workflows=SERVED)
    for words in (
        ("list", "--type", "Ordr"), ("list", "--type", "Ordr", "--count"), ("terminate", "--type", "Ordr", "--yes"),
        ("list", "--type", "Order", "--type", "Ordr", "-q"), ("retry", "--type", "Ordr", "--dry-run"),
    ):  # fmt: skip
        said = cli(*words)
        assert (said.code, said.out) == (4, "")
        meant = " ".join(["wfctl", *words]).replace("Ordr", "Order")
        assert said.err == (
            f"error[unknown_type]: no workflow type 'Ordr', and no run of it; did you mean 'Order'?\n  try: {meant}\n"
        )
    assert cli("list", "--type", "Xyz").err.endswith("no run of it\n  try: wfctl workflows\n")
    assert not shop.asked("terminate")


def test_a_type_of_runs_whose_code_is_gone_is_known(cli: Cli, daemon: Start) -> None:
    shop = daemon(
        list=RunPage(items=[], total=0), count=Counted(by="type", counts={"Old": 3}, total=3), workflows=SERVED
    )
    assert cli("list", "--type", "Old", "--status", "failed", "-o", "id") == (0, "", "")
    assert cli("cancel", "--type", "Old", "--yes").code == 0
    (asked,) = shop.asked("count")[:1]
    assert (asked.by, asked.types, asked.statuses) == ("type", ["Old"], []), (
        "however they stand, and whenever they began"
    )


def test_where_nobody_can_tell_what_types_there_are_the_answer_stands(cli: Cli, daemon: Start) -> None:
    broken = ProblemView(module="flows.py", message="SyntaxError")
    nothing = Counted(by="type", counts={}, total=0)
    shop = daemon(list=RunPage(items=[], total=0), count=nothing, workflows=DaemonDownError("gone"))
    assert cli("list", "--type", "Ordr", "-o", "id") == (0, "", "")
    shop.answers["workflows"] = WorkflowList(items=[], problems=[broken])
    assert cli("list", "--type", "Ordr", "-o", "id") == (0, "", ""), "its module may be the one that does not load"


def test_nobody_asks_about_types_that_runs_were_found_of(cli: Cli, daemon: Start) -> None:
    shop = daemon(list=RunPage(items=[run("o", type="Order")], total=1))
    assert cli("list", "--type", "Order").code == 0
    assert not shop.asked("workflows")


@pytest.mark.parametrize("columns", [40, 80])
def test_where_the_terminal_writes_ascii_alone_all_is_told_in_it_and_fits(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    odd = run(
        "bestellung-für-müller-日本語", status="failed", error=failure("Fehler", "größer als → erlaubt, und zwar viel")
    )
    daemon(
        list=RunPage(items=[odd], total=1),
        history=HistoryPage(
            run=odd,
            items=[entry("run.failed", error={"type": "Fehler", "message": "größer als → erlaubt, und zwar viel"})],
        ),
    )
    for words in (("list",), ("history", "bestellung")):
        said = cli("--color", "never", *words, tty=True, columns=columns)
        assert said.code == 0
        assert said.out.isascii()
        assert all(len(line) <= columns for line in said.out.splitlines())
        assert "..." in said.out


# -- details ---------------------------------------------------------------------------------------


def test_show_tells_who_ended_a_run_or_why(cli: Cli, daemon: Start) -> None:
    ended = run("o", status="terminated")
    daemon(get=RunDetail(run=ended, reason="by ann@shop"))
    assert "reason       by ann@shop\n" in cli("show", "o").out
    assert cli("show", "o", "-o", "json").json["reason"] == "by ann@shop"  # type: ignore[index]
    assert cli("show", "o", "--fields", "status,reason", "--no-header").out == "terminated\tby ann@shop\n"


def test_show_says_what_to_type_next(cli: Cli, daemon: Start) -> None:
    paid = HandlerSpec("event", "paid", "paid", (ParamSpec("by", "str"), ParamSpec("note", "str", False, "''")))
    spec = TypeSpec("Order", (HandlerSpec("start", "begin", "begin"), paid))
    waits = run("order 1", status="waiting", waiting_for=["paid"], children=12, open_children=2)
    daemon(
        get=RunDetail(run=waits),
        count=Counted(by="status", counts={"running": 2, "failed": 3, "completed": 7}, total=12),
        workflows=WorkflowList(items=[WorkflowView(spec=spec, generation=1)], problems=[]),
    )
    said = cli("show", "order 1")
    assert "to go on: wfctl send 'order 1' paid by=...\n" in said.err
    assert "12 runs: 2 open, 3 failed, 7 completed" in said.out
    assert cli("show", "order 1", "-q").err == ""


def test_there_is_advice_for_a_run_in_every_status() -> None:
    for status in Status:
        if status not in (Status.STUCK, Status.FAILED, Status.TIMED_OUT):
            assert any("wfctl " in line for line in advice(run(status=status))), status
    many = run(status="waiting", waiting_for=["a", "b", "c", "d", "e"])
    assert len(waiting_advice(many, None)) == 4
    assert waiting_advice(run(status="waiting"), []) == ["to see it go on: wfctl tail -f order-1"]


def test_an_event_that_nothing_handles_any_more_is_not_advised_to_be_sent() -> None:
    waits = run(status="waiting", waiting_for=["paid"])
    assert waiting_advice(waits, []) == ["put the handler of paid back, then: wfctl send order-1 paid"]
    assert waiting_advice(waits, None) == ["to go on: wfctl send order-1 paid"]


STORY = [
    ("run.started", {}), ("step.started", {"step": 1, "handler": "create"}), ("task.started", {"name": "charge"}),
    ("step.completed", {"step": 1, "next": "step"}), ("step.started", {"step": 2, "handler": "ship"}),
    ("step.completed", {"step": 2, "next": "wait"}), ("wait.started", {}),
    ("run.resumed", {"phase": {"phase": "stepping", "step": 3, "handler": "ship"}}),
    ("step.failed", {"step": 3, "error": {"type": "E"}}), ("run.failed", {}),
]  # fmt: skip


def story() -> HistoryPage:
    items: list[HistoryEntry] = [
        msgspec.structs.replace(entry(kind, seq=seq, at=NOW + seq * 1_000), data=data)
        for seq, (kind, data) in enumerate(STORY, 1)
    ]
    return HistoryPage(run=run(), items=items)


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        (("--step", "ship"), [5, 6, 8, 9]),
        (("--step", "1"), [2, 3, 4]),
        (("--step", "3", "--reverse"), [9, 8]),
        (("--since", "2026-11-23T03:00:09Z"), [9, 10]),
        (("--reverse",), list(range(10, 0, -1))),
    ],
)
def test_history_is_narrowed_and_turned_around(
    cli: Cli, daemon: Start, words: tuple[str, ...], seqs: list[int]
) -> None:
    daemon(history=story())
    assert [line["seq"] for line in cli("history", "order-1", *words, "-o", "jsonl").lines] == seqs  # type: ignore[index]
    document: Any = cli("history", "order-1", *words, "-o", "json").json
    assert [item["seq"] for item in document["items"]] == seqs
    assert len(cli("history", "order-1", *words).out.splitlines()) == len(seqs)
    fields = cli("history", "order-1", *words, "--fields", "seq", "--no-header").out.split()
    assert fields == [str(seq) for seq in seqs]


def test_a_step_that_a_run_never_had_is_an_error_with_the_nearest(cli: Cli, daemon: Start) -> None:
    daemon(history=story())
    said = cli("history", "order-1", "--step", "crate")
    assert said.code == 4
    assert said.err == (
        "error[not_found]: run 'order-1' has no step 'crate'; did you mean 'create'?\n"
        "  try: wfctl history order-1 --step create\n"
    )


def test_lines_turned_around_still_know_which_handler_a_step_ran(cli: Cli, daemon: Start) -> None:
    daemon(history=story())
    lines = cli("history", "order-1", "--reverse").out.splitlines()
    assert "step.failed\tship" in lines[1]


def test_a_query_that_takes_too_long_is_given_up(cli: Cli, daemon: Start) -> None:
    given_up = threading.Event()

    def slowly(call: Any) -> Any:
        given_up.wait(20)
        return QueryAnswer(run_id="R", workflow_id="w", value=msgspec.Raw(b"1"))

    fake = daemon(query=slowly)
    said = cli("query", "w", "total", "--timeout", "10ms")
    given_up.set()
    assert said.code == 14
    assert "did not answer within 10ms" in said.err
    fake.answers["query"] = QueryAnswer(run_id="R", workflow_id="w", value=msgspec.Raw(b"1"))
    assert cli("query", "w", "total", "--timeout", "10s").out == "1\n"


# -- types -----------------------------------------------------------------------------------------


def handler(kind: str, name: str, *found: Transition, line: int = 1) -> HandlerSpec:
    return HandlerSpec(kind, name, name, file="flows.py", line=line, transitions=found)


EVIL = 'a"]<b>`#;&\n\x1b[31m'
SPEC = TypeSpec(
    "Order",
    (
        handler("start", "create", Transition("step", "ship", 3), Transition("child", "Payment", 4), line=2),
        handler("step", "ship", Transition("wait", None, 7, note="any event"), Transition("timeout", "create_again", 7)),
        handler("step", "create_again", Transition("step", "ship", 9, delayed=True), Transition("complete", None, 10)),
        handler("step", "lonely", Transition("unknown", None, 12, note=f"{EVIL} says which step"), Transition("fail", None, 13)),
        handler("event", "paid", Transition("parent", "done", 15), Transition("send", None, 16, note="which event: x")),
        handler("event", EVIL),
        handler("query", "state"),
    ),
    file="flows.py",
    line=1,
)  # fmt: skip


def test_a_graph_is_a_tree_from_the_start_that_goes_through_each_handler_once() -> None:
    lines = [plain(line) for line in graph_lines(graph_of(SPEC), width=100, ascii=True)]
    assert lines[:9] == [
        "Order  flows.py:1",
        "start create  :2",
        "|- then > step ship  :1",
        "|  |- on any event > paid  :1",
        "|  |  |- tells done > its parent  :15",
        "|  |  `- sends ? > another run  :16  ? which event: x",
        "|  |- on any event > " + lines[6].partition("event > ")[2],
        "|  `- too late > step create_again  :1",
        "|     |- later > step ship  :1 ^",
    ]
    assert "nothing in the source leads to:" in lines
    assert "`- failed  :13" in lines
    assert not any("\x1b" in line or "state" in line for line in lines)
    for width in (20, 40, 80):
        assert all(line_cells(line) < width for line in graph_lines(graph_of(SPEC), width=width))


def test_a_chain_of_a_thousand_steps_is_drawn() -> None:
    steps = [handler("step", f"s{n}", Transition("step", f"s{n + 1}", 1)) for n in range(1_000)]
    spec = TypeSpec("Long", (handler("start", "s", Transition("step", "s0", 1)), *steps, handler("step", "s1000")))
    assert len(graph_lines(graph_of(spec), width=None)) == 1_003


def test_mermaid_holds_names_as_text(cli: Cli, daemon: Start) -> None:
    daemon(workflows=WorkflowList(items=[WorkflowView(spec=SPEC, generation=1)], problems=[]))
    said = cli("graph", "Order", "--mermaid")
    assert said.out == mermaid(graph_of(SPEC)) + "\n"
    lines = said.out.splitlines()
    assert lines[0] == "flowchart TD"
    assert '    n0(["start: create"])' in lines
    assert any("-.->" in line and "says which step" in line for line in lines)
    for line in lines:
        for text in line.split('"')[1::2]:
            assert not set(text) & set("<>`\n\x1b"), text
        assert line.count('"') in (0, 2)


def test_the_graph_is_data_too_and_says_what_it_lacks(cli: Cli, daemon: Start) -> None:
    daemon(workflows=WorkflowList(items=[WorkflowView(spec=SPEC, generation=1)], problems=[]))
    document: Any = cli("graph", "Order", "-o", "json").json
    assert (document["schema"], document["complete"]) == ("wfctl.graph/1", False)
    reached = {node["name"]: node["reached"] for node in document["nodes"]}
    assert (reached["ship"], reached["lonely"]) == (True, False)
    ids = {node["id"] for node in document["nodes"]}
    assert all({edge["source"], edge["target"]} <= ids for edge in document["edges"])
    assert "marked with ?" in cli("graph", "Order").err
    said = cli("graph", "Ordr")
    assert (said.code, "did you mean 'Order'?" in said.err) == (4, True)
    assert cli("graph", "Order", "--mermaid", "-o", "json").code == 2


def test_the_graph_as_svg_is_whole_and_holds_nothing_in_force(cli: Cli, daemon: Start, project: Path) -> None:
    daemon(workflows=WorkflowList(items=[WorkflowView(spec=SPEC, generation=1)], problems=[]))
    assert cli("graph", "Order", "--svg", "g.svg").out == f"{project / 'g.svg'}\n"
    text = (project / "g.svg").read_text()
    tags = [element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()]
    assert set(tags) <= {"svg", "title", "defs", "marker", "path", "rect", "text"}
    assert "&lt;b&gt;" in text
    # A line for each transition to a handler, beside the heads of arrows.
    aimed = [edge for edge in graph_of(SPEC).edges if edge.target.startswith(("step", "event"))]
    assert text.count("marker-end") == len(aimed)
    assert cli("graph", "Order", "--svg", "g.svg").code == 5
    said = cli("graph", "Order", "--svg", "-")
    assert (said.code, said.out, said.err) == (0, text, "")
    assert not (project / "-").exists()


@pytest.mark.parametrize("id", ["می\u200cخواهم", "👩\u200d👧"])
def test_an_id_with_joiners_is_shown_so_that_it_can_be_given_back(cli: Cli, daemon: Start, id: str) -> None:
    daemon(list=RunPage(items=[run(id)], total=1))
    assert cli("list", "--fields", "workflow_id", "--no-header").out == f"{id}\n"
    assert id in cli("list", tty=True, columns=100).out
    assert cells("a\u200db") == 2


def test_what_would_turn_a_line_around_is_spelled_out(cli: Cli, daemon: Start) -> None:
    daemon(list=RunPage(items=[run("a\u202eb")], total=1))
    assert cli("list", "--fields", "workflow_id", "--no-header").out == "a\\u202eb\n"
