"""The import statements of a parsed module: what it imports, and which of that only while its functions run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator

import msgspec

_INNER = ("body", "orelse", "finalbody", "handlers", "cases")


class Imports(msgspec.Struct, frozen=True):
    """What one statement imports: `names`, of which some may be no modules. `late`: it stands in a function. `sure`: it is no
    attempt, and not for some interpreters only."""

    names: list[str]
    late: bool
    sure: bool


def imports(tree: ast.Module | None, module: str, file: str) -> Iterator[Imports]:
    """The imports of `module`, wherever in it; `from a import b` may mean either `a` or `a.b`."""
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    left: list[tuple[ast.AST, bool, bool]] = [] if tree is None else [(tree, False, True)]
    while left:
        node, late, sure = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield Imports(_names(node, package), late, sure)
            continue
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        sure = sure and not isinstance(node, ast.Try) and (late or not isinstance(node, ast.If | ast.Match))
        for field in _INNER:
            left += [(inner, late, sure) for inner in getattr(node, field, None) or ()]


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a file, however deep; nothing that is inside expressions, which are most of it."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        for field in _INNER:
            inner = getattr(node, field, None)
            if inner:
                yield from inner
                left += inner


def with_parents(names: Iterable[str]) -> Iterator[str]:
    """Each of `names`, after the packages that it is in: these are executed first."""
    for name in names:
        parts = name.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _names(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
        base = ".".join([*above, base] if base else above)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]
