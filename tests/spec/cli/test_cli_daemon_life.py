"""The daemon from outside: up, down, found by those who follow when it is there again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import SAMPLES, WFCTL, Project, alive
from support.waiting import wait_until

ORDERS = (SAMPLES / "orders" / "orders.py").read_text()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path, {"orders.py": ORDERS})
    yield project
    project.stop()


class Follower:
    """A command that runs meanwhile; its output goes to files, which take all that it says whenever it says it."""

    def __init__(self, shop: Project, *words: str) -> None:
        self._out = shop.folder / f"{'-'.join(words)}.out"
        self._err = shop.folder / f"{'-'.join(words)}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*WFCTL, *words], cwd=shop.folder, env=shop.environment, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def connected(self) -> bool:
        files = Path(f"/proc/{self.process.pid}/fd")
        return any(os.path.realpath(file).rpartition("/")[2].startswith("socket:") for file in files.iterdir())

    def end(self) -> int:
        return self.process.wait(40)


def test_up_and_down_can_be_repeated(shop: Project) -> None:
    assert shop.run("status", "-q").returncode == 3
    shop.up()
    pid = shop.pid()
    again = shop.run("up")
    assert again.returncode == 0
    assert again.stderr.startswith(f"already up for {shop.folder} (pid {pid}, for ")
    shop.ok("start", "Order", "order_id=1", "amount=1")
    down = shop.run("down")
    assert (down.returncode, down.stderr) == (
        0,
        f"stopped the daemon (pid {pid}); 1 open run goes on with 'wfctl up'\n",
    )
    assert not alive(pid)
    assert shop.run("down").stderr == "no daemon was running\n"
    assert shop.run("workflows").returncode == 3


def test_up_after_a_kill_finds_the_socket_stale_and_takes_it_over(shop: Project) -> None:
    shop.up()
    shop.kill()
    done = shop.run("workflows")
    assert done.returncode == 3
    assert "is stale" in done.stderr
    shop.up()
    assert shop.run("list").returncode == 0


def test_up_in_a_folder_that_has_moved_under_its_daemon_says_what_to_type(tmp_path: Path) -> None:
    shop = Project(tmp_path / "shop", {"orders.py": ORDERS})
    del shop.environment["WFCTL_SOCKET"]
    shop.environment.pop("XDG_RUNTIME_DIR", None)
    shop.up()
    before = shop.pid()
    shop.folder = shop.folder.rename(tmp_path / "moved")
    try:
        done = shop.run("up")
        assert done.returncode == 5
        assert done.stderr == (
            f"error[conflict]: the daemon (pid {before}) was started for {tmp_path / 'shop' / 'wfctl.toml'}, "
            f"and its folder is {tmp_path / 'moved'} now\n  try: wfctl down && wfctl up\n"
        )
        shop.ok("down")
        shop.up()
        assert shop.ok("start", "Order", "--id", "o", "order_id=1", "amount=1").strip() == "o"
    finally:
        shop.stop()


def test_a_module_that_does_not_import_is_a_warning_and_the_others_are_served(shop: Project) -> None:
    shop.write("bad.py", "import nothing_of_this_name\n")
    shop.write("wfctl.toml", '[workflows]\nmodules = ["orders.py", "bad.py"]\n')
    done = shop.run("up")
    assert done.returncode == 0
    assert "warning[workflows]: bad.py: ModuleNotFoundError" in done.stderr
    assert "bad.py:1" in done.stderr
    assert set(shop.ok("workflows", "-o", "id").split()) == {"Order", "Payment"}


def test_a_wrong_configuration_is_told_by_up_with_its_line(shop: Project) -> None:
    shop.write("wfctl.toml", '[daemon]\nworker = 2\n[workflows]\nmodules = ["orders.py"]\n')
    done = shop.run("up")
    assert done.returncode == 2
    assert done.stderr.startswith("error[config]: ")
    assert "worker" in done.stderr


def test_the_foreground_daemon_stops_on_sigterm(shop: Project) -> None:
    daemon = Follower(shop, "up", "-F")
    wait_until(lambda: shop.run("status", "-q").returncode == 0)
    assert shop.pid() == daemon.process.pid
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.end() == 0
    assert shop.run("status", "-q").returncode == 3


@pytest.mark.parametrize("how", ["kill", "down"])
def test_followers_go_on_across_a_restart_and_say_each_entry_once(shop: Project, how: str) -> None:
    shop.up()
    shop.ok("start", "Order", "--id", "order-1", "order_id=1", "amount=1")
    result = Follower(shop, "result", "order-1")
    wait = Follower(shop, "wait", "order-1")
    tail = Follower(shop, "tail", "-f", "order-1", "-o", "jsonl")
    tree = Follower(shop, "tree", "-f", "order-1")
    wait_until(lambda: tail.out.count("\n") == 4 and "waiting" in tree.out)
    # Who waits for the end says nothing until then; what they ask is asked by the time another command has been answered.
    wait_until(lambda: result.connected and wait.connected)
    shop.ok("status")
    if how == "kill":
        shop.kill()
    else:
        shop.ok("down")
    shop.up()
    shop.ok("send", "order-1", "start_payment")
    assert (tail.end(), tree.end(), result.end(), wait.end()) == (0, 0, 0, 0)
    assert "the daemon went away" in tail.err
    revs = [line["rev"] for line in map(json.loads, tail.out.splitlines()) if line["kind"] != "end"]
    assert revs == sorted(set(revs))
    history = [item["rev"] for item in shop.json("history", "order-1")["items"] if item["kind"] != "child.closed"]
    assert set(history) <= set(revs)
    changes = tree.out.splitlines()
    assert len(changes) == len(set(changes))
    assert any(
        line.endswith(" order-1 running -> completed") or "order-1 waiting -> completed" in line for line in changes
    )
    assert result.out.startswith("txn-")
    assert "order-1\tOrder\tcompleted" in wait.out


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "-f", "-n", "1"),
        ("tail", "-f", "order-1", "-o", "jsonl"),
        ("tree", "-f", "order-1"),
        ("status", "-w"),
        ("logs", "-f", "-n", "1"),
    ],
)
def test_what_goes_on_ends_when_nobody_reads_it_any_more(shop: Project, words: tuple[str, ...]) -> None:
    shop.up()
    shop.ok("start", "Order", "--id", "order-1", "order_id=1", "amount=1")
    with subprocess.Popen(
        [*WFCTL, *words, "-q"], cwd=shop.folder, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline()
        command.stdout.close()  # as `head -1` does; nothing happens in the project that would be another line
        try:
            assert command.wait(20) == 0
        finally:
            command.kill()
        assert command.stderr.read() == b""


@pytest.mark.parametrize("output", ["id", "jsonl", "json", "table"])
def test_what_changes_several_runs_changes_all_of_them_whoever_reads_of_it(shop: Project, output: str) -> None:
    shop.up()
    ids = ["order-1", "order-2", "order-3"]
    for id in ids:
        shop.ok("start", "Order", "--id", id, "order_id=1", "amount=1")

    def unread(*words: str) -> int:
        read, write = os.pipe()
        os.close(read)
        try:
            return subprocess.run(
                [*WFCTL, *words, "--yes", "-o", output], cwd=shop.folder, env=shop.environment,
                stdin=subprocess.DEVNULL, stdout=write, stderr=write, timeout=40,
            ).returncode  # fmt: skip
        finally:
            os.close(write)

    assert unread("cancel", *ids, "nobody") == 9
    assert shop.json("list", "--count")["counts"] == {"cancelled": 3}
    assert unread("purge", "--status", "cancelled") == 0
    assert shop.json("list", "--count")["total"] == 0
