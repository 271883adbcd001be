"""On a real pseudo-terminal: widths, live redraw, signals."""

from __future__ import annotations

import re
import signal
import sys
from typing import Any

import pexpect
import pytest

from support.project import Project

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(shop: Project, *words: str, columns: int = 80, **more: str) -> Any:
    environment = {**shop.environment, "TERM": "xterm-256color", **more}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    return pexpect.spawn(
        sys.executable, ["-m", "wfctl.cli.main", *words], cwd=str(shop.folder), env=environment, encoding="utf-8",
        timeout=20, dimensions=(24, columns),
    )  # fmt: skip


def finished(child: Any) -> tuple[str, int]:
    child.expect(pexpect.EOF)
    child.close()
    return child.before, child.exitstatus


@pytest.fixture(scope="module")
def paid(shop: Project) -> Project:
    shop.ok("start", "Order", "--id", f"order-{'7' * 60}", "order_id=1", "amount=9.99")
    shop.ok("send", "order-7", "start_payment")
    shop.ok("result", "order-7")
    return shop


@pytest.mark.parametrize("columns", [0, 20, 40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [
        ("list",), ("tree", "order-7"), ("history", "order-7"), ("tail", "order-7"), ("workflows",),
        ("timeline", "order-7", "-q"),
    ],
)  # fmt: skip
def test_nothing_is_wider_than_the_terminal(paid: Project, words: tuple[str, ...], columns: int) -> None:
    text, code = finished(terminal(paid, *words, columns=columns, PAGER="cat"))
    assert code == 0
    # A terminal that does not know its width is drawn for as one of eighty columns.
    width = columns or 80
    for line in text.splitlines():
        assert len(line) <= width, line


def test_a_backup_tells_how_far_it_is_on_one_line_and_clears_it(shop: Project) -> None:
    text, code = finished(terminal(shop, "backup", "terminal.db"))
    assert code == 0
    progress, _, rest = text.rpartition("\r" + " " * 10)
    assert re.search(r"\rcopying 100% of [\d.]+ KiB$", progress)
    assert rest.lstrip(" \r").splitlines()[0] == str(shop.folder / "terminal.db")
    assert "copying" not in finished(terminal(shop, "backup", "terminal.db", "--force", "-q"))[0]


def test_colour_appears_on_a_terminal_and_goes_with_no_color(paid: Project) -> None:
    paid_environment = {key: value for key, value in paid.environment.items() if key != "NO_COLOR"}
    child = pexpect.spawn(
        sys.executable, ["-m", "wfctl.cli.main", "list"], cwd=str(paid.folder), encoding="utf-8", timeout=20,
        env={**paid_environment, "TERM": "xterm-256color"},
    )  # fmt: skip
    assert "\x1b[32m" in finished(child)[0]
    assert "\x1b[" not in finished(terminal(paid, "list"))[0]


def test_a_live_tree_shows_the_payment_and_leaves_its_last_frame(shop: Project) -> None:
    shop.ok("start", "Order", "--id", "live-1", "order_id=live-1", "amount=9.99")
    child = terminal(shop, "tree", "-f", "live-1")
    child.expect("wait any event")
    shop.ok("send", "live-1", "start_payment")
    child.expect(r"Payment\(payment-live-1\)")
    text, code = finished(child)
    assert code == 0
    assert text.endswith("\x1b[?25h")
    assert "completed" in text


def test_ctrl_c_detaches_a_follower_with_the_cursor_back(shop: Project) -> None:
    shop.ok("start", "Order", "--id", "sig-1", "order_id=sig-1", "amount=9.99")
    for words in (("tree", "-f", "sig-1"), ("tail", "-f", "sig-1"), ("result", "sig-1"), ("logs", "-f")):
        child = terminal(shop, *words)
        if words[0] == "result":
            child.expect(pexpect.TIMEOUT, timeout=0.7)
        else:
            child.expect("wait any event" if words[0] == "tree" else "wait.started" if words[0] == "tail" else "ready")
        child.sendintr()
        text, code = finished(child)
        assert code == 130, words
        assert "Traceback" not in text
        if words[0] == "tree":
            assert "\x1b[?25h" in text
        if words[0] != "logs":
            assert re.search(r"go(es)? on", text), text
    assert shop.json("show", "sig-1")["status"] == "waiting"


def test_sigterm_restores_the_cursor_too(shop: Project) -> None:
    shop.ok("start", "Order", "--id", "sig-2", "order_id=sig-2", "amount=9.99")
    child = terminal(shop, "tree", "-f", "sig-2")
    child.expect("wait any event")
    child.kill(signal.SIGTERM)
    text, code = finished(child)
    assert code == 143
    assert "\x1b[?25h" in text


@pytest.mark.parametrize("words", [("tree", "-f", "stop-1"), ("list", "-w"), ("status", "-w")])
def test_ctrl_z_gives_the_shell_its_cursor_and_the_follower_goes_on_below(
    shop: Project, words: tuple[str, ...]
) -> None:
    if shop.run("show", "stop-1").returncode:
        shop.ok("start", "Order", "--id", "stop-1", "order_id=stop-1", "amount=9.99")
    shell = pexpect.spawn(
        "/bin/bash", ["--norc", "--noprofile", "-i"], cwd=str(shop.folder), encoding="utf-8", timeout=20, dimensions=(24, 80),
        env={**shop.environment, "TERM": "xterm-256color", "PS1": "$ ", "HISTFILE": ""},
    )  # fmt: skip
    shown = "daemon +running for" if words[0] == "status" else "stop-1"
    shell.sendline(" ".join([sys.executable, "-m", "wfctl.cli.main", *words]))
    shell.expect_exact("\x1b[?25l")
    shell.expect(shown)
    shell.sendcontrol("z")
    shell.expect_exact("\x1b[?25h")
    shell.expect("Stopped")
    shell.sendline("fg")
    shell.expect_exact("\x1b[?25l")
    shell.expect(shown)
    shell.sendintr()
    shell.expect_exact("\x1b[?25h")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    assert "Traceback" not in shell.before
    shell.close()


@pytest.mark.parametrize("words", [("tree", "-f", "quit-1"), ("list", "-w"), ("status", "-w")])
def test_ctrl_backslash_ends_a_live_view_by_its_signal_with_the_cursor_back(
    shop: Project, words: tuple[str, ...]
) -> None:
    if shop.run("show", "quit-1").returncode:
        shop.ok("start", "Order", "--id", "quit-1", "order_id=quit-1", "amount=9.99")
    child = terminal(shop, *words)
    child.expect_exact("\x1b[?25l")
    child.expect("daemon +running for" if words[0] == "status" else "quit-1")
    child.sendcontrol("\\")
    text, code = finished(child)
    assert (code, child.signalstatus) == (None, signal.SIGQUIT)
    assert text.endswith("\x1b[?25h")


def test_a_resize_redraws_for_the_new_width(shop: Project) -> None:
    shop.ok("start", "Order", "--id", "size-1", "order_id=size-1", "amount=9.99")
    child = terminal(shop, "tree", "-f", "size-1", columns=80)
    child.expect("wait any event")
    child.setwinsize(24, 40)
    child.expect("\x1b\\[J")
    child.expect("wait any event[^\r\n]*\r\n")
    line = "└ ◌ " + ESCAPES.sub("", child.after).strip()
    assert len(line) <= 40
    child.sendintr()
    assert finished(child)[1] == 130


def test_several_runs_are_asked_about_and_the_default_is_no(shop: Project) -> None:
    for id in ("ask-1", "ask-2"):
        shop.ok("start", "Order", "--id", id, f"order_id={id}", "amount=9.99")
    child = terminal(shop, "cancel", "ask-1", "ask-2")
    child.expect(r"cancel 2 runs: ask-1, ask-2\r\nGo on\? \[y/N\] ")
    child.sendline("")
    text, code = finished(child)
    assert code == 16
    assert "error[declined]" in text
    child = terminal(shop, "cancel", "ask-1", "ask-2")
    child.expect(r"\[y/N\] ")
    child.sendeof()
    assert finished(child)[1] == 16
    child = terminal(shop, "cancel", "ask-1", "ask-2")
    child.expect(r"\[y/N\] ")
    child.sendline("y")
    assert finished(child)[1] == 0
    assert shop.json("show", "ask-1")["status"] == "cancelled"
