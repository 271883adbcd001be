"""Who may import whom, as data: the table of the design, and the rules beside it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from support.source import (
    CARRIED,
    PACKAGES,
    ROOT,
    Import,
    Module,
    called,
    dotted,
    imports,
    imports_of,
    module_of,
    modules,
    parsed,
    python_files,
    report,
    show,
    within,
)

EVERYBODY_MAY = {"msgspec", "wfctl.values", "wfctl.errors"}

# Package: what it may import beside itself, the standard library and EVERYBODY_MAY. Other people's packages stand here too.
MAY_IMPORT: dict[str, set[str]] = {
    "wfctl.values": set(),
    "wfctl.errors": set(),
    "wfctl.protocol": set(),
    "wfctl.sdk": set(),
    "wfctl.client": {"wfctl.protocol"},
    "wfctl.__main__": {"wfctl.cli"},
    "wfctl.cli": {"wfctl.client", "wfctl.protocol", "wfctl.sdk.loader", "typer", "rich"},
    "wfd.core": set(),
    "wfd.runtime": {"ulid", "cronsim"},
    "wfd.config": {"tomli"},
    "wfd.store": {"wfd.core", "wfd.runtime", "sqlite3", "aiosqlite"},
    "wfd.supervisor": {"wfd.runtime", "wfd.config", "wfctl.protocol"},
    "wfd.reload": {"wfd.runtime", "wfd.config", "wfd.core", "watchfiles"},
    "wfd.worker": {"wfctl.sdk", "wfctl.protocol", "uvloop"},
    "wfd.engine": {"wfd.core", "wfd.store", "wfd.supervisor", "wfd.runtime", "wfd.config", "wfctl.protocol"},
    "wfd.care": {"wfd.store", "wfd.config", "wfd.runtime", "wfctl.protocol"},
    "wfd.reading": {
        "wfd.engine",
        "wfd.server",
        "wfd.store",
        "wfd.supervisor",
        "wfd.config",
        "wfd.runtime",
        "wfctl.protocol",
    },
    "wfd.server": {"wfd.engine", "wfd.runtime", "wfd.config", "wfctl.protocol"},
    "wfd.app": {"wfd", "wfctl", "uvloop"},
    "wfd.testing": {"wfd", "wfctl"},
    "wfd.__main__": {"wfd.app", "wfd.config", "wfctl.protocol"},
}

# These two files have no room of their own. The first is the public face, which names everything and loads it on first use.
FACES = {"wfctl", "wfd"}

# What only its owners may name, though it is in the standard library or everybody's to install.
ONLY_IN = {
    "sqlite3": ("wfd.store",),
    "aiosqlite": ("wfd.store",),
    "watchfiles": ("wfd.reload",),
    "typer": ("wfctl.cli",),
    "rich": ("wfctl.cli",),
    # Its owner also knows time zones: what a calendar says may depend on the machine.
    "cronsim": ("wfd.runtime",),
    "uvloop": ("wfd.app", "wfd.worker"),
}

# Package or module: the parts of the standard library it does without, and why.
DOES_WITHOUT: dict[str, tuple[str, set[str]]] = {
    "wfd.core": (
        "it is pure: time and ids are arguments",
        {
            "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
            "select", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "uuid",
            "zoneinfo",
        },
    ),
    "wfctl.protocol": (
        "it is sans-IO: whoever owns the socket moves the bytes",
        {"asyncio", "io", "logging", "os", "pathlib", "random", "select", "socket", "subprocess", "threading", "time"},
    ),
    "wfctl.values": ("values do no I/O", {"asyncio", "logging", "select", "socket", "subprocess", "threading", "time"}),
    "wfctl.sdk": ("the port hides the wire and the process", {"select", "socket", "sqlite3", "subprocess", "time"}),
    "wfctl.client.blocking": ("a command must not pay for an event loop", {"asyncio", "concurrent", "threading"}),
    "wfctl.cli": ("a command must not pay for an event loop", {"asyncio", "sqlite3"}),
    "wfd.engine": ("its clock, ids and disk are passed in, so that it can be simulated", {"random", "secrets", "socket",
                   "sqlite3", "subprocess", "threading", "time", "uuid"}),
    "wfd.server": ("it knows the engine, not the disk", {"sqlite3", "subprocess"}),
    "wfd.config": ("it reads one file", {"asyncio", "socket", "sqlite3", "subprocess"}),
}  # fmt: skip

# Calls that ask the machine for the time, for chance or for a file: none where a result must follow from the arguments.
IMPURE_CALLS = re.compile(
    r"(?:time\.\w+|datetime\.(?:now|utcnow|today)|date\.today|random\.(?!Random$)\w+|secrets\.\w+|os\.urandom"
    r"|uuid\.uuid[14]|open|print|input)"
)
# SQL by its shape, and the settings that a connection needs before any named query can run.
STATEMENT = re.compile(
    r"\s*(?:select\s[^;]+?\sfrom\s+\w+\s*(?:where|order|group|join|limit|,|;|$)|insert\s+(?:or\s+\w+\s+)?into\s"
    r"|delete\s+from\s|update\s+\w+\s+set\s|create\s+(?:unique\s+)?(?:table|index)\s)",
    re.IGNORECASE,
)
SETTING = re.compile(r"\s*(?:pragma|begin|commit|vacuum|attach)\b(?:\s+\w+)?\s*(?:[=(;]|$)", re.IGNORECASE)
# Asked of a file that is not known to be a database of ours yet.
BEFORE_THE_SCHEMA = {"select count(*) from sqlite_master"}
PURE = ("wfd.core", "wfctl.protocol", "wfctl.values")


def _product() -> list[Module]:
    return [module for name, module in modules().items() if name not in FACES]


def _allowed(module: Module, target: str) -> bool:
    """Whether the table lets `module` import `target`; a name of a module counts as that module."""
    target = module_of(target) or target
    if within(target, module.package):
        return True
    return any(within(target, may) for may in EVERYBODY_MAY | MAY_IMPORT.get(module.package, set()))


def _standard(target: str) -> bool:
    return target.split(".")[0] in sys.stdlib_module_names


def _where(module: Module, found: Import) -> str:
    return f"{module.place}:{found.line}: {module.name} imports {found.target}"


def test_every_package_stands_in_the_table() -> None:
    there = {module.package for module in _product()}
    unknown = sorted(there - MAY_IMPORT.keys())
    assert not unknown, report(unknown, "give the package a row in MAY_IMPORT (and in the design), or move its modules")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_its_row_allows(package: str) -> None:
    problems = [
        _where(module, found)
        for module in _product()
        if module.package == package
        for found in imports(module)
        if module_of(found.target) not in FACES and not _standard(found.target) and not _allowed(module, found.target)
    ]
    allowed = ", ".join(sorted(EVERYBODY_MAY | MAY_IMPORT[package]))
    assert not problems, report(problems, f"{package} may import {allowed}; pass the rest in as an argument")


def test_what_has_owners_is_named_by_nobody_else() -> None:
    problems = [
        f"{_where(module, found)}, which is for {' and '.join(ONLY_IN[top])} alone"
        for module in modules().values()
        for found in imports(module)
        if (top := found.target.split(".")[0]) in ONLY_IN
        if not any(within(module.name, owner) for owner in ONLY_IN[top])
    ]
    assert not problems, report(problems, "ask the package that owns it")


def test_what_users_import_never_imports_the_daemon() -> None:
    problems = [
        _where(module, found)
        for module in modules().values()
        if within(module.name, "wfctl")
        for found in imports(module)
        if within(found.target, "wfd")
    ]
    assert not problems, report(
        problems, "wfctl is installed in user environments without a daemon: go through the socket"
    )


def test_nothing_inside_goes_through_the_public_face() -> None:
    problems = [
        _where(module, found)
        for module in _product()
        for found in imports(module)
        if module_of(found.target) == "wfctl" and found.target not in ("wfctl", "wfctl.__version__")
    ]
    problems += [
        f"{module.place}:{line}: uses wfctl.{name}"
        for module in _product()
        for name, line in _names_of_face(module.tree)
    ]
    assert not problems, report(
        problems, "import the name from the module that defines it; only __version__ is the face's"
    )


def _names_of_face(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_foreign(dotted(node)):
            yield node.attr, node.lineno


def _is_foreign(name: str) -> bool:
    """Whether `name` is one of the face's own, neither a module under it nor the version."""
    return name.startswith("wfctl.") and name != "wfctl.__version__" and module_of(name) == "wfctl"


