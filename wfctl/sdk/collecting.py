"""What imported modules offer: the workflows that each has made or keeps, and what is wrong with them.

Looking at what a module has may run code of its author's. Whatever that does is the module's problem, and no other's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import msgspec

from wfctl.sdk.problems import Problems
from wfctl.sdk.sources import Sources, file_of
from wfctl.sdk.task import tasks_of
from wfctl.sdk.transitions import Functions, transitions
from wfctl.sdk.workflow import Workflow
from wfctl.values.schema import shape_of
from wfctl.values.signature import TypeSpec


class Entry(msgspec.Struct):
    """An imported entry of [workflows] modules: the workflows that are its module's `own`, and those it only imports."""

    name: str
    module: ModuleType
    own: list[Workflow] = []
    foreign: list[Workflow] = []


class Collector:
    """`workflows` are those that can be served, `specs` what they are as data, `code` the names of the modules each is made of.

    `made` are all that were made while the modules were imported, in order. `about(entry)` is called before that entry's code
    may run.
    """

    def __init__(
        self,
        sources: Sources,
        functions: Functions,
        problems: Problems,
        made: Sequence[Workflow],
        about: Callable[[str], None],
    ) -> None:
        self.workflows: dict[str, Workflow] = {}
        self.specs: list[TypeSpec] = []
        self.code: dict[str, set[str]] = {}
        self._sources = sources
        self._functions = functions
        self._problems = problems
        self._made = made
        self._about = about

    def collect(self, imported: Sequence[tuple[str, ModuleType]]) -> None:
        entries = [Entry(name, module) for name, module in imported]
        for entry in entries:
            self._guarded(entry.name, self._look, entry, place=(file_of(entry.module), 0))
        for entry in entries:
            for workflow in entry.own:
                self._guarded(entry.name, self._serve, entry.name, workflow, place=(workflow.file, workflow.line))
        for name, workflow in self.workflows.items():
            owners = {entry.module.__name__ for entry in entries if _among(workflow, entry.own)}
            self.code[name] = modules_of(workflow) | owners
        unlisted = self._unlisted(entries)
        lent = {name for entry in entries for one in (*entry.own, *entry.foreign) for name in modules_of(one)}
        for entry in entries:
            for workflow in unlisted:
                self._has_handlers_of(entry, workflow, entries)
            if not entry.own and entry.module.__name__ not in lent.union(*map(modules_of, unlisted)):
                self._no_workflow(entry)

    def _guarded(self, name: str, look: Callable[..., object], *args: Any, place: tuple[str, int] = ("", 0)) -> None:
        self._about(name)
        try:
            look(*args)
        except BaseException as error:  # metaclasses and the like are asked, which may do anything
            self._problems.failed(name, error, file=place[0], line=place[1])

    def _look(self, entry: Entry) -> None:
        for task in tasks_of(entry.module):
            self._guarded(entry.name, getattr, task, "result_type")
        kept = _kept_in(entry.module)
        types = {one.workflow_type for one in kept}
        # One that nobody keeps any more counts where it is of a type of its own, and has something to run.
        own = [
            one
            for one in self._made
            if one.home is vars(entry.module)
            and not one.failed
            and (_among(one, kept) or (one.workflow_type not in types and (one.handlers or not one.made_in_function)))
        ]
        for one in kept:
            # One that a function has made belongs to whoever keeps it, too.
            if not _among(one, own):
                belongs = not one.failed and (one.module == entry.module.__name__ or one.made_in_function)
                (own if belongs else entry.foreign).append(one)
        entry.own = own

    def _serve(self, name: str, workflow: Workflow) -> None:
        known = self.workflows.get(workflow.workflow_type)
        if known is workflow:
            return
        if known is not None:
            self._twice(name, known, workflow)
            return
        self.specs.append(self._described(workflow))
        self.workflows[workflow.workflow_type] = workflow

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
        described = msgspec.structs.replace(spec, file=show(spec.file), handlers=handlers)
        msgspec.msgpack.encode(described)  # a name with a lone surrogate could not be sent
        return described

    # -- what is wrong --------------------------------------------------------------------------

    def _unlisted(self, entries: Sequence[Entry]) -> list[Workflow]:
        """The workflows of modules that no entry names."""
        listed = [vars(entry.module) for entry in entries]
        unlisted = [one for one in self._made if _is_there(one) and not any(one.home is names for names in listed)]
        return [one for one in unlisted if not any(_among(one, entry.own) for entry in entries)]

    def _has_handlers_of(self, entry: Entry, workflow: Workflow, entries: Sequence[Entry]) -> None:
        first = next((one for one in workflow.handlers if one.function.__module__ == entry.module.__name__), None)
        if first is None:
            return
        assert workflow.home is not None
        file, module = str(workflow.home.get("__file__", "")), str(workflow.home["__name__"])
        shown = self._sources.show(file) if self._sources.owns(file) else module
        again = next((one for one in entries if file and file_of(one.module) == file), None)
        if again is None:
            message = f"{first.label}: {shown}, which defines that workflow, is not among the modules"
            hint = f'name it too, as in modules = ["{shown}", "{entry.name}"]'
        else:
            message = f"{first.label}: {shown} is imported twice, as {again.module.__name__!r} and as {module!r}"
            hint = f"import it as {again.module.__name__}, or correct path = [...] under [workflows]"
        self._problems.add(entry.name, message, file=first.file, line=first.line, hint=hint)

    def _no_workflow(self, entry: Entry) -> None:
        hint = 'create one: order_wf = Workflow("Order"); or remove the module from modules = [...]'
        if entry.foreign:
            one = entry.foreign[0]
            place = self._sources.place(one.file, one.line)
            hint = f"it only imports {one.workflow_type!r} of {one.module} ({place}): name that module instead"
        self._problems.add(entry.name, "defines no Workflow", file=file_of(entry.module), hint=hint)

    def _twice(self, name: str, known: Workflow, second: Workflow) -> None:
        first_place = self._sources.place(known.file, known.line)
        second_place = self._sources.place(second.file, second.line)
        self._problems.add(
            name,
            f"workflow type {second.workflow_type!r} is defined twice: at {first_place} and at {second_place}",
            file=second.file,
            line=second.line,
            hint="give one of them another type",
            twice=second.workflow_type,
        )


def _kept_in(module: ModuleType) -> list[Workflow]:
    """The workflows among a module's attributes, each once."""
    kept: list[Workflow] = []
    for value in list(vars(module).values()):
        # Not isinstance: that asks the object, and a proxy may raise where nobody has bound it yet.
        if issubclass(type(value), Workflow) and not _among(value, kept):
            kept.append(value)
    return kept


def _among(workflow: Workflow, others: Sequence[Workflow]) -> bool:
    return any(workflow is one for one in others)


def _is_there(workflow: Workflow) -> bool:
    """Whether the module that made it has been imported: one that failed may have been tried again."""
    if workflow.home is None:
        return False
    module = sys.modules.get(str(workflow.home.get("__name__")))
    return getattr(module, "__dict__", None) is workflow.home


def modules_of(workflow: Workflow) -> set[str]:
    """The modules that its handlers are written in."""
    return {handler.function.__module__ for handler in workflow.handlers}
