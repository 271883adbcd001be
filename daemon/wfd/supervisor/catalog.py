"""What a generation of the user's code offers, and what is wrong with it."""

from __future__ import annotations

import difflib

import msgspec

from wfctl.errors import UnknownEventError, UnknownQueryError, UnknownWorkflowTypeError
from wfctl.protocol.channel import Loaded, Problem
from wfctl.values.signature import HandlerSpec, TypeSpec


class Generation(msgspec.Struct, frozen=True):
    """One load of the user's code. `modules` says which types each entry of [workflows] modules has a part in, `versions` has
    a hash of each type's own files. `loaded_at` is UTC epoch milliseconds."""

    number: int
    types: dict[str, TypeSpec] = {}
    source_hash: str = ""
    loaded_at: int = 0
    python: str = ""
    files: tuple[str, ...] = ()
    modules: dict[str, list[str]] = {}
    versions: dict[str, str] = {}

    @staticmethod
    def of(loaded: Loaded, number: int, now: int) -> Generation:
        types = {spec.workflow_type: spec for spec in loaded.types}
        files = tuple(loaded.files)
        return Generation(number, types, loaded.source_hash, now, loaded.python, files, loaded.modules, loaded.versions)


class Catalog(msgspec.Struct, frozen=True):
    """The types that are served, and what is wrong with the code as it was last loaded.

    `generation` is the newest that serves, and `source_hash`, `files`, `python` and `loaded_at` are its own; 0 is the empty
    catalog before the first. `owners` says which generation serves a type, where that is not simply the newest. `since` is when
    the code that serves a type was loaded for the first time; a reload that finds it as it was does not move that.
    """

    generation: int = 0
    types: dict[str, TypeSpec] = {}
    problems: tuple[Problem, ...] = ()
    source_hash: str = ""
    files: tuple[str, ...] = ()
    python: str = ""
    loaded_at: int = 0
    owners: dict[str, Generation] = {}
    since: dict[str, int] = {}

    @property
    def serving(self) -> dict[int, Generation]:
        """The generations that serve a type, by number."""
        return {owner.number: owner for owner in self.owners.values()}

    @property
    def newest(self) -> Generation | None:
        """The newest generation that serves a type."""
        return max(self.owners.values(), key=lambda owner: owner.number, default=None)

    def owner_of(self, workflow_type: str) -> Generation:
        """The generation that serves a type; of one that is not served, what serves the others."""
        owner = self.owners.get(workflow_type)
        return owner or Generation(
            self.generation, self.types, self.source_hash, self.loaded_at, self.python, self.files
        )

    def number_of(self, workflow_type: str) -> int:
        """The generation that serves a type, by its number."""
        owner = self.owners.get(workflow_type)
        return self.generation if owner is None else owner.number

    def version_of(self, workflow_type: str) -> str:
        """What differs when the code of a type does."""
        owner = self.owner_of(workflow_type)
        return f"{owner.versions.get(workflow_type) or owner.number} {owner.python}"

    def type_of(self, workflow_type: str) -> TypeSpec:
        """The type, or UnknownWorkflowTypeError naming the nearest, all there are, and what failed to load."""
        spec = self.types.get(workflow_type)
        if spec is not None:
            return spec
        known = sorted(self.types)
        near = difflib.get_close_matches(workflow_type, known, n=1, cutoff=0.6)
        broken = [problem.module for problem in self.problems]
        message = f"no workflow type {workflow_type!r}"
        if known:
            message += f"; there is {', '.join(known)}"
        if broken:
            message += f" ({', '.join(broken)} did not load: see wfctl status)"
        hint = f"did you mean {near[0]!r}?" if near else "wfctl workflows"
        raise UnknownWorkflowTypeError(message, hint=hint, workflow_type=workflow_type, known=known)

    def event_of(self, workflow_type: str, event: str) -> HandlerSpec:
        """The event's handler, or UnknownEventError naming the nearest and all there are."""
        handler, message, hint, known = self._named(workflow_type, "event", event)
        if handler is None:
            raise UnknownEventError(message, hint=hint, event=event, known=known)
        return handler

    def query_of(self, workflow_type: str, query: str) -> HandlerSpec:
        """The query's handler, or UnknownQueryError naming the nearest and all there are."""
        handler, message, hint, known = self._named(workflow_type, "query", query)
        if handler is None:
            raise UnknownQueryError(message, hint=hint, query=query, known=known)
        return handler

    def _named(self, workflow_type: str, kind: str, name: str) -> tuple[HandlerSpec | None, str, str, list[str]]:
        spec = self.type_of(workflow_type)
        known = spec.names(kind)
        plural = {"event": "events", "query": "queries"}[kind]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        has = f"it has {', '.join(known)}" if known else f"it has no {plural}"
        message = f"workflow type {workflow_type!r} has no {kind} {name!r}; {has}"
        hint = f"did you mean {near[0]!r}?" if near else "wfctl workflows"
        return spec.handler(kind, name), message, hint, known

    def step_handler(self, workflow_type: str, kind: str, name: str) -> HandlerSpec | None:
        """What would run this step now, or None. A run's start is its type's start, whatever it is called."""
        spec = self.types.get(workflow_type)
        if spec is None:
            return None
        return spec.start if kind == "start" else spec.handler(kind, name)

    def missing(self, workflow_type: str, kind: str, name: str) -> str:
        """Why there is no handler for this step, and what to put back."""
        spec = self.types.get(workflow_type)
        if spec is not None:
            return (
                f"workflow type {workflow_type!r} has no {kind} handler {name!r} any more: put it back in {spec.file}"
                f"; if it was renamed, declare it @...{kind}(name={name!r})"
            )
        if self.problems:
            first = self.problems[0]
            where = f"{first.file}:{first.line}" if first.line else first.file or first.module
            return f"workflow type {workflow_type!r} is not loaded; {where}: {first.message}"
        return f"workflow type {workflow_type!r} is in no module of wfctl.toml any more: put its module back"