@pytest.mark.parametrize("package", DOES_WITHOUT)
def test_a_package_does_without_parts_of_the_standard_library(package: str) -> None:
    why, banned = DOES_WITHOUT[package]
    problems = [
        _where(module, found)
        for name, module in modules().items()
        if within(name, package)
        for found in imports(module)
        if found.target.split(".")[0] in banned
    ]
    assert not problems, report(problems, f"{package}: {why}")


@pytest.mark.parametrize("package", PURE)
def test_pure_code_asks_nothing_of_the_machine(package: str) -> None:
    problems = [
        f"{module.place}:{node.lineno}: calls {dotted(node.func)}"
        for name, module in modules().items()
        if within(name, package)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and IMPURE_CALLS.fullmatch(dotted(node.func))
    ]
    assert not problems, report(problems, "take the time, the id or the text as an argument")


def test_only_the_entry_point_and_tests_import_what_holds_everything_together() -> None:
    problems = [
        _where(module, found)
        for module in modules().values()
        if module.name != "wfd.__main__"
        for found in imports(module)
        for top in ("wfd.app", "wfd.testing", "wfd.__main__")
        if within(found.target, top)
        and not within(module.name, top)
        and (module.name, top) != ("wfd.testing", "wfd.app")
    ]
    assert not problems, report(problems, "wfd.app puts the parts together; a part must not know it")


