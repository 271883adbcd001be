from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.fake_daemon import NOW
from support.runs import MINUTE, failure, node, run, step, tree
from wfctl.cli.exit import LOOKS, STEP_LOOKS
from wfctl.cli.render.text import line_cells, plain
from wfctl.cli.render.times import Times, show_as
from wfctl.cli.render.tree import Style, tree_lines
from wfctl.cli.render.treedata import Merger, change_line, end_line, node_lines, tree_document
from wfctl.cli.render.treeline import Fold
from wfctl.protocol.views import ProgressView, RunChange, Tree, TreeGroup, TreeNode, TreeStep, TriesView
from wfctl.values.status import Status

GOLDEN = Path(__file__).parents[2] / "golden"


def drawn(snapshot: Tree, width: int | None = 80, *, fold: Fold | None = None, **style: object) -> list[str]:
    return [plain(line) for line in tree_lines(snapshot, Style(width, **style), now_ms=NOW, fold=fold)]  # type: ignore[arg-type]


def shipments() -> TreeGroup:
    def shipment(id: str, status: str, **more: object) -> object:
        return node(run(id, type="ShipItem", status=status, **more))

    return TreeGroup(
        workflow_type="ShipItem",
        total=10_000,
        by_status={"completed": 9_400, "running": 410, "waiting": 2, "queued": 151, "failed": 37},
        by_error={"CardDeclined: limit exceeded": 21, "CarrierTimeout: no reply in #s": 12, "KeyError: 'weight'": 4},
        sample=[
            shipment("ShipItem#0041", "failed", error=failure("CardDeclined", "limit exceeded"), attempt=3),
            shipment("ShipItem#0977", "failed", error=failure("CarrierTimeout", "no reply in 30s"), attempt=3),
            shipment("ShipItem#3120", "failed", error=failure("KeyError", "'weight'")),
            shipment("ShipItem#4411", "running", step="print_label"),
        ],  # type: ignore[list-item]
        p50_ms=1_200,
        p99_ms=8_400,
        timed=9_400,
    )


def fulfilment() -> Tree:
    invoice = node(
        run("inv-77ab", type="Invoice", status="waiting", started_at=NOW - 12_300),
        step("render_pdf", took=2_000),
        step("wait", "waiting", kind="wait", took=None, at=NOW - 10_300, waiting_for=["approval"],
             wake_at=NOW + 24 * 60 * MINUTE - MINUTE),
    )  # fmt: skip
    return tree(
        node(
            run("order-8f2c", type="FulfilOrder", children=10_001, open_children=564),
            step("validate_cart"),
            step("charge_card", took=1_800, attempts=2),
            step("wait", kind="wait", waiting_for=["warehouse.ready"], took=38_000),
            shipments(),
            invoice,
            step("sleep", "sleeping", kind="sleep", took=None, at=NOW - 18 * MINUTE, wake_at=NOW + 42 * MINUTE),
        )
    )


def order(**more: object) -> Tree:
    payment = node(
        run("payment-1", type="Payment", status="completed", started_at=NOW - 1_000, closed_at=NOW - 500),
        step("payment_start", took=3), step("payment_process", took=210), step("payment_done", took=5),
    )  # fmt: skip
    return tree(node(run("order-1", **more), step("order_start", took=4), payment))


