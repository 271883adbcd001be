"""Saving files under a real daemon: what takes over, what stays, who is told, and what becomes of the processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.project import WFCTL, Project, alive
from support.waiting import wait_until

FLOW = """
from wfctl import Context, Directive, Workflow
{imports}
wf = Workflow("{name}")

@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete({value})
"""
WAITS = """
import asyncio, os
from wfctl import Context, Directive, Workflow

wf = Workflow("Waits")

@wf.start()
async def begin(ctx: Context) -> Directive:
    while not os.path.exists("go-on"):
        await asyncio.sleep(0.02)
    return ctx.next.complete({value})
"""
RECEIVES = """
from wfctl import Context, Directive, Workflow

wf = Workflow("Receives")

@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()

@wf.event(name="{event}")
async def received(ctx: Context{params}) -> Directive:
    return ctx.next.complete()
"""
SENDS = """
from wfctl import Context, Directive, Workflow

wf = Workflow("Sends")

@wf.start()
async def begin(ctx: Context) -> Directive:
    await ctx.send("r", "paid")
    return ctx.next.complete()
"""


def flow(name: str, value: object, imports: str = "") -> str:
    return FLOW.format(name=name, value=value, imports=imports)


class Shop(Project):
    """`a.py` serves A and `b.py` B."""

    def save(self, name: str, text: str) -> None:
        """As an editor does it: a rename over the file."""
        self.write(f".{name}.swp", text)
        os.replace(self.folder / f".{name}.swp", self.folder / name)

    def value(self, workflow_type: str = "A") -> str:
        return self.ok("start", workflow_type, "--wait", "-q").strip()

    def answers(self, value: object, workflow_type: str = "A") -> None:
        """The type answers so, in the end."""
        wait_until(lambda: self.value(workflow_type) == json.dumps(value))

    def problems(self) -> list[str]:
        return [f"{one['file']}:{one['line']}: {one['message']}" for one in self.json("status").get("problems", [])]

    def generations(self) -> int:
        return self.log().count("serves A")

    def log(self) -> str:
        return (self.folder / ".wfctl" / "wfd.log").read_text()

    def configure(self, modules: list[str], more: str = "") -> None:
        self.save("wfctl.toml", f"[daemon]\nworkers = 1\n[workflows]\nmodules = {json.dumps(modules)}\n{more}\n")

    def follow(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*WFCTL, *words], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    project = Shop(tmp_path / "shop", {"a.py": flow("A", 1), "b.py": flow("B", 1)}, workflows="")
    project.serve()
    yield project
    project.stop()


def test_a_saved_file_is_what_the_next_run_gets(shop: Shop) -> None:
    assert shop.value() == "1"
    shop.save("a.py", flow("A", 2))
    shop.answers(2)
    (shop.folder / "a.py").write_text(flow("A", 3))
    shop.answers(3)


def test_a_reload_tells_when_saving_has_loaded_what_it_finds_unchanged(shop: Shop) -> None:
    started = {one["workflow_type"]: one["loaded_at"] for one in shop.json("reload")["types"]}
    shop.save("a.py", flow("A", 2))
    shop.answers(2)
    first, again = ({one["workflow_type"]: one for one in shop.json("reload")["types"]} for _ in range(2))
    assert first["A"]["change"] == first["B"]["change"] == "unchanged"
    assert started["A"] < first["A"]["loaded_at"] == again["A"]["loaded_at"]
    assert started["B"] == first["B"]["loaded_at"], "its own files were not saved"
    line = shop.ok("reload").splitlines()[0]
    assert line.startswith(f"A  unchanged, loaded {first['A']['loaded_at']}  generation ")


def test_what_a_module_imports_is_part_of_its_code(shop: Shop) -> None:
    shop.write("rates/__init__.py", "")
    shop.write("rates/today.py", "RATE = 5\n")
    shop.save("a.py", flow("A", "RATE", "from rates.today import RATE"))
    shop.answers(5)
    shop.write("rates/today.py", "RATE = 6\n")
    shop.answers(6)
    done = shop.json("reload")
    assert [(one["workflow_type"], one["change"]) for one in done["types"]] == [("A", "unchanged"), ("B", "unchanged")]
    shop.save("a.py", flow("A", 7))
    shop.answers(7)


def test_a_file_that_is_saved_as_it_was_replaces_no_worker_and_one_that_may_be_imported_later_does(shop: Shop) -> None:
    shop.save("a.py", flow("A", 2))
    shop.answers(2)
    wait_until(lambda: len(shop.workers()) == 1)
    before = shop.workers()
    told = shop.log().count("files changed")
    shop.write("a.py", flow("A", 2))
    wait_until(lambda: shop.log().count("files changed") > told)
    shop.json("status")
    wait_until(lambda: not shop.json("status").get("loading_ms"))
    assert shop.workers() == before
    shop.write("c.py", flow("C", 1))  # may be what a handler imports when it runs, or a plugin that a module looks for
    wait_until(lambda: not set(before) & set(shop.workers()))


def test_an_editors_own_files_are_no_code(shop: Shop) -> None:
    before = shop.generations()
    for name in (".a.py.swp", ".#a.py", "#a.py#", "4913", "a.py~"):
        shop.write(name, "not Python")
    shop.save("a.py", flow("A", 2))
    shop.answers(2)
    assert shop.generations() == before + 1


def test_a_checkout_of_hundreds_of_files_is_one_reload(shop: Shop) -> None:
    before = shop.generations()
    for number in range(300):
        shop.write(f"many/m{number}.py", f"VALUE = {number}\n")
    shop.save("a.py", flow("A", "VALUE", "from many.m299 import VALUE"))
    shop.answers(299)
    # One, or one more for each time that writing them took longer than a burst may, and one for the new folder.
    assert shop.generations() - before <= 4


def test_a_file_that_is_deleted_keeps_its_code_in_use_until_it_is_back(shop: Shop) -> None:
    (shop.folder / "a.py").unlink()
    wait_until(shop.problems)
    assert shop.problems() == ["a.py:0: no such file"]
    assert shop.value() == "1"
    shop.write("a.py", flow("A", 2))
    shop.answers(2)
    assert shop.problems() == []


def test_a_link_to_a_file_elsewhere_is_watched_where_it_leads(shop: Shop, tmp_path: Path) -> None:
    for release in (2, 3):
        folder = tmp_path / f"release-{release}"
        folder.mkdir()
        (folder / "a.py").write_text(flow("A", release))
    (tmp_path / "current").symlink_to("release-2")
    (shop.folder / "a.py").unlink()
    (shop.folder / "a.py").symlink_to(tmp_path / "current" / "a.py")
    shop.answers(2)
    (tmp_path / "release-2" / "a.py").write_text(flow("A", 4))
    shop.answers(4)
    (tmp_path / "next").symlink_to("release-3")
    os.replace(tmp_path / "next", tmp_path / "current")
    shop.answers(3)


def test_a_folder_that_is_swapped_by_its_link_is_new_code(shop: Shop) -> None:
    for release in (2, 3):
        shop.write(f"releases/{release}/flows/a.py", flow("A", release))
    (shop.folder / "flows").symlink_to("releases/2/flows")
    shop.configure(["flows/a.py", "b.py"])
    shop.answers(2)
    (shop.folder / "next").symlink_to("releases/3/flows")
    os.replace(shop.folder / "next", shop.folder / "flows")
    shop.answers(3)


def test_what_is_made_in_a_linked_folder_of_which_nothing_is_loaded_cures_what_imports_it(
    shop: Shop, tmp_path: Path
) -> None:
    lib = tmp_path / "elsewhere" / "lib"
    lib.mkdir(parents=True)
    (shop.folder / "lib").symlink_to(lib)
    shop.save("a.py", flow("A", "V", "from lib.extra.deep import V"))
    wait_until(shop.problems)
    (lib / "extra").mkdir()
    (lib / "extra" / "__init__.py").write_text("")
    (lib / "extra" / "deep.py").write_text("V = 2\n")
    shop.answers(2)


# -- a broken save -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (flow("B", 2) + "def broken(:\n", 9, "SyntaxError"),
        (flow("B", 2, "import nowhere"), 3, "ModuleNotFoundError"),
        (flow("B", 2, "1 / 0"), 3, "ZeroDivisionError"),
        (flow("B", 2, "raise SystemExit"), 3, "ended itself"),
        (flow("A", 2), 4, "defined twice"),
        (flow("B", 2).replace("ctx: Context", ""), 6, "first parameter must be the context"),
    ],
    ids=["syntax", "import", "exception", "exit", "duplicate type", "no ctx"],
)
def test_a_broken_save_keeps_the_old_code_and_reloads_the_other_modules(
    shop: Shop, text: str, line: int, message: str
) -> None:
    shop.save("b.py", text)
    wait_until(shop.problems)
    [problem] = shop.problems()
    assert problem.startswith(f"b.py:{line}: ")
    assert message in problem
    shop.save("a.py", flow("A", 3))
    shop.answers(3)
    assert shop.value("B") == "1"
    assert message in shop.run("workflows").stderr
    assert message in shop.ok("logs", "-n", "50")
    done = shop.run("reload")
    assert done.returncode == 9
    assert "B  broken, the code loaded before stays in use" in done.stdout
    assert f"b.py:{line}" in done.stderr
    shop.save("b.py", flow("B", 4))
    shop.answers(4, "B")
    assert shop.run("reload").returncode == 0


def test_a_module_that_is_moved_while_it_is_broken_keeps_its_types(shop: Shop) -> None:
    (shop.folder / "a.py").unlink()
    shop.write("flows/a.py", flow("A", 2, "import nowhere"))
    shop.configure(["flows/a.py", "b.py"])
    wait_until(lambda: any(one.startswith("flows/a.py:3") for one in shop.problems()))
    assert shop.value("A") == "1"
    shop.write("flows/a.py", flow("A", 2))
    shop.answers(2)
    assert shop.problems() == []


def test_a_traceback_of_a_broken_module_begins_with_the_innermost_line(shop: Shop) -> None:
    shop.write("rates.py", "def rate():\n    return {}['today']\n")
    shop.save("b.py", flow("B", 2, "from rates import rate; RATE = rate()"))
    wait_until(shop.problems)
    told = shop.run("reload").stderr
    assert told.index('rates.py", line 2, in rate') < told.index('b.py", line 3')
    assert "return {}['today']" in told


def test_code_that_is_broken_outlives_its_workers(shop: Shop) -> None:
    """What takes the place of a worker that died loads what that had loaded, not what the file says by now."""
    shop.save("a.py", "def broken(:\n")
    shop.save("b.py", "def broken(:\n")
    wait_until(lambda: len(shop.problems()) == 2)
    for pid in shop.workers():
        os.kill(pid, signal.SIGKILL)
    assert shop.value("A") == "1"
    assert shop.value("B") == "1"


LATE = "def rate():\n    from rates.today import RATE\n    return RATE"


def test_what_a_handler_imports_when_it_runs_is_part_of_its_code_and_a_broken_save_of_it_too(shop: Shop) -> None:
    shop.write("rates/today.py", "RATE = 5\n")
    shop.save("a.py", flow("A", "rate()", LATE))
    shop.answers(5)
    shop.write("rates/today.py", "RATE = 6\n")
    shop.answers(6)
    shop.write("rates/today.py", "RATE =\n")
    wait_until(shop.problems)
    assert shop.problems()[0].startswith("rates/today.py:1: SyntaxError")
    for pid in shop.workers():
        os.kill(pid, signal.SIGKILL)
    assert shop.value() == "6"
    shop.write("rates/today.py", "RATE = 7\n")
    shop.answers(7)
    assert shop.problems() == []


def test_a_file_that_a_module_loads_by_its_path_is_watched_wherever_it_is_and_kept(shop: Shop) -> None:
    shop.write(".rules/today.py", "RATE = 5\n")
    loads = "\n".join((
        "from importlib.util import module_from_spec, spec_from_file_location",
        "spec = spec_from_file_location('today', '.rules/today.py')",
        "today = module_from_spec(spec)",
        "spec.loader.exec_module(today)",
        "assert today.RATE > 4",
    ))  # fmt: skip
    shop.save("a.py", flow("A", "today.RATE", loads))
    shop.answers(5)
    shop.write(".rules/today.py", "RATE = 3\n")
    wait_until(shop.problems)
    for pid in shop.workers():
        os.kill(pid, signal.SIGKILL)
    assert shop.value() == "5"
    shop.write(".rules/today.py", "RATE = 6\n")
    shop.answers(6)
    assert shop.problems() == []


def test_without_watching_a_worker_that_is_replaced_imports_when_it_runs_what_the_others_had_loaded(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path / "shop", {"a.py": flow("A", "rate()", LATE)})
    shop.write("rates/today.py", "RATE = 5\n")
    shop.serve()
    try:
        shop.write("rates/today.py", "RATE = 6\n")
        for _ in range(2):
            assert shop.value() == "5"
            for pid in shop.workers():
                os.kill(pid, signal.SIGKILL)
        shop.ok("reload")
        assert shop.value() == "6"
    finally:
        shop.stop()


def test_an_import_that_does_not_end_is_told_and_given_up(tmp_path: Path) -> None:
    from crash.shop import hooks

    shop = Shop(tmp_path / "shop", {"a.py": flow("A", 1), "b.py": flow("B", 1)}, workflows="")
    shop.environment |= hooks("wfd.supervisor.patience:LOAD_MS=6000")
    shop.serve()
    try:
        shop.save("b.py", flow("B", 2, "import time; time.sleep(3600)"))
        wait_until(lambda: "new code is loading" in shop.ok("status"))
        assert shop.value("B") == "1"
        wait_until(lambda: shop.problems() == ["b.py:0: has not been imported after 6 s"])
        shop.save("b.py", flow("B", 3))
        shop.answers(3, "B")
        assert shop.problems() == []
    finally:
        shop.stop()


def test_a_module_that_ends_its_process_is_named_while_the_others_serve_what_is_saved(tmp_path: Path) -> None:
    files = {"a.py": flow("A", 1), "b.py": flow("B", 1, "import helper")}
    shop = Shop(tmp_path / "shop", files, workflows="")
    shop.write("helper.py", "import os\nos._exit(3)\n")
    shop.serve()
    try:
        ended = ["helper.py:0: ended the process (exit code 3) while it was imported"]
        assert shop.value("A") == "1"
        assert shop.problems() == ended
        shop.save("a.py", flow("A", 2))
        shop.answers(2, "A")
        assert shop.problems() == ended
        shop.save("helper.py", "")
        wait_until(lambda: shop.problems() == [])
        assert shop.value("B") == "1"
        shop.save("b.py", flow("B", 2, "import ctypes; ctypes.string_at(0)"))
        wait_until(shop.problems)
        assert shop.problems() == ["b.py:0: ended the process (signal SIGSEGV) while it was imported"]
        assert shop.value("B") == "1"
    finally:
        shop.stop()


# -- wfctl.toml --------------------------------------------------------------------------------


def test_a_module_that_is_added_to_the_configuration_is_served_and_one_taken_out_is_not(shop: Shop) -> None:
    shop.write("c.py", flow("C", 1))
    shop.configure(["a.py", "b.py", "c.py"])
    wait_until(lambda: "C" in shop.ok("workflows", "-o", "id").split())
    assert shop.value("C") == "1"
    shop.configure(["a.py", "c.py"])
    wait_until(lambda: "B" not in shop.ok("workflows", "-o", "id").split())
    assert shop.run("start", "B").returncode == 4


def test_a_broken_configuration_is_told_with_its_line_and_changes_nothing(shop: Shop) -> None:
    shop.save("wfctl.toml", '[workflows]\nmodules = ["a.py", "b.py"]\nmodles = 3\n[daemon]\nworkers = "many"\n')
    wait_until(shop.problems)
    assert [problem.partition(": ")[0] for problem in shop.problems()] == ["wfctl.toml:3", "wfctl.toml:5"]
    assert shop.value() == "1"
    assert shop.run("reload").returncode == 9
    shop.save("wfctl.toml", "modules = [")
    wait_until(lambda: len(shop.problems()) == 1)
    shop.configure(["a.py", "b.py"])
    wait_until(lambda: shop.problems() == [])


def test_the_number_of_workers_counts_from_the_next_load_on(shop: Shop) -> None:
    shop.save("wfctl.toml", '[daemon]\nworkers = 3\n[workflows]\nmodules = ["a.py", "b.py"]\n')
    wait_until(lambda: len(shop.workers()) == 3)
    assert "3 (wfctl.toml)" in shop.ok("status")


def test_a_stuck_run_is_tried_again_when_its_code_changes_or_somebody_asks_and_not_with_every_save(shop: Shop) -> None:
    shop.save("b.py", SENDS)
    shop.save("a.py", RECEIVES.format(event="paid", params=""))
    wait_until(lambda: "Sends" in shop.ok("workflows"))
    wait_until(lambda: shop.run("start", "Receives", "--id", "r").returncode == 0)
    shop.save("a.py", RECEIVES.format(event="settled", params=""))
    wait_until(lambda: "settled" in shop.ok("workflows"))
    shop.ok("start", "Sends", "--wait")
    wait_until(lambda: "stuck" in shop.ok("list", "--status", "stuck"))

    def resumed() -> int:
        return shop.ok("history", "r").count("run.resumed")

    shop.save("b.py", flow("B", 1))
    wait_until(lambda: "B" in shop.ok("workflows", "-o", "id").split())
    shop.save("a.py", RECEIVES.format(event="paid", params=", amount: float"))
    wait_until(lambda: resumed() == 1)
    for value in (2, 3):
        shop.save("b.py", flow("B", value))
        shop.answers(value, "B")
    assert resumed() == 1
    shop.ok("reload")
    wait_until(lambda: resumed() == 2 and "stuck" in shop.ok("list", "--status", "stuck"))
    shop.save("a.py", RECEIVES.format(event="paid", params=""))
    assert shop.ok("result", "r") == "null\n"


def test_what_takes_effect_only_with_the_next_daemon_is_said(shop: Shop) -> None:
    more = 'state = "elsewhere"\ndurability = "normal"'
    shop.save("wfctl.toml", f'[daemon]\n{more}\n[workflows]\nmodules = ["a.py", "b.py"]\n')
    wait_until(shop.problems)
    assert "durability, state cannot change while the daemon runs" in shop.problems()[0]
    (problem,) = shop.json("status")["problems"]
    here, there = shop.folder / ".wfctl", shop.folder / "elsewhere"
    assert problem["hint"] == f"wfctl down && mv {here} {there} && wfctl up"
    there.mkdir()
    assert shop.run("reload").returncode == 9
    (problem,) = shop.json("status")["problems"]
    assert problem["hint"] == f"wfctl down && mv {here}/wfctl.db* {there}/ && wfctl up"
    assert shop.value() == "1"


def test_the_others_are_served_at_once_though_an_import_does_not_end(tmp_path: Path) -> None:
    from crash.shop import hooks

    hangs = "import os, time\nwhile not os.path.exists('go-on'): time.sleep(0.02)"
    shop = Shop(tmp_path / "shop", {"a.py": flow("A", 1, hangs), "b.py": flow("B", 1)}, workflows="")
    shop.environment |= hooks("wfd.supervisor.patience:APART_MS=300")
    shop.serve()
    try:
        unfinished = ["a.py:0: is still being imported; the others are served without it"]
        assert shop.problems() == unfinished
        assert "older code" not in shop.ok("status")
        assert shop.value("B") == "1"
        shop.save("b.py", flow("B", 2))
        shop.answers(2, "B")
        assert shop.problems() == unfinished
        shop.write("go-on", "")
        wait_until(lambda: not shop.problems())
        assert (shop.value(), shop.value("B")) == ("1", "2")
    finally:
        shop.stop()


# -- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reload", "SIGHUP"])
def test_without_watching_code_is_reloaded_by_hand(tmp_path: Path, how: str) -> None:
    shop = Shop(
        tmp_path / "shop",
        {"a.py": flow("A", 1), "b.py": flow("B", 1)},
        daemon="workers = 1",
        workflows="reload = false",
    )
    shop.serve()
    try:
        shop.save("a.py", flow("A", 2))
        shop.write("c.py", flow("C", 3))
        shop.configure(["a.py", "b.py", "c.py"], "reload = false")
        assert shop.value() == "1"
        if how == "reload":
            done = shop.json("reload")
            assert {one["workflow_type"]: one["change"] for one in done["types"]} == {
                "A": "new version", "B": "unchanged", "C": "new",
            }  # fmt: skip
        else:
            os.kill(shop.pid(), signal.SIGHUP)
            shop.answers(2)
        assert shop.value() == "2"
        assert shop.value("C") == "3"
        shop.configure(["a.py", "b.py", "c.py"], "reload = true")
        shop.ok("reload")
        shop.save("a.py", flow("A", 4))
        shop.answers(4)
    finally:
        shop.stop()


# -- what runs, and who looks on -----------------------------------------------------------------


def test_a_step_finishes_on_the_code_it_began_on_and_history_says_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", {"a.py": flow("A", 1), "w.py": WAITS.format(value=1)}, workflows="")
    shop.serve()
    try:
        shop.ok("start", "Waits", "--id", "w")
        wait_until(lambda: any(worker["steps"] for worker in shop.json("status")["workers"]))
        [old] = shop.workers()
        before = shop.json("status")["source_hash"]
        shop.save("w.py", WAITS.format(value=2))
        wait_until(lambda: shop.json("status")["source_hash"] != before)
        assert "older code in use too: generation 1" in shop.ok("status")
        shop.write("go-on", "")
        assert shop.ok("result", "w").strip() == "1"
        wait_until(lambda: not alive(old))
        assert shop.value("Waits") == "2"
        rows = sources(shop)
        assert rows["step.started"] == rows["step.completed"] == before
    finally:
        shop.stop()


def sources(shop: Project) -> dict[str, str]:
    import sqlite3

    with sqlite3.connect(f"file:{shop.database}?mode=ro", uri=True) as db:
        return dict(
            db.execute(
                "select kind, source from history join runs on runs.key = run where workflow_id = 'w' and source not null"
            )
        )


@pytest.mark.parametrize("words", [("tail", "-f", "w"), ("tree", "-f", "w")], ids=["tail", "tree"])
def test_who_follows_a_run_is_told_of_a_broken_save_and_of_its_cure(tmp_path: Path, words: tuple[str, ...]) -> None:
    shop = Shop(tmp_path / "shop", {"a.py": flow("A", 1), "w.py": WAITS.format(value=1)}, workflows="")
    shop.serve()
    try:
        shop.ok("start", "Waits", "--id", "w")
        with shop.follow(*words) as follower:
            read = _reader(follower)
            shop.save("a.py", "def broken(:\n")
            read("a.py:1")
            shop.save("a.py", flow("A", 2))
            read("serves" if words[0] == "tail" else "right again")
            shop.write("go-on", "")
            assert follower.wait(30) == 0
    finally:
        shop.stop()


def test_workers_whose_code_has_started_threads_leave_when_it_is_replaced(shop: Shop) -> None:
    for value in (2, 3, 4):
        shop.save("a.py", flow("A", value, "import threading; threading.Thread(target=threading.Event().wait).start()"))
        shop.answers(value)
    wait_until(lambda: len(shop.workers()) == 1)
    assert shop.value() == "4"


def _reader(follower: subprocess.Popen[str]) -> Callable[[str], str]:
    assert follower.stdout is not None
    stream = follower.stdout

    def read(wanted: str) -> str:
        """On to the line that has it."""
        seen = []
        for line in stream:
            seen.append(line)
            if wanted in line:
                return line
        raise AssertionError(f"{wanted!r} is not in {seen}")

    return read


def test_a_program_that_follows_gets_notices_as_lines_of_their_own(shop: Shop) -> None:
    shop.value()  # before, as it follows no others where it finds one that is open
    with shop.follow("tail", "-f", "-o", "jsonl", "--since-rev", "0") as follower:
        read = _reader(follower)
        read("run.completed")
        shop.save("a.py", "def broken(:\n")
        notice = json.loads(read('"code"'))
        assert notice["kind"] == "code"
        assert notice["data"]["problems"][0]["file"] == "a.py"
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 130
