"""What a handler may do next, found in its source: the steps it goes to, what it waits for, the children and events it sends.

Nothing is run and nothing is guessed: what cannot be told from the source is a transition of kind `unknown`, with the reason. The
names in it are looked up in the loaded module, so an alias or an import leads where it leads at run time.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

from wfctl.sdk.handler import Handler
from wfctl.sdk.imports import statements
from wfctl.sdk.workflow import Workflow
from wfctl.values.signature import Transition

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
_DOING = frozenset({"next", "start", "run_child", "send_to_parent", "send"})
_MISSING = object()
_SHOWN_CHARS = 60


class Functions:
    """The functions of parsed files, each file gone through once. `trees` gives a file's source, or None where it is not known."""

    def __init__(self, trees: Callable[[str], ast.Module | None]) -> None:
        self._trees = trees
        self._known: dict[str, dict[tuple[str, int], FunctionNode]] = {}

    def find(self, code: CodeType) -> FunctionNode | None:
        """The function that `code` was compiled from."""
        file = code.co_filename
        if file not in self._known:
            tree = self._trees(file)
            self._known[file] = {} if tree is None else dict(_functions_of(tree))
        return self._known[file].get((code.co_name, code.co_firstlineno))


def _functions_of(tree: ast.Module) -> Iterator[tuple[tuple[str, int], FunctionNode]]:
    for node in statements(tree):
        if isinstance(node, FunctionNode):
            # A decorated one begins at its first decorator.
            yield (node.name, min([node.lineno, *(one.lineno for one in node.decorator_list)])), node


def transitions(workflow: Workflow, handler: Handler, functions: Functions) -> tuple[Transition, ...]:
    """What `handler` of `workflow` does, in the order of its lines, each once."""
    if handler.kind == "query":
        return ()
    reading = _Reading(workflow, functions)
    try:
        found = reading.read(inspect.unwrap(handler.function), 0, answers=True)
    except Exception as error:  # sound code is served, whatever the reading of it meets
        return (Transition("unknown", None, handler.line, note=f"its source was not understood: {error!r}"),)
    if not found:
        return (Transition("unknown", None, handler.line, note="its source was not found"),)
    return tuple(dict.fromkeys(sorted(reading.found, key=lambda one: one.line)))


class _Reading:
    """The transitions of one handler, and of the functions that it hands its context to."""

    def __init__(self, workflow: Workflow, functions: Functions) -> None:
        self.workflow = workflow
        self.found: list[Transition] = []
        self._functions = functions
        self._seen: set[tuple[Any, int, bool]] = set()
        self._line = 0

    def read(self, function: Any, position: int, *, answers: bool) -> bool:
        """Follow a function whose parameter number `position` is the context; `answers`: what it returns is the directive.

        False where its source is not known.
        """
        if not isinstance(function, FunctionType):
            return False
        key = (function.__code__, position, answers)
        if key in self._seen:
            return True
        node = self._functions.find(function.__code__)
        if node is None or position >= len(node.args.posonlyargs + node.args.args):
            return False
        self._seen.add(key)
        name = (node.args.posonlyargs + node.args.args)[position].arg
        _Body(self, function, node, name).read(answers)
        return True

    def add(self, kind: str, target: str | None, line: int, *, delayed: bool = False, note: str = "") -> None:
        self.found.append(Transition(kind, target, self._line or line, delayed, note))

    @contextmanager
    def seen_from(self, line: int) -> Iterator[None]:
        """What is found meanwhile is in a function that the handler calls on `line`, perhaps in another file."""
        before, self._line = self._line, self._line or line
        try:
            yield
        finally:
            self._line = before