def test_a_fan_out_of_ten_thousand_is_drawn_as_the_contract_shows_it() -> None:
    assert drawn(fulfilment()) == [
        "order-8f2c  FulfilOrder  running 4m12s        10,001 children   37 failed   94%",
        "├ ✓ validate_cart                                                         120ms",
        "├ ✓ charge_card                                            2 attempts      1.8s",
        "├ ✓ wait event warehouse.ready                                            38.0s",
        "├ ► ShipItem ×10,000    [##################..] 94%   9,400 ✓ 412 ► 151 ◦ 37 ✗",
        "│ ├ ✗ ShipItem#0041  CardDeclined: limit exceeded          3 attempts     12.1s",
        "│ ├ ✗ ShipItem#0977  CarrierTimeout: no reply in 30s       3 attempts     12.1s",
        "│ ├ ✗ ShipItem#3120  KeyError: 'weight'                                   12.1s",
        "│ ├ ► ShipItem#4411  print_label                               oldest     4m12s",
        "│ ├   + 34 more failed   CardDeclined 20 · CarrierTimeout 11 · KeyError 3",
        "│ └   + 151 more queued · 409 running · 2 waiting · 9,400 completed (p50 1.2s,…",
        "├ ◌ Invoice(inv-77ab)                                                       12s",
        "│ ├ ✓ render_pdf                                                           2.0s",
        "│ └ ◌ wait event approval              since 10s, times out in 23h59m       10s",
        "└ ⧖ sleep 1h                                 wakes 03:42:00Z (in 42m)       18m",
    ]


def test_the_ascii_form_uses_ascii_only() -> None:
    lines = drawn(fulfilment(), ascii=True)
    assert all(line.isascii() for line in lines)
    assert lines[1] == "|- + validate_cart                                                        120ms"
    assert lines[4] == "|- > ShipItem x10,000    [##################..] 94%   9,400 + 412 > 151 . 37 x"
    assert lines[-1] == "`- z sleep 1h                                wakes 03:42:00Z (in 42m)       18m"


def test_words_replace_glyphs_and_keep_statuses_apart() -> None:
    lines = drawn(fulfilment(), width=160, words=True)
    assert lines[1].startswith("├ completed validate_cart")
    group = next(line for line in lines if "×10,000" in line)
    assert "410 running" in group
    assert "2 waiting" in group
    assert not any(look.glyph in "".join(lines) for look in LOOKS.values() if look.glyph not in "!#")


def test_forty_columns_keep_glyphs_durations_and_failures() -> None:
    assert drawn(fulfilment(), width=40) == [
        "order-8f2c  running 4m12s     37 failed",
        "├ ✓ validate_cart                 120ms",
        "├ ✓ charge_card    2 attempts      1.8s",
        "├ ✓ wait event wareh…se.ready     38.0s",
        "├ ► ShipItem ×10,000  37 ✗ 412 ► 151 ◦…",
        "│ ├ ✗ ShipItem#0041  CardD…ed     12.1s",
        "│ ├ ✗ ShipItem#0977  Carri…0s     12.1s",
        "│ ├ ✗ ShipItem#3120  KeyEr…t'     12.1s",
        "│ ├ ► ShipItem#4411  print…el     4m12s",
        "│ ├   + 34 more failed   CardDeclined…",
        "│ └   + 151 more queued · 409 running…",
        "├ ◌ Invoice(inv-77ab)               12s",
        "│ ├ ✓ render_pdf                   2.0s",
        "│ └ ◌ wait event approval           10s",
        "└ ⧖ sleep 1h                        18m",
    ]


def test_two_hundred_columns_add_start_times_and_run_ids() -> None:
    snapshot = order()
    lines = drawn(snapshot, width=200)
    payment = next(line for line in lines if "Payment(payment-1)" in line)
    assert payment.endswith(f"500ms  02:59:59Z  {snapshot.roots[0].children[0].run.run_id}")
    assert all(line == line.rstrip() for line in lines)


def test_a_fan_out_at_two_hundred_columns_has_start_times_and_run_ids() -> None:
    lines = [re.sub(r"01JF\d+$", "RUN", line) for line in drawn(fulfilment(), width=200)]
    assert lines == (GOLDEN / "tree-200.txt").read_text().splitlines()


@pytest.fixture
def shown_as() -> Iterator[Callable[[Times | None], None]]:
    yield show_as
    show_as(None)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 81, 109, 110, 200])
