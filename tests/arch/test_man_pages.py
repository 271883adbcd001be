"""The manual pages tell what the program does: every command, option, key, exit status, kind and name, and no other."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import wfctl
from support.manpages import Page, flags, items, page, pages, plain
from support.source import ROOT, dotted, leading_text, modules, report, within
from wfctl import errors
from wfctl.cli import exit as cli_exit
from wfctl.cli.app import VERBS, ActionGroup, build, load
from wfctl.cli.options import Settings
from wfctl.sdk.context import Context
from wfctl.sdk.directive import Next
from wfctl.sdk.store import Store
from wfctl.sdk.workflow import Workflow
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import CLOSED, OPEN
from wfd.config import Config, load as load_config
from wfd.config.load import _DEFAULTS, _TABLES
from wfd.core.records import KINDS
from wfd.supervisor.steps import MOST_IN_WORKER, STEPS_PER_WORKER

NAMES = ["wfctl-workflows.7", "wfctl.1", "wfctl.toml.5", "wfd.8"]

# Package, constant, and its value; the page that says it, and in which words.
SAID = [
    ("wfctl", "MAX_PAYLOAD_BYTES", 1 << 20, "wfctl.1", "at most 1 MiB"),
    ("wfctl", "MAX_PAYLOAD_BYTES", 1 << 20, "wfctl-workflows.7", "more than 1 MiB"),
    ("wfctl", "MAX_ANSWER_BYTES", 64 << 20, "wfctl.1", "at most 64 MiB at a time"),
    ("wfctl", "RECONNECT_S", 30.0, "wfctl.1", "waited out for 30 seconds"),
    ("wfctl", "LAST_OF_ALL", 20, "wfctl.1", "the newest 20 entries"),
    ("wfctl", "STATIC_BUDGET", 200, "wfctl.1", "over 200 lines"),
    ("wfd", "MIN_PREFIX", 4, "wfctl.1", "at least four characters"),
    ("wfd", "QUERY_TIMEOUT_S", 10.0, "wfctl-workflows.7", "more than 10 seconds"),
    ("wfd", "CRASH_LIMIT", 5, "wfctl-workflows.7", "ended its worker five times"),
    ("wfd", "CRASH_LIMIT", 5, "wfd.8", "ends its worker five times"),
    ("wfd", "GRACE_MS", 3_000, "wfd.8", "within three seconds"),
    ("wfd", "GRACE_MS", 3_000, "wfctl.1", "has to let go within three seconds"),
    ("wfd", "GRACE_MS", 3_000, "wfctl-workflows.7", "not let go within three seconds"),
    ("wfd", "DRAIN_MS", 10_000, "wfd.8", "running ones get 10 seconds"),
    ("wfd", "BLOCKED_MS", 2_000, "wfctl.1", "not answered for two seconds"),
    ("wfd", "MAX_WORKERS", 64, "wfctl.toml.5", "from 1 to 64"),
    ("wfd", "MAX_CRASHES", 100, "wfctl.toml.5", "from 1 to 100"),
    ("wfd", "ROTATE_BYTES", 10 << 20, "wfd.8", "at most 10 MiB"),
    ("wfd", "PORTION_ROWS", 500, "wfctl.1", "more than 500 rows"),
    ("wfd", "LOG_BYTES", 64 << 20, "wfd.8", "up to 64 MiB"),
    ("wfd", "KEPT_FILES", 3, "wfd.8", "three older ones"),
]


def _options(command: Any) -> dict[str, set[str]]:
    """The options of a command by their longest name: every spelling."""
    found = {}
    for parameter in _parameters(command):
        if parameter.param_type_name == "option":
            names = {*parameter.opts, *parameter.secondary_opts}
            found[max(parameter.opts, key=len)] = names
    return found


def _parameters(command: Any) -> list[Any]:
    """What a command and its actions take."""
    actions = [command.find(name) for name in command.verbs] if isinstance(command, ActionGroup) else []
    return [parameter for one in (command, *actions) for parameter in one.params]


def _own_options(verb: str) -> dict[str, set[str]]:
    shared = _options(build())
    return {name: names for name, names in _options(load(verb)).items() if name not in shared}


# -- the pages themselves --------------------------------------------------------------------------


def test_there_are_these_pages() -> None:
    assert [one.file.name for one in pages()] == NAMES


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_clean_mdoc(name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", str(page(name).file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}-> correct the mdoc source of man/{name}"


def test_pages_refer_to_pages_that_are_there() -> None:
    there = {tuple(name.rsplit(".", 1)) for name in NAMES}
    problems = [
        f"man/{one.file.name}: {name}({number})"
        for one in pages()
        for name, number in re.findall(r"^\.Xr (\S+) (\d)", one.text, re.MULTILINE)
        if (name, number) not in there
    ]
    assert not problems, report(problems, "write that page, or do not refer to it")


def test_sections_that_are_referred_to_are_there() -> None:
    problems = [
        f"man/{one.file.name}: {name}"
        for one in pages()
        for name in re.findall(r"^\.Sx ([A-Z ]+?)(?: [.,)])*$", one.text, re.MULTILINE)
        if name.strip() not in one.sections()
    ]
    assert not problems, report(problems, "name a section of the same page")


@pytest.mark.parametrize(("package", "name", "value", "told_in", "words"), SAID)
def test_numbers_in_words_are_those_of_the_code(
    package: str, name: str, value: object, told_in: str, words: str
) -> None:
    found = [
        eval(compile(ast.Expression(node.value), module.place, "eval"), {})
        for module in modules().values()
        if within(module.name, package)
        for node in module.tree.body
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == name
    ]
    assert found == [value], f"man/{told_in} says {words!r}, {name} is {found}: change both, and SAID"
    assert words in page(told_in).prose(), f"man/{told_in} does not say {words!r} any more: change SAID with it"


# -- wfctl(1) --------------------------------------------------------------------------------------


def test_every_command_has_its_part_and_no_other() -> None:
    assert list(page("wfctl.1").subsections("COMMANDS")) == list(VERBS), (
        "man/wfctl.1: give every command a .Ss in COMMANDS, in the order of the help"
    )


def test_every_verb_is_a_module_of_its_own() -> None:
    files = {name.rpartition(".")[2] for name in modules() if name.startswith("wfctl.cli.commands.")}
    assert files == set(VERBS), "one module a verb in wfctl/cli/commands, and each verb in VERBS"


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_commands_says_of_each_what_its_help_begins_with(verb: str) -> None:
    first, *rest = str(import_module(f"wfctl.cli.commands.{verb}").run.__doc__).strip().splitlines()
    assert first == VERBS[verb]
    assert not rest or not rest[0], "an empty line after the first"
    assert len(first) <= 64, "what is longer is broken on eighty columns"


def test_the_actions_of_a_command_are_told_with_what_their_help_begins_with() -> None:
    for verb in VERBS:
        command = load(verb)
        if isinstance(command, ActionGroup):
            lines = page("wfctl.1").subsections("COMMANDS")[verb]
            assert [line.split()[2] for line in lines if re.match(rf"\.Cm {verb} [a-z-]+$", line)][
                : len(command.verbs)
            ] == (list(command.verbs))
            for name, said in command.verbs.items():
                assert str(command.find(name).help).splitlines()[0] == said


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_a_command_is_told(verb: str) -> None:
    lines = page("wfctl.1").subsections("COMMANDS")[verb]
    told = {name for item in items(lines) for name in flags(item.head)}
    there = {name for names in _own_options(verb).values() for name in names}
    assert told == there, f"man/wfctl.1, {verb}: missing {sorted(there - told)}, not there {sorted(told - there)}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_synopsis_of_a_command_names_its_options_and_arguments(verb: str) -> None:
    lines = page("wfctl.1").subsections("COMMANDS")[verb]
    synopsis = "\n".join(lines[: lines.index(".Pp")])
    own = _own_options(verb)
    shown = set(flags(synopsis))
    missing = [name for name, names in own.items() if not names & shown]
    assert not missing, f"man/wfctl.1, {verb}: the synopsis lacks {missing}"
    assert shown <= {name for names in own.values() for name in names}, f"man/wfctl.1, {verb}: {sorted(shown)}"
    for parameter in _parameters(load(verb)):
        if parameter.param_type_name == "argument":
            word = re.search(r"[A-Z]+", parameter.metavar or "")
            assert word is not None
            assert re.search(rf"\bAr {word[0].lower()}\b", synopsis), (
                f"man/wfctl.1, {verb}: the synopsis lacks {word[0]}"
            )


def test_the_options_of_every_command_are_told_once() -> None:
    told = {name for item in items(page("wfctl.1").section("OPTIONS")) for name in flags(item.head)}
    there = {name for names in _options(build()).values() for name in names} | {"-h", "--help"}
    assert told == there, f"man/wfctl.1, OPTIONS: missing {sorted(there - told)}, not there {sorted(told - there)}"


def test_the_options_of_some_commands_are_told_with_those_that_take_them() -> None:
    told = {}
    for item in items(page("wfctl.1").section("OPTIONS")):
        named = re.findall(r"^Of\n\.Cm (.+) \.$", "\n".join(item.body), re.MULTILINE)
        if named:
            told[max(flags(item.head), key=len)] = set(named[0].split(" , "))
    taken = {
        name: {verb for verb in VERBS if name in _options(load(verb))}
        for names in _options(build()).values()
        for name in [max(names, key=len)]
    }
    some = {name: verbs for name, verbs in taken.items() if verbs and verbs != set(VERBS)}
    wrong = [f"{name}: Of .Cm {' , '.join(v for v in VERBS if v in verbs)} ." for name, verbs in some.items()
             if told.get(name) != verbs]  # fmt: skip
    assert not wrong, report(wrong, "say so in man/wfctl.1, OPTIONS")
    assert told.keys() == some.keys()


def exit_codes() -> set[int]:
    """What a command can exit with today: errors that somebody raises, outcomes, and the codes the command line names."""
    used = {
        node.id
        for name, module in modules().items()
        if name not in ("wfctl", "wfctl.errors")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    raised = {cls.exit_status for cls in errors.BY_CODE.values() if cls.__name__ in used}
    named = {value for name, value in vars(cli_exit).items() if name.isupper() and type(value) is int}
    # Ctrl-C and SIGTERM, as a shell tells a death by signal.
    named |= {128 + signal.SIGINT, 128 + signal.SIGTERM}
    return raised | named | {look.exit for look in cli_exit.LOOKS.values()}


def test_every_exit_status_is_told_and_no_other() -> None:
    told = [int(item.head) for item in items(page("wfctl.1").section("EXIT STATUS"))]
    assert told == sorted(exit_codes()), "man/wfctl.1: list in EXIT STATUS what can occur, in order"


def test_the_help_tells_the_same_exit_codes_below_those_of_signals() -> None:
    text = build().help or ""
    told = {int(number) for number in re.findall(r"\b(\d+) [a-z]", text.partition("Exit codes:")[2])}
    assert told == {code for code in exit_codes() if code < 128}, (
        "correct the exit codes in the help of wfctl/cli/app.py"
    )


def _commands_shown() -> list[tuple[str, str]]:
    """Every command line that a page shows: the page's name, and the line without its prompt."""
    return [
        (one.file.name, line.removeprefix("$ "))
        for one in pages()
        for block in one.literals()
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


# What changes a file on the way from init to a cured run, which a test goes.
EDITS = ("sed", "mv")


def test_commands_that_are_shown_can_be_typed() -> None:
    problems = []
    shown = _commands_shown()
    assert shown, "the pages show no commands: prefix them with '$ ' in literal blocks"
    for name, line in shown:
        bare = re.sub(r"^\w+=\$\((.*)\)$", r"\1", line.partition("||")[0].strip())
        for part in bare.split("|"):
            words = shlex.split(part)
            if words[0] in EDITS:
                continue
            try:
                assert words[0] == "wfctl"
                load(words[1]).make_context(words[1], words[2:], obj=Settings())
            except Exception as error:
                problems.append(f"man/{name}: {part.strip()}: {error}")
    assert not problems, report(problems, "show commands as they are typed")


# -- wfctl.toml(5) ---------------------------------------------------------------------------------


def test_every_key_of_the_configuration_is_told_with_its_default() -> None:
    tables = page("wfctl.toml.5").subsections("DESCRIPTION")
    told = {name.strip("[]"): [item.head.split()[1] for item in items(lines)] for name, lines in tables.items()}
    assert told == {name: list(keys) for name, keys in _TABLES.items()}, (
        "man/wfctl.toml.5: list every key under its table, in the order of wfd.config"
    )
    for lines in tables.values():
        for item in items(lines):
            key = item.head.split()[1]
            default = _DEFAULTS.get(key)
            if default is not None:
                text = plain(" ".join(item.body))
                assert f"The default is .Ql {_toml(default)}" in text, f"man/wfctl.toml.5: {key} defaults to {default}"


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value)


