"""The error tree, the statuses and the verbs are each said once; whatever shows them agrees."""

from __future__ import annotations

import ast
import re
import unicodedata

import pytest

from support.source import ROOT, leading_text, modules, parsed, report
from wfctl import errors
from wfctl.cli.app import VERBS
from wfctl.cli.exit import LOOKS, STEP_LOOKS
from wfctl.errors import WfctlError
from wfctl.protocol.calls import CALLS
from wfctl.values.status import CLOSED, OPEN, Status

# The outcome errors share the code of their base with the one it stands for.
SHARE_A_CODE = {"failed": {"RunOutcomeError", "RunFailedError"}}


def _tree(base: type[WfctlError] = WfctlError) -> list[type[WfctlError]]:
    return [
        base,
        *(leaf for child in base.__subclasses__() for leaf in _tree(child) if leaf.__module__ == "wfctl.errors"),
    ]


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    drawn = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)(\w+Error|WorkflowAlready\w+)\s+(\S+)(?:\s+(\d+))?", line)
        if match is None:
            continue
        depth = len(match[1]) // 3
        above[depth:] = [match[2]]
        drawn[match[2]] = (above[depth - 1] if depth else "Exception", match[3], match[4])
    there = {cls.__name__: cls for cls in _tree()}
    assert drawn.keys() == there.keys(), "wfctl/errors.py: draw every class in the module's docstring"
    for name, (base, code, status) in drawn.items():
        cls = there[name]
        assert cls.__bases__[0].__name__ == base, f"wfctl/errors.py: {name} is not drawn under its base"
        if status is not None:
            assert (code, int(status)) == (cls.code, cls.exit_status), (
                f"wfctl/errors.py: {name} is drawn with another code"
            )


def test_every_code_means_one_error() -> None:
    by_code: dict[str, set[str]] = {}
    for cls in _tree():
        by_code.setdefault(cls.code, set()).add(cls.__name__)
    shared = {code: names for code, names in by_code.items() if len(names) > 1}
    assert shared == SHARE_A_CODE, "give each error a code of its own: programs tell errors apart by it"


def test_every_error_comes_back_as_its_own_class() -> None:
    for cls in _tree():
        error = cls("what", hint="do that", fact=1)
        back = errors.from_data(error.to_data())
        expected = errors.RunFailedError if cls is errors.RunOutcomeError else cls
        assert (type(back), back.message, back.hint, back.detail) == (expected, "what", "do that", {"fact": 1})


def test_every_hint_that_is_a_command_can_be_typed() -> None:
    problems = [
        f"{module.place}:{node.value.lineno}: {command!r} in {leading_text(node.value)!r}"
        for module in modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg == "hint"
        for command in re.findall(r"(?:^|&& )wfctl ([a-z]+)", leading_text(node.value))
        if command not in VERBS
    ]
    assert not problems, report(problems, "name a command that is there")


def test_every_status_looks_like_itself_alone() -> None:
    assert set(LOOKS) == set(Status), "wfctl/cli/exit.py: give every status a look, an exit code and a word"
    for part in ("glyph", "ascii", "word"):
        shown = [getattr(look, part) for look in LOOKS.values()]
        assert len(set(shown)) == len(shown), f"wfctl/cli/exit.py: two statuses share a {part}"
    for look in [*LOOKS.values(), *STEP_LOOKS.values()]:
        assert look.ascii.isascii(), f"{look.word}: {look.ascii!r} is not ASCII"
        assert len(look.glyph) == len(look.ascii) == 1
        assert unicodedata.east_asian_width(look.glyph) not in "WF", f"{look.word}: {look.glyph!r} takes two cells"


@pytest.mark.parametrize("status", Status)
def test_a_status_is_told_by_its_own_word(status: Status) -> None:
    assert LOOKS[status].word == status.value


def test_outcomes_exit_with_the_code_of_their_error() -> None:
    outcomes = {
        Status.FAILED: errors.RunFailedError,
        Status.CANCELLED: errors.RunCancelledError,
        Status.TERMINATED: errors.RunTerminatedError,
        Status.TIMED_OUT: errors.RunTimedOutError,
        Status.STUCK: errors.RunStuckError,
    }
    for status, cls in outcomes.items():
        assert LOOKS[status].exit == cls.exit_status
    assert LOOKS[Status.COMPLETED].exit == 0
    assert {LOOKS[status].exit for status in OPEN - {Status.STUCK}} == {errors.NotFinishedError.exit_status}


def test_open_and_closed_share_no_status_and_leave_none_out() -> None:
    assert set(Status) == OPEN | CLOSED
    assert not OPEN & CLOSED


def test_the_schema_knows_the_same_statuses() -> None:
    schema = (ROOT / "daemon" / "wfd" / "store" / "schema.sql").read_text(encoding="utf-8")
    for condition, expected in (("closed_at is null and", OPEN), ("or closed_at is not null and", CLOSED)):
        words = re.search(rf"^ +{condition}.*\n(( .*\n)*?)(?= +or closed_at|\))", schema, re.MULTILINE)
        assert words is not None, "daemon/wfd/store/schema.sql: check what `status` may be"
        assert set(re.findall(r"status = '(\w+)'", words[1])) == expected, (
            "a migration must let the schema take the same statuses"
        )


def test_a_verb_of_the_socket_has_a_handler_of_its_name() -> None:
    handlers = {name.rpartition(".")[2] for name in modules() if name.startswith("wfd.server.handlers.")}
    assert handlers - {"hello"} == CALLS.keys() - {"hello"}, "one module a verb in daemon/wfd/server/handlers"


def test_a_verb_of_the_socket_is_a_method_of_the_backend() -> None:
    tree = parsed(modules()["wfd.server.backend"].file)
    (backend,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Backend"]
    methods = {node.name for node in backend.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    # `starting` is `start` and `closing` is `result`, where that is a future already.
    assert methods - {"starting", "closing"} == CALLS.keys() - {"hello"}, (
        "daemon/wfd/server/backend.py: one method a verb, of its name"
    )


def test_a_verb_of_the_socket_is_asked_by_the_asyncio_client() -> None:
    asked = {
        node.func.attr
        for name, module in modules().items()
        if name.startswith("wfctl.client.")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    # `hello` is the connection's own, and `ids` is what a shell asks at a tab. Who ends a daemon should be there to start it, and
    # that is a command.
    missing = sorted(method for method, call in CALLS.items() if call.__name__ not in asked)
    assert missing == ["down", "hello", "ids"], "wfctl/client: what a command can ask, a program can too"