@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize("times", [None, *Times])
def test_no_line_is_wider_than_the_terminal(
    width: int, ascii: bool, times: Times | None, shown_as: Callable[[Times | None], None]
) -> None:
    shown_as(times)
    for snapshot in (fulfilment(), order()):
        for line in tree_lines(snapshot, Style(width, ascii), now_ms=NOW):
            assert line_cells(line) < width, plain(line)


@pytest.mark.parametrize(
    ("times", "wait", "sleep", "began"),
    [
        (None, "since 10s, times out in 23h59m", "wakes 03:42:00Z (in 42m)", "02:59:47Z"),
        (Times.RELATIVE, "since 10s, times out in 23h59m", "wakes in 42m", "12s ago"),
        (Times.UTC, "since 02:59:49Z, times out 2026-11-24T02:59:00Z", "wakes 03:42:00Z", "02:59:47Z"),
        (Times.UNIX, "since 1795402789.700, times out 1795489140.000", "wakes 1795405320.000", "1795402787.700"),
    ],
)
def test_a_tree_shows_times_as_they_were_asked_for(
    times: Times | None, wait: str, sleep: str, began: str, shown_as: Callable[[Times | None], None]
) -> None:
    shown_as(times)
    lines = drawn(fulfilment(), width=200)
    assert f"  {wait}  " in next(line for line in lines if "wait event approval" in line)
    assert f"  {sleep}  " in next(line for line in lines if "sleep 1h" in line)
    assert f"  {began}  " in next(line for line in lines if "Invoice" in line)
    # Where there is no room for both, until when it waits is what is left.
    width = 60 if times in (None, Times.RELATIVE) else 76
    narrow = next(line for line in drawn(fulfilment(), width=width) if "wait event approval" in line)
    assert ("times out" in narrow, "since" in narrow) == (True, False)


def test_off_a_terminal_nothing_is_cut_and_times_are_absolute() -> None:
    lines = drawn(fulfilment(), width=None)
    assert lines[0] == (
        "order-8f2c  FulfilOrder  running 4m12s  started 2026-11-23T02:55:48.000Z  10001 children   37 failed   94%"
    )
    assert "├ ► ShipItem ×10000  94%  9400 ✓ 412 ► 151 ◦ 37 ✗" in lines
    assert "└ ⧖ sleep 1h  wakes 2026-11-23T03:42:00.000Z  18m" in lines
    assert not any("[###" in line for line in lines)


def test_the_payment_stands_under_its_order_in_causal_order() -> None:
    assert drawn(order()) == [
        "order-1  Order  running 4m12s",
        "├ ✓ order_start                                                             4ms",
        "└ ✓ Payment(payment-1)  (3 steps)                                         500ms",
    ]


def test_a_failed_child_is_opened_and_its_error_shown() -> None:
    child = node(
        run("payment-1", type="Payment", status="failed", error=failure("CardDeclined", "limit")),
        step("payment_start"), step("payment_process", "failed", error="CardDeclined: limit"),
    )  # fmt: skip
    lines = drawn(tree(node(run(), child)))
    assert lines[0].endswith("1 failed")
    assert "└ ✗ Payment(payment-1)  CardDeclined: limit" in lines[1]
    assert "payment_process  CardDeclined: limit" in lines[3]


def test_a_failed_root_says_why() -> None:
    lines = drawn(tree(node(run(status="failed", error=failure("ValueError", "no such card")))))
    assert lines == ["order-1  Order  failed 12.1s  ValueError: no such card"]


def test_what_the_daemon_left_out_is_counted() -> None:
    lines = drawn(tree(node(run(), step("last"), steps_elided=2_003, children_elided=1)))
    assert lines[1].strip().endswith("+ 2,003 earlier steps")
    assert lines[-1].strip().endswith("+ 1 more child")