def test_every_key_of_the_configuration_is_a_setting() -> None:
    assert set(_TABLES["retention"]) == CLOSED
    keys = {key for table, keys in _TABLES.items() for key in (["retention"] if table == "retention" else keys)}
    assert keys == set(Config.__struct_fields__) - {"project", "file", "socket", "sources", "limit_lines"}


def test_examples_of_the_configuration_load(tmp_path: Path) -> None:
    examples = page("wfctl.toml.5").literals()
    assert len(examples) >= 2, "man/wfctl.toml.5: show the least there can be, and everything"
    for text in examples:
        file = tmp_path / "wfctl.toml"
        file.write_text(text)
        assert load_config(file).modules


# -- wfd(8) ----------------------------------------------------------------------------------------


def test_every_option_of_the_daemon_is_told() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "wfd", "--help"], capture_output=True, text=True, check=True)
    there = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)) - {"--help"}
    told = {name for item in items(page("wfd.8").section("DESCRIPTION")) for name in flags(item.head)}
    assert told == there, f"man/wfd.8: missing {sorted(there - told)}, not there {sorted(told - there)}"
    assert set(flags("\n".join(page("wfd.8").section("SYNOPSIS")))) == there, "man/wfd.8: correct the synopsis"


def test_exit_statuses_of_the_daemon_are_those_of_the_command_line() -> None:
    told = {int(item.head) for item in items(page("wfd.8").section("EXIT STATUS"))}
    assert told <= exit_codes(), f"man/wfd.8: {sorted(told - exit_codes())} cannot occur"


