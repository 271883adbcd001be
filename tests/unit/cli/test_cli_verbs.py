from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon, HangUp, welcome
from support.runs import entry, failure, run
from wfctl.cli.commands.demo import Demo, Ends
from wfctl.cli.options import Settings
from wfctl.cli.shell import Shell
from wfctl.errors import DaemonDownError, RunNotFoundError, UnknownWorkflowTypeError
from wfctl.protocol.calls import (
    Cancel,
    Changed,
    Get,
    HistoryPage,
    RunPage,
    Sent,
    Started,
    TailEnd,
    Terminate,
    WorkflowList,
)
from wfctl.protocol.views import (
    InboxView,
    MissingView,
    Outcome,
    ProblemView,
    ProgressView,
    RunDetail,
    StatusView,
    UnloadedView,
    WorkerView,
    WorkflowView,
)
from wfctl.values.runinfo import ParentInfo, RunInfo
from wfctl.values.signature import HandlerSpec, ParamSpec, TypeSpec
from wfctl.values.status import OPEN, Status

Start = Callable[..., FakeDaemon]
STARTED = Started(run=RunInfo("01JF", "order-1", "Order", started_at_ms=NOW), status=Status.RUNNING)
STATUS = StatusView(
    pid=4121, version="0.1.0", project="/shop", config="/shop/wfctl.toml", socket="/s", database="/shop/.wfctl/wfctl.db",
    database_bytes=40_960, log="/shop/.wfctl/wfd.log", started_at=NOW - 60_000, now=NOW, generation=2,
    source_hash="abcdef0123456789", python="/usr/bin/python3", counts={"running": 2, "failed": 1},
    workers=[WorkerView(pid=1, generation=2, steps=1, started_at=NOW)], queued_steps=0,
)  # fmt: skip


def outcome(status: str = "completed", result: bytes = b'"txn-9"', **more: Any) -> Outcome:
    return Outcome(
        run_id="01JF",
        workflow_id="order-1",
        workflow_type="Order",
        status=Status(status),
        result=msgspec.Raw(result),
        **more,
    )


def not_found(call: Any) -> RunNotFoundError:
    return RunNotFoundError(f"no run {call.id!r}", hint="wfctl list", id=call.id)


# -- start ----------------------------------------------------------------------------------------


def test_start_prints_the_id_alone_and_tells_the_rest_on_stderr(cli: Cli, daemon: Start) -> None:
    fake = daemon(start=STARTED)
    said = cli("start", "Order", "order_id=1", "amount:=9.99", "--id", "order-1", "--timeout", "5m")
    assert (said.code, said.out) == (0, "order-1\n")
    assert "started Order order-1 (run 01JF)" in said.err
    assert "wfctl tail -f order-1" in said.err
    (call,) = fake.asked("start")
    assert (call.workflow_type, call.workflow_id, call.timeout_ms) == ("Order", "order-1", 300_000)
    assert (bytes(call.input), call.text) == (b'{"amount":9.99}', {"order_id": "1"})


def test_quiet_start_says_nothing_but_the_id(cli: Cli, daemon: Start) -> None:
    daemon(start=STARTED)
    for arguments in (("-q", "start", "Order"), ("start", "Order", "-q")):
        assert cli(*arguments) == (0, "order-1\n", "")


def test_start_in_json_is_one_document(cli: Cli, daemon: Start) -> None:
    daemon(start=STARTED)
    document: Any = cli("start", "Order", "-o", "json").json
    assert document["schema"] == "wfctl.start/1"
    assert document["run"]["id"] == "01JF"
    assert document["run"]["started_at"] == "2026-11-23T03:00:00.000Z"
    assert document["status"] == "running"


def test_start_wait_prints_only_the_result(cli: Cli, daemon: Start) -> None:
    daemon(start=STARTED, result=outcome())
    assert cli("start", "Order", "--wait")[:2] == (0, "txn-9\n")


def test_start_prints_the_same_id_whether_it_waits_or_not(cli: Cli, daemon: Start) -> None:
    daemon(start=STARTED, result=outcome())
    assert cli("start", "Order", "-o", "id").out == cli("start", "Order", "--wait", "-o", "id").out == "order-1\n"


@pytest.mark.parametrize(("status", "code"), [("failed", 10), ("cancelled", 11), ("terminated", 12), ("timed_out", 13)])
def test_an_awaited_run_exits_by_its_outcome(cli: Cli, daemon: Start, status: str, code: int) -> None:
    daemon(start=STARTED, result=outcome(status, b"null", error=failure("CardDeclined", "limit")))
    said = cli("start", "Order", "--wait", "-q")
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(f"error[{status}]: Order order-1 ")
    in_json = cli("start", "Order", "--wait", "-o", "json")
    assert (in_json.code, in_json.json["status"], in_json.err) == (code, status, "")  # type: ignore[index]


def test_a_dry_run_starts_nothing_and_is_not_the_last_run(cli: Cli, daemon: Start, project: Path) -> None:
    fake = daemon(start=STARTED)
    assert cli("start", "Order", "--dry-run").out == "order-1\n"
    assert fake.asked("start")[0].dry_run is True
    assert not (project / ".wfctl" / "last").exists()


def test_last_stands_for_the_run_started_last_here(cli: Cli, daemon: Start) -> None:
    fake = daemon(start=STARTED, result=outcome())
    assert cli("result", "@last").code == 4
    cli("start", "Order")
    assert cli("result", "@last").code == 0
    assert fake.asked("result")[0].id == "01JF"


def test_the_run_started_last_is_noted_where_the_daemon_of_this_project_says_its_state_is(
    cli: Cli, daemon: Start, project: Path
) -> None:
    (elsewhere := project / "elsewhere").mkdir()
    daemon(start=STARTED, hello=welcome(project=str(project), state=str(elsewhere)))
    assert cli("start", "Order").code == 0
    assert (elsewhere / "last").read_text() == "01JF\n"


def test_the_daemon_of_another_project_does_not_say_where_this_ones_state_is(
    cli: Cli, daemon: Start, project: Path
) -> None:
    daemon(start=STARTED, hello=welcome(project="/another", state=str(project)))
    assert cli("start", "Order").code == 0
    assert (project / ".wfctl" / "last").read_text() == "01JF\n"


def test_an_error_of_the_daemon_is_told_in_three_lines(cli: Cli, daemon: Start) -> None:
    daemon(start=UnknownWorkflowTypeError("no workflow type 'Ordr'; did you mean 'Order'?", hint="wfctl workflows"))
    said = cli("start", "Ordr")
    assert said.code == 4
    assert said.out == ""
    assert said.err == ("error[unknown_type]: no workflow type 'Ordr'; did you mean 'Order'?\n  try: wfctl workflows\n")