def test_over_the_line_budget_detail_goes_first_and_failures_last() -> None:
    lines = drawn(fulfilment(), budget=12)
    assert len(lines) <= 12
    assert any("CardDeclined: limit exceeded" in line for line in lines)
    assert any("more failed" in line for line in lines)
    assert not any("render_pdf" in line for line in lines)


def test_finished_steps_are_merged_before_anything_else_goes() -> None:
    root = node(run(), *(step(f"step_{number}") for number in range(14)), step("now", "running", took=None))
    assert drawn(tree(root), budget=5)[1].startswith("├ ✓ 14 steps")


def test_a_hard_cut_says_how_many_lines_are_missing_and_how_to_see_them() -> None:
    roots = [node(run(f"order-{number}")) for number in range(50)]
    lines = tree_lines(tree(*roots), Style(80, budget=10), now_ms=NOW, more="wfctl tree | less")
    assert len(lines) == 10
    assert plain(lines[-1]) == "… 41 more lines: wfctl tree | less"


def test_every_glyph_takes_one_cell_and_is_used_once() -> None:
    looks = [*LOOKS.values(), *STEP_LOOKS.values()]
    assert all(unicodedata.east_asian_width(look.glyph) in ("N", "Na") for look in looks)
    assert len({look.glyph for look in LOOKS.values()}) == len(LOOKS)
    assert len({look.ascii for look in LOOKS.values()}) == len(LOOKS)


def test_control_characters_of_users_never_reach_the_terminal() -> None:
    evil = node(run("order-1", status="failed", error=failure("E", "\x1b[2J\x07boom\nnext")))
    assert "\x1b" not in "".join(drawn(tree(evil)))


def test_wide_characters_count_as_the_two_cells_they_take() -> None:
    lines = tree_lines(tree(node(run("注文-1"), step("支払い"))), Style(80), now_ms=NOW)
    assert line_cells(lines[1]) == 79


def test_the_document_of_one_run_has_a_root_and_of_a_forest_roots() -> None:
    document = tree_document(order(), one=True)
    assert document["schema"] == "wfctl.tree/1"
    assert document["rev"] == 8841
    child = document["root"]["children"][0]
    assert (child["type"], child["status"], child["started_at"]) == ("Payment", "completed", "2026-11-23T02:59:59.000Z")
    assert child["workflow_id"] == "payment-1"
    assert [step["name"] for step in document["root"]["steps"]] == ["order_start"]
    assert "roots" in tree_document(order(), one=False)


def test_json_lines_are_in_pre_order_and_end_with_counts() -> None:
    snapshot = fulfilment()
    lines = list(node_lines(snapshot))
    assert [line["depth"] for line in lines][:2] == [0, 1]
    assert sum(line["kind"] == "node" for line in lines) == 6
    assert end_line(snapshot) == {"kind": "end", "nodes": 6, "elided": 9_996, "rev": 8841}


def changed(name: str, was: str | None, now: str, *, kind: str = "ShipItem", why: str = "", rev: int = 1) -> RunChange:
    return RunChange(
        rev=rev, at=NOW - 5, run_id=f"run-of-{name}", workflow_type=kind, path=["order-1", name],
        was=None if was is None else Status(was), now=Status(now), why=why,
    )  # fmt: skip


def test_a_change_is_a_line_that_names_the_path() -> None:
    merger = Merger(lambda: 0.0)
    lines = merger.feed([changed("item-1", None, "running"), changed("item-1", "running", "failed", why="E: no\nsuch")])
    assert lines == [
        "2026-11-23T02:59:59.995Z order-1/item-1 -> running",
        "2026-11-23T02:59:59.995Z order-1/item-1 running -> failed E: no such",
    ]
    assert merger.due_s is None
    assert change_line(changed("item-1", "running", "completed", rev=7)) == {
        "kind": "change", "rev": 7, "at": "2026-11-23T02:59:59.995Z", "id": "run-of-item-1", "type": "ShipItem",
        "path": "order-1/item-1", "from": "running", "to": "completed", "why": None,
    }  # fmt: skip


