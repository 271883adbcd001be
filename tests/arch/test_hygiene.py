"""What no file of the product has, and what every test has."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.source import (
    ROOT,
    FunctionNode,
    Module,
    called,
    dotted,
    functions,
    last_name,
    modules,
    parsed,
    python_files,
    report,
    show,
)

# Built from halves, so that this file does not hold what it looks for.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
TEXTS = {".py", ".sql", ".toml", ".md", ".1", ".5", ".7", ".8", ""}

# Where `raise NotImplementedError` is no stub: module, function, and what it is instead.
NOT_A_STUB = {
    ("wfctl.values.codec", "_enc_hook"): "how msgspec's hook says that it cannot encode a value",
}

# The one module of the tests in which real time passes, and a measurement that keeps a pace.
MAY_SLEEP = {"tests/support/waiting.py", "tests/bench/soak.py"}

# Names that say nothing of what a module owns.
EMPTY_NAMES = {"base", "common", "helper", "helpers", "misc", "stuff", "tools", "util", "utils"}


def _texts() -> Iterator[Path]:
    for folder in ("wfctl", "daemon", "tests", "samples", "man", ".ci"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix in TEXTS:
                yield file
    yield from sorted(file for file in ROOT.glob("*") if file.is_file() and file.suffix in (".toml", ".md"))


def test_nothing_is_left_for_later() -> None:
    problems = [
        f"{show(file)}:{number}: {line.strip()[:80]}"
        for file in _texts()
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not problems, report(problems, "finish it, or take it out")


def test_no_function_is_a_stub() -> None:
    problems = []
    for module in modules().values():
        for function, owner in _functions_with_owner(module.tree):
            raised = [node for node in ast.walk(function) if isinstance(node, ast.Raise) and _not_implemented(node)]
            if raised and (module.name, function.name) not in NOT_A_STUB:
                problems.append(f"{module.place}:{raised[0].lineno}: {function.name} raises NotImplementedError")
            elif _is_empty(function) and not _declares_only(function, owner):
                problems.append(f"{module.place}:{function.lineno}: {function.name} does nothing")
    assert not problems, report(
        problems, "write it, make it an abstractmethod or part of a Protocol, or say why it is empty"
    )


def _not_implemented(node: ast.Raise) -> bool:
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return raised is not None and last_name(raised) == "NotImplementedError"


def _functions_with_owner(tree: ast.AST) -> Iterator[tuple[FunctionNode, ast.ClassDef | None]]:
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child, node if isinstance(node, ast.ClassDef) else None


def _is_empty(function: FunctionNode) -> bool:
    """Whether its body is `pass` or `...` and no word about it. A docstring alone says why nothing happens."""
    return all(isinstance(line, ast.Pass) or _is_ellipsis(line) for line in function.body)


def _is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def _declares_only(function: FunctionNode, owner: ast.ClassDef | None) -> bool:
    decorators = {last_name(decorator) for decorator in function.decorator_list}
    return bool(decorators & {"overload", "abstractmethod"}) or (
        owner is not None and any("Protocol" in ast.unparse(base) for base in owner.bases)
    )


def test_every_module_says_what_it_owns() -> None:
    problems = [module.place for module in modules().values() if not _docstring(module)]
    assert not problems, report(problems, "begin the module with a docstring: what it owns, and what it must not do")


def _docstring(module: Module) -> str:
    text = module.file.read_text(encoding="utf-8")
    return ast.get_docstring(module.tree) or ("" if text.strip() else "an empty package file")


def test_modules_are_named_for_what_they_own() -> None:
    problems = [module.place for name, module in modules().items() if name.rpartition(".")[2] in EMPTY_NAMES]
    assert not problems, report(problems, "name it for what it holds, or move its parts to who uses them")


# -- tests -----------------------------------------------------------------------------------------


def _test_files() -> list[Path]:
    return [file for file in python_files("tests") if file.name.startswith("test_")]


def _tests(file: Path) -> list[FunctionNode]:
    return [function for function in functions(parsed(file)) if function.name.startswith("test_")]


def test_tests_wait_for_what_happens_and_not_for_time() -> None:
    problems = [
        f"{show(file)}:{line}: {text}"
        for file in python_files("tests")
        if show(file) not in MAY_SLEEP
        for line, text in real_sleeps(parsed(file))
    ]
    assert not problems, report(
        problems,
        "advance a manual clock, or wait for the condition with support.waiting; asyncio.sleep(0) is a turn of the loop",
    )


def real_sleeps(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Calls of time.sleep, and of asyncio.sleep with anything but 0, under whatever name they were imported."""
    names = {"time.sleep": "time.sleep", "asyncio.sleep": "asyncio.sleep"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {f"{alias.asname}.sleep": f"{alias.name}.sleep" for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname or alias.name: f"{node.module}.sleep" for alias in node.names if alias.name == "sleep"
            }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := names.get(dotted(node.func))) in ("time.sleep", "asyncio.sleep"):
            turn = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
            if name == "time.sleep" or not turn:
                yield node.lineno, ast.unparse(node)