def test_start_asks_for_a_later_beginning_and_refuses_one_that_has_passed(cli: Cli, daemon: Start) -> None:
    fake = daemon(start=STARTED)
    assert cli("start", "Order", "--in", "10m").code == cli("start", "Order", "--at", "2999-01-02T03:04:05Z").code == 0
    assert [(call.delay_ms, call.begins_at) for call in fake.asked("start")] == [
        (600_000, None),
        (None, 32_472_241_445_000),
    ]
    assert cli("start", "Order", "--dry-run", "--if-running", "use").err == "Order can be started so; nothing was\n"
    assert (fake.asked("start")[-1].dry_run, fake.asked("start")[-1].if_running) == (True, "use")
    late = cli("start", "Order", "--at", "2020-01-01")
    assert (late.code, "--at 2020-01-01: 2020-01-01T00:00:00.000Z has passed" in late.err) == (2, True)
    assert len(fake.asked("start")) == 3


def test_start_tells_that_it_has_taken_a_run_that_was_there(cli: Cli, daemon: Start) -> None:
    fake = daemon(start=msgspec.structs.replace(STARTED, existing=True, status=Status.TIMED_OUT))
    words = ("start", "Order", "--id", "order-1", "--if-closed", "use")
    assert "timed out already: Order " in cli(*words).err
    assert fake.asked("start")[-1].if_closed == "use"
    said = cli(*words, "--dry-run").err
    assert (said.startswith("timed out already: Order "), said.endswith("; nothing would be started\n")) == (True, True)
    fake.answers["start"] = msgspec.structs.replace(STARTED, existing=True)
    assert "runs already: Order " in cli(*words).err


# -- send -----------------------------------------------------------------------------------------


def test_send_asks_for_one_of_a_token_a_run_to_begin_and_an_event_not_yet_known(cli: Cli, daemon: Start) -> None:
    fake = daemon(send=Sent(run_id="01JF", workflow_id="cart-7", dispatched=True, started=True))
    more = ("--id", "txn-1", "--start", "Cart", "--start-input", '{"owner": "ann"}', "--allow-unknown")
    assert "started cart-7 (run 01JF)\n" in cli("send", "cart-7", "add", "sku=A1", *more).err
    (call,) = fake.asked("send")
    assert (call.event_id, call.any_event, call.text) == ("txn-1", True, {"sku": "A1"})
    assert (call.start.workflow_type, bytes(call.start.input)) == ("Cart", b'{"owner": "ann"}')
    fake.answers["send"] = Sent(run_id="01JF", workflow_id="cart-7", dispatched=False, duplicate=True)
    assert "an event of ID txn-1 before; nothing was sent" in cli("send", "cart-7", "add", "--id", "txn-1").err
    for words, said in (
        (("cart-7", "add", "--start-input", "{}"), "add --start TYPE"),
        (("@last", "add", "--start", "Cart"), "not @last"),
        (("cart-7", "add", "-i", "-", "--start", "Cart", "--start-input", "-"), "one of them as @FILE"),
    ):
        refused = cli("send", *words, stdin="{}")
        assert (refused.code, said in refused.err) == (2, True)
    assert len(fake.asked("send")) == 2


def test_send_says_whether_the_event_is_handled_or_kept(cli: Cli, daemon: Start) -> None:
    fake = daemon(send=Sent(run_id="01JF", workflow_id="order-1", dispatched=True))
    said = cli("send", "order-1", "paid", "by=ann", "-i", '{"limit": 5}')
    assert said == (0, "", "delivered paid to order-1; it is being handled\n")
    (call,) = fake.asked("send")
    assert (call.id, call.event, call.text, bytes(call.payload)) == ("order-1", "paid", {"by": "ann"}, b'{"limit": 5}')
    fake.answers["send"] = Sent(run_id="01JF", workflow_id="order-1", dispatched=False, position=2)
    assert "queued paid for order-1: number 2" in cli("send", "order-1", "paid").err
    assert cli("send", "order-1", "paid", "-o", "json").json == {
        "schema": "wfctl.sent/1", "run_id": "01JF", "workflow_id": "order-1", "dispatched": False, "position": 2,
        "duplicate": False, "started": False,
    }  # fmt: skip


# -- result ---------------------------------------------------------------------------------------


def test_a_result_that_is_text_is_printed_as_it_is_and_others_as_json(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=outcome())
    assert cli("result", "order-1").out == "txn-9\n"
    fake.answers["result"] = outcome(result=b'{"txn":"9","n":1.50}')
    assert cli("result", "order-1").out == '{"txn":"9","n":1.50}\n'
    fake.answers["result"] = outcome(result=b"null")
    assert cli("result", "order-1").out == "null\n"


def test_result_asks_to_wait_only_when_told(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=outcome("waiting", b"null"))
    assert cli("result", "order-1", "--no-wait").code == 14
    assert cli("result", "order-1", "--timeout", "30s").code == 14
    first, second = fake.asked("result")
    assert first.wait is False
    assert second.wait is True
    assert 29_000 < second.timeout_ms <= 30_000


def test_a_stuck_run_counts_as_open_unless_asked_otherwise(cli: Cli, daemon: Start) -> None:
    daemon(result=outcome("stuck", b"null", stuck_reason="handler gone"))
    assert cli("result", "order-1", "--no-wait").code == 14
    said = cli("result", "order-1", "--fail-if-stuck")
    assert said.code == 15
    assert said.err == "error[stuck]: Order order-1 is stuck\n  handler gone\n  try: wfctl show order-1\n"


def test_waiting_outlives_a_restart_of_the_daemon(cli: Cli, daemon: Start) -> None:
    times = itertools.count()

    def answer(call: Any) -> Outcome:
        if next(times) == 0:
            raise HangUp
        return outcome()

    daemon(result=answer, status=STATUS)
    said = cli("result", "order-1")
    assert (said.code, said.out) == (0, "txn-9\n")
    assert said.err == "the daemon went away; waiting up to 30 s for it\nthe daemon is back\n"


# -- list, show, history, workflows, status ---------------------------------------------------------


def page(*runs: Any, next: str | None = None, total: int | None = None) -> RunPage:
    return RunPage(items=list(runs), next=next, total=total)