def test_beyond_fifty_changes_a_second_those_of_one_kind_are_one_line() -> None:
    now = [0.0]
    merger = Merger(lambda: now[0])
    flood = [changed(f"item-{number}", "running", "completed") for number in range(200)]
    flood.append(changed("item-x", "running", "failed", why="E: no"))
    assert len(merger.feed(flood)) == 50
    now[0] = 0.4
    assert merger.feed([changed("item-y", "running", "completed")]) == []
    assert merger.due_s == pytest.approx(0.6)
    now[0] = 1.0
    assert [line.split(" ", 1)[1] for line in merger.feed([])] == [
        "order-1/ShipItem x151 running -> completed",
        "order-1/item-x running -> failed E: no",
    ]
    assert len(merger.feed([changed("item-z", "running", "completed")])) == 1


def test_what_is_held_back_is_said_at_the_end() -> None:
    merger = Merger(lambda: 0.0)
    flood = [changed(f"item-{number}", "running", "completed") for number in range(60)]
    assert len(merger.feed(flood, last=True)) == 51


def polled(number: int, *, failed: int = 0) -> list[TreeStep]:
    steps = [step("poll", took=100 + 10 * index) for index in range(number)]
    for index in range(failed):
        steps[index] = step("poll", "failed", error="E: no")
    return steps


def test_many_steps_of_one_name_are_one_line_at_the_place_of_the_first() -> None:
    lines = drawn(tree(node(run(), step("begin"), *polled(20, failed=1), step("poll", "running", took=None))))
    assert [line.strip() for line in lines[1:]] == [
        "├ ✓ begin                                                                 120ms",
        "└ ► poll ×21",
        "├ ✗ poll  E: no                                                         120ms",
        "├ ► poll                                                                3m20s",
        "└   + 19 more completed (p50 200ms, p99 290ms)",
    ]
    assert (
        "└ ✓ poll ×9                                                p50 140ms, p99 180ms"
        in drawn(tree(node(run(), *polled(9))))[1]
    )
    assert len(drawn(tree(node(run(), *polled(9))), fold=Fold(whole=True))) == 10
    assert len(drawn(tree(node(run(), *polled(9))), fold=Fold(group_at=20))) == 10


def test_what_a_cut_hides_is_counted_on_the_row() -> None:
    child = node(run("c-1", type="C", children=3), step("a"), step("b", "running", took=None), failed_below=1, cut=True)
    assert "C(c-1)  (2 steps, 3 children, 1 failed below)" in drawn(tree(node(run(), child)))[1]
    assert drawn(tree(node(run(children=4), cut=True, failed_below=2)))[1:] == ["└   + 4 children, 2 failed below"]


def test_a_status_can_be_folded_and_a_run_type_or_status_opened() -> None:
    snapshot = order(children=1)
    assert len(drawn(snapshot)) == 3
    for word in ("Payment", "completed", "payment-1", snapshot.roots[0].children[0].run.run_id):
        assert len(drawn(snapshot, fold=Fold(expanded=frozenset({word})))) == 6, word
    assert len(drawn(snapshot, fold=Fold(whole=True))) == 6
    assert "render_pdf" not in "".join(drawn(fulfilment(), fold=Fold(folded=frozenset({"waiting"}))))
    assert "render_pdf" in "".join(drawn(fulfilment(), fold=Fold(folded=frozenset({"running"}))))


def test_a_folded_failure_is_still_counted() -> None:
    child = node(
        run("c-1", type="C", status="running", children=1), node(run("g", status="failed", error=failure("E")))
    )
    assert "(1 child, 1 failed below)" in drawn(tree(node(run(), child)), fold=Fold(folded=frozenset({"running"})))[1]


