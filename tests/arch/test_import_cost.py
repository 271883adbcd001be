"""What an import or a command loads, seen from outside in a fresh interpreter."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.source import PACKAGES, python_files, show
from wfctl import Context, Directive, Workflow
from wfd.testing import WorkflowEnvironment

HEAVY = {
    "asyncio",
    "typer",
    "rich",
    "msgspec",
    "wfd",
    "pydantic",
    "watchfiles",
    "aiosqlite",
    "sqlite3",
    "uvloop",
    "ulid",
}


def _loaded(code: str, cwd: Path | None = None) -> set[str]:
    """The top-level packages and modules in sys.modules after `code`."""
    tell = "import sys, json; print(chr(10) + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("WFCTL_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return set(found)


def test_the_public_face_loads_nothing_until_a_name_is_used() -> None:
    heavy = _loaded("import wfctl; wfctl.__version__; dir(wfctl)") & HEAVY
    assert not heavy, f"import wfctl loads {sorted(heavy)}: keep it lazy"


def test_the_face_itself_is_one_module() -> None:
    code = "import sys, wfctl; own = [n for n in sys.modules if n.startswith('wfctl')]; assert own == ['wfctl'], own"
    assert "wfctl" in _loaded(code)


@pytest.mark.parametrize("name", ["Workflow", "Context", "Directive", "RunInfo", "Status", "WfctlError"])
def test_authoring_names_load_no_command_line_and_no_daemon(name: str) -> None:
    heavy = _loaded(f"from wfctl import {name}") & (HEAVY - {"msgspec", "asyncio"})
    assert not heavy, f"from wfctl import {name} loads {sorted(heavy)}"


def test_a_command_that_draws_nothing_loads_no_loop_no_daemon_and_no_rich(tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    code = "from wfctl.cli.app import execute\nassert execute(['status', '-q']) == 3"
    heavy = _loaded(code, tmp_path) & (HEAVY - {"typer", "msgspec"})
    assert not heavy, f"wfctl status -q loads {sorted(heavy)}: import it where it is needed"


def test_the_entry_point_loads_no_command_before_it_is_typed() -> None:
    code = "import sys, wfctl.cli.app\nassert not [n for n in sys.modules if n.startswith('wfctl.cli.commands.')]"
    heavy = _loaded(code) & (HEAVY - {"typer", "msgspec"})
    assert not heavy, f"wfctl.cli.app loads {sorted(heavy)}"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["lits"]])
def test_the_list_of_commands_is_told_without_loading_any(words: list[str]) -> None:
    code = f"""
import sys
from wfctl.cli.app import execute
execute({words!r})
loaded = [n for n in sys.modules if n.startswith('wfctl.cli.commands.')]
assert not loaded, loaded
"""
    heavy = _loaded(code) & (HEAVY - {"typer", "msgspec"})
    assert not heavy, f"wfctl {words[0]} loads {sorted(heavy)}"


@pytest.mark.parametrize(
    "words", [["line", "wfctl show o"], ["words", "sta"], ["words", "list", "--st"], ["words", "start", ""]]
)
def test_a_tab_loads_neither_the_parser_nor_the_messages(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text("[workflows]\nmodules = []\n")
    code = f"import wfctl.cli.main; from wfctl.cli.complete import run; assert run(['__complete', *{words!r}]) == 0"
    heavy = _loaded(code, tmp_path) & (HEAVY | {"click", "inspect", "dataclasses", "tomllib"})
    assert not heavy, f"wfctl __complete loads {sorted(heavy)}: half of all a tab may take"


def test_the_blocking_transport_loads_no_loop() -> None:
    assert "asyncio" not in _loaded("import wfctl.client.blocking")


def test_workers_load_nothing_of_the_daemon_but_themselves() -> None:
    code = """
