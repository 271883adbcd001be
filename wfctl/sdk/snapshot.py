"""The exact text of one load of the user's code: recorded while it is imported, or given and imported from memory.

Every worker of a generation runs the same text, whatever has become of the files since: the first records what it imports, and
those that follow, or take the place of one that died, are given that. Bytecode caches are left out of it: they are
recognised by whole seconds and size, so a quick edit would run the code of before.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import linecache
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

import msgspec

from wfctl.sdk.sources import Sources

# Where a file says how it is encoded, as Python looks for it in the first two lines.
_CODING = re.compile(rb"[ \t\f]*#.*?coding[:=]")


class Snapshot(msgspec.Struct, frozen=True):
    """`texts` by absolute path; `modules` says which of these a module's name leads to."""

    texts: dict[str, bytes] = {}
    modules: dict[str, str] = {}


class Importer(MetaPathFinder):
    """Imports the user's modules and keeps what it read. What is in `given` is taken from there; all else from disk. `failed` is
    told of each module whose code has raised.

    For a process of its own: `install` changes sys.meta_path, for good.
    """

    def __init__(
        self, sources: Sources, given: Snapshot | None = None, failed: Callable[[ModuleType], object] = lambda _: None
    ) -> None:
        self._sources = sources
        self._failed = failed
        self._given = given or Snapshot()
        self._texts: dict[str, bytes] = {}
        self._modules: dict[str, str] = {}
        self._trees: dict[str, ast.Module | None] = {}
        self._tell: Callable[[str], None] | None = None
        self._teller = 0
        self._executing = ""

    def install(self) -> None:
        """Import through this from now on."""
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, self)

    @property
    def recorded(self) -> Snapshot:
        """What has been imported so far, or was tried."""
        return Snapshot(dict(self._texts), dict(self._modules))

    @contextmanager
    def telling(self, tell: Callable[[str], None]) -> Iterator[None]:
        """Call `tell` with the file whose code is executed next, as this thread imports one and goes back to another."""
        self._tell, self._teller = tell, threading.get_ident()
        try:
            yield
        finally:
            self._tell = None

    def execute(self, module: ModuleType, file: str, code: Callable[[], None]) -> None:
        """Run `code`, which is that of `module` and in `file`."""
        try:
            self._execute(file, code)
        except BaseException:
            self._failed(module)
            raise

    def _execute(self, file: str, code: Callable[[], None]) -> None:
        tell = self._tell
        if tell is None or threading.get_ident() != self._teller:
            code()
            return
        before, self._executing = self._executing, file
        tell(file)
        try:
            code()
        finally:
            self._executing = before
            tell(before)

    def has(self, file: str) -> bool:
        """Whether there is such a file, in this load."""
        return file in self._given.texts or os.path.isfile(file)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._given.modules.get(fullname)
        if file is not None:
            return self.spec(fullname, file)
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and type(found.loader) is SourceFileLoader and self._sources.owns(found.origin or ""):
            return self.spec(fullname, found.origin or "")
        return found

    def spec(self, name: str, file: str) -> ModuleSpec | None:
        """How module `name` is imported from `file`."""
        package = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, file, loader=_Loader(name, file, self), submodule_search_locations=package
        )

    def read(self, name: str, file: str) -> bytes:
        """The text of a module, from now on part of the load. OSError where there is none."""
        text = self._given.texts.get(file)
        if text is None:
            with open(file, "rb") as stream:
                text = stream.read()
        self._texts[file] = text
        self._modules[name] = file
        _keep_lines(file, text)
        return text

    def tree(self, file: str) -> ast.Module | None:
        """A recorded file, parsed; None for any other, and for what is no Python. Kept until `forget_trees`."""
        if file not in self._trees:
            self._trees[file] = _parsed(self._texts.get(file))
        return self._trees[file]

    def forget_trees(self) -> None:
        self._trees.clear()

    def digest(self, files: Iterable[str]) -> str:
        """Twelve hex digits over names and contents of `files`; the same wherever the project lies."""
        total = hashlib.sha256()
        for file in sorted(files):
            total.update(self._sources.show(file).encode("utf-8", "surrogateescape") + b"\0" + self._hash(file))
        return total.hexdigest()[:12]

    def _hash(self, file: str) -> bytes:
        text = self._texts.get(file)
        if text is None:  # no Python source: an extension module, or a file that was looked for
            try:
                with open(file, "rb") as stream:
                    text = stream.read()
            except OSError:
                return b"unreadable"
        return hashlib.sha256(text).digest()

    def behind(self, name: str) -> set[str]:
        """The recorded files that module `name` is made of: its own, and those it imports, directly or not."""
        found: set[str] = set()
        left = [name]
        seen: set[str] = set()
        while left:
            module = left.pop()
            if module in seen:
                continue
            seen.add(module)
            # A package is executed before what is in it.
            parent = module.rpartition(".")[0]
            left += [parent] if parent else []
            file = self._modules.get(module)
            if file is not None and file not in found:
                found.add(file)
                left += _imports(self.tree(file), module, file)
        return found


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: str, importer: Importer) -> None:
        super().__init__(name, file)
        self._importer = importer

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_data(self.path)
        _check(text, self.path)
        try:
            code: CodeType = self.source_to_code(text, self.path)
        except SyntaxError as error:
            if not error.lineno:
                error.lineno = _line_of_coding(text)
            raise
        return code

    def exec_module(self, module: ModuleType) -> None:
        self._importer.execute(module, self.path, partial(super().exec_module, module))

    def get_data(self, path: str) -> bytes:
        if path == self.path:
            return self._importer.read(str(self.name), path)
        return super().get_data(path)


def _check(text: bytes, file: str) -> None:
    """Refuse what Python would refuse without saying where."""
    at = text.find(b"\0")
    if at >= 0:
        line = text.count(b"\n", 0, at) + 1
        raise SyntaxError("a NUL byte: the file is not text, or was only written in part", (file, line, None, None))


def _line_of_coding(text: bytes) -> int:
    """The line that says how a file is encoded, else the first that is not UTF-8; 0 where neither is wrong."""
    for number, line in enumerate(text.split(b"\n", 2)[:2], start=1):
        if _CODING.match(line):
            return number
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return text.count(b"\n", 0, error.start) + 1
    return 0


def _keep_lines(file: str, text: bytes) -> None:
    """Tracebacks show the lines that run, not those that the file has by then."""
    try:
        lines = [f"{line}\n" for line in importlib.util.decode_source(text).split("\n")]
    except (SyntaxError, UnicodeDecodeError):
        return
    # Without a time of change an entry is never compared with the file.
    linecache.cache[file] = (len(text), None, lines, file)


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a file, however deep; nothing that is inside expressions, which are most of it."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, None)
            if inner:
                yield from inner
                left += inner


def _parsed(text: bytes | None) -> ast.Module | None:
    if text is None:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _imports(tree: ast.Module | None, module: str, file: str) -> list[str]:
    """The names that a module imports, wherever in it; `from a import b` may mean either `a` or `a.b`."""
    if tree is None:
        return []
    package = module if os.path.basename(file) == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
                base = ".".join([*above, base] if base else above)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def versions(importer: Importer, modules: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """For each workflow type a digest over the files that its code (`modules`, by name) is made of."""
    return {
        workflow_type: importer.digest({file for name in names for file in importer.behind(name)})
        for workflow_type, names in modules.items()
    }