def test_only_what_failed_leaves_the_ways_to_it() -> None:
    way = node(
        run("b", type="B", status="completed"),
        step("fine"),
        node(run("c", type="C", status="failed", error=failure("E"))),
    )
    lines = drawn(tree(node(run(), step("fine"), way)), fold=Fold(only_failed=True))
    assert [" ".join(line.split()[:3]) for line in lines] == ["order-1 Order running", "└ ✓ B(b)", "└ ✗ C(c)"]


def test_members_whose_children_failed_are_shown_with_the_way_or_counted() -> None:
    inner = node(run("label-1", type="Label", status="failed", error=failure("E", "no label")))
    member = node(run("s-1", type="Ship", status="completed"), step("begin"), inner)
    group = TreeGroup(workflow_type="Ship", total=20, by_status={"completed": 20}, sample=[member], troubled=3)
    lines = drawn(tree(node(run(), group)))
    assert "E: no label" in next(line for line in lines if "Label(label-1)" in line)
    assert lines[-1] == "  └   + 2 more with failures below"


def test_counts_of_causes_and_times_say_of_how_many_they_are() -> None:
    group = TreeGroup(
        workflow_type="Ship", total=15_000, by_status={"failed": 5_000, "completed": 10_000}, by_error={"E: a": 700, "E: b": 300},
        errors_of=1_000, p50_ms=100, p99_ms=900, timed=1_000,
    )  # fmt: skip
    lines = drawn(tree(node(run(), group)), width=120)
    assert "+ 5,000 more failed   E: a 700 · E: b 300 of the oldest 1,000" in lines[2]
    assert "+ 10,000 completed (p50 100ms, p99 900ms of the newest 1,000)" in lines[3]


def test_a_running_step_shows_its_progress_as_a_bar_and_as_a_number_where_it_is_narrow() -> None:
    progress = ProgressView(done=6, total=10, note="resizing the pictures of the catalogue")
    long = tree(node(run(progress=progress), step("encode", "running", took=None)))
    assert drawn(long)[1] == "└ ► encode                                      [######....] 60% 6/10     3m20s"
    progress = ProgressView(done=6, total=10, note="resizing")
    snapshot = tree(node(run(progress=progress), step("encode", "running", took=None)))
    assert "encode                             [######....] 60% 6/10 resizing     3m20s" in drawn(snapshot)[1]
    assert drawn(snapshot, width=40)[1] == "└ ► encode   [######....] 60%     3m20s"
    assert drawn(snapshot, width=36)[1] == "└ ► encode            60%     3m20s"
    assert "encode  60% 6/10 resizing  3m20s" in drawn(snapshot, width=None)[1]
    assert drawn(snapshot, ascii=True)[1].isascii()
    again = tree(node(run(progress=progress), step("encode", "running", took=None, attempts=2)))
    assert "60% 6/10 resizing" in drawn(again)[1]


def test_over_the_budget_failures_and_what_is_open_are_the_last_to_go() -> None:
    steps = [step(f"s-{number}") for number in range(3)]
    children = [
        node(
            run(f"c-{number}", type="C", status="failed" if number == 25 else "completed" if number % 2 else "running"),
            *steps,
        )
        for number in range(30)
    ]
    lines = drawn(tree(node(run(), *children)), budget=10)
    assert len(lines) == 10
    assert any("C(c-25)" in line for line in lines)
    assert not any("C(c-1)" in line for line in lines)
    assert re.search(r"^… \d+ more lines: ", lines[-1])


def test_every_status_can_be_drawn() -> None:
    for status in Status:
        assert drawn(tree(node(run(status=status))))[0].startswith(f"order-1  Order  {status}")


# -- tries -------------------------------------------------------------------------------------------


def tries(attempt: int, most: int | None = 5, **more: object) -> TriesView:
    return TriesView(task="book_carrier", attempt=attempt, max_attempts=most, **more)  # type: ignore[arg-type]