import sys, wfd.worker.main
own = {name.split('.')[1] for name in sys.modules if name.startswith('wfd.')}
assert own == {'worker'}, own
"""
    heavy = _loaded(code) & {"typer", "rich", "sqlite3", "aiosqlite", "watchfiles", "tomli", "ulid"}
    assert not heavy, f"a worker loads {sorted(heavy)}, which the project's interpreter need not have"


# -- commands, with a daemon that answers ----------------------------------------------------------

# What a command may load beside typer, msgspec and the command line itself: nothing that takes more than a moment.
LIGHT = {
    "array", "decimal", "_decimal", "getpass", "numbers", "pwd", "shlex", "socket", "_socket", "termios", "typer",
    "typing_extensions", "unicodedata",
}  # fmt: skip
WITHOUT_DRAWING = (
    "status -q", "list -o id", "list -o json", "list", "show o-1 -o json", "show o-1", "start Note -q", "send w-1 poke -q",
    "query w-1 shown", "result o-1", "wait o-1", "tree o-1 -o json", "tree o-1", "history o-1 -o jsonl", "history o-1", "tail o-1",
    "cancel w-1 -q", "workflows -o json", "workflows", "status",
)  # fmt: skip
DATA = (
    "list -o json", "list -o id", "show o-1 -o json", "tree o-1 -o json", "tree -o jsonl", "history o-1 -o jsonl", "start Note -q",
)  # fmt: skip
# What lays out lines and screens.
LAYOUT = {
    "bars", "live", "outcome", "render.barrows", "render.bars", "render.history", "render.pending", "render.runs", "render.show",
    "render.status", "render.table", "render.tree", "render.treeitems",
}  # fmt: skip
DRAWING = ("list --color always", "tree --color always", "show o-1 --color always", "status --color always")
# Parts of rich that colours and widths do not need.
RICH_EXTRAS = {"live", "markdown", "progress", "pretty", "prompt", "syntax", "table", "traceback", "tree"}
RUN = """
import sys, json, typer
before = set(sys.modules)
from wfctl.cli.app import execute
codes = [execute(words.split()) for words in sys.argv[1:]]
print(chr(10) + json.dumps([codes, sorted(set(sys.modules) - before)]))
"""


def _flows() -> list[Workflow]:
    note, waiter = Workflow(workflow_type="Note"), Workflow(workflow_type="Waiter")

    @note.start()
    async def write(ctx: Context) -> Directive:
        return ctx.next.complete("written")

    @waiter.start()
    async def wait(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @waiter.event()
    async def poke(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @waiter.query()
    def shown(ctx: Context) -> str:
        return "something"

    return [note, waiter]


async def _loaded_by(commands: tuple[str, ...]) -> tuple[dict[str, int], set[str]]:
    """The exit code of each command, and what all of them together have loaded beside typer."""
    async with WorkflowEnvironment(_flows()) as env:
        await env.client.run("Note", workflow_id="o-1")
        await env.client.start("Waiter", workflow_id="w-1")
        await env.settle()
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUN, *commands, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "WFCTL_SOCKET": str(env.client._link.path)},
        )  # fmt: skip
        out, err = await done.communicate()
    assert done.returncode == 0, err.decode()
    codes, names = json.loads(out.splitlines()[-1])
    return dict(zip(commands, codes, strict=True)), set(names)


async def test_commands_that_draw_nothing_load_hardly_more_than_typer() -> None:
    codes, names = await _loaded_by(WITHOUT_DRAWING)
    assert {command: code for command, code in codes.items() if code} == {}
    more = {name for name in names if name.split(".")[0] not in LIGHT | {"msgspec", "__future__", "wfctl"}}
    assert not more, f"commands that draw nothing load {sorted(more)}: import it where it is needed"


async def test_commands_that_print_data_load_nothing_that_lays_out_lines() -> None:
    codes, names = await _loaded_by(DATA)
    assert set(codes.values()) == {0}
    layout = names & {f"wfctl.cli.{name}" for name in LAYOUT}
    assert not layout, f"commands that print data load {sorted(layout)}: import it where lines are drawn"


async def test_commands_that_draw_load_of_rich_what_colours_need() -> None:
    codes, names = await _loaded_by(DRAWING)
    assert set(codes.values()) == {0}
    assert "rich.console" in names
    heavy = {name.split(".")[0] for name in names} & (HEAVY - {"typer", "msgspec", "rich"})
    extras = {part for part in RICH_EXTRAS if f"rich.{part}" in names}
    assert (heavy, extras) == (set(), set())


# -- how much a command does before it is done: counted, not timed, so that it is the same on any machine -------------------

# Of the protocol, beside the handshake: the rooms of the messages that a command sends and gets.
ROOMS = {
    "status -q": {"daemon"},
    "start Note -q": {"starts"},
    "send w-1 poke -q": {"starts"},
    "cancel w-1 -q": {"changes", "lists", "runs"},
    "list -o json": {"lists", "runs"},
    "show o-1 -o json": {"runs"},
    "tree o-1 -o json": {"runs", "trees"},
    "result o-1": {"runs"},
}
# Calls of functions, in parts of those that importing typer makes; before the messages were in rooms it was one and more.
MOST_CALLS = 0.85
COUNT = """
import sys, json
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
sys.setprofile(count)
import typer
base = calls
from wfctl.cli.app import execute
code = execute(sys.argv[1:])
sys.setprofile(None)
rooms = {name.split(".")[2] for name in sys.modules if name.startswith("wfctl.protocol.")}
print(chr(10) + json.dumps([code, (calls - base) / base, sorted(rooms), "tomllib" in sys.modules]))
"""


async def test_a_command_does_less_than_importing_typer_and_loads_the_messages_it_uses(tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text('[daemon]\nstate = "."\n[workflows]\nmodules = ["flows.py"]\n')
    found = {}
    async with WorkflowEnvironment(_flows(), path=tmp_path) as env:
        await env.client.run("Note", workflow_id="o-1")
        await env.client.start("Waiter", workflow_id="w-1")
        await env.settle()
        for command in ROOMS:
            run = await asyncio.create_subprocess_exec(
                sys.executable, "-c", COUNT, *command.split(), cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "WFCTL_SOCKET": str(env.client._link.path)},
            )  # fmt: skip
            out, _ = await run.communicate()
            found[command] = json.loads(out.splitlines()[-1])
    assert {command: set(rooms) - {"call", "hello", "rpc"} for command, (_, _, rooms, _) in found.items()} == ROOMS
    assert {command: code for command, (code, *_) in found.items() if code} == {}
    assert not [command for command, (*_, toml) in found.items() if toml], "the daemon says where the state is"
    much = {command: round(parts, 2) for command, (_, parts, _, _) in found.items() if parts > MOST_CALLS}
    assert not much, f"too much is done before the command is: {much}"


def test_what_typer_reads_is_not_evaluated_four_times() -> None:
    """An annotation that is put off is compiled and evaluated whenever typer looks at its function, which is four times."""
    late = [
        show(file)
        for file in python_files(PACKAGES["wfctl"] / "cli")
        if re.search(r"^import typer$", text := file.read_text(), re.MULTILINE)
        and "\nfrom __future__ import annotations\n" in text
    ]
    assert not late, f"these put off annotations that typer needs at once: {late}"
