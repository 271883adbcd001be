"""`--fields a,b.c`: the parts of items that were asked for, by the names they have in JSON; as data, or as a table of their own."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from wfctl.cli.render.document import as_data, field_name
from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line
from wfctl.errors import InvalidArgumentError

Known = type | Sequence[str]
Path = tuple[str, ...]


class Fields:
    """What was asked for. `known` are the structs that an item is made of, or names; anything else is an InvalidArgumentError."""

    def __init__(self, text: str, *known: Known) -> None:
        self.paths: list[Path] = [tuple(part.strip().split(".")) for part in text.split(",") if part.strip()]
        problems: list[str] = []
        names = [name for one in known for name in _names(one)]
        for path in self.paths:
            problem = _problem(path, known, names)
            if problem is not None and problem not in problems:
                problems.append(problem)
        if not self.paths:
            problems.append("--fields names nothing")
        if problems:
            several = f"{len(problems)} problems in --fields:\n  " if len(problems) > 1 else ""
            raise InvalidArgumentError(
                several + "\n  ".join(problems),
                hint=f"use {', '.join(names)}",
                value=text,
                allowed=names,
                problems=problems,
            )

    def pick(self, item: Any) -> dict[str, Any]:
        """An item with these fields alone, each in its place."""
        data = as_data(item)
        out: dict[str, Any] = {}
        for path in self.paths:
            node = out
            for name in path[:-1]:
                inner = node.get(name)
                node[name] = node = inner if isinstance(inner, dict) else {}
            node[path[-1]] = _at(data, path)
        return out

    def table(self, items: Sequence[Any], instant: Callable[[int], str], *, width: int | None) -> list[Line]:
        """A row an item; `instant` writes its times."""
        columns = [Column(".".join(path)) for path in self.paths]
        rows = [[Cell(_text(_at(as_data(item, instant), path))) for path in self.paths] for item in items]
        return table(columns, rows, width=width)


def _names(known: Known) -> list[str]:
    if isinstance(known, type):
        return [field_name(name) for name in known.__struct_fields__]  # type: ignore[attr-defined]
    return list(known)


def _problem(path: Path, known: Sequence[Known], names: list[str]) -> str | None:
    """What is wrong with a path; None where nothing is."""
    if path[0] not in names:
        near = difflib.get_close_matches(path[0], names, n=1, cutoff=0.6)
        return f"{path[0]!r} is no field" + (f"; did you mean {near[0]!r}?" if near else "")
    kind: Any = next(
        (_inner(one, path[0]) for one in known if isinstance(one, type) and path[0] in _names(one)),
        Any,
    )
    for position, name in enumerate(path[1:], 1):
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            if kind in (Any, object, msgspec.Raw, dict):
                return None  # a user's own data: what is in there, nobody knows here
            return f"{'.'.join(path[:position])!r} has no fields in it"
        inner = _names(kind)
        if name not in inner:
            near = difflib.get_close_matches(name, inner, n=1, cutoff=0.6)
            return f"{'.'.join(path[: position + 1])!r} is no field; {'.'.join(path[:position])} has " + (
                f"{near[0]!r}" if near else ", ".join(inner)
            )
        kind = _inner(kind, name)
    return None


def _inner(kind: type, name: str) -> Any:
    """The type of a struct's field, without the None it may be; of lists and the like the container alone."""
    hints = typing.get_type_hints(kind)
    found = next(hint for field, hint in hints.items() if field_name(field) == name)
    if typing.get_origin(found) in (typing.Union, types.UnionType):
        found = next(part for part in typing.get_args(found) if part is not type(None))
    return typing.get_origin(found) or found


def _at(data: Any, path: Path) -> Any:
    for name in path:
        if isinstance(data, msgspec.Raw):
            data = msgspec.json.decode(data)
        data = data.get(name) if isinstance(data, dict) else None
    return data


def _text(value: Any) -> str:
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