def test_a_step_whose_handler_sleeps_says_until_when_wherever_its_run_is_shown() -> None:
    inside = step("rest", "running", took=None, wake_at=NOW + 8_000, attempts=3, tries=tries(2))
    member = node(run("ShipItem#5002", type="ShipItem", step="rest", wake_at=NOW + 8_000, attempt=3), tries=tries(2))
    group = TreeGroup(workflow_type="ShipItem", total=9, by_status={"running": 9}, sample=[member])
    snapshot = tree(node(run("order-1"), inside, group))
    lines = drawn(snapshot)
    assert lines[1] == "├ ⧖ rest                                      wakes 03:00:08Z (in 8s)     3m20s"
    assert "⧖ ShipItem#5002  rest" in lines[3]
    assert "wakes in 8s" in drawn(snapshot, 40)[1]
    over = [plain(line) for line in tree_lines(snapshot, Style(80), now_ms=NOW + 8_000)]
    assert over[1].startswith("├ ► rest  ")
    assert "wakes" not in over[1] + over[3]
    child = drawn(tree(node(run(), node(run("c-1", type="C", wake_at=NOW + 8_000), inside))))
    assert child[1].startswith("└ ► C(c-1)  ")
    assert "⧖ rest" in child[2]


def test_a_task_that_is_tried_again_counts_down_where_its_run_is_shown() -> None:
    waits = tries(1, retry_at=NOW + 8_000)
    inside = step("book", "running", took=None, tries=waits)
    member = node(run("ShipItem#5002", type="ShipItem", step="book"), tries=waits)
    group = TreeGroup(workflow_type="ShipItem", total=9, by_status={"running": 9}, sample=[member])
    snapshot = tree(node(run("order-1"), inside, group))
    lines = drawn(snapshot)
    assert lines[1] == "├ ↻ book  book_carrier                                retry 2/5 in 8s     3m20s"
    assert lines[3] == "  ├ ↻ ShipItem#5002  book_carrier                     retry 2/5 in 8s     4m12s"
    later = [plain(line) for line in tree_lines(snapshot, Style(80), now_ms=NOW + 5_000)]
    assert "retry 2/5 in 3s" in later[1]
    # Its time has come: it runs, whatever the daemon has said since.
    due = [plain(line) for line in tree_lines(snapshot, Style(80), now_ms=NOW + 8_000)]
    assert due[1].startswith("├ ► book  ")
    assert "attempt 2/5" in due[1]
    assert "r book  book_carrier" in drawn(snapshot, ascii=True)[1]
    assert "├ retrying book" in drawn(snapshot, words=True)[1]
    assert "retry 2/5 at 2026-11-23T03:00:08.000Z" in drawn(snapshot, None)[1]
    assert "retry 2/5  " in drawn(snapshot, 40)[1]
    assert drawn(snapshot, 40)[3] == "  ├ ↻ ShipItem…002  retry 2/5     4m12s"


def test_a_run_that_failed_tells_after_how_many_tries_and_one_step_that_it_took_several() -> None:
    error = {"error": failure("CardDeclined", "limit exceeded")}

    def failed(id: str, tried: TriesView) -> TreeNode:
        return node(run(id, type="ShipItem", status="failed", **error), tries=tried)

    sample = [
        failed("ship-1", tries(3, 3, failed=True)), failed("ship-2", tries(1, 1, failed=True)),
        failed("ship-3", tries(1, 5, failed=True)), failed("ship-4", tries(2, None, failed=True)),
        failed("ship-5", tries(1, None, failed=True)),
    ]  # fmt: skip
    group = TreeGroup(workflow_type="ShipItem", total=9, by_status={"failed": 9}, sample=sample)
    lines = drawn(tree(node(run("order-1"), step("charge", tries=tries(2)), group)))
    assert lines[1].endswith("2 attempts     120ms")
    notes = [line.split("exceeded")[1].strip().removesuffix("12.1s").strip() for line in lines[3:8]]
    assert notes == ["3/3 tries", "1/1 tries", "1/5 tries", "2 tries", ""]