def test_list_off_a_terminal_is_tab_separated_and_whole(cli: Cli, daemon: Start) -> None:
    daemon(list=page(run("order-1", run_id="01A", status="failed", error=failure("E", "x" * 200)), total=1))
    said = cli("list")
    assert said.out.splitlines()[0] == "WORKFLOW ID\tTYPE\tSTATUS\tSTARTED\tTOOK\tAT\tPROBLEM\tRUN ID"
    assert said.out.splitlines()[1] == (
        "order-1\tOrder\tfailed\t2026-11-23T02:55:48.000Z\t12.1s\t\tE: " + "x" * 200 + "\t01A"
    )


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_list_fits_the_terminal(cli: Cli, daemon: Start, columns: int) -> None:
    runs = [run(f"order-{'9' * 40}", status="failed", error=failure("CardDeclined", "limit " * 20), children=3), run()]
    daemon(list=page(*runs))
    said = cli("--color", "never", "list", tty=True, columns=columns)
    assert all(len(line) <= columns for line in said.out.splitlines())
    assert "✗ failed" in said.out
    assert "CardDec" in said.out or columns == 40


def test_list_passes_its_filters_on(cli: Cli, daemon: Start) -> None:
    fake = daemon(list=page())
    cli("list", "--status", "failed,stuck", "--status", "WAITING", "--type", "Order", "--parent", "p", "--limit", "5")
    (call,) = fake.asked("list")
    assert set(call.statuses) == {Status.FAILED, Status.STUCK, Status.WAITING}
    assert (call.types, call.parent, call.limit) == (["Order"], "p", 5)
    cli("list", "--status", "open")
    assert set(fake.asked("list")[1].statuses) == {status for status in Status if status.open}


def test_an_unknown_status_is_named_with_its_nearest_match(cli: Cli, daemon: Start) -> None:
    said = cli("list", "--status", "faild")
    assert said.code == 2
    assert said.err.startswith(
        "error[invalid_argument]: 'faild' is no status; did you mean 'failed'?\n  hint: use one of running,"
    )


