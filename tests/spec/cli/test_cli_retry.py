"""Fix and continue, as a person does it: a payment fails, its file is corrected, and the run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.checker import broken_promises
from support.project import SAMPLES, Project
from support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "shop", {"shop.py": (SAMPLES / "hotfix" / "shop.py").read_text()}, workflows="")
    project.serve()
    yield project
    project.stop()


def failed(shop: Project, *ids: str) -> None:
    for id in ids:
        done = shop.run("start", "Order", "--id", id, "customer=Ann Lee", "amount=30", "--wait")
        assert done.returncode == 10, done.stderr


def corrected(shop: Project) -> None:
    """The file is saved, and serves."""
    before = shop.json("status")["source_hash"]
    text = (shop.folder / "shop.py").read_text()
    line = next(line for line in text.splitlines() if "BUG:" in line)
    shop.write("shop.py", text.replace(line, "    fields = customer.split()"))
    wait_until(lambda: shop.json("status")["source_hash"] != before)


def charges(shop: Project) -> list[str]:
    return (shop.folder / "charges.txt").read_text().splitlines()


def test_a_failing_payment_is_repaired_live_and_the_card_charged_once(shop: Project) -> None:
    failed(shop, "order-1")
    assert len(charges(shop)) == 1
    assert "wfctl retry order-1" in shop.run("show", "order-1").stderr
    corrected(shop)
    before = shop.ok("history", "order-1", "-o", "jsonl")
    told = shop.run("retry", "order-1", "--dry-run")
    assert told.returncode == 0
    assert "would go on: at pay, step 2, attempt 2; it had failed" in told.stderr
    assert "kept: task 'shop.charge'" in told.stderr
    assert "done again: task 'shop.book'" in told.stderr
    assert shop.ok("history", "order-1", "-o", "jsonl") == before
    done = shop.run("retry", "order-1", "--wait", "--reason", "names have a blank")
    assert (done.returncode, done.stdout) == (0, "txn-30\n")
    assert len(charges(shop)) == 1
    assert shop.json("show", "order-1")["store"]["booked"] == "Lee, Ann: txn-30"
    assert "was failed  pay  attempt 2  names have a blank" in shop.ok("history", "order-1")
    assert "pay" in shop.ok("tree", "order-1")
    assert broken_promises(shop.database) == []


def test_killed_in_between_it_goes_on_all_the_same(shop: Project) -> None:
    failed(shop, "order-1")
    corrected(shop)
    shop.kill()
    shop.serve()
    shop.ok("retry", "order-1")
    shop.kill()
    shop.serve()
    assert shop.ok("result", "order-1") == "txn-30\n"
    assert len({line.rpartition("(")[2] for line in charges(shop)}) == 1
    assert broken_promises(shop.database) == []


def test_many_go_on_at_once_once_somebody_has_said_yes(shop: Project) -> None:
    failed(shop, "order-1", "order-2", "order-3")
    corrected(shop)
    ids = shop.ok("list", "--status", "failed", "-o", "id")
    asked = shop.run("retry", "-", input=ids)
    assert asked.returncode == 2
    assert "retry 3 runs (" in asked.stderr
    assert shop.run("retry", "--status", "failed").returncode == 2
    dry = shop.run("retry", "--status", "failed", "--limit", "2", "--dry-run", "-o", "id")
    assert dry.stdout.splitlines() == ids.splitlines()[:2]
    assert "1 more run would match; --limit is 2" in dry.stderr
    assert shop.ok("list", "--status", "failed", "-o", "id") == ids
    shop.ok("retry", "order-1", "-q")
    shop.ok("result", "order-1")
    some = shop.run("retry", "--yes", "-o", "jsonl", "-", input=ids)
    assert some.returncode == 9
    lines = [json.loads(line) for line in some.stdout.splitlines()]
    assert [line.get("workflow_id") for line in lines if line["error"] is None] == ["order-3", "order-2"]
    assert [line["error"]["code"] for line in lines if line["error"] is not None] == ["conflict"]
    for id in ("order-2", "order-3"):
        assert shop.ok("result", id) == "txn-30\n"
    assert len(charges(shop)) == 3
    nothing = shop.run("retry", "--status", "failed", "--yes")
    assert (nothing.returncode, nothing.stderr) == (0, "0 go on, 0 failed\n")


def test_what_cannot_go_on_says_why_and_what_to_type(shop: Project) -> None:
    failed(shop, "order-1")
    corrected(shop)
    unknown = shop.run("retry", "ordr-1")
    assert unknown.returncode == 4
    assert "did you mean 'order-1'" in unknown.stderr
    step = shop.run("retry", "order-1", "--from", "book")
    assert step.returncode == 4
    assert "its steps are: 1 take_order, 2 pay" in step.stderr
    for words in (["--new", "--from", "pay"], ["--id", "x"], ["--status", "failed"], ["--wait", "order-2"]):
        assert shop.run("retry", "order-1", *words).returncode == 2
    assert shop.run("retry").returncode == 2
    shop.ok("retry", "order-1", "--wait")
    done = shop.run("retry", "order-1")
    assert done.returncode == 5
    assert "is completed" in done.stderr
    assert "wfctl retry --new order-1" in done.stderr
    again = shop.run("retry", "order-1", "--new", "--id", "order-1b", "--wait")
    assert (again.returncode, again.stdout) == (0, "txn-30\n")
    assert len(charges(shop)) == 2
    back = shop.run("retry", "order-1b", "--from", "take_order")
    assert back.returncode == 5


def test_a_run_whose_step_was_renamed_would_be_stuck_again_and_not_go_on(shop: Project) -> None:
    failed(shop, "order-1")
    before = shop.json("status")["source_hash"]
    shop.write(
        "shop.py",
        (shop.folder / "shop.py").read_text().replace("def pay(", "def settle(").replace("step(pay", "step(settle"),
    )
    wait_until(lambda: shop.json("status")["source_hash"] != before)
    told = shop.run("retry", "order-1", "--dry-run")
    assert "would be stuck again at once: at pay, step 2, attempt 2; it had failed" in told.stderr
    assert "  workflow type 'Order' has no step handler 'pay' any more: put it back in shop.py" in told.stderr
    many = shop.run("retry", "--status", "failed", "--dry-run").stderr
    assert many.splitlines()[-1] == "0 would go on, 1 would be stuck again at once, 0 failed"
    assert "is stuck again at once" in shop.run("retry", "order-1").stderr
