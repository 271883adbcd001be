"""A number that is a time says its unit in its name.

Inside, an instant is UTC epoch milliseconds (`*_at`, `*_at_ms`, or one of the words that mean nothing else) and a length of
time is milliseconds (`*_ms`), both int. A float is seconds (`*_s`) and lives only as long as it takes to hand it to asyncio, a
socket or a clock of the machine. Authors and programs write `timedelta` and `datetime`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import msgspec
import pytest

from support.source import Module, called, functions, last_name, modules, parameters, report, within
from wfctl.cli.render import document
from wfctl.protocol import care, purge, schedules, views
from wfctl.protocol.call import Call

# Instants by meaning, int and UTC epoch milliseconds everywhere.
INSTANTS = {"at", "deadline", "due", "now"}
MILLISECONDS, SECONDS = ("_ms", "_at"), ("_s",)

TIME_WORDS = {
    "age", "at", "backoff", "closed", "created", "deadline", "delay", "drain", "due", "duration", "elapsed", "ended",
    "every", "expires", "expiry", "grace", "instant", "interval", "late", "linger", "moment", "now", "pause", "period",
    "received", "since", "started", "time", "timeout", "ttl", "until", "updated", "wait", "waited", "wake",
}  # fmt: skip
# The last word of a name that counts something else: `after_seq`, `since_rev`.
OTHER_UNITS = {"bytes", "chars", "children", "count", "id", "key", "limit", "revs", "rev", "seq", "steps"}

# Module and name of what only sounds like a time, and what it is.
NO_TIMES = {
    ("wfd.core.state", "since"): "the seq of a `step.started`",
    ("wfctl.sdk.retry", "backoff"): "a factor",
    ("wfctl.protocol.schedules", "started"): "how many runs were",
    ("wfd.core.schedules", "started"): "how many runs were",
}

# Functions of the standard library and of asyncio that take seconds.
TAKE_SECONDS = {
    "call_later", "join", "select", "settimeout", "shutdown", "sleep", "timeout", "wait", "wait_for",
}  # fmt: skip
# Methods of those names that are ours, and take milliseconds.
OURS = {"_clock.call_later", "clock.call_later", "self.call_later"}

# Whose fields are on disk or cross a process boundary.
RECORDED = ("wfctl.values", "wfctl.protocol", "wfctl.errors", "wfd.core", "wfd.store", "wfd.config")
# What authors and programs call.
PUBLIC = (
    "wfctl.sdk.context", "wfctl.sdk.directive", "wfctl.sdk.workflow", "wfctl.sdk.store", "wfctl.client.client",
    "wfctl.client.handle",
)  # fmt: skip


def _number(annotation: ast.AST | None) -> str | None:
    """`int` or `float` where the annotation is that, alone or in a union or Annotated."""
    match annotation:
        case ast.Name(id="int" | "float" as name):
            return name
        case ast.Name(id="Number" | "Quantity"):
            return "int"
        case ast.Constant(value=str(text)):
            return _number(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, right=right, op=ast.BitOr()):
            return _number(left) or _number(right)
        case ast.Subscript(value=base, slice=inner) if last_name(base) in (
            "ClassVar",
            "Final",
            "Optional",
            "Annotated",
        ):
            return _number(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)
    return None


def _sounds_like_time(name: str) -> bool:
    words = name.strip("_").lower().split("_")
    return not TIME_WORDS.isdisjoint(words) and words[-1] not in OTHER_UNITS


def wrong_name(name: str, kind: str) -> str | None:
    """What is wrong with `name` for a number of `kind`, or None."""
    bare = name.strip("_").lower()
    if kind == "int" and bare.endswith(SECONDS) and _sounds_like_time(bare):
        return "whole seconds are not used: make it milliseconds, or float"
    if not _sounds_like_time(bare) or bare.endswith(MILLISECONDS + SECONDS) or bare in INSTANTS:
        return "a float is seconds: *_s" if kind == "float" and bare.endswith("_ms") else None
    return (
        "name it *_ms (a length of time) or *_at (an instant)" if kind == "int" else "name it *_s, or make it int *_ms"
    )


def _fields(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Annotated fields of classes and of `self`: name, kind of number, line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and (kind := _number(node.annotation)):
            yield last_name(node.target), kind, node.lineno


def _arguments(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    for function in functions(tree):
        for parameter in parameters(function):
            if kind := _number(parameter.annotation):
                yield parameter.arg, kind, parameter.lineno


def _constants(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Numbers given to a name in capitals, in a module or a class, alone or in a tuple."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if values and all(
                isinstance(value, ast.Constant) and type(value.value) in (int, float) for value in values
            ):
                yield node.targets[0].id, "int", node.lineno


def _problems(module: Module, names: Iterator[tuple[str, str, int]], *, constants: bool = False) -> list[str]:
    found = []
    for name, kind, line in names:
        if (module.name, name) in NO_TIMES or (constants and name.endswith("_S")):
            continue
        why = wrong_name(name, kind)
        if why is not None:
            found.append(f"{module.place}:{line}: {name}: {kind}; {why}")
    return found


def test_fields_that_are_times_say_their_unit() -> None:
    problems = [line for module in modules().values() for line in _problems(module, _fields(module.tree))]
    assert not problems, report(
        problems, "rename the field; if it is no time at all, list it in NO_TIMES with what it is"
    )


def test_parameters_that_are_times_say_their_unit() -> None:
    problems = [line for module in modules().values() for line in _problems(module, _arguments(module.tree))]
    assert not problems, report(
        problems, "rename the parameter; if it is no time at all, list it in NO_TIMES with what it is"
    )


def test_constants_that_are_times_say_their_unit() -> None:
    problems = [
        line for module in modules().values() for line in _problems(module, _constants(module.tree), constants=True)
    ]
    assert not problems, report(problems, "end the constant's name in _MS, or in _S where asyncio or a socket takes it")


def test_what_is_recorded_or_sent_holds_times_as_whole_milliseconds() -> None:
    problems = []
    for module in modules().values():
        if not any(within(module.name, package) for package in RECORDED):
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for field in node.body:
                if not isinstance(field, ast.AnnAssign):
                    continue
                words = {last_name(part) for part in ast.walk(field.annotation)}
                name = last_name(field.target)
                if words & {"timedelta", "datetime"} or ("float" in words and _sounds_like_time(name)):
                    problems.append(
                        f"{module.place}:{field.lineno}: {node.name}.{name} is {ast.unparse(field.annotation)}"
                    )
    assert not problems, report(problems, "keep int milliseconds there; wfctl.values.times converts")


def test_what_authors_and_programs_call_takes_timedelta() -> None:
    problems = []
    for name in PUBLIC:
        module = modules().get(name)
        assert module is not None, f"{name} is gone: put the module that took its place into PUBLIC"
        for function in functions(module.tree):
            if function.name.startswith("_"):
                continue
            problems += [
                f"{module.place}:{parameter.lineno}: {function.name}({parameter.arg}: {ast.unparse(parameter.annotation)})"
                for parameter in parameters(function)
                if parameter.annotation is not None
                and _number(parameter.annotation)
                and _sounds_like_time(parameter.arg)
                and parameter.arg not in INSTANTS
            ]
    assert not problems, report(problems, "take a timedelta (or a datetime), and convert it with wfctl.values.times")


def _unit(node: ast.AST | None) -> str | None:
    """The unit that a bare name or attribute carries."""
    name = last_name(node).lower() if isinstance(node, ast.Name | ast.Attribute) else ""
    return "ms" if name.endswith("_ms") else "s" if name.endswith("_s") else None


def mixed_units(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where milliseconds are given, added or compared to seconds."""
    for node in ast.walk(tree):
        pairs: list[tuple[str | None, str | None]] = []
        if isinstance(node, ast.Call):
            if called(node) in TAKE_SECONDS and not any(ast.unparse(node.func).endswith(name) for name in OURS):
                values = [
                    *node.args,
                    *(keyword.value for keyword in node.keywords if not (keyword.arg or "").endswith("_ms")),
                ]
                pairs += [("s", _unit(value)) for value in values]
            pairs += [(_unit(ast.Name(keyword.arg or "")), _unit(keyword.value)) for keyword in node.keywords]
        elif isinstance(node, ast.Assign):
            pairs += [(_unit(target), _unit(node.value)) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            pairs.append((_unit(node.target), _unit(node.value)))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            pairs.append((_unit(node.left), _unit(node.right)))
        elif isinstance(node, ast.Compare):
            pairs += [(_unit(node.left), _unit(right)) for right in node.comparators]
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            yield node.lineno, ast.unparse(node)  # type: ignore[attr-defined]


def test_milliseconds_never_meet_seconds() -> None:
    problems = [
        f"{module.place}:{line}: {text[:100]}"
        for module in modules().values()
        for line, text in mixed_units(module.tree)
    ]
    assert not problems, report(problems, "divide or multiply by 1_000 where the value changes hands")


# -- the rule itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("timeout", "int"), ("delay", "float"), ("started", "int"), ("wake", "int"), ("grace", "float"), ("timeout_s", "int"),
        ("timeout_ms", "float"), ("_timeout", "int"), ("wait_time", "int"),
    ],
)  # fmt: skip
def test_a_time_without_its_unit_is_found(name: str, kind: str) -> None:
    assert wrong_name(name, kind) is not None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("timeout_ms", "int"), ("started_at", "int"), ("started_at_ms", "int"), ("now", "int"), ("deadline", "int"),
        ("timeout_s", "float"), ("after_seq", "int"), ("since_rev", "int"), ("attempt", "int"), ("size_bytes", "int"),
    ],
)  # fmt: skip
def test_a_time_with_its_unit_and_what_is_no_time_pass(name: str, kind: str) -> None:
    assert wrong_name(name, kind) is None


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.sleep(delay_ms)", "asyncio.wait_for(x, timeout=self.grace_ms)", "loop.call_later(delay_ms, f)",
        "f(wait_ms=wait_s)",
        "deadline_s = delay_ms", "end = now_s + delay_ms", "left_s < delay_ms",
    ],
)  # fmt: skip
def test_milliseconds_given_for_seconds_are_found(text: str) -> None:
    assert list(mixed_units(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "asyncio.sleep(delay_ms / 1_000)",
        "self._clock.call_later(delay_ms, f)",
        "f(wait_ms=wait_ms)",
        "asyncio.sleep(pause_s)",
    ],
)
def test_units_that_agree_pass(text: str) -> None:
    assert not list(mixed_units(ast.parse(text)))


def test_documents_write_every_instant_of_what_is_shown_as_a_time() -> None:
    shown = {
        name
        for messages in (views, schedules, care, purge)
        for struct in vars(messages).values()
        if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and not issubclass(struct, Call)
        for name in struct.__struct_fields__
        if name.endswith("_at")
    }
    lacking = sorted(shown - document.INSTANTS)
    assert not lacking, report(lacking, "add it to INSTANTS of wfctl.cli.render.document")