def test_samples_use_the_public_names_alone() -> None:
    problems = [
        f"{show(file)}:{node.lineno}: reaches into {target}"
        for file in python_files("samples")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        if target.startswith(("wfctl.", "wfd")) and target != "wfd.testing"
    ]
    assert not problems, report(problems, "a sample shows what users write: from wfctl import ...")


def test_only_the_store_writes_sql_and_there_in_named_files() -> None:
    problems = [
        f"{module.place}:{node.lineno}: {node.value.strip()[:60]!r}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_sql(module, node.value)
    ]
    assert not problems, report(problems, "move the statement to a named query in daemon/wfd/store/sql")


def _is_sql(module: Module, text: str) -> bool:
    if within(module.name, "wfd.store"):
        return STATEMENT.match(text) is not None and text not in BEFORE_THE_SCHEMA
    return STATEMENT.match(text) is not None or SETTING.match(text) is not None


def test_sql_is_told_from_prose() -> None:
    for text in (
        "select a from b",
        "INSERT INTO runs values (?)",
        "update runs\n set a = 1",
        "delete from runs where a",
        "create table x (a)",
    ):
        assert STATEMENT.match(text)
    for text in (
        "Create one: wfctl up",
        "select a run from the list",
        "update the pages",
        "with a timeout as text",
        "delete it",
    ):
        assert not STATEMENT.match(text)


def test_importing_by_name_is_kept_to_who_loads_code() -> None:
    """A name made at run time is invisible to the other tests here, so the places that do it are listed."""
    loaders = {
        "wfctl": "the public names, on first use",
        "wfctl.client": "the asyncio half, on first use",
        "wfctl.cli.app": "one command a verb, when it is typed",
        "wfctl.sdk.loader": "the user's modules",
        "wfctl.sdk.failure": "the class of a recorded exception",
        "wfctl.sdk.replay": "Python's own SHA-256, in a module whose name depends on the version",
        "wfd.server.router": "one handler a verb",
    }
    places = {
        module.name: f"{module.place}:{node.lineno}: {module.name} calls {called(node)}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and called(node) in ("import_module", "__import__", "exec", "eval")
    }
    problems = [place for name, place in places.items() if name not in loaders]
    assert not problems, report(problems, "import it by an import statement, or list the module with its reason")
    idle = sorted(loaders.keys() - places.keys())
    assert not idle, report(idle, "these load nothing by name any more: take them off the list")


def test_the_daemon_folder_is_no_package() -> None:
    assert not (ROOT / "daemon" / "__init__.py").exists(), (
        "remove daemon/__init__.py: the name `daemon` belongs to another distribution"
    )
    assert [entry.name for entry in sorted((ROOT / "daemon").iterdir()) if entry.name != "__pycache__"] == ["wfd"], (
        "daemon/ holds wfd and nothing else; move the rest into it"
    )


def test_every_folder_with_modules_is_a_package() -> None:
    problems = [
        show(folder)
        for top in PACKAGES.values()
        for folder in sorted({file.parent for file in top.rglob("*.py")})
        if folder not in CARRIED and not (folder / "__init__.py").exists()
    ]
    assert not problems, report(problems, "add an __init__.py that says in one line what the folder owns")


# -- the reader itself: a rule that sees nothing would hold for ever --------------------------------


def test_the_reader_sees_imports_in_functions_and_for_type_checkers() -> None:
    text = """
import os.path
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from wfd.core.state import Run
def late():
    import sqlite3
    from . import sibling
    from .sibling import name
"""
    assert imports_of(text, "wfctl.room.me") == [
        "os.path", "typing.TYPE_CHECKING", "wfd.core.state.Run", "sqlite3", "wfctl.room.sibling", "wfctl.room.sibling.name",
    ]  # fmt: skip


def test_the_reader_sees_relative_imports_of_a_package() -> None:
    assert imports_of("from .load import load", "wfd.config", is_package=True) == ["wfd.config.load.load"]
    assert imports_of("from ..core import state", "wfd.config", is_package=True) == ["wfd.core.state"]


def test_the_reader_sees_modules_named_by_text() -> None:
    assert imports_of('import_module(f"wfd.server.{verb}")') == ["wfd.server"]
    assert imports_of('importlib.import_module("wfd.app")') == ["wfd.app"]


def test_the_table_refuses_what_it_does_not_allow() -> None:
    core, worker = modules()["wfd.core.decide"], modules()["wfd.worker.__main__"]
    assert _allowed(core, "wfd.core.state.Run")
    assert _allowed(core, "wfctl.values.times.format_duration")
    assert not _allowed(core, "wfd.runtime.clock")
    assert not _allowed(core, "aiosqlite")
    assert _allowed(worker, "wfctl.sdk.port")
    assert not _allowed(worker, "wfd.engine.engine")


def test_an_impure_call_is_told_from_a_pure_one() -> None:
    for impure in ("time.time", "datetime.now", "random.random", "uuid.uuid4", "open"):
        assert IMPURE_CALLS.fullmatch(impure)
    for pure in ("datetime.fromtimestamp", "random.Random", "uuid.UUID", "draft.now", "rng.choice"):
        assert not IMPURE_CALLS.fullmatch(pure)