def test_list_follows_pages_up_to_its_limit_and_says_what_is_left(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> RunPage:
        begin = int(call.after or 0)
        runs = [run(f"order-{begin + index}", run_id=f"r{begin + index}") for index in range(call.limit)]
        return page(*runs, next=str(begin + call.limit), total=5_000)

    daemon(list=answer)
    said = cli("list", "--limit", "1500", "-o", "id")
    assert said.out.splitlines() == [f"r{number}" for number in range(1_500)]
    assert said.err == "1500 of 5000, more: --after 1500, or a higher --limit\n"
    document: Any = cli("list", "--limit", "2", "-o", "json").json
    assert (document["schema"], document["next"], document["total"]) == ("wfctl.runs/1", "2", 5_000)
    assert document["items"][0]["started_at"] == "2026-11-23T02:55:48.000Z"
    assert [line["run_id"] for line in cli("list", "--limit", "2", "-o", "jsonl").lines] == ["r0", "r1"]  # type: ignore[index]


def test_show_is_one_screen_with_store_and_inbox(cli: Cli, daemon: Start) -> None:
    view = run(status="waiting", waiting_for=["paid"], wake_at=NOW + 60_000, run_id="01A")
    daemon(
        get=RunDetail(
            run=view,
            input=msgspec.Raw(b'{"order_id":"1"}'),
            store={"amount": msgspec.Raw(b"9.99")},
            inbox=[InboxView(7, "cancelled", msgspec.Raw(b"{}"), NOW)],
            history_entries=6,
        )
    )
    said = cli("show", "order-1")
    assert "waits for     event paid\n" in said.out
    assert "store amount  9.99\n" in said.out
    assert "inbox 7       cancelled  {}\n" in said.out
    assert 'input         {"order_id":"1"}\n' in said.out
    document: Any = cli("show", "order-1", "-o", "json").json
    assert document["schema"] == "wfctl.run/1"
    assert document["workflow_id"] == "order-1"
    assert document["store"] == {"amount": 9.99}
    assert document["inbox"][0]["received_at"] == "2026-11-23T03:00:00.000Z"
    assert document["wake_at"] == "2026-11-23T03:01:00.000Z"


def test_show_tells_the_progress_of_the_step_and_what_keeps_the_code_of_a_waiting_run_away(
    cli: Cli, daemon: Start
) -> None:
    step = run(status="running", progress=ProgressView(done=6, total=10, note="stirring"))
    problem = ProblemView(module="orders", message="SyntaxError: invalid syntax", file="orders.py", line=7)
    fake = daemon(
        get=RunDetail(run=step),
        history=HistoryPage(run=step, items=[], total=0),
        workflows=WorkflowList(items=[], problems=[problem]),
    )
    assert "progress     60% 6/10 stirring\n" in cli("show", "order-1").out
    fake.answers["get"] = RunDetail(run=run(status="waiting"))
    said = cli("show", "order-1").err
    assert said.startswith("the code of Order is not loaded: orders.py:7: SyntaxError: invalid syntax\n")
    assert "wfctl send" not in said


@pytest.mark.parametrize(
    ("reload", "problems", "cure"),
    [
        ("true (default)", [], "correct the code and save it"),
        ("false (wfctl.toml)", [], "correct the code, then 'wfctl down && wfctl up'"),
        ("true (default)", [ProblemView(module="a.py", message="no")], "correct the code and save it"),
    ],
)
def test_show_of_a_stuck_run_says_why_and_what_to_type(
    cli: Cli, daemon: Start, reload: str, problems: list[ProblemView], cure: str
) -> None:
    reason = "step handler 'pay' ended its worker 5 times\nthe last time: signal SIGSEGV; it last said: " + "word " * 20
    daemon(
        get=RunDetail(run=run("order 1", status="stuck", step="pay", stuck_reason=reason)),
        status=msgspec.structs.replace(STATUS, settings={"reload": reload}, problems=problems),
    )
    said = cli("show", "order 1")
    assert "\nstuck        step handler 'pay' ended its worker 5 times the last time: signal SIGSEGV; " in said.out
    lines = said.err.splitlines()
    assert lines[0] == f"to go on: {cure}; the run then goes on by itself"
    assert lines[-3:] == [
        "  what led to it: wfctl history --logs 'order 1'",
        "  to try again at once, or from an earlier step: wfctl retry 'order 1' [--from STEP]",
        "  to give it up: wfctl cancel 'order 1'",
    ]
    assert ("  1 module did not load, see: wfctl workflows" in lines) is bool(problems)
    drawn = cli("--color", "never", "show", "order 1", tty=True)
    assert "stuck        step handler 'pay' ended its worker 5 times\n             the last time: " in drawn.out
    assert all(len(line) < 80 for line in drawn.out.splitlines())
    assert cli("-q", "show", "order 1").err == ""
    assert cli("show", "order 1", "-o", "json").err == ""


def test_history_reads_every_page_and_names_steps_by_their_handler(cli: Cli, daemon: Start) -> None:
    entries = [
        entry("run.started", seq=1, rev=1, workflow_type="Order", workflow_id_="x", input={"a": 1}),
        entry("step.started", seq=2, rev=2, step=1, kind_="s", handler="order_start"),
        entry("step.completed", seq=3, rev=3, step=1, next="wait", put={"amount": 9.99}),
    ]

    def answer(call: Any) -> HistoryPage:
        return HistoryPage(
            run=run(run_id="01A"),
            items=[entries[call.after_seq]],
            next=call.after_seq + 1 if call.after_seq < 2 else None,
        )

    fake = daemon(history=answer)
    said = cli("history", "order-1")
    assert said.out.splitlines() == [
        '2026-11-23T03:00:00.000Z\trun.started\tOrder  {"a":1}',
        "2026-11-23T03:00:00.000Z\tstep.started\torder_start",
        "2026-11-23T03:00:00.000Z\tstep.completed\torder_start  then wait  stored amount",
    ]
    assert [call.id for call in fake.asked("history")] == ["order-1", "01A", "01A"]
    document: Any = cli("history", "order-1", "-o", "json").json
    assert [item["kind"] for item in document["items"]] == ["run.started", "step.started", "step.completed"]
    assert document["items"][0]["at"] == "2026-11-23T03:00:00.000Z"


def test_a_payload_field_that_looks_like_a_time_is_left_alone(cli: Cli, daemon: Start) -> None:
    received = entry("event.received", name="e", payload={"at": NOW, "deadline": NOW})
    daemon(history=HistoryPage(run=run(), items=[received, entry("wait.started", deadline=NOW)]))
    items: Any = cli("history", "order-1", "-o", "json").json["items"]  # type: ignore[index]
    assert items[0]["data"]["payload"] == {"at": NOW, "deadline": NOW}
    assert items[1]["data"]["deadline"] == "2026-11-23T03:00:00.000Z"


def test_workflows_lists_handlers_with_what_they_take(cli: Cli, daemon: Start) -> None:
    start = HandlerSpec(
        "start",
        "order_start",
        "order_start",
        (ParamSpec("order_id", "str"), ParamSpec("n", "int", False, "1")),
        line=33,
    )
    event = HandlerSpec("event", "paid", "on_paid", line=40)
    view = WorkflowView(
        spec=TypeSpec("Order", (start, event), "orders", "orders.py", 30),
        generation=1, source_hash="3f9a", loaded_at=NOW, open_runs=2,
    )  # fmt: skip
    problem = ProblemView(
        module="flows/bad.py", message="SyntaxError: invalid syntax", file="flows/bad.py", line=7, hint="fix the syntax"
    )
    daemon(workflows=WorkflowList(items=[view], problems=[problem]))
    said = cli("workflows")
    assert (
        said.out.splitlines()[1]
        == "Order\tstart\torder_start\torder_start\t(order_id: str, n: int = 1)\torders.py\t33\t2"
        "\t1\t3f9a\t2026-11-23T03:00:00.000Z\t\t\t0\t0"
    )
    assert said.err == (
        "warning[workflows]: flows/bad.py: SyntaxError: invalid syntax\n  at flows/bad.py:7\n  hint: fix the syntax\n"
    )
    drawn = cli("--color", "never", "workflows", tty=True).out
    assert "Order  orders.py:30  2 open runs\n" in drawn
    assert "  event  paid = on_paid()" in drawn
    assert "  generation 1  3f9a  loaded " in drawn


def test_workflows_tells_what_open_runs_miss(cli: Cli, daemon: Start) -> None:
    start = HandlerSpec("start", "order_start", "order_start")
    view = WorkflowView(
        spec=TypeSpec("Order", (start,), "orders", "orders.py", 30), generation=2, open_runs=5,
        missing=[MissingView(kind="event", name="paid", runs=3), MissingView(kind="step", name="expire", runs=1)],
    )  # fmt: skip
    gone = UnloadedView(workflow_type="Parcel", open_runs=7)
    daemon(workflows=WorkflowList(items=[view], problems=[], unloaded=[gone]))
    rows = [line.split("\t") for line in cli("workflows").out.splitlines()]
    assert [dict(zip(rows[0], row, strict=True)) for row in rows[2:]] == [
        {**dict.fromkeys(rows[0], ""), "TYPE": "Order", "KIND": kind, "NAME": name, "OPEN": "5", "GENERATION": "2",
         "LOADED": "1970-01-01T00:00:00.000Z", "NEEDED": runs, "EXECUTING": "0", "WAITING": "0"}
        for kind, name, runs in (("event", "paid", "3"), ("step", "expire", "1"))
    ] + [{**dict.fromkeys(rows[0], ""), "TYPE": "Parcel", "OPEN": "7", "NEEDED": "7"}]  # fmt: skip
    drawn = cli("--color", "never", "workflows", tty=True).out
    assert "  event  paid  is missing: 3 open runs need it\n" in drawn
    assert "  step   expire  is missing: 1 open run needs it\n" in drawn
    assert drawn.endswith("Parcel  7 open runs\n  in no module that is loaded: put it back\n")
    document: Any = cli("workflows", "-o", "json").json
    assert document["unloaded"] == [{"workflow_type": "Parcel", "open_runs": 7}]
    assert document["items"][0]["missing"][0] == {"kind": "event", "name": "paid", "runs": 3}


def test_status_shows_the_daemon_and_counts(cli: Cli, daemon: Start) -> None:
    daemon(status=STATUS)
    for arguments in (("status",), ()):
        said = cli(*arguments)
        assert said.code == 0
        assert "running since 2026-11-23T02:59:00.000Z  pid 4121" in said.out
        assert "runs      2 running  1 failed" in said.out
    assert cli("status", "-q") == (0, "", "")
    document: Any = cli("-o", "json").json
    assert (document["schema"], document["running"], document["counts"]) == (
        "wfctl.status/1", True, {"running": 2, "failed": 1},
    )  # fmt: skip


def test_status_tells_how_many_steps_wait_for_a_worker_and_since_when_the_oldest_does(cli: Cli, daemon: Start) -> None:
    long = msgspec.structs.replace(
        STATUS, started_at=NOW - 3_600_000, queued_steps=1_200, oldest_queued_at=NOW - 240_000
    )
    fake = daemon(status=long)
    assert "running, 1200 queued (the oldest since 2026-11-23T02:56:00.000Z)" in cli("status").out
    assert "running, 1,200 queued (the oldest for 4m)" in cli("--color", "never", "status", tty=True, columns=200).out
    assert cli("status", "-o", "json").json["oldest_queued_at"] == "2026-11-23T02:56:00.000Z"  # type: ignore[index]
    # What a daemon found when it came up may have waited for the one before.
    fake.answers["status"] = msgspec.structs.replace(long, started_at=NOW - 241_000)
    assert "queued (the oldest for 4m, or longer)" in cli("--color", "never", "status", tty=True, columns=200).out


def test_status_says_that_open_runs_need_what_the_code_lacks_and_that_none_is_loaded(cli: Cli, daemon: Start) -> None:
    gone = [UnloadedView(workflow_type="Order", open_runs=2)]
    fake = daemon(status=STATUS, workflows=WorkflowList(items=[], problems=[], unloaded=gone))
    assert "open runs need handlers that it lacks: wfctl workflows" in cli("status").out
    fake.answers["status"] = msgspec.structs.replace(STATUS, generation=0, source_hash="", counts={"failed": 1})
    said = cli("status").out
    assert ("  none is loaded\n" in said, "lacks" in said) == (True, False)


def test_status_warns_of_a_blocked_worker_with_what_it_runs(cli: Cli, daemon: Start) -> None:
    blocked = WorkerView(
        pid=77, generation=2, steps=2, started_at=NOW, blocked_ms=12_300,
        handlers=["Order 'charge' of order-1 for 13.0s", "Order 'ship' of order-2 for 1.0s"],
    )  # fmt: skip
    daemon(status=msgspec.structs.replace(STATUS, workers=[*STATUS.workers, blocked]))
    said = cli("status")
    assert said.code == 0
    assert "2 processes, 3 steps running, 1 blocked, " in said.out
    assert said.out.endswith(
        "warning[blocked_worker]: worker 77 has not answered for 12.3s: a handler blocks its event loop\n"
        "  it runs Order 'charge' of order-1 for 13.0s\n"
        "  it runs Order 'ship' of order-2 for 1.0s\n"
        "  hint: await what takes long, or write the handler with 'def' alone, which gets a thread\n"
    )
    workers: Any = cli("status", "-o", "json").json["workers"]  # type: ignore[index]
    assert [(one["blocked_ms"], len(one["handlers"])) for one in workers] == [(0, 0), (12_300, 2)]


def test_status_warns_of_a_worker_that_is_blocked_though_it_runs_no_step(cli: Cli, daemon: Start) -> None:
    blocked = WorkerView(pid=77, generation=2, steps=0, started_at=NOW, blocked_ms=12_300)
    daemon(status=msgspec.structs.replace(STATUS, workers=[*STATUS.workers, blocked]))
    assert (
        "warning[blocked_worker]: worker 77 has not answered for 12.3s: something blocks its event loop\n"
        "  it runs no step: a query, or what a step left running\n"
    ) in cli("status").out


def test_status_says_of_a_worker_whose_process_is_stopped_how_it_goes_on(cli: Cli, daemon: Start) -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        blocked = WorkerView(pid=process.pid, generation=2, steps=1, started_at=NOW, blocked_ms=12_300, handlers=["a"])
        try:
            daemon(status=msgspec.structs.replace(STATUS, workers=[blocked]))
            said = cli("status").out
        finally:
            process.kill()
    assert said.endswith(
        f"warning[blocked_worker]: worker {process.pid} has not answered for 12.3s: its process is stopped\n"
        f"  try: kill -CONT {process.pid}\n"
    )


def test_status_says_why_steps_wait_for_a_worker_and_which_run_waits(cli: Cli, daemon: Start) -> None:
    daemon(status=msgspec.structs.replace(STATUS, no_worker=["all 2 workers are blocked"]))
    assert cli("status").out.endswith(
        "warning[no_worker]: steps wait for a worker: all 2 workers are blocked\n  try: wfctl explain no_worker\n"
    )


def test_status_says_that_the_database_was_taken_away(cli: Cli, daemon: Start) -> None:
    daemon(status=msgspec.structs.replace(STATUS, displaced="the database is not at /x any more"))
    said = cli("status").out
    assert "stopped working" not in said
    assert said.endswith("storage error: the database is not at /x any more\n")


def test_status_warns_of_a_worker_whose_threads_are_taken_with_what_has_them(cli: Cli, daemon: Start) -> None:
    held = WorkerView(
        pid=77, generation=2, steps=66, started_at=NOW, handlers=["Order 'charge' of order-1 for 13.0s"], held=1,
        held_tasks=2, held_ms=12_300,
    )  # fmt: skip
    daemon(status=msgspec.structs.replace(STATUS, workers=[*STATUS.workers, held]))
    assert cli("status").out.endswith(
        "warning[no_thread]: worker 77 has no thread left: 1 handler and 2 tasks wait for one, the first for 12.3s\n"
        "  it runs Order 'charge' of order-1 for 13.0s\n"
        "  hint: limit the time of what blocks there, write it with 'async def', or raise `workers`\n"
    )


def test_status_calls_code_older_that_was_loaded_before_and_not_what_is_loading(cli: Cli, daemon: Start) -> None:
    workers = [WorkerView(pid=number, generation=number, steps=0, started_at=NOW) for number in (1, 3, 7)]
    daemon(status=msgspec.structs.replace(STATUS, generation=3, workers=workers, loading_ms=5_000))
    said = cli("status").out
    assert "generation 3  " in said
    assert ", older code in use too: generation 1, new code is loading for 5.0s\n" in said


def test_status_warns_of_runs_that_are_set_aside(cli: Cli, daemon: Start) -> None:
    aside = ["run 'a' (01J) cannot be read: column state", "run 'b' (01K) cannot be read: column state"]
    daemon(status=msgspec.structs.replace(STATUS, unreadable=aside))
    assert cli("status").out.endswith(
        "warning[unreadable_run]: run 'a' (01J) cannot be read: column state\n"
        "  it is set aside as it is, as is 1 more; the other runs go on\n"
        "  try: wfctl explain unreadable_run\n"
    )


def test_status_warns_of_who_keeps_the_log_of_the_database_from_being_cut(cli: Cli, daemon: Start) -> None:
    daemon(status=msgspec.structs.replace(STATUS, wal_bytes=300 << 20, log_readers=["sqlite3 (pid 7)"]))
    assert cli("status").out.endswith(
        "warning[long_log]: the log of the database is 300.0 MiB long, and grows as long as it is read by sqlite3 (pid 7)\n"
        "  try: wfctl explain long_log\n"
    )


def test_status_without_a_daemon_exits_with_three_and_is_a_document_in_json(cli: Cli, project: Path) -> None:
    said = cli("status")
    assert said.code == 3
    assert said.err == (
        f"error[daemon_down]: no wfctl daemon at {project}/d.sock\n"
        f"  socket {project}/d.sock does not exist\n  try: wfctl up\n"
    )
    assert cli("status", "-q") == (3, "", "")
    in_json = cli("status", "-o", "json")
    assert in_json.code == 3
    assert in_json.err == ""
    assert in_json.json["running"] is False  # type: ignore[index]


# -- cancel and terminate ---------------------------------------------------------------------------


def changed(call: Cancel) -> Changed | RunNotFoundError:
    if call.id == "none":
        return not_found(call)
    return Changed(run_id=f"run-{call.id}", workflow_id=call.id, status=Status.CANCELLED, changed=call.id != "old")


@pytest.mark.parametrize(("verb", "done"), [("cancel", "asked to end"), ("terminate", "terminated")])
def test_one_run_is_changed_without_asking(cli: Cli, daemon: Start, verb: str, done: str) -> None:
    fake = daemon(**{verb: changed})
    assert cli(verb, "order-1", "--reason", "no stock") == (0, "", f"{done} order-1 (run run-order-1)\n")
    assert fake.asked(verb)[0].reason == "no stock"
    cli(verb, "order-1")
    assert fake.asked(verb)[1].reason.startswith("by ")


def test_what_is_closed_already_is_no_error(cli: Cli, daemon: Start) -> None:
    daemon(cancel=changed)
    assert cli("cancel", "old") == (0, "", "old (run run-old) is cancelled already\n")


@pytest.mark.parametrize(("verb", "done"), [("cancel", "asked to end"), ("terminate", "terminated")])
@pytest.mark.parametrize(
    ("descendants", "told"), [(0, "no descendants"), (1, "1 descendant"), (2_003, "2,003 descendants")]
)
def test_children_are_changed_too_and_counted(
    cli: Cli, daemon: Start, verb: str, done: str, descendants: int, told: str
) -> None:
    def answer(call: Cancel) -> Changed:
        run_id = "01A" if call.id == "order-1" else "01B"
        return Changed(
            run_id=run_id, workflow_id="order-1", status=Status.CANCELLING, changed=True, descendants=descendants
        )

    fake = daemon(**{verb: answer}, get=lambda call: RunDetail(run=run(run_id=call.id)))
    said = cli(verb, "order-1", "--children")
    before = (
        f"{told.replace(' ', ' open ')} of order-1 will be terminated too\n"
        if verb == "terminate" and descendants
        else ""
    )
    assert said == (0, "", f"{before}{done} order-1 (run 01A) and {told}: now cancelling\n")
    assert all(call.children for call in fake.asked(verb))
    assert [call.dry_run for call in fake.asked(verb)] == ([False] if verb == "cancel" else [True, False])
    before_it = len(fake.asked(verb))
    document: Any = cli(verb, "order-1", "--children", "-o", "json").json
    assert document["descendants"] == descendants
    assert len(fake.asked(verb)) == before_it + 1, "where nobody is told, nobody is asked"
    assert "descendant" not in cli(verb, "order-1").err
    assert fake.asked(verb)[-1].children is False
    cli(verb, "order-1", "--no-children")
    assert fake.asked(verb)[-1].children is False
    several = cli(verb, "order-1", "order-2", "--children", "--yes").err
    twice = f"{descendants * 2:,} descendants" if descendants else "no descendants"
    if verb == "terminate" and descendants:
        assert several.startswith(f"{descendants * 2:,} open descendants of 2 runs will be terminated too\n")
    assert several.endswith(f"2 {done}, 0 had nothing to do, 0 failed; {twice} {done}\n")


def test_of_runs_that_filters_chose_only_those_with_children_are_asked_about_and_not_too_many(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        run("parent", run_id="run-parent", status="waiting", children=2),
        run("child", run_id="run-child", status="waiting", parent=ParentInfo("run-parent", "parent", "Order")),
        # Of another tree, so nobody asks who its parent is below.
        run("far", run_id="run-far", status="waiting", root_id="far", parent=ParentInfo("run-top", "top", "Order")),
        *(run(f"r-{number}", run_id=f"run-{number}", status="waiting") for number in range(20)),
    ]

    def ends(call: Terminate) -> Changed:
        below = 2 if call.id == "run-parent" else 0
        return Changed(run_id=call.id, workflow_id=call.id, status=Status.TERMINATED, changed=True, descendants=below)

    fake = daemon(terminate=ends, list=RunPage(items=runs, next=None, total=23))
    said = cli("terminate", "--type", "Order", "--children", "--yes").err
    # Of the two below one is chosen itself.
    assert said.startswith("1 open descendant of 23 runs will be terminated too\n")
    assert [(call.id, call.exact) for call in fake.asked("terminate") if call.dry_run] == [("run-parent", True)]
    assert fake.asked("get") == []
    monkeypatch.setattr("wfctl.cli.commands.terminate.MOST_ASKED", 0)
    said = cli("terminate", "--type", "Order", "--children", "--yes").err
    told = "the open descendants of 23 runs will be terminated too; how many there are tells --dry-run\n"
    assert said.startswith(told)


def test_of_several_runs_each_descendant_is_counted_once_whichever_of_them_it_is_below(cli: Cli, daemon: Start) -> None:
    """a ─ (b closed) ─ c ─ d, and e beside: named are a, c and e."""
    below, parents = {"a": 2, "c": 1, "e": 3}, {"d": "c", "c": "b", "b": "a"}

    def end(call: Terminate) -> Changed:
        return Changed(
            run_id=call.id,
            workflow_id=call.id,
            status=Status.RUNNING,
            changed=True,
            descendants=below[call.id],
            dry_run=True,
        )

    def get(call: Get) -> RunDetail:
        above = parents.get(call.id)
        return RunDetail(run=run(run_id=call.id, parent=None if above is None else ParentInfo(above, above, "Order")))

    daemon(terminate=end, get=get)
    said = cli("terminate", "a", "c", "e", "--children", "--yes").err
    assert said.startswith("4 open descendants of 3 runs will be terminated too\n")
    assert cli("terminate", "a", "c", "e", "--children", "--dry-run").err.endswith(
        "; 4 descendants would be terminated\n"
    )


def test_children_of_a_closed_run_are_still_reached(cli: Cli, daemon: Start) -> None:
    closed = Changed(run_id="01A", workflow_id="old", status=Status.COMPLETED, changed=False)
    fake = daemon(terminate=msgspec.structs.replace(closed, descendants=2))
    said = cli("terminate", "old", "--children")
    assert said.err.splitlines() == [
        "2 open descendants of old will be terminated too",
        "old (run 01A) is completed already; 2 descendants terminated",
    ]
    fake.answers["terminate"] = closed
    assert cli("terminate", "old", "--children").err.endswith("is completed already; no open descendants\n")


def test_several_runs_need_to_be_confirmed_off_a_terminal(cli: Cli, daemon: Start) -> None:
    fake = daemon(cancel=changed)
    said = cli("cancel", "a", "b")
    assert said.code == 2
    assert said.err == "error[usage]: cancel 2 runs (a, b) needs to be confirmed\n  hint: add --yes\n"
    assert fake.asked("cancel") == []
    said = cli("cancel", "--yes", "-", stdin="a\nold\n\nnone\n")
    assert said.code == 9
    assert "1 asked to end, 1 had nothing to do, 1 failed" in said.err
    assert "error[run_not_found]: no run 'none'" in said.err
    lines: Any = cli("cancel", "--yes", "a", "none", "-o", "jsonl").lines
    assert lines[0]["workflow_id"] == "a"
    assert lines[1]["error"]["code"] == "run_not_found"


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
def test_filters_choose_open_runs_and_somebody_is_to_say_yes(cli: Cli, daemon: Start, verb: str) -> None:
    runs = [run(workflow_id="order-1"), run(workflow_id="order-2")]
    fake = daemon(list=RunPage(items=runs, next="more", total=5), **{verb: changed})
    words = (verb, "--type", "Order", "--limit", "2")
    said = cli(*words)
    assert said.code == 2
    assert f"{verb} 2 runs (order-1, order-2) needs to be confirmed" in said.err, "by what a person knows them by"
    assert fake.asked(verb) == []
    asked_on_a_terminal = cli(*words, stdin="n\n", err_tty=True, keyboard=True, columns=24).err
    shown = asked_on_a_terminal.partition(f"{verb} 2 runs:")[2].partition("Go on? [y/N] ")[0]
    assert (shown.split(), "\n" in shown[:-1]) == (["order-1,", "order-2"], True)
    assert fake.asked(verb) == []
    fake.calls.clear()
    assert cli(*words, "--yes").code == 0
    assert [(call.id, call.exact) for call in fake.asked(verb)] == [(one.run_id, True) for one in runs]
    [asked] = fake.asked("list")
    assert (asked.types, asked.limit) == (["Order"], 2)
    assert set(asked.statuses) == OPEN
    assert "3 more runs would match; --limit is 2" in said.err
    for wrong in ((), ("order-1", "--status", "waiting"), ("--status", "wating")):
        assert cli(verb, *wrong).code == 2


def test_a_dry_run_asks_nobody_and_says_would(cli: Cli, daemon: Start) -> None:
    fake = daemon(cancel=changed)
    said = cli("cancel", "a", "old", "--dry-run", "--children")
    assert said.code == 0
    assert [(call.dry_run, call.exact) for call in fake.asked("cancel")] == [(True, False), (True, False)]
    assert said.err.splitlines() == [
        "a (run run-a) and no descendants would be asked to end",
        "old (run run-old) is cancelled already; no open descendants",
        "1 would be asked to end, 1 would have nothing to do, 0 failed; no descendants would be asked to end",
    ]


def test_what_was_done_before_the_daemon_went_away_is_told(cli: Cli, daemon: Start) -> None:
    def answer(call: Cancel) -> Any:
        return DaemonDownError("it went away", hint="wfctl up") if call.id == "c" else changed(call)

    daemon(cancel=answer)
    said = cli("cancel", "--yes", "a", "none", "c", "d", "-o", "jsonl")
    assert said.code == 3
    assert [json.loads(line).get("workflow_id") for line in said.out.splitlines()] == ["a", None]
    assert "it went away; 2 of 4 runs were done; c may have been" in said.err


@pytest.mark.parametrize(
    "words", [("cancel",), ("terminate",), ("retry",), ("schedule", "pause"), ("schedule", "run-now")]
)
def test_where_nothing_is_listed_nothing_is_done_and_that_is_no_error(
    cli: Cli, daemon: Start, words: tuple[str, ...]
) -> None:
    fake = daemon()
    said = cli(*words, "-", stdin="\n")
    assert (said.code, said.out) == (0, "")
    assert said.err.endswith("0 failed\n")
    listed: Any = cli(*words, "-", "-o", "json", stdin="").json
    assert (listed["items"], listed["total"]) == ([], 0)
    assert not [
        call for call in fake.calls if call.method in ("cancel", "terminate", "retry", "schedule_pause", "schedule_run")
    ]


@pytest.mark.parametrize("verb", ["show", "wait", "result"])
def test_who_wants_to_hear_of_runs_has_to_name_some(cli: Cli, daemon: Start, verb: str) -> None:
    daemon()
    said = cli(verb, "-", stdin="\n")
    assert said.code == 2
    assert said.err.startswith("error[usage]: no IDs were given on stdin")


# -- tail and tree ----------------------------------------------------------------------------------


def test_tail_shows_history_and_log_lines_and_exits_by_the_worst_outcome(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield entry("event.received", rev=1, name="paid", payload={"by": "ann"})
        yield entry("log", rev=2, seq=0, level="WARNING", message="low stock\nagain", workflow_id="order-2")
        return TailEnd(rev=2, outcomes=[outcome(), outcome("failed", b"null")])

    fake = daemon(tail=answer)
    said = cli("tail", "order-1", "order-2", "-f", "-n", "5", "--no-logs")
    assert said.code == 10
    assert said.out.splitlines() == [
        '2026-11-23T03:00:00.000Z\torder-1\tevent.received\tpaid  {"by":"ann"}',
        "2026-11-23T03:00:00.000Z\torder-2\tlog\tWARNING low stock again",
    ]
    (call,) = fake.asked("tail")
    assert (call.ids, call.follow, call.last, call.logs) == (["order-1", "order-2"], True, 5, False)
    assert cli("tail", "order-1").code == 0
    lines: Any = cli("tail", "order-1", "-f", "-o", "jsonl").lines
    assert [line["kind"] for line in lines] == ["event.received", "log", "end"]
    for cut, total in ((), 2), (("-n", "3"), 2), (("-n", "2"), None):
        document: Any = cli("tail", "order-1", "-o", "json", *cut).json
        assert [*document] == ["schema", "items", "next", "total", "rev", "outcomes"]
        assert (document["schema"], document["next"], document["total"]) == ("wfctl.tail/1", None, total)


def test_tail_goes_on_after_the_last_entry_when_the_daemon_comes_back(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        for rev in range((call.since_rev or 0) + 1, 6):
            yield entry("event.received", rev=rev, name=f"e{rev}")
            if rev == 3 and call.since_rev is None:
                raise HangUp
        return TailEnd(rev=5, outcomes=[outcome()])

    fake = daemon(tail=answer, status=STATUS)
    said = cli("tail", "-f", "order-1", "-n", "100")
    assert [line.split("\t")[-1] for line in said.out.splitlines()] == ["e1", "e2", "e3", "e4", "e5"]
    assert said.code == 0
    assert "the daemon went away" in said.err
    first, second = fake.asked("tail")
    assert (first.since_rev, first.last) == (None, 100)
    assert (second.since_rev, second.last) == (3, None)


def test_a_follower_gives_up_with_three(cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfctl.cli.shell.RECONNECT_S", 0.3)
    started = threading.Event()

    def answer(call: Any) -> Iterator[Any]:
        yield entry("event.received", name="e")
        started.set()
        raise HangUp

    fake = daemon(tail=answer)
    stopper = threading.Thread(target=lambda: (started.wait(10), fake.stop()))
    stopper.start()
    said = cli("tail", "-f", "order-1")
    stopper.join()
    assert said.code == 3
    assert "error[daemon_down]" in said.err


def test_tail_without_an_id_takes_the_only_open_run_or_all(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield entry("event.received", name="e")
        return TailEnd(rev=1, outcomes=[])

    fake = daemon(tail=answer, list=page(run(run_id="01A"), total=1))
    assert "the only open run: order-1" in cli("tail").err
    assert fake.asked("tail")[0].ids == ["01A"]
    fake.answers["list"] = page(run(), total=3)
    assert "3 open runs: showing all" in cli("tail").err
    assert (fake.asked("tail")[1].ids, fake.asked("tail")[1].last) == ([], 20)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "none", "e"), ("show", "none"), ("history", "none"), ("result", "none"), ("cancel", "none"),
        ("terminate", "none"), ("tree", "none"), ("tail", "none"), ("tail", "-f", "none"), ("tree", "-f", "none"),
    ],
)  # fmt: skip
def test_an_unknown_id_is_four_on_every_verb(cli: Cli, daemon: Start, arguments: tuple[str, ...]) -> None:
    def missing(call: Any) -> RunNotFoundError:
        return RunNotFoundError("no run 'none'", hint="wfctl list")

    daemon(
        **dict.fromkeys(("send", "get", "history", "result", "cancel", "terminate", "tree", "tail", "watch"), missing)
    )
    said = cli(*arguments)
    assert (said.code, said.out) == (4, "")
    assert said.err == "error[run_not_found]: no run 'none'\n  try: wfctl list\n"
    in_json = cli(*arguments, "-o", "json")
    assert (in_json.code, in_json.out) == (4, "")
    assert msgspec.json.decode(in_json.err)["error"]["exit"] == 4


def test_followers_outlive_a_daemon_that_stops_in_order(cli: Cli, daemon: Start) -> None:
    """A daemon that stops ends its streams with how things stand; that is no outcome."""
    times = itertools.count()

    def tail(call: Any) -> Iterator[Any]:
        first = next(times) == 0
        yield entry("event.received", rev=1 if first else 2, name="first" if first else "second")
        return TailEnd(rev=1 if first else 2, outcomes=[outcome("waiting" if first else "completed", b"null")])

    fake = daemon(tail=tail, status=STATUS)
    said = cli("tail", "-f", "order-1")
    assert said.code == 0
    assert len(said.out.splitlines()) == 2
    assert [call.since_rev for call in fake.asked("tail")] == [None, 1]
    assert (
        said.err == "the daemon went away; waiting up to 30 s for it\nthe daemon is back; going on after revision 1\n"
    )


def test_a_daemon_that_drains_is_not_back_yet(cli: Cli, daemon: Start) -> None:
    results, statuses = itertools.count(), itertools.count()

    def result(call: Any) -> Outcome:
        return outcome("running" if next(results) == 0 else "completed")

    def status(call: Any) -> StatusView:
        return msgspec.structs.replace(STATUS, draining=next(statuses) == 0)

    fake = daemon(result=result, status=status)
    assert cli("result", "order-1").code == 0
    assert len(fake.asked("status")) == 2


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("start Order --fail-if-stuck", "add --wait"), ("start Order --at 2099-01-01 --in 1h", "leave out one of them"),
        ("result order-1 --no-wait --timeout 1s", "leave out one of them"), ("query order-1 --timeout 1s", "wfctl query order-1"),
        ("graph Order --force", "add --svg FILE"), ("timeline order-1 --force", "add --svg FILE"),
        ("graph Order --svg - --force", "add --svg FILE"), ("graph Order --svg - -o json", "leave it out, or name a file"),
    ],
)  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(cli: Cli, daemon: Start, words: str, remedy: str) -> None:
    fake = daemon()
    said = cli(*words.split())
    assert (said.code, said.out) == (2, "")
    assert remedy in said.err
    assert [call.method for call in fake.calls if call.method != "hello"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_demo_that_is_ended_while_a_command_begins_sees_its_end(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, thread: str
) -> None:
    begun: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def elsewhere() -> None:
        # As a thread that was there before, and has kept nothing back.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.pthread_kill(threading.get_ident(), number)

    def interrupted(command: list[str], **how: Any) -> subprocess.Popen[str]:
        begun.append(popen([sys.executable, "-c", ""], text=True))
        if thread == "main":
            # Threads of other tests that are still there would take it, were it for the process.
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            there = threading.Thread(target=elsewhere)
            there.start()
            there.join()
        return begun[0]

    monkeypatch.setattr("wfctl.cli.commands.demo.subprocess.Popen", interrupted)
    before = {one: signal.signal(one, signal.default_int_handler) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        ends = Ends()
        with ends, pytest.raises(KeyboardInterrupt):
            Demo(Shell(Settings()), ends)._call(["up"], capture=False)
    finally:
        for one, was in before.items():
            signal.signal(one, was)
    assert begun[0].returncode in (0, -signal.SIGTERM)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
