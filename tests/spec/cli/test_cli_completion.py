"""Completion in real shells: the script is loaded, a line is typed, the tab key is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from support.project import SAMPLES, Project

SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["-f", "-i"], "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D"),
}
TYPED = [
    ("wfctl expl\t", "wfctl explain"),
    ("wfctl show my\t", "wfctl show my:order"),
    ("wfctl send my:order start_p\t", "start_payment"),
    ("wfctl start Order amo\t", "amount="),
    ("wfctl list --status=fa\t", "=failed"),
    ("wfctl backup ord\t", "orders.py"),
    ("wfctl show me\t", "show me@here"),
    ("wfctl show me@h\t", "show me@here"),
]
# What a word is in the end, however it is quoted.
QUOTED = [
    ("a\\ ", "a b"),
    ("'a ", "a b"),
    ('"a ', "a b"),
    ("it", "it's"),
    ('"it', "it's"),
    ("'x:y", "x:y z"),
    ('"wow', "wow!me"),
    ("x:y", "x:y z"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("shop"), {"orders.py": (SAMPLES / "orders" / "orders.py").read_text()})
    scripts = Path(sys.executable).parent
    project.environment |= {
        "PATH": f"{scripts}{os.pathsep}{project.environment['PATH']}", "TERM": "dumb", "PS1": "$ ", "HISTFILE": "/dev/null",
        "XDG_DATA_HOME": str(project.folder / "data"), "XDG_CONFIG_HOME": str(project.folder / "config"),
        "XDG_CACHE_HOME": str(project.folder / "cache"), "HOME": str(project.folder),
    }  # fmt: skip
    project.serve()
    project.ok("start", "Order", "--id", "my:order", "order_id=1", "amount=1")
    for id in ("me@here", "a b", "it's", "x:y z", "wow!me"):
        project.ok("start", "Order", "--id", id, "order_id=1", "amount=1")
    yield project
    project.stop()


# A busy machine may not answer within the time that a person would wait: then the tab is pressed again.
PATIENCE = 20


def _completed(child: pexpect.spawn[str], line: str) -> str:
    """What the line is after its tab, quoted and echoed instead of run."""
    child.send(f"{line}\x01echo '<\x05>'\r")
    child.expect(r"\n<(.*?)>\r\n")
    return str(child.match[1])


def _word(child: pexpect.spawn[str], line: str) -> str:
    """The last word of the line after its tab, as a command gets it; empty where a quote is still open."""
    child.send(f"{line}\x01printf '<%s>\\n' \x05\r")
    if child.expect([r"\n<wfctl>\r\n<show>\r\n<(.*?)>\r\n", r"\n(?:d?quote)?> ", pexpect.TIMEOUT], timeout=5):
        child.send("\x03")
        return ""
    return str(child.match[1])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_completes_in_a_shell(shop: Project, shell: str) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    arguments, setup = SHELLS[shell]
    script = Path(shop.ok("completion", "install", shell).strip())
    child = pexpect.spawn(
        found, arguments, cwd=str(shop.folder), env=shop.environment, encoding="utf-8", timeout=30, dimensions=(30, 160)
    )
    try:
        child.sendline(f"{setup.format(script=script, folder=script.parent)}; echo rea''dy")
        child.expect_exact("ready")
        for line, completed in TYPED:
            assert any(completed in _completed(child, line) for _ in range(PATIENCE)), line
        for typed, word in QUOTED:
            assert any(_word(child, f"wfctl show {typed}\t") == word for _ in range(PATIENCE)), typed
    finally:
        child.close(force=True)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_offers_with_a_word_about_each(shop: Project) -> None:
    script = shop.ok("completion", "install", "fish").strip()

    def offered(line: str) -> str:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"],
            cwd=shop.folder, env=shop.environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    assert offered("wfctl expl") == "explain\tExplain an error, a warning or an exit status.\n"
    assert offered("wfctl show my") == "my:order\tOrder waiting\n"
    assert offered("wfctl start Order amo") == "amount=\tfloat\n"
    assert offered("wfctl backup ord") == "orders.py\n"
    assert offered("wfctl show a\\\\ ") == offered('wfctl show "a ') == "a b\tOrder waiting\n"


def test_it_is_installed_where_the_shell_looks_and_once(shop: Project) -> None:
    data, config = Path(shop.environment["XDG_DATA_HOME"]), Path(shop.environment["XDG_CONFIG_HOME"])
    places = {
        "bash": data / "bash-completion" / "completions" / "wfctl",
        "zsh": data / "zsh" / "site-functions" / "_wfctl",
        "fish": config / "fish" / "completions" / "wfctl.fish",
    }
    for shell, place in places.items():
        shop.environment["SHELL"] = f"/usr/bin/{shell}"
        place.unlink(missing_ok=True)
        done = shop.run("completion", "install")
        assert (done.returncode, done.stdout) == (0, f"{place}\n")
        assert done.stderr.startswith(f"installed completion for {shell}\n")
        assert place.read_text() == shop.ok("completion") == shop.ok("completion", shell)
        assert "is there already" in shop.run("completion", "install", shell).stderr
        place.write_text("# wfctl completion for an older release\n")
        assert shop.json("completion", "install", shell)["changed"] is True
        place.write_text("# mine\n")
        mine = shop.run("completion", "install", shell)
        assert mine.returncode == 5
        assert place.read_text() == "# mine\n"
        place.unlink()


def test_a_shell_that_is_not_known_is_asked_for(shop: Project) -> None:
    shop.environment["SHELL"] = "/usr/bin/tcsh"
    done = shop.run("completion")
    assert done.returncode == 2
    assert "SHELL names 'tcsh'" in done.stderr
    near = shop.run("completion", "install", "fsh")
    assert near.returncode == 2
    assert "did you mean 'fish'?" in near.stderr
    assert shop.run("completion", "bash", "zsh").returncode == 2
