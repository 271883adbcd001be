"""Pydantic models as JSON and back. Pydantic need not be installed: what has its methods is a model.

A model's own JSON may say less than the model: a secret becomes asterisks, and NaN null. That is found here by going through the
model and its JSON side by side; where a serializer of the author's has made something else of a part, that part is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

_NOTHING = object()
# What hashes the same in every process: sets of these have the order that they were made in.
_STEADY = (int, float, Decimal, UUID)
_encode = msgspec.json.Encoder(order="sorted").encode


# Of times whose zone is ahead of UTC by some seconds, as those of long ago are: their text has no room for these.
ODD_OFFSET = "is in a time zone whose offset from UTC has seconds, which its text cannot hold"
IN_UTC = "put it in UTC: .astimezone(UTC)"


class Unkept(Exception):
    """Part of a model would be lost: `where` it is, `what` is wrong with it, and a `hint`."""

    def __init__(self, where: str, what: str, hint: str | None) -> None:
        super().__init__(f"{where} {what}")
        self.where, self.what, self.hint = where, what, hint


def is_model(value: Any) -> bool:
    return hasattr(type(value), "model_validate") and hasattr(value, "model_dump")


def stored(model: Any) -> Any:
    """`model` as plain data that `restored` reads again. Raises Unkept."""
    data = model.model_dump(mode="json")
    _check(model, data, type(model).__qualname__)
    return data


def identity(model: Any) -> Any:
    """`model` as plain data for comparing, the same in every process: sets of text have no order that is."""
    data = model.model_dump(mode="json")
    _settle(model, data)
    return data


def restored(wanted: Any, value: Any) -> Any:
    """The `wanted` model of plain data; ValueError where it does not fit.

    As JSON, for that is what it was: a strict model takes text for a date there. By the names of fields, as models are stored, and
    by their aliases, as other programs send them.
    """
    names = _by_name(wanted)
    validate_json = getattr(wanted, "model_validate_json", None)
    if validate_json is None:
        return wanted.model_validate(value)
    try:
        return validate_json(_encode(value), **names)
    except ValueError:
        try:
            return wanted.model_validate(value, **names)
        except ValueError:
            pass
        raise


@lru_cache(maxsize=1024)
def _by_name(wanted: Any) -> dict[str, bool]:
    known = wanted.model_validate.__code__.co_varnames
    return {"by_alias": True, "by_name": True} if "by_name" in known else {}  # since Pydantic 2.11


def _check(value: Any, data: Any, where: str) -> None:
    """Raise for what `data`, which `value` has become, does not tell; and take out what cannot be read again."""
    if isinstance(data, float) and not isfinite(data):
        raise Unkept(where, f"is {data}, which JSON cannot hold", None)
    if data is None:
        if isinstance(value, float) and not isfinite(value):
            raise Unkept(where, f"is {value}, which JSON cannot hold", None)
    elif isinstance(data, str):
        if isinstance(value, datetime | time) and odd_offset(value):
            raise Unkept(where, ODD_OFFSET, IN_UTC)
        if hasattr(value, "get_secret_value") and data != _text(value.get_secret_value()) and set(data) == {"*"}:
            raise Unkept(
                where,
                f"is a {type(value).__name__}, of which only asterisks would be kept",
                "read the secret where it is used, inside of a task; or declare it as str, where its text may be kept",
            )
    elif isinstance(data, dict | list):
        if is_model(value) and isinstance(data, dict):
            _leave_computed(value, data)
        for name, part, made in _parts(value, data):
            _check(part, made, f"{where}{name}")


def odd_offset(value: datetime | time) -> bool:
    return bool((value.utcoffset() or timedelta(0)) % timedelta(minutes=1))


def _text(secret: Any) -> Any:
    return secret.decode("utf-8", "replace") if isinstance(secret, bytes) else secret


def _leave_computed(model: Any, data: dict[str, Any]) -> None:
    """Without what is computed of the others, where the model would not take it, or take it for something else."""
    kind = type(model)
    if kind.model_config.get("extra") in ("forbid", "allow"):
        for name, field in kind.model_computed_fields.items():
            data.pop(name, None)
            if field.alias is not None:
                data.pop(field.alias, None)


def _settle(value: Any, data: Any) -> None:
    if not isinstance(data, dict | list):
        return
    for _, part, made in _parts(value, data):
        _settle(part, made)
    shuffled = isinstance(value, set | frozenset) and not all(isinstance(item, _STEADY) for item in value)
    if shuffled and isinstance(data, list):
        data.sort(key=_encode)


def _parts(value: Any, data: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """The parts of `value`, each with its place and what it has become."""
    if isinstance(data, list):
        if isinstance(value, list | tuple | set | frozenset) and len(value) == len(data):
            for index, (part, made) in enumerate(zip(value, data, strict=True)):
                yield f"[{index}]", part, made
        elif is_model(value) and (root := getattr(value, "root", _NOTHING)) is not _NOTHING:
            yield from _parts(root, data)
    elif isinstance(value, dict):
        if len(value) == len(data):
            for (key, part), made in zip(value.items(), data.values(), strict=True):
                yield f"[{key!r}]", part, made
    else:
        yield from _fields(value, data)


def _fields(value: Any, data: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    kind = type(value)
    if is_model(value):
        if "root" in kind.model_fields and "root" not in data:
            yield from _parts(value.root, data)
            return
        aliases = {name: field.serialization_alias for name, field in kind.model_fields.items()}
        held = {**dict.fromkeys(getattr(value, "model_extra", None) or ()), **aliases}
    else:
        held = dict.fromkeys(getattr(kind, "__dataclass_fields__", ()))
    for name, alias in held.items():
        made = data.get(name, data.get(alias, _NOTHING) if alias is not None else _NOTHING)
        if made is not _NOTHING:
            yield f".{name}", getattr(value, name, None), made
