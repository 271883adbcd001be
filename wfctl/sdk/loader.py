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
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType, TracebackType

import msgspec

from wfctl.errors import RegistrationError
from wfctl.sdk.failure import describe_exception, user_location
from wfctl.sdk.hints import did_you_mean, listing
from wfctl.sdk.snapshot import Importer, Snapshot, versions
from wfctl.sdk.sources import Sources
from wfctl.sdk.task import tasks_of
from wfctl.sdk.transitions import Functions, transitions
from wfctl.sdk.workflow import Workflow
from wfctl.values.schema import shape_of
from wfctl.values.signature import TypeSpec

_SKIPPED_FOLDERS = ("__pycache__", "node_modules", "site-packages", "dist-packages")
_MAX_FILES_LOOKED_AT = 5_000


class LoadProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A module that cannot be served, or not fully. `file` is relative to the project where it lies inside."""

    module: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    traceback: str = ""


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


def load(sources: Sources, modules: Sequence[str], given: Snapshot | None = None) -> LoadedModules:
    """Import `modules` (files relative to the project, or dotted names) with `sources.path` at the front of sys.path.

    Sources that are in `given` are taken from there, not from disk. Meant for a process of its own: it changes sys.path,
    sys.meta_path and sys.modules, and runs the user's code.
    """
    return _Loader(sources, given).load(modules)


class _Loader:
    def __init__(self, sources: Sources, given: Snapshot | None = None) -> None:
        self._sources = sources
        self._importer = Importer(sources, given)
        self._functions = Functions(self._importer.tree)
        self._problems: list[LoadProblem] = []
        self._tried: set[str] = set()

    def load(self, modules: Sequence[str]) -> LoadedModules:
        self._extend_path()
        self._importer.install()
        imported: list[tuple[str, ModuleType]] = []
        for entry in modules:
            module = self._import(entry)
            if module is not None and all(module is not known for _, known in imported):
                imported.append((entry, module))
        workflows, specs = self._collect(imported)
        files = sorted({*self._sources.imported(), *self._tried})
        code = {
            name: _modules_of(workflow) | {module.__name__ for _, module in imported if _owns(module, workflow)}
            for name, workflow in workflows.items()
        }
        type_versions = versions(self._importer, code)
        self._importer.forget_trees()
        return LoadedModules(
            workflows=workflows,
            specs=specs,
            problems=self._problems,
            files=files,
            source_hash=self._importer.digest(files),
            types={
                entry: [name for name, modules in code.items() if module.__name__ in modules]
                for entry, module in imported
            },
            versions=type_versions,
            snapshot=self._importer.recorded,
        )

    def _extend_path(self) -> None:
        for folder in reversed(self._sources.path):
            if not os.path.isdir(folder):
                self._problem(
                    self._sources.show(folder),
                    "a path entry that is no folder",
                    file=folder,
                    hint="correct path = [...] under [workflows] in wfctl.toml",
                )
            elif folder not in sys.path:
                sys.path.insert(0, folder)
        importlib.invalidate_caches()

    def _problem(
        self, module: str, message: str, *, file: str = "", line: int = 0, hint: str = "", traceback: str = ""
    ) -> None:
        shown = self._sources.show(file) if file else ""
        self._problems.append(
            LoadProblem(module=module, message=message, file=shown, line=line, hint=hint, traceback=traceback)
        )

    # -- importing ------------------------------------------------------------------------------

    def _import(self, entry: str) -> ModuleType | None:
        is_file = entry.endswith(".py") or "/" in entry or os.sep in entry
        try:
            return self._import_file(entry) if is_file else self._import_name(entry)
        except BaseException as error:  # a module may exit, or interrupt; that is its problem, not the others'
            self._failed(entry, error)
            return None

    def _import_file(self, entry: str) -> ModuleType | None:
        file = os.path.normpath(os.path.join(self._sources.project, os.path.expanduser(entry)))
        if not self._importer.has(file):
            self._missing_file(entry, file)
            return None
        if not file.endswith(".py"):
            self._problem(entry, "not a Python file", file=file, hint="name a .py file, or a module by its dotted name")
            return None
        self._tried.add(file)
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None) == file:
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
            self._problem(
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
        file = getattr(module, "__file__", None)
        if file:
            self._tried.add(os.path.abspath(file))
        return module

    def _missing_file(self, entry: str, file: str) -> None:
        if os.path.isdir(file):
            inside = sorted(name for name in os.listdir(file) if name.endswith(".py"))
            hint = f"name its files: {listing(os.path.join(entry.rstrip('/'), name) for name in inside)}"
            self._problem(entry, "a folder, not a file", file=file, hint=hint if inside else "it has no .py files")
            return
        wanted, there = self._sources.show(file), list(self._python_files())
        near = difflib.get_close_matches(wanted, there, n=3, cutoff=0.6)
        near += [path for path in there if os.path.basename(path) == os.path.basename(wanted) and path not in near]
        hint = (
            f"did you mean {' or '.join(near[:3])}?"
            if near
            else "create it, or correct modules = [...] under [workflows] in wfctl.toml"
        )
        self._problem(entry, "no such file", file=file, hint=hint)

    def _missing_name(self, entry: str, missing: str) -> None:
        as_file = f"{entry.replace('.', '/')}.py"
        there = list(self._python_files())
        names = [path.removesuffix(".py").replace(os.sep, ".") for path in there]
        found = next((path for path in there if path.endswith(as_file)), None)
        if found is not None:
            hint = f'write "{found}" instead, or add "{found.removesuffix(as_file) or "."}" to path = [...]'
        else:
            hint = f"looked in {listing(self._sources.path)} and the packages of {sys.executable}"
        self._problem(entry, f"no module named {missing!r}{did_you_mean(entry, names)}", hint=hint)

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

    def _failed(self, entry: str, error: BaseException) -> None:
        failure = describe_exception(error, self._sources)
        message, hint = str(failure), ""
        file, line = user_location(error.__traceback__, self._sources)
        if isinstance(error, SyntaxError) and error.filename:
            file, line = os.path.abspath(error.filename), error.lineno or 0
            text = (error.text or "").strip()
            message = f"{failure.type}: {error.msg}" + (f": {text}" if text else "")
            hint = f"correct line {line}"
        elif isinstance(error, RegistrationError):
            file, line = _detail_place(error) or (file, line)
            message, hint = str(error.detail.get("problem", error.message)), error.hint or ""
        elif isinstance(error, ModuleNotFoundError):
            hint = f"install {error.name} for {sys.executable}, or correct path = [...] under [workflows]"
        elif isinstance(error, SystemExit | KeyboardInterrupt):
            message = f"the module ended itself ({failure.type}: {failure.message})"
            hint = 'put what must not run on import under `if __name__ == "__main__":`'
        else:
            hint = "correct the line, or remove the module from modules = [...]"
        if file and self._sources.owns(file):
            self._tried.add(file)
        self._problem(entry, message, file=file, line=line, hint=hint, traceback=failure.traceback)

    # -- collecting -----------------------------------------------------------------------------

    def _collect(self, imported: list[tuple[str, ModuleType]]) -> tuple[dict[str, Workflow], list[TypeSpec]]:
        workflows: dict[str, Workflow] = {}
        specs: list[TypeSpec] = []
        lent = self._modules_with_handlers(imported)
        for entry, module in imported:
            self._check_tasks(entry, module)
            own, foreign = _workflows_of(module)
            if not own and module.__name__ not in lent:
                self._no_workflow(entry, module, foreign)
            for workflow in own:
                known = workflows.get(workflow.workflow_type)
                if known is workflow:
                    continue
                if known is not None:
                    self._twice(entry, known, workflow)
                    continue
                try:
                    specs.append(self._described(workflow))
                except RegistrationError as error:
                    self._failed(entry, error)
                    continue
                workflows[workflow.workflow_type] = workflow
        return workflows, specs

    def _check_tasks(self, entry: str, module: ModuleType) -> None:
        for task in tasks_of(module):
            try:
                _ = task.result_type
            except RegistrationError as error:
                self._failed(entry, error)

    def _modules_with_handlers(self, imported: list[tuple[str, ModuleType]]) -> set[str]:
        """Modules that declare handlers on another module's workflow: they need none of their own."""
        return {
            name
            for _, module in imported
            for group in _workflows_of(module)
            for workflow in group
            for name in _modules_of(workflow)
        }

    def _no_workflow(self, entry: str, module: ModuleType, foreign: list[Workflow]) -> None:
        hint = 'create one: order_wf = Workflow("Order"); or remove the module from modules = [...]'
        if foreign:
            one = foreign[0]
            place = self._sources.place(one.file, one.line)
            hint = f"it only imports {one.workflow_type!r} of {one.module} ({place}): name that module instead"
        self._problem(entry, "defines no Workflow", file=getattr(module, "__file__", None) or "", hint=hint)

    def _twice(self, entry: str, known: Workflow, second: Workflow) -> None:
        first_place = self._sources.place(known.file, known.line)
        second_place = self._sources.place(second.file, second.line)
        self._problem(
            entry,
            f"workflow type {second.workflow_type!r} is defined twice: at {first_place}, which is served, and at {second_place}",
            file=second.file,
            line=second.line,
            hint="give one of them another type",
        )

    def _described(self, workflow: Workflow) -> TypeSpec:
        """The workflow as data, its files as people read them, with what its handlers do next."""
        spec, show = workflow.describe(), self._sources.show
        handlers = tuple(
            msgspec.structs.replace(
                told,
                file=show(told.file),
                transitions=transitions(workflow, handler, self._functions),
                shape=shape_of(told, handler.types, handler.returns),
            )
            for told, handler in zip(spec.handlers, workflow.handlers, strict=True)
        )
        return msgspec.structs.replace(spec, file=show(spec.file), handlers=handlers)


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


def _workflows_of(module: ModuleType) -> tuple[list[Workflow], list[Workflow]]:
    """The workflows among a module's attributes: those that belong to it, and those it merely imported."""
    own: list[Workflow] = []
    foreign: list[Workflow] = []
    for value in list(vars(module).values()):
        if isinstance(value, Workflow) and not any(value is known for known in (*own, *foreign)):
            belongs = value.module == module.__name__ or value.made_in_function
            (own if belongs else foreign).append(value)
    return own, foreign


def _owns(module: ModuleType, workflow: Workflow) -> bool:
    return any(workflow is own for own in _workflows_of(module)[0])


def _modules_of(workflow: Workflow) -> set[str]:
    """The modules that its handlers are written in."""
    return {handler.function.__module__ for handler in workflow.handlers}


def _detail_place(error: RegistrationError) -> tuple[str, int] | None:
    file, line = error.detail.get("file"), error.detail.get("line")
    return (file, line) if isinstance(file, str) and isinstance(line, int) else None
