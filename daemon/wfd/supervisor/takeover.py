"""What new code takes over, and what stays with the code that served before. Pure.

A type is taken over when all that it is made of has loaded without a problem. An entry of [workflows] modules that has one
keeps every type it had a part in with the generation that serves it, so a broken save harms nobody, and other modules
are reloaded beside it. Nor does any type vanish then: what no module defines any more may well be in the one that is broken,
under whatever name that is listed by now.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from wfctl.protocol.channel import Problem
from wfctl.values.signature import TypeSpec
from wfd.supervisor.catalog import Catalog, Generation

log = logging.getLogger("wfd.supervisor")


class Fate(StrEnum):
    """What a load of the code did to one type."""

    UNCHANGED = "unchanged"
    CHANGED = "new version"
    NEW = "new"
    KEPT = "broken"  # the code loaded before stays in use
    REMOVED = "removed"


class Takeover(msgspec.Struct, frozen=True):
    """What came of loading the code again: what serves now and what is wrong, and what that did to each type."""

    catalog: Catalog
    fates: dict[str, Fate]

    def tell(self, known: int) -> None:
        """Log what is wrong with the code, but for the first `known` problems."""
        kept = "; the code loaded before stays in use" if Fate.KEPT in self.fates.values() else ""
        for problem in self.catalog.problems[known:]:
            log.error("%s: %s%s (%s)", named(problem), problem.message, kept, problem.hint)


def named(problem: Problem) -> str:
    """Where it is, and the module as wfctl.toml spells it."""
    if not problem.file:
        return problem.module
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    return place if problem.module in ("", problem.file) else f"{place} (module {problem.module})"


def take_over(before: Catalog, fresh: Generation, problems: tuple[Problem, ...], entries: Sequence[str]) -> Takeover:
    """The catalog after `fresh` has loaded, with `problems`; `entries` are those of [workflows] modules now."""
    broken = {problem.module for problem in problems}.intersection(entries)
    owners: dict[str, Generation] = {}
    fates: dict[str, Fate] = {}
    for name, owner in before.owners.items():
        parts = {entry for entry, types in owner.modules.items() if name in types}
        if parts & broken or (broken and _loses(owner.types[name], fresh.types.get(name), listed=parts <= {*entries})):
            owners[name], fates[name] = owner, Fate.KEPT
        elif name not in fresh.types:
            fates[name] = Fate.REMOVED
        else:
            owners[name] = fresh
            same = owner.versions.get(name) == fresh.versions.get(name)
            fates[name] = Fate.UNCHANGED if same else Fate.CHANGED
    for name in fresh.types.keys() - before.owners.keys():
        owners[name], fates[name] = fresh, Fate.NEW
    told = tuple(_with_served(problem, owners, fates) for problem in problems)
    stayed = {name for name, fate in fates.items() if fate in (Fate.UNCHANGED, Fate.KEPT)}
    since = {
        name: before.since.get(name, owner.loaded_at) if name in stayed else owner.loaded_at
        for name, owner in owners.items()
    }
    return Takeover(_catalog(before, owners, told, since), fates)


def _with_served(problem: Problem, owners: Mapping[str, Generation], fates: Mapping[str, Fate]) -> Problem:
    """Of a type that is defined twice: which of the two is served, or that it is what was loaded before."""
    owner = owners.get(problem.twice)
    if owner is None:
        return problem
    spec = owner.types[problem.twice]
    before = " as it was loaded before" if fates[problem.twice] is Fate.KEPT else ""
    message = f"{problem.message}; that of {spec.file}{before} is served"
    return msgspec.structs.replace(problem, message=message)


def _loses(before: TypeSpec, after: TypeSpec | None, *, listed: bool) -> bool:
    """Whether the type is in no module any more; or some of its handlers, where not all of its modules are `listed` as before."""
    if after is None:
        return True
    return not listed and any(after.handler(one.kind, one.name) is None for one in before.handlers)


def _catalog(
    before: Catalog, owners: dict[str, Generation], problems: tuple[Problem, ...], since: dict[str, int]
) -> Catalog:
    types = {name: owner.types[name] for name, owner in sorted(owners.items())}
    newest = max(owners.values(), key=lambda owner: owner.number, default=None)
    if newest is None:
        # Nothing is served; what was loaded last is still worth showing.
        return msgspec.structs.replace(before, types=types, owners=owners, problems=problems)
    return Catalog(
        newest.number, types, problems, newest.source_hash, newest.files, newest.python, newest.loaded_at, owners, since
    )
