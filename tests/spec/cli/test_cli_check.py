"""`wfctl check` against a real daemon: what open runs would meet in edited code, and that nothing changes by asking."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.project import WFCTL, Project, alive
from support.waiting import wait_until

SHOP = """
import asyncio
from datetime import timedelta
from pathlib import Path
from wfctl import Context, Directive, Workflow, task

order = Workflow("Order")
parcel = Workflow("Parcel")


@task
async def charge(amount: float) -> float:
    return amount


@order.start()
async def place(ctx: Context, amount: float) -> Directive:
    ctx.store.put("amount", amount)
    return ctx.next.wait_for_event("paid", timeout=timedelta(days=3), on_timeout=expire)


@order.event()
async def paid(ctx: Context, by: str) -> Directive:
    return ctx.next.complete(by)


@order.event()
async def note(ctx: Context, text: str) -> Directive:
    return ctx.next.wait_for_event()


@order.step()
async def expire(ctx: Context) -> Directive:
    return ctx.next.fail("nobody paid")


@parcel.start()
async def pack(ctx: Context, price: float) -> Directive:
    await ctx.now()
    await charge(price)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return ctx.next.complete("packed")
"""


class Shop(Project):
    """Three orders wait to be paid, the first has a note in its inbox, and a parcel is in the middle of its step."""

    def edit(self, old: str, new: str, file: str = "shop.py") -> None:
        assert old in SHOP
        self.write(file, SHOP.replace(old, new))

    def checked(self, *words: str, code: int = 9) -> Any:
        done = self.run("check", *words, "-o", "json")
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)


def line_of(text: str) -> int:
    return SHOP.partition(text)[0].count("\n") + 1


def kinds(answer: Any) -> list[tuple[str, str, str, int]]:
    return [(found["kind"], found["workflow_type"], found["handler"], found["runs"]) for found in answer["findings"]]


def opened(folder: Path) -> Iterator[Shop]:
    project = Shop(folder, {"shop.py": SHOP}, daemon="workers = 1", workflows="reload = false")
    try:
        project.serve()
        for number in (1, 2, 3):
            project.ok("start", "Order", "--id", f"order-{number}", "amount=5")
        project.ok("send", "order-1", "note", "text=hello")
        project.ok("start", "Parcel", "--id", "parcel-1", "price=1.5")
        wait_until(lambda: "task.completed" in project.ok("history", "parcel-1"))
        yield project
    finally:
        project.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Shop]:
    """One whose daemon the test may end."""
    yield from opened(tmp_path)


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    yield from opened(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def shop(opened_once: Shop) -> Shop:
    """One for all: a check changes nothing, and nothing else looks at its files."""
    opened_once.write("shop.py", SHOP)
    return opened_once


def test_code_as_it_is_would_change_nothing(shop: Shop) -> None:
    said = shop.run("check")
    assert (said.returncode, said.stdout) == (0, "")
    assert said.stderr == "would change nothing for 4 open runs; 1 step rehearsed\n"
    assert shop.checked(code=0)["checked"] == {"runs": 4, "steps": 1, "events": 1, "rehearsed": 1}


def test_a_renamed_event_is_missing_for_the_orders_that_wait_for_it(shop: Shop) -> None:
    shop.edit("async def paid(", "async def payed(")
    (found,) = shop.checked()["findings"]
    assert (found["kind"], found["handler_kind"], found["handler"], found["runs"]) == ("missing", "event", "paid", 3)
    assert found["workflow_ids"] == ["order-1", "order-2", "order-3"]
    said = shop.run("check")
    assert said.stdout.splitlines()[:2] == [
        "Order",
        "  event 'paid' is missing: 3 runs",
    ]
    lines = shop.run("check", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["missing"]
    assert shop.run("check", "-o", "id").stdout.split() == found["ids"]


def test_a_step_in_progress_disagrees_with_an_edit_before_what_it_recorded(shop: Shop) -> None:
    shop.edit("    await charge(price)", "    await charge(2.5)")
    answer = shop.checked()
    assert kinds(answer) == [("replay", "Parcel", "pack", 1)]
    assert "asked for instead: task 'shop.charge'" in answer["findings"][0]["reason"]


def test_a_step_in_progress_agrees_with_an_edit_after_what_it_recorded(shop: Shop) -> None:
    shop.edit('return ctx.next.complete("packed")', 'await charge(3)\n    return ctx.next.complete("sent")')
    assert shop.checked(code=0)["checked"]["rehearsed"] == 1


def test_arguments_that_do_not_fit_any_more_are_found_in_the_inbox(shop: Shop) -> None:
    shop.edit("note(ctx: Context, text: str)", "note(ctx: Context, text: int)")
    answer = shop.checked()
    assert kinds(answer) == [("arguments", "Order", "note", 1)]
    assert "put the parameters back" in answer["findings"][0]["reason"]


def test_steps_that_waits_and_types_need_are_found(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace("async def expire(", "async def expired(").replace("=expire", "=expired"))
    assert kinds(shop.checked()) == [("missing", "Order", "expire", 3)]
    shop.edit('Workflow("Parcel")', 'Workflow("Package")')
    answer = shop.checked()
    assert kinds(answer) == [("missing", "Parcel", "", 1)]
    assert "the type is missing: 1 run" in shop.run("check").stdout


def test_files_are_checked_alone_and_in_the_place_of_their_modules(shop: Shop) -> None:
    shop.write(
        "other.py", SHOP.partition("@order")[0].replace("Parcel", "Other") + "@parcel.start()\nasync def x(ctx): ..."
    )
    assert shop.checked("other.py")["problems"][0]["message"].startswith("workflow 'Order' has no start handler")
    elsewhere = shop.folder.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "shop.py").write_text(SHOP)
    answer = shop.checked("../elsewhere/shop.py", code=0)
    assert (answer["types"], answer["checked"]["rehearsed"]) == (["Order", "Parcel"], 1)
    (elsewhere / "shop.py").write_text(SHOP.replace("async def paid(", "async def payed("))
    assert kinds(shop.checked(str(elsewhere / "shop.py"))) == [("missing", "Order", "paid", 3)]


def test_runs_of_other_types_are_no_matter_when_files_are_named(shop: Shop) -> None:
    shop.write(
        "parcels.py",
        "from wfctl import Workflow\nparcel = Workflow('Parcel')\n@parcel.start()\n"
        "async def pack(ctx, price): return ctx.next.complete()",
    )
    answer = shop.checked("parcels.py")
    assert (kinds(answer), answer["types"], answer["checked"]["runs"]) == (
        [("replay", "Parcel", "pack", 1)],
        ["Parcel"],
        1,
    )


def test_code_that_does_not_load_is_told_with_its_line(shop: Shop) -> None:
    shop.edit("async def paid(", "async def paid((")
    (problem,) = shop.checked()["problems"]
    assert (problem["module"], problem["file"], problem["line"]) == ("shop.py", "shop.py", line_of("async def paid("))
    assert "SyntaxError" in problem["message"]
    assert "async def paid((" in problem["traceback"]
    lines = shop.run("check", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["problem"]


def test_code_that_ends_its_process_is_told(shop: Shop) -> None:
    shop.write("shop.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    (problem,) = shop.checked()["problems"]
    assert (problem["module"], problem["message"]) == (
        "shop.py",
        "ended the process (signal SIGSEGV) while it was imported",
    )


def test_a_file_that_is_not_there_is_told_before_anything_is_asked(own: Shop) -> None:
    own.run("down", "--timeout", "0s")
    missing = own.run("check", "nowhere.py")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "nowhere.py does not exist" in missing.stderr
    assert own.run("check", ".").returncode == 2
    assert own.run("check").returncode == 3


@pytest.mark.parametrize(
    ("touches", "words"),
    [
        ("Path('touched').write_text('x')", "write to 'touched'"),
        ("await asyncio.open_connection('127.0.0.1', 1)", "connect to ('127.0.0.1', 1)"),
    ],
)
def test_a_handler_is_stopped_where_it_would_touch_the_world(shop: Shop, touches: str, words: str) -> None:
    shop.edit("    await ctx.now()\n", f"    await ctx.now()\n    {touches}\n")
    answer = shop.checked(code=0)
    (note,) = answer["notes"]
    assert (note["kind"], note["handler"], note["runs"]) == ("stopped", "pack", 1)
    assert note["reason"] == f"followed up to shop.py:{line_of('await ctx.now()') + 1} in pack, where it would {words}"
    assert not (shop.folder / "touched").exists()


def test_a_handler_that_ends_its_process_is_a_finding(shop: Shop) -> None:
    shop.edit("    await ctx.now()\n", "    import os; os._exit(3)\n")
    answer = shop.checked()
    assert kinds(answer) == [("crash", "Parcel", "pack", 1)]
    assert answer["findings"][0]["reason"] == "the process ended: exit code 3"


def test_a_stuck_run_is_told_to_go_on_with_the_cure(own: Shop) -> None:
    own.edit("    await charge(price)", "    await charge(2.5)")
    own.end()
    own.serve()
    wait_until(lambda: "stuck" in own.ok("list", "--status", "stuck"))
    answer = own.checked()
    assert kinds(answer) == [("replay", "Parcel", "pack", 1)]
    assert answer["findings"][0]["stuck"] == 1
    assert "1 run (1 stuck already)" in own.run("check").stdout
    own.write("shop.py", SHOP)
    answer = own.checked(code=0)
    assert [(good["workflow_type"], good["handler"], good["workflow_ids"]) for good in answer["goes_on"]] == [
        ("Parcel", "pack", ["parcel-1"])
    ]
    said = own.run("check")
    assert said.stdout.splitlines() == ["Parcel", "  start 'pack' would go on: 1 run", "    parcel-1"]
    assert said.stderr.startswith("1 stuck run would go on, and nothing change for 3 others")


def test_nothing_in_the_database_changes_by_a_check(shop: Shop) -> None:
    """Nobody writes: neither a commit nor a byte of the file or its log, with findings, rehearsals and stops among what is told."""
    shop.write(
        "shop.py",
        SHOP.replace("async def paid(", "async def payed(")
        .replace("    await ctx.now()\n", "    ctx.logger.info('hi')\n    ctx.store.put('x', 1)\n    await ctx.now()\n")
        .replace("    await charge(price)", "    await charge(price)\n    await ctx.uuid4()"),
    )
    db = sqlite3.connect(f"{shop.database.as_uri()}?mode=ro", uri=True)

    def state() -> Any:
        files = [shop.database, shop.database.with_name("wfctl.db-wal")]
        version = db.execute("pragma data_version").fetchone()
        return version, shop.json("status")["rev"], [file.read_bytes() for file in files], shop.workers()

    before = state()
    assert kinds(shop.checked()) == [("missing", "Order", "paid", 3)]
    after = state()
    db.close()
    assert after == before


def test_who_leaves_takes_the_process_along(own: Shop) -> None:
    own.write("shop.py", "import time\nwhile True: time.sleep(1)")
    before = set(own.children())
    asking = subprocess.Popen([*WFCTL, "check"], cwd=own.folder, env=own.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: set(own.children()) - before)
    (probe,) = set(own.children()) - before
    os.kill(asking.pid, signal.SIGINT)
    assert asking.wait(30) == 130
    wait_until(lambda: not alive(probe))
    own.write("shop.py", SHOP)
    assert own.checked(code=0)["findings"] == []


def test_a_daemon_that_dies_takes_the_process_along(own: Shop) -> None:
    own.write("shop.py", "import time\nwhile True: time.sleep(1)")
    before = set(own.children())
    asking = subprocess.Popen([*WFCTL, "check"], cwd=own.folder, env=own.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: set(own.children()) - before)
    (probe,) = set(own.children()) - before
    own.end()
    assert asking.wait(30) == 3
    wait_until(lambda: not alive(probe))
    assert not alive(probe)
