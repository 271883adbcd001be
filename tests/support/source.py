"""The product's source as data: its modules, what each imports, and the tree of each. Read, never imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Import name of each shipped package, and the folder it is in.
PACKAGES = {"wfctl": ROOT / "wfctl", "wfd": ROOT / "daemon" / "wfd"}
# Files of user code that the product carries: data, no modules of it.
CARRIED = (ROOT / "wfctl" / "cli" / "demo", ROOT / "wfctl" / "cli" / "templates")
_DYNAMIC = ("import_module", "__import__")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class Module(NamedTuple):
    """`name` is the import name: `wfd.core` for `daemon/wfd/core/__init__.py`."""

    name: str
    file: Path

    @property
    def package(self) -> str:
        """The room it is in: `wfd.core` of `wfd.core.decide`, `wfctl.errors` of itself, `wfd` of the package's own file."""
        return ".".join(self.name.split(".")[:2])

    @property
    def is_package(self) -> bool:
        return self.file.name == "__init__.py"

    @property
    def place(self) -> str:
        return show(self.file)

    @property
    def tree(self) -> ast.Module:
        return parsed(self.file)


class Import(NamedTuple):
    """`target` is the module or the name in a module that is imported; `line` where."""

    target: str
    line: int


def show(file: Path) -> str:
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def modules() -> dict[str, Module]:
    """Every module of both packages, by import name."""
    found = {}
    for top, folder in PACKAGES.items():
        for file in sorted(folder.rglob("*.py")):
            if any(file.is_relative_to(carried) for carried in CARRIED):
                continue
            parts = [top, *file.relative_to(folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            name = ".".join(parts)
            found[name] = Module(name, file)
    return found


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def imports(module: Module) -> list[Import]:
    """What `module` imports anywhere: in functions, under TYPE_CHECKING, relatively, or by a name given to `import_module`."""
    return list(_imports(module.tree, module.name, module.is_package))


def imports_of(text: str, name: str = "wfctl.sample", *, is_package: bool = False) -> list[str]:
    """The targets of source text, for what has no file."""
    return [found.target for found in _imports(ast.parse(text), name, is_package)]


def _imports(tree: ast.Module, name: str, is_package: bool) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield Import(base if alias.name == "*" else f"{base}.{alias.name}", node.lineno)
        elif isinstance(node, ast.Call) and called(node) in _DYNAMIC and node.args:
            text = leading_text(node.args[0])
            if text:
                yield Import(text.rstrip("."), node.lineno)


def module_of(target: str) -> str | None:
    """The module of ours that an import target is or is a name of; None for anybody else's."""
    known = modules()
    name = target
    while name:
        if name in known:
            return name
        name = name.rpartition(".")[0]
    return None


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def called(node: ast.Call) -> str:
    """The last name of what is called: `sleep` of `asyncio.sleep(...)`."""
    return last_name(node.func)


def last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.AST) -> str:
    """`asyncio.sleep` of an attribute chain of names, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def leading_text(node: ast.AST) -> str:
    """The constant text a string expression begins with, whatever is formatted into it later."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        return leading_text(node.values[0])
    if isinstance(node, ast.BinOp):
        return leading_text(node.left)
    return ""


def functions(tree: ast.AST) -> Iterator[FunctionNode]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parameters(function: FunctionNode) -> list[ast.arg]:
    args = function.args
    rest = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]


def report(problems: list[str], remedy: str) -> str:
    """A failure message: each problem on a line, and what to do about them."""
    return "\n  ".join(["", *problems, f"-> {remedy}"])