def test_a_database_of_another_program_is_told_under_the_exit_status_that_it_gives() -> None:
    told = {int(item.head): " ".join(item.body) for item in items(page("wfd.8").section("EXIT STATUS"))}
    where = [status for status, text in told.items() if "that of another program" in text]
    assert where == [errors.StorageError.exit_status], (
        "man/wfd.8: tests/unit/app/test_wfd_process.py says what it gives"
    )


def test_how_many_steps_a_worker_may_have_is_told_among_the_limits() -> None:
    [steps] = [" ".join(item.body) for item in items(page("wfd.8").section("LIMITS")) if item.head == "steps"]
    assert f"{STEPS_PER_WORKER} under way" in steps
    assert f"{MOST_IN_WORKER:,}" in steps


def test_every_variable_of_the_environment_that_is_read_is_told() -> None:
    read = set()
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and dotted(node.func) in ("os.environ.get", "os.getenv") and node.args:
                read.add(leading_text(node.args[0]))
            elif isinstance(node, ast.Subscript) and dotted(node.value) == "os.environ":
                read.add(leading_text(node.slice))
    told = {
        item.head.removeprefix("Ev ")
        for one in pages()
        if "ENVIRONMENT" in one.sections()
        for item in items(one.section("ENVIRONMENT"))
    }
    assert told == read - {""}, f"man/: missing {sorted(read - told)}, not read {sorted(told - read)} in ENVIRONMENT"