def test_tries_are_in_json_with_the_next_attempt_as_a_time() -> None:
    snapshot = tree(node(run(), step("book", "running", took=None, tries=tries(1, retry_at=NOW)), tries=tries(1)))
    document = tree_document(snapshot, one=True)["root"]
    assert document["steps"][0]["tries"] == {
        "task": "book_carrier", "attempt": 1, "max_attempts": 5, "retry_at": "2026-11-23T03:00:00.000Z", "failed": False,
    }  # fmt: skip
    assert document["tries"]["retry_at"] is None
    assert next(node_lines(snapshot))["tries"]["attempt"] == 1


def test_a_run_that_waits_tells_when_that_times_out_unless_the_row_of_its_wait_does() -> None:
    waits = run("ship-1", type="ShipItem", status="waiting", wake_at=NOW + 60_000)
    group = TreeGroup(workflow_type="ShipItem", total=9, by_status={"waiting": 9}, sample=[node(waits)])
    assert "any event" in drawn(tree(node(run(), group)))[2]
    assert "times out in 1m  " in drawn(tree(node(run(), group)))[2]
    wait = step("wait", "waiting", kind="wait", took=None, wake_at=NOW + 60_000)
    lines = drawn(tree(node(run(), node(waits, wait))))
    assert ["times out" in line for line in lines] == [False, False, True]


def test_the_first_line_keeps_its_status_where_an_id_has_no_room() -> None:
    snapshot = tree(node(run("bestellung-2026-11-27T14:03:00.482Z", status="failed", error=failure("Lost", "way"))))
    first = drawn(snapshot, 40)[0]
    assert first.rstrip().endswith("  failed 12.1s")
    assert first.startswith("bestellung-2026")
    assert len(first) < 40


def nested(levels: int, *inner: TreeStep | TreeGroup) -> Tree:
    """A run in a run in a run, with a step before each and `inner` in the last."""
    below = node(run(f"order-{levels}-with-a-long-id", type="Nested"), *inner)
    for level in range(levels - 1, 0, -1):
        below = node(run(f"order-{level}-with-a-long-id", type="Nested"), step("prepare_everything"), below)
    return tree(below)


@pytest.mark.parametrize("width", [12, 20, 40, 60, 80, 109, 110, 200])
@pytest.mark.parametrize("style", [{}, {"ascii": True}, {"words": True}])
def test_however_deep_a_tree_is_no_line_is_wider_than_the_terminal(width: int, style: dict[str, bool]) -> None:
    waits = step("wait", "waiting", kind="wait", took=None, waiting_for=["approval"], wake_at=NOW + MINUTE)
    broken = step("charge", "failed", error="CardDeclined: limit exceeded")
    for levels in (15, 120):
        lines = drawn(nested(levels, waits, broken, shipments()), width, **style)
        assert [line for line in lines if line_cells([(line, "")]) > width - 1] == []
        dots = "..." if style.get("ascii") else "…"
        if width >= 40:
            names = [re.sub(rf"^{re.escape(dots)}\d+", "", line) for line in lines if "Nested" in line]
            assert not [name for name in names if name.count(dots) > 1], "what is left out of a name is told once"


def test_outer_levels_that_have_no_room_are_one_mark_with_how_many_they_are() -> None:
    lines = drawn(nested(15, step("pay", "running", took=None)), 40)
    assert lines[5] == "    ├ ✓ prepare_everything        120ms"
    assert lines[-1] == "…11        └ ► pay                3m20s"
    assert not any(line.startswith("…") for line in drawn(nested(13, step("pay")), 80)), (
        "where there is room, all are drawn"
    )


def test_a_live_frame_of_a_deep_tree_is_one_row_a_line() -> None:
    lines = drawn(nested(50, step("pay")), 80, budget=22)
    assert len(lines) <= 22
    assert max(line_cells([(line, "")]) for line in lines) <= 79