class _Body:
    """One function's body. Every use of its context is accounted for: understood, harmless, or told as unknown."""

    def __init__(self, reading: _Reading, function: FunctionType, node: FunctionNode, context: str) -> None:
        self._reading = reading
        self._function = function
        self._node = node
        self._context = context
        self._parents: dict[ast.AST, ast.AST] = {}
        self._bound: set[str] = set()
        self._uses: list[ast.Name] = []
        self._own_nodes: list[ast.AST] = []
        self._go_through()

    def _go_through(self) -> None:
        """Once through all of it, in order. Where a function inside has a parameter of its name, the context is something else."""
        left: list[tuple[ast.AST, bool, bool]] = [(self._node, True, False)]
        while left:
            node, own, shadowed = left.pop()
            if isinstance(node, _INNER) and node is not self._node:
                own = False
                shadowed = shadowed or (not isinstance(node, ast.ClassDef) and self._context in _parameters(node.args))
            if own:
                self._own_nodes.append(node)
            if isinstance(node, ast.Name):
                if not isinstance(node.ctx, ast.Load):
                    self._bound.add(node.id)
                elif node.id == self._context and not shadowed:
                    self._uses.append(node)
            elif isinstance(node, _BINDING) and node is not self._node:
                self._bound.update(_bound_by(node))
            children = list(ast.iter_child_nodes(node))
            children.reverse()
            for child in children:
                self._parents[child] = node
                left.append((child, own, shadowed))

    def read(self, answers: bool) -> None:
        for use in self._uses:
            self._use(use)
        if answers:
            for node in self._own_nodes:
                if isinstance(node, ast.Return) and node.value is not None:
                    self._returned(node.value)

    # -- one use of the context ----------------------------------------------------------------

    def _use(self, node: ast.Name) -> None:
        parent: ast.AST = self._parents[node]
        if isinstance(parent, ast.Attribute):
            if parent.attr not in _DOING:
                return
            outer: ast.AST = parent
            path = [parent.attr]
            above = self._parents[outer]
            while isinstance(above, ast.Attribute):
                path.append(above.attr)
                outer, above = above, self._parents[above]
            if isinstance(above, ast.Call) and above.func is outer and self._call(above, path):
                return
            self._unknown(outer, "is handed on")
        elif not self._follow(node):
            self._unknown(parent if isinstance(parent, ast.expr) else node, "has the context, and is not followed")

    def _call(self, call: ast.Call, path: list[str]) -> bool:
        """Whether `ctx.PATH(...)` was understood."""
        match path:
            case ["next", "step"]:
                self._step(call)
            case ["next", "wait_for_event" | "wait"]:
                self._wait(call)
            case ["next", "complete"]:
                self._reading.add("complete", None, call.lineno)
            case ["next", "fail"]:
                self._reading.add("fail", None, call.lineno)
            case ["start" | "run_child"]:
                self._child(call)
            case ["send_to_parent"]:
                self._sent("parent", call, 0, "event_name")
            case ["send"]:
                self._sent("send", call, 1, "event")
            case _:
                return False
        return True

    def _step(self, call: ast.Call) -> None:
        after = _argument(call, 1, "after")
        delayed = after is not None and not (isinstance(after, ast.Constant) and after.value is None)
        self._targets("step", "step", _argument(call, 0, "fn"), call, delayed=delayed)

    def _wait(self, call: ast.Call) -> None:
        if not call.args:
            self._reading.add("wait", None, call.lineno, note="any event")
        for name in call.args:
            self._targets("wait", "event", name, call)
        timeout, then = _argument(call, None, "timeout"), _argument(call, None, "on_timeout")
        if any(keyword.arg is None for keyword in call.keywords):
            self._unknown(call, "takes arguments that are not in the source")
        if then is not None and not _is_none(then):
            self._targets("timeout", "step", then, call)
        elif timeout is not None and not _is_none(timeout):
            self._reading.add("timeout", None, call.lineno, note="the run times out")

    def _child(self, call: ast.Call) -> None:
        kind = _argument(call, 0, "workflow_type")
        names = [""] if kind is None else [self._value(one) for one in _alternatives(kind)]
        for name in names:
            known = isinstance(name, str) and name != ""
            why = "" if known else f"which type: {self._shown(kind or call)}"
            self._reading.add("child", str(name) if known else None, call.lineno, note=why)
        then = _argument(call, None, "on_completed_step")
        if then is not None and not _is_none(then):
            of = ", ".join(name for name in names if isinstance(name, str))
            self._targets("child_closed", "step", then, call, note=of)

    def _sent(self, kind: str, call: ast.Call, position: int, keyword: str) -> None:
        name = _argument(call, position, keyword)
        for one in [None] if name is None else _alternatives(name):
            value = _MISSING if one is None else self._value(one)
            known = isinstance(value, str)
            self._reading.add(
                kind, str(value) if known else None, call.lineno,
                note="" if known else f"which event: {self._shown(one or call)}",
            )  # fmt: skip

    def _targets(
        self, kind: str, handler_kind: str, expression: ast.expr | None, call: ast.Call, *, delayed: bool = False,
        note: str = "",
    ) -> None:  # fmt: skip
        """A transition to each handler that `expression` may mean."""
        workflow = self._reading.workflow
        for one in [None] if expression is None else _alternatives(expression):
            value: Any = _MISSING if one is None else self._value(one)
            if value is None:
                continue
            if isinstance(value, str):
                found = workflow.handler(handler_kind, value)
            else:
                found = None if value is _MISSING else workflow.handler_of(handler_kind, value)
            if found is not None:
                self._reading.add(kind, found.name, call.lineno, delayed=delayed, note=note)
            else:
                self._unknown(one or call, f"says which {handler_kind}" if one is not None else "names none")

    # -- what is handed on ---------------------------------------------------------------------

    def _follow(self, node: ast.Name) -> bool:
        """Whether the context is an argument of a function whose source is known; that is read too."""
        call: ast.AST = self._parents[node]
        keyword = ""
        if isinstance(call, ast.keyword):
            keyword, call = call.arg or "", self._parents[call]
        if not isinstance(call, ast.Call):
            return False
        value = self._value(call.func)
        function = inspect.unwrap(value) if callable(value) else None
        if not isinstance(function, FunctionType):
            return False
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        if keyword:
            position = names.index(keyword) if keyword in names else -1
        elif node in call.args and not any(isinstance(one, ast.Starred) for one in call.args):
            position = call.args.index(node)
        else:
            position = -1
        above = self._parents.get(call)
        while isinstance(above, ast.Await | ast.IfExp):
            above = self._parents.get(above)
        if position < 0:
            return False
        with self._reading.seen_from(call.lineno):
            return self._reading.read(function, position, answers=isinstance(above, ast.Return))

    def _returned(self, value: ast.expr) -> None:
        """What is returned has to be a directive that was seen being made."""
        for one in _alternatives(value):
            inner = one.value if isinstance(one, ast.Await) else one
            if isinstance(inner, ast.Call) and (self._makes(inner) or self._hands_on(inner)):
                continue
            if isinstance(inner, ast.Name) and self._assigned_here(inner.id):
                continue
            self._unknown(inner, "is returned")

    def _makes(self, call: ast.Call) -> bool:
        func = call.func
        return (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Attribute)
            and func.value.attr == "next"
            and isinstance(func.value.value, ast.Name)
            and func.value.value.id == self._context
        )

    def _hands_on(self, call: ast.Call) -> bool:
        """Whether a function gets the context: then it was followed, or told as unknown, already."""
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        return any(isinstance(one, ast.Name) and one.id == self._context for one in given)

    def _assigned_here(self, name: str) -> bool:
        """Whether `name` is a local that only ever holds directives made here."""
        values: list[ast.expr] = []
        for node in self._own_nodes:
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
                targets = [node.target]
            if any(_is_name(one, name) for one in targets):
                assert isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)
                values += [] if node.value is None else _alternatives(node.value)
        return bool(values) and all(isinstance(value, ast.Call) and self._makes(value) for value in values)

    # -- values --------------------------------------------------------------------------------

    def _value(self, expression: ast.expr) -> Any:
        """What an expression stands for without running anything: a constant, or a name of the module; else `_MISSING`."""
        match expression:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=inner, attr=attr):
                owner = self._value(inner)
                if isinstance(owner, ModuleType):
                    return vars(owner).get(attr, _MISSING)
                if isinstance(owner, Workflow) and attr == "workflow_type":
                    return owner.workflow_type
        return _MISSING

    def _named(self, name: str) -> Any:
        """What a name that is not bound in the function stands for: in a function around it, or in its module."""
        if name in self._bound:
            return _MISSING
        function = self._function
        if name in function.__code__.co_freevars:
            cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
            try:
                return cell.cell_contents
            except ValueError:  # not assigned yet
                return _MISSING
        return function.__globals__.get(name, _MISSING)

    def _unknown(self, node: ast.AST, why: str) -> None:
        self._reading.add(
            "unknown", None, getattr(node, "lineno", self._node.lineno), note=f"{self._shown(node)} {why}"
        )

    def _shown(self, node: ast.AST) -> str:
        text = " ".join(ast.unparse(node).split())
        return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_BINDING = (
    ast.arg, ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping, ast.alias, ast.FunctionDef,
    ast.AsyncFunctionDef, ast.ClassDef,
)  # fmt: skip


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def _bound_by(node: ast.AST) -> list[str]:
    """The names that a node binds, beside those that are nodes themselves."""
    match node:
        case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.alias(name=name, asname=alias):
            return [alias or name.partition(".")[0]]
    return []


def _argument(call: ast.Call, position: int | None, keyword: str) -> ast.expr | None:
    if position is not None and position < len(call.args):
        return call.args[position]
    return next((one.value for one in call.keywords if one.arg == keyword), None)


def _alternatives(expression: ast.expr) -> list[ast.expr]:
    if isinstance(expression, ast.IfExp):
        return [*_alternatives(expression.body), *_alternatives(expression.orelse)]
    return [expression]


def _is_name(expression: ast.expr, name: str) -> bool:
    return isinstance(expression, ast.Name) and expression.id == name


def _is_none(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Constant) and expression.value is None