def test_every_test_asserts_something() -> None:
    problems = [
        f"{show(file)}:{function.lineno}: {function.name}"
        for file in _test_files()
        for function in _tests(file)
        if not _asserts(function, _asserting(file) | _asserting_support())
    ]
    assert not problems, report(problems, "assert what the name of the test says, or delete it")


def _asserts(function: ast.AST, helpers: set[str] | frozenset[str]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and (called(node) in {"raises", "warns", "fail"} | helpers):
            return True
    return False


def _closure(trees: list[ast.Module], known: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the functions in `trees` that assert, themselves or through each other."""
    found = set(known)
    while True:
        more = {
            function.name
            for tree in trees
            for function in functions(tree)
            if function.name not in found and not function.name.startswith("test_") and _asserts(function, found)
        }
        if not more:
            return frozenset(found)
        found |= more


@cache
def _asserting_support() -> frozenset[str]:
    return _closure([parsed(file) for file in python_files("tests") if not file.name.startswith("test_")])


@cache
def _asserting(file: Path) -> frozenset[str]:
    return _closure([parsed(file)], _asserting_support())


def test_tests_are_named_as_sentences() -> None:
    problems = [
        f"{show(file)}:{function.lineno}: {function.name}"
        for file in _test_files()
        for function in _tests(file)
        if len([word for word in function.name.removeprefix("test_").split("_") if word]) < 3
    ]
    assert not problems, report(problems, "say what holds: test_a_closed_run_takes_no_events, not test_events")


def test_no_test_is_switched_off() -> None:
    """`skipif` with a reason is for what a machine may lack; `skip` and `xfail` are for what was given up."""
    problems = [
        f"{show(file)}:{node.lineno}: {ast.unparse(node)}"
        for file in python_files("tests")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Attribute) and dotted(node) in ("pytest.mark.skip", "pytest.mark.xfail")
    ]
    assert not problems, report(problems, "mend what it found, or delete the test")


def test_test_files_have_names_of_their_own() -> None:
    counts = Counter(file.name for file in _test_files())
    problems = [show(file) for file in _test_files() if counts[file.name] > 1]
    assert not problems, report(problems, "pytest imports test files by their bare names: rename one")


def test_no_two_tests_of_a_file_share_a_name() -> None:
    problems = []
    for file in _test_files():
        for scope in ast.walk(parsed(file)):
            if isinstance(scope, ast.Module | ast.ClassDef):
                names = [node.name for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
                problems += [f"{show(file)}: {name}" for name, count in Counter(names).items() if count > 1]
    assert not problems, report(problems, "the second hides the first, which never runs: rename one")


# -- the rules themselves --------------------------------------------------------------------------


def test_a_real_sleep_is_found_under_any_name() -> None:
    text = """
import asyncio, time as t
from asyncio import sleep as pause
t.sleep(1)
async def f():
    await pause(0.1)
    await asyncio.sleep(0)
    await asyncio.sleep(delay)
"""
    assert [line for line, _ in real_sleeps(ast.parse(text))] == [4, 6, 8]


def test_a_test_that_asserts_through_a_helper_counts() -> None:
    tree = ast.parse("def check(x):\n    assert x\ndef twice(x):\n    check(x)\ndef test_it():\n    twice(1)")
    assert _closure([tree]) == {"check", "twice"}
    assert not _asserts(ast.parse("def test_it():\n    run()"), _closure([tree]))
