"""No module over 400 lines, no function over 60: past that it is time to look again."""

from __future__ import annotations

from support.source import functions, modules, report

MODULE_LINES = 400
FUNCTION_LINES = 60

# What is longer, the length it must not outgrow, and why it stays in one piece.
LONGER_MODULES: dict[str, tuple[int, str]] = {}
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {}


def _modules() -> dict[str, int]:
    return {name: len(module.file.read_text(encoding="utf-8").splitlines()) for name, module in modules().items()}


def _functions() -> dict[str, int]:
    return {
        f"{name}:{function.name}": (function.end_lineno or function.lineno) - function.lineno + 1
        for name, module in modules().items()
        for function in functions(module.tree)
    }


def _too_long(lengths: dict[str, int], limit: int, exceptions: dict[str, tuple[int, str]]) -> list[str]:
    return [
        f"{name}: {lines} lines of {exceptions.get(name, (limit, ''))[0]}"
        for name, lines in lengths.items()
        if lines > exceptions.get(name, (limit, ""))[0]
    ]


def test_modules_stay_short_enough_to_be_read_at_once() -> None:
    problems = _too_long(_modules(), MODULE_LINES, LONGER_MODULES)
    assert not problems, report(problems, "split it where two things are owned; one module owns one thing")


def test_functions_stay_short_enough_to_be_seen_at_once() -> None:
    problems = _too_long(_functions(), FUNCTION_LINES, LONGER_FUNCTIONS)
    assert not problems, report(problems, "name the parts and move them out")


def test_exceptions_are_taken_back_when_they_are_not_needed_any_more() -> None:
    problems = [name for name in LONGER_MODULES if _modules().get(name, 0) <= MODULE_LINES]
    problems += [name for name in LONGER_FUNCTIONS if _functions().get(name, 0) <= FUNCTION_LINES]
    assert not problems, report(problems, "it is short enough now: remove the exception")
