"""Importing the user's modules: what workflows there are, and what is wrong with which module, where, and the remedy.

One bad module never stops the others, whatever it does while it is imported (short of killing the process).
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType

import msgspec

from wfctl.sdk.collecting import Collector
from wfctl.sdk.hints import did_you_mean, listing
from wfctl.sdk.problems import LoadProblem, Problems
from wfctl.sdk.snapshot import Importer, Snapshot, versions
from wfctl.sdk.sources import Sources, file_of
from wfctl.sdk.transitions import Functions
from wfctl.sdk.workflow import Workflow, forget, noticing
from wfctl.values.signature import TypeSpec

_SKIPPED_FOLDERS = ("__pycache__", "node_modules", "site-packages", "dist-packages")
_MAX_FILES_LOOKED_AT = 5_000


class LoadedModules(msgspec.Struct, frozen=True, kw_only=True):
    """One load of the user's code. `files` are absolute: the project's sources that were imported or tried.

    `types` are, for each entry of `modules`, the workflow types it defines or has handlers of; `versions`, for each type, a
    digest of the files its code is made of. `snapshot` is what another process is to be given to load the same.
    """

    workflows: dict[str, Workflow]
    specs: list[TypeSpec]
    problems: list[LoadProblem]
    files: list[str]
    source_hash: str
    types: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    snapshot: Snapshot = Snapshot()


def load(
    sources: Sources,
    modules: Sequence[str],
    given: Snapshot | None = None,
    about: Callable[[str, str], None] = lambda entry, file: None,
) -> LoadedModules:
    """Import `modules` (files relative to the project, or dotted names) with `sources.path` at the front of sys.path.

    Sources that are in `given` are taken from there, not from disk. Before any code of the user's runs, `about(entry, file)` is
    told for which of `modules` that is, and in which file ("": not known). Meant for a process of its own: it changes sys.path,
    sys.meta_path and sys.modules, and runs the user's code.
    """
    return _Loader(sources, given).load(modules, about)


class _Loader:
    def __init__(self, sources: Sources, given: Snapshot | None = None) -> None:
        self._sources = sources
        self._made: list[Workflow] = []
        self._importer = Importer(sources, given, self._failed)
        self._functions = Functions(self._importer.tree)
        self._problems = Problems(sources)
        self._tried = self._problems.files

    def load(
        self, modules: Sequence[str], about: Callable[[str, str], None] = lambda entry, file: None
    ) -> LoadedModules:
        self._extend_path()
        self._importer.install()
        imported: list[tuple[str, ModuleType]] = []
        about = _unless_said(about)
        with noticing(self._made):
            for entry in modules:
                about(entry, "")
                with self._importer.telling(partial(about, entry)):
                    module = self._import(entry)
                if module is not None and all(module is not known for _, known in imported):
                    imported.append((entry, module))
        wrong = self._importer.read_late()
        imported = [(entry, module) for entry, module in imported if self._is_whole(entry, module, wrong)]
        found = Collector(self._sources, self._functions, self._problems, self._made, lambda entry: about(entry, ""))
        found.collect(imported)
        about("", "")
        files = sorted({*self._sources.imported(), *self._tried, *self._importer.files})
        type_versions = versions(self._importer, found.code)
        self._importer.end()
        return LoadedModules(
            workflows=found.workflows,
            specs=found.specs,
            problems=self._problems.found,
            files=files,
            source_hash=self._importer.digest(files),
            types={
                entry: [name for name, modules in found.code.items() if module.__name__ in modules]
                for entry, module in imported
            },
            versions=type_versions,
            snapshot=self._importer.recorded,
        )

    def _extend_path(self) -> None:
        for folder in reversed(self._sources.path):
            if not os.path.isdir(folder):
                self._problems.add(
                    self._sources.show(folder),
                    "a path entry that is no folder",
                    file=folder,
                    hint="correct path = [...] under [workflows] in wfctl.toml",
                )
            elif folder not in sys.path:
                sys.path.insert(0, folder)
        importlib.invalidate_caches()

    # -- importing ------------------------------------------------------------------------------

    def _failed(self, module: ModuleType) -> None:
        """At once: the module may be tried again, and would find what it has left of itself."""
        forget(self._made, vars(module))

    def _is_whole(self, entry: str, module: ModuleType, wrong: Mapping[str, SyntaxError]) -> bool:
        """Whether nothing is `wrong` with what its functions will import."""
        broken = sorted(self._importer.behind(module.__name__) & wrong.keys())
        if broken:
            self._problems.failed(entry, wrong[broken[0]])
            self._failed(module)
        return not broken

    def _import(self, entry: str) -> ModuleType | None:
        is_file = entry.endswith(".py") or "/" in entry or os.sep in entry
        try:
            return self._import_file(entry) if is_file else self._import_name(entry)
        except BaseException as error:  # a module may exit, or interrupt; that is its problem, not the others'
            self._problems.failed(entry, error)
            return None

    def _import_file(self, entry: str) -> ModuleType | None:
        file = os.path.normpath(os.path.join(self._sources.project, os.path.expanduser(entry)))
        if not self._importer.has(file):
            self._missing_file(entry, file)
            return None
        if not file.endswith(".py"):
            self._problems.add(
                entry, "not a Python file", file=file, hint="name a .py file, or a module by its dotted name"
            )
            return None
        self._tried.add(file)
        for module in list(sys.modules.values()):
            if file_of(module) == file:
                return module
        # Under its dotted name where that leads to this very file, so that `import flows.orders` elsewhere is the same module
        # and relative imports work; `email/orders.py` would lead into the standard library, and gets a name of its own.
        name = self._dotted_name(file)
        if name is not None and _leads_to(name, file):
            return importlib.import_module(name)
        name = _own_name(self._sources.show(file))
        return _import_as(name, self._importer.spec(name, file))

    def _dotted_name(self, file: str) -> str | None:
        for folder in self._sources.path:
            inside = os.path.relpath(file, folder)
            if not inside.startswith(os.pardir):
                parts = inside.removesuffix(".py").split(os.sep)
                if parts[-1] == "__init__":
                    parts.pop()
                if parts and all(part.isidentifier() for part in parts):
                    return ".".join(parts)
        return None

    def _import_name(self, entry: str) -> ModuleType | None:
        if not all(part.isidentifier() for part in entry.split(".")):
            self._problems.add(
                entry, f"{entry!r} is neither a file nor a module name", hint='"flows/orders.py" or "flows.orders"'
            )
            return None
        try:
            module = importlib.import_module(entry)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{entry}.".startswith(f"{error.name}."):
                raise  # found, but something it imports is missing
            self._missing_name(entry, error.name)
            return None
        file = file_of(module)
        if file:
            self._tried.add(os.path.abspath(file))
        return module

    def _missing_file(self, entry: str, file: str) -> None:
        if os.path.isdir(file):
            inside = sorted(name for name in os.listdir(file) if name.endswith(".py"))
            hint = f"name its files: {listing(os.path.join(entry.rstrip('/'), name) for name in inside)}"
            self._problems.add(entry, "a folder, not a file", file=file, hint=hint if inside else "it has no .py files")
            return
        wanted, there = self._sources.show(file), list(self._python_files())
        near = difflib.get_close_matches(wanted, there, n=3, cutoff=0.6)
        near += [path for path in there if os.path.basename(path) == os.path.basename(wanted) and path not in near]
        hint = (
            f"did you mean {' or '.join(near[:3])}?"
            if near
            else "create it, or correct modules = [...] under [workflows] in wfctl.toml"
        )
        self._problems.add(entry, "no such file", file=file, hint=hint)

    def _missing_name(self, entry: str, missing: str) -> None:
        as_file = f"{entry.replace('.', '/')}.py"
        there = list(self._python_files())
        names = [path.removesuffix(".py").replace(os.sep, ".") for path in there]
        found = next((path for path in there if path.endswith(as_file)), None)
        if found is not None:
            hint = f'write "{found}" instead, or add "{found.removesuffix(as_file) or "."}" to path = [...]'
        else:
            hint = f"looked in {listing(self._sources.path)} and the packages of {sys.executable}"
        self._problems.add(entry, f"no module named {missing!r}{did_you_mean(entry, names)}", hint=hint)

    def _python_files(self) -> Iterator[str]:
        seen = 0
        for folder, folders, files in os.walk(self._sources.project):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS)
            for name in sorted(files):
                if name.endswith(".py"):
                    yield self._sources.show(os.path.join(folder, name))
                    seen += 1
            if seen > _MAX_FILES_LOOKED_AT:
                return


def _leads_to(name: str, file: str) -> bool:
    """Whether importing `name` would load `file`. Imports the packages above it, which may raise anything."""
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and _raised_by_code(error.__traceback__):
            raise
        return False
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == os.path.realpath(file)


def _raised_by_code(trace: TracebackType | None) -> bool:
    """Whether an import error came out of a module's own code, rather than from the search for it."""
    last = ""
    while trace is not None:
        last, trace = trace.tb_frame.f_code.co_filename, trace.tb_next
    return not last.startswith("<frozen importlib") and last != importlib.util.__file__


def _own_name(shown: str) -> str:
    """A stable module name for a file that has none: the same in every process, so that its classes can be pickled."""
    slug = re.sub(r"\W+", "_", shown.removesuffix(".py")).strip("_")
    return f"wfctl_file_{slug}_{hashlib.sha256(shown.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def _import_as(name: str, spec: ModuleSpec | None) -> ModuleType:
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {name}")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look the module up while it is being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _unless_said(about: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """`about`, but not what it was told last."""
    last = ("", "")

    def told(entry: str, file: str) -> None:
        nonlocal last
        if (entry, file) != last:
            last = entry, file
            about(entry, file)

    return told
