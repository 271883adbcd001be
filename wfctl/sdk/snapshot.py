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
import logging
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

from wfctl.sdk.imports import imports, with_parents
from wfctl.sdk.sources import Sources

log = logging.getLogger("wfctl")

# Where a file says how it is encoded, as Python looks for it in the first two lines.
_CODING = re.compile(rb"[ \t\f]*#.*?coding[:=]")


class Snapshot(msgspec.Struct, frozen=True):
    """`texts` by absolute path; `modules` says which of these a module's name leads to, or, where it is a folder without a file of
    its own, to which folders, as `_folders` spells them."""

    texts: dict[str, bytes] = {}
    modules: dict[str, str] = {}


class Importer(MetaPathFinder):
    """Imports the user's modules and keeps what it read. What is in `given` is taken from there; all else from disk. `failed` is
    told of each module whose code has raised.

    For a process of its own: `install` changes sys.meta_path and importlib's own loader, for good.
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
        self._loaded = False
        self._by_path: set[str] = set()

    def install(self) -> None:
        """Import through this from now on."""
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(place, self)
        plain = SourceFileLoader.exec_module

        def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
            # One that somebody has made for a path: nobody who looks for modules by their names is asked then.
            if type(loader) is SourceFileLoader and self._sources.owns(str(loader.path)):
                _PathLoader(module.__name__, os.path.abspath(loader.path), self).exec_module(module)
            else:
                plain(loader, module)

        SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]

    @property
    def recorded(self) -> Snapshot:
        """What has been imported so far, or was tried."""
        return Snapshot(dict(self._texts), dict(self._modules))

    @property
    def files(self) -> Iterable[str]:
        """The files that were read so far."""
        return self._texts.keys()

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
        place = self._known(fullname)
        if place:
            return self.spec(fullname, place)
        found = PathFinder.find_spec(fullname, path, target)
        place = self._own(fullname, found, path)
        return self.spec(fullname, place) if place else found

    def _known(self, name: str) -> str:
        return self._given.modules.get(name) or self._modules.get(name) or ""

    def _own(self, name: str, found: ModuleSpec | None, path: Sequence[str] | None) -> str:
        """The user's own file, or folders, that module `name` was `found` in; "" for what is not the user's."""
        if found is None:
            return ""
        if type(found.loader) is SourceFileLoader:
            return found.origin if found.origin and self._sources.owns(found.origin) else ""
        if found.loader is not None or found.submodule_search_locations is None:
            return ""
        return self._own_folders(name, path)

    def _own_folders(self, name: str, path: Sequence[str] | None) -> str:
        inside = [os.path.join(folder, name.rpartition(".")[2]) for folder in (sys.path if path is None else path)]
        folders = [os.path.abspath(folder) for folder in inside if os.path.isdir(folder)]
        if not any(self._sources.owns(folder) for folder in folders):
            return ""
        self._modules[name] = _folders(folders)
        return self._modules[name]

    def spec(self, name: str, file: str) -> ModuleSpec | None:
        """How module `name` is imported from `file`, or from folders."""
        if file.endswith(os.sep):
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = _paths(file)
            return spec
        package = [os.path.dirname(file)] if os.path.basename(file) == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, file, loader=_Loader(name, file, self), submodule_search_locations=package
        )

    def read(self, name: str, file: str) -> bytes:
        """The text of a module, from now on part of the load. OSError where there is none."""
        text = self._text(file)
        self._modules[name] = file
        return text

    def read_path(self, file: str) -> bytes:
        """The same of a file that code loads by its path: as what, nobody else needs to know."""
        self._by_path.add(file)
        return self._text(file)

    def _text(self, file: str) -> bytes:
        text = self._given.texts.get(file, self._texts.get(file))
        if text is None:
            if self._loaded:
                log.warning(
                    "%s was not read with the other code, as no import statement names it: it is what the file holds now",
                    self._sources.show(file),
                )
            with open(file, "rb") as stream:
                text = stream.read()
        self._texts[file] = text
        _keep_lines(file, text)
        return text

    def tree(self, file: str) -> ast.Module | None:
        """A recorded file, parsed; None for any other, and for what is no Python. Kept until the `end`."""
        if file not in self._trees:
            self._trees[file] = _parsed(self._texts.get(file))
        return self._trees[file]

    def end(self) -> None:
        """All is loaded: what is imported from now on, handlers import."""
        self._trees.clear()
        self._loaded = True

    def read_late(self) -> dict[str, SyntaxError]:
        """Read what functions will import when they are called, so that it is of this load too. Returns which files of that are
        no Python, and what is wrong."""
        wrong: dict[str, SyntaxError] = {}
        left = [name for name in self._modules if name in sys.modules]
        late: dict[str, bool] = {}
        checked: set[str] = set()
        while left:
            name = left.pop()
            done, file = name in sys.modules, self._modules[name]
            for one in imports(self.tree(file), name, file):
                # What stands outside of functions has been executed, or never will be.
                names = {} if done and not one.late else dict.fromkeys(with_parents(one.names))
                for found in [one for one in names if one not in sys.modules]:
                    if found not in late:
                        late[found] = self._reads(found)
                        left += [found] if late[found] else []
                    if late[found] and one.sure and found not in checked:
                        checked.add(found)
                        wrong |= self._wrong(found)
        return wrong

    def _reads(self, name: str) -> bool:
        """Read module `name`, which has not been imported; False where it is none of the user's."""
        place = self._known(name)
        parent = name.rpartition(".")[0]
        if not place and name not in sys.builtin_module_names and not self._given.modules:
            above = self._folders_of(parent) if parent else None
            if above is None and parent:
                return False
            try:
                place = self._own(name, PathFinder.find_spec(name, above), above)
            except KeyError:  # a folder without a file, in a package that has not been imported
                place = self._own_folders(name, above)
            except (ImportError, ValueError):
                return False
        if place.endswith(os.sep):
            self._modules[name] = place
        elif place:
            try:
                self.read(name, place)
            except OSError:
                return False
        return bool(place)

    def _folders_of(self, package: str) -> list[str] | None:
        """Where the modules of one of the user's packages are, which need not have been imported."""
        place = self._known(package)
        if place.endswith(os.sep):
            return _paths(place)
        return [os.path.dirname(place)] if os.path.basename(place) == "__init__.py" else None

    def _wrong(self, name: str) -> dict[str, SyntaxError]:
        file = self._modules[name]
        try:
            if not file.endswith(os.sep):
                _Loader(name, file, self).get_code(name)
        except SyntaxError as error:
            return {file: error}
        return {}

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
        """The recorded files that module `name` is made of: its own, and those it imports, directly or not; and all that were
        loaded by their paths, whoever did that."""
        found: set[str] = set(self._by_path)
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
            if file is not None and file not in found and not file.endswith(os.sep):
                found.add(file)
                left += [name for one in imports(self.tree(file), module, file) for name in one.names]
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


class _PathLoader(_Loader):
    def get_data(self, path: str) -> bytes:
        return self._importer.read_path(path)


def _folders(paths: Sequence[str]) -> str:
    return "\0".join(os.path.join(path, "") for path in paths)


def _paths(folders: str) -> list[str]:
    return [folder.rstrip(os.sep) for folder in folders.split("\0")]


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


def _parsed(text: bytes | None) -> ast.Module | None:
    if text is None:
        return None
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def versions(importer: Importer, modules: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """For each workflow type a digest over the files that its code (`modules`, by name) is made of."""
    return {
        workflow_type: importer.digest({file for name in names for file in importer.behind(name)})
        for workflow_type, names in modules.items()
    }
