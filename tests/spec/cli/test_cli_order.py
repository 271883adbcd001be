"""A person's session with the sample, against the real daemon."""

from __future__ import annotations

import json
import re

import pytest

from support.project import Project


def order(shop: Project, id: str, *, paid: bool = True) -> None:
    shop.ok("start", "Order", "--id", id, f"order_id={id}", "amount=9.99", "-q")
    if paid:
        shop.ok("send", id, "start_payment", "-q")
        shop.ok("result", id)


def test_an_order_starts_its_payment_and_gets_its_answer(shop: Project) -> None:
    started = shop.run("start", "Order", "--id", "a-1", "order_id=1", "amount=9.99")
    assert started.stdout == "a-1\n"
    sent = shop.run("send", "a-1", "start_payment")
    assert (sent.stdout, sent.stderr) == ("", "delivered start_payment to a-1; it is being handled\n")
    assert re.fullmatch(r"txn-[0-9a-f]{8}\n", shop.ok("result", "a-1"))


def test_the_payment_stands_under_its_order(shop: Project) -> None:
    order(shop, "b-1")
    lines = [re.sub(r"\s+[\d.]+m?s.*$", "", line) for line in shop.ok("tree", "b-1").splitlines()]
    assert lines == [
        "b-1  Order  completed",
        "├ ✓ order_start",
        "├ ✓ wait any event",
        "├ ✓ start_payment",
        "├ ✓ Payment(payment-b-1)  (3 steps)",
        "├ ✓ wait any event",
        "└ ✓ payment_completed",
    ]


def test_show_tells_the_store_and_the_result(shop: Project) -> None:
    order(shop, "c-1")
    run = shop.json("show", "c-1")
    assert run["schema"] == "wfctl.run/1"
    assert run["status"] == "completed"
    assert run["store"]["amount"] == 9.99
    assert run["result"] == run["store"]["txn_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", run["closed_at"])


def test_history_begins_with_the_start_and_ends_with_the_result(shop: Project) -> None:
    order(shop, "d-1")
    kinds = [item["kind"] for item in shop.json("history", "d-1")["items"]]
    assert kinds[0] == "run.started"
    assert "run.completed" in kinds[-2:]
    assert kinds.count("event.received") == 2


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("list",), ("list", "--status", "open"), ("show", "e-1"), ("history", "e-1"), ("result", "e-1"),
        ("tail", "e-1"), ("tree",), ("tree", "e-1"), ("tree", "-f", "e-1"), ("tail", "-f", "e-1"), ("workflows",), ("logs",),
        ("up",), ("cancel", "e-1"), ("terminate", "e-1"), ("send", "e-2", "start_payment"),
        ("start", "Order", "-i", '{"order_id":"9","amount":1}'),
        ("start", "Order", "order_id=9", "amount=1", "--dry-run"),
    ],
)  # fmt: skip
def test_every_command_speaks_json_json_lines_and_ids(shop: Project, words: tuple[str, ...]) -> None:
    if not json.loads(shop.run("list", "-o", "json").stdout)["items"] or shop.run("show", "e-2", "-q").returncode:
        order(shop, "e-1")
        order(shop, "e-2", paid=False)
    document = shop.run(*words, "-o", "json")
    assert document.returncode == 0, document.stderr
    assert json.loads(document.stdout)["schema"].startswith("wfctl.")
    if words[0] != "send":  # the second payment of one order cannot start
        for line in shop.ok(*words, "-o", "jsonl").splitlines():
            assert isinstance(json.loads(line), dict)
        assert all(id and " " not in id for id in shop.ok(*words, "-o", "id").splitlines())


def test_ids_of_one_command_are_those_of_the_next(shop: Project) -> None:
    order(shop, "f-1", paid=False)
    order(shop, "f-2", paid=False)
    ids = shop.ok("list", "--status", "open", "--type", "Order", "-o", "id")
    assert len(ids.splitlines()) >= 2
    shop.ok("cancel", "--yes", "-", input=ids)
    assert shop.ok("list", "--status", "open", "--type", "Order", "-o", "id") == ""
    assert shop.run("result", "f-1").returncode == 11


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("start", "Ordr"), 4, "unknown_type"),
        (("send", "gamma-1", "start_paymnt"), 4, "unknown_event"),
        (("show", "nosuchrun"), 4, "run_not_found"),
        (("tail", "-f", "nosuchrun"), 4, "run_not_found"),
        (("tree", "-f", "nosuchrun"), 4, "run_not_found"),
        (("start", "Order"), 2, "invalid_payload"),
        (("start", "Order", "order_id=1", "amount=abc"), 2, "invalid_payload"),
        (("start", "Order", "order_id=1", "amount=1", "tip=2"), 2, "invalid_payload"),
        (("start", "Order", "--id", "a\nb", "order_id=1", "amount=1"), 2, "invalid_argument"),
        (("send", "gamma-1", "payment_completed"), 2, "invalid_payload"),
        (("start", "Order", "--id", "gamma-1", "order_id=1", "amount=1"), 5, "already_running"),
        (("send", "gamma-0", "start_payment"), 5, "run_closed"),
        (("show", "gamma-"), 2, "ambiguous_id"),
        (
            ("start", "Order", "-i", json.dumps({"order_id": "x" * (1 << 20), "amount": 1})[:100_000]),
            2,
            "invalid_argument",
        ),
        (("list", "--after", "nonsense"), 2, "invalid_argument"),
    ],
)
def test_bad_input_is_one_error_by_name_and_the_daemon_is_unharmed(
    shop: Project, words: tuple[str, ...], code: int, error: str
) -> None:
    if shop.run("show", "gamma-0").returncode == 4:
        order(shop, "gamma-0")
    if shop.run("start", "Order", "--id", "gamma-1", "--if-running", "use", "order_id=gamma", "amount=1").returncode:
        raise AssertionError("gamma-1 did not start")
    done = shop.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"error[{error}]: ")
    assert len(lines) <= 3
    data = json.loads(shop.run(*words, "-o", "json").stderr)["error"]
    assert (data["code"], data["exit"]) == (error, code)
    assert shop.run("status", "-q").returncode == 0


def test_a_payload_over_the_limit_is_refused_with_both_sizes(shop: Project) -> None:
    big = json.dumps({"order_id": "x" * 1_100_000, "amount": 1})
    done = shop.run("start", "Order", "-i", "-", input=big)
    assert done.returncode == 2
    assert done.stderr.startswith("error[payload_too_large]: ")
    assert "1,100," in done.stderr
    assert "1,048,576" in done.stderr


def test_a_run_that_times_out_exits_with_thirteen(shop: Project) -> None:
    done = shop.run("start", "Order", "order_id=1", "amount=1", "--timeout", "100ms", "--wait")
    assert done.returncode == 13
    assert done.stderr.splitlines()[1].startswith("error[timed_out]: Order ")
    assert shop.run("result", "@last", "--no-wait").returncode == 13


def test_waiting_only_so_long_exits_with_fourteen(shop: Project) -> None:
    order(shop, "h-1", paid=False)
    done = shop.run("result", "h-1", "--timeout", "100ms")
    assert done.returncode == 14
    assert "is still waiting" in done.stderr
    assert shop.run("terminate", "h-1").returncode == 0
    assert shop.run("result", "h-1").returncode == 12