# -- wfctl-workflows(7) ----------------------------------------------------------------------------


def _workflows() -> Page:
    return page("wfctl-workflows.7")


def test_every_kind_of_history_is_told_and_no_other() -> None:
    told = [item.head.removeprefix("Cm ") for item in items(_workflows().section("HISTORY OF A RUN"))]
    assert sorted(told) == sorted(KINDS), (
        f"man/wfctl-workflows.7, HISTORY: missing {sorted(KINDS.keys() - set(told))}, not there {sorted(set(told) - KINDS.keys())}"
    )


def test_fields_of_history_that_are_named_are_there() -> None:
    for item in items(_workflows().section("HISTORY OF A RUN")):
        kind = item.head.removeprefix("Cm ")
        named = set(re.findall(r"^\.Va (\w+)", "\n".join(item.body), re.MULTILINE))
        assert named <= set(KINDS[kind].__struct_fields__), f"man/wfctl-workflows.7: {kind} has no {named}"


def test_every_name_authors_import_is_told() -> None:
    text = _workflows().text
    missing = [name for name in wfctl.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing, report(missing, "say in man/wfctl-workflows.7 what it is")


def test_every_exception_is_told_with_its_code_and_no_other() -> None:
    told = {}
    for item in items(_workflows().section("EXCEPTIONS")):
        match = re.fullmatch(r"Vt (\w+) Pq Cm (\w+)", item.head)
        assert match is not None, f"man/wfctl-workflows.7: write .It Vt Name Pq Cm code, not {item.head}"
        told[match[1]] = match[2]
    public = [getattr(errors, name) for name in wfctl.__all__ if hasattr(errors, name)]
    assert told == {cls.__name__: cls.code for cls in public}


def test_every_status_is_told_as_open_or_closed() -> None:
    told = [item.head.removeprefix("Cm ") for item in items(_workflows().section("STATES"))]
    assert set(told[: len(OPEN)]) == set(OPEN)
    assert set(told[len(OPEN) :]) == set(CLOSED)


def test_what_the_store_takes_by_place_is_told_so_and_the_default_by_its_name() -> None:
    told = {
        name: words.split()
        for name, words in re.findall(r"^\.Fn (put|get|delete)((?: \w+)+)(?: \W)?$", _workflows().text, re.M)
    }
    by_place = {
        name: [
            one.name
            for one in inspect.signature(getattr(Store, name)).parameters.values()
            if one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        for name in told
    }
    assert told == {name: words[1:] for name, words in by_place.items()}
    assert {*told} == {"put", "get", "delete"}
    assert inspect.signature(Store.get).parameters["default"].kind is inspect.Parameter.KEYWORD_ONLY
    assert ".Ql default=0" in _workflows().text


def test_the_parameters_of_what_authors_call_are_told() -> None:
    heads = "\n".join(line for line in _workflows().lines if line.startswith((".It Fn", ".It Ic await Fn")))
    calls = {name: words.split() for name, words in re.findall(r"Fn (@?[\w.]+)((?: \w+)*)", heads)}
    owners: dict[str, Any] = {"ctx.next": Next, "ctx": Context, "@wf": Workflow}
    assert {name for name in calls if "." in name} == {
        f"{prefix}.{name}" for prefix, owner in owners.items() for name in _methods(owner)
    } - {"ctx.next.wait", "ctx.logger"}  # fmt: skip
    for name, told in calls.items():
        prefix, _, method = name.rpartition(".")
        function = getattr(owners[prefix], method) if prefix else getattr(wfctl, method.removeprefix("@"))
        there = [one for one in inspect.signature(function).parameters if one not in ("self", "function")]
        assert told == there, f"man/wfctl-workflows.7: {name} takes {there}"


def _methods(owner: type) -> list[str]:
    described = {"handler", "handler_of", "names", "describe"}  # the host's side of a Workflow
    return [
        name
        for name, _ in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_") and not (owner is Workflow and name in described)
    ]


def test_the_facts_about_a_run_are_told() -> None:
    text = _workflows().text
    missing = [name for name in RunInfo.__struct_fields__ if not re.search(rf"^\.Va {name}\b", text, re.MULTILINE)]
    assert not missing, report(missing, "say in man/wfctl-workflows.7, ctx.run, what it is")


def test_the_example_is_the_sample() -> None:
    sample = (ROOT / "samples" / "orders" / "orders.py").read_text()
    assert sample in _workflows().literals(), (
        "man/wfctl-workflows.7 shows samples/orders/orders.py: copy it there again"
    )


def test_the_sample_that_the_product_carries_is_the_sample() -> None:
    carried, sample = ROOT / "wfctl" / "cli" / "templates" / "orders.py", ROOT / "samples" / "orders" / "orders.py"
    assert carried.read_text() == sample.read_text(), "copy orders.py from samples/orders to wfctl/cli/templates"
