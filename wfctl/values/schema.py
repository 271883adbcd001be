"""JSON schemas of what handlers take and queries answer, after JSON Schema 2020-12.

Types of the user's own are known where their code is: there `shape_of` makes the schemas that need them, as text that travels with
the catalog. `takes` and `answers` read them again, and make those of plain types themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from wfctl.values.signature import HandlerSpec, plain_type

MAX_SHAPE_BYTES = 1 << 15
_REF = "#/$defs/{name}"


def takes(spec: HandlerSpec) -> dict[str, Any]:
    """The schema of a handler's arguments. What no schema is known of has its type's name as `title`, and may be anything."""
    return _carried(spec, "takes") or _arguments(spec, {p.name: plain_type(p.type) for p in spec.params if p.plain})


def answers(spec: HandlerSpec) -> dict[str, Any] | None:
    """The schema of what a query answers; None where its author does not say."""
    if spec.returns is None:
        return None
    try:
        return _carried(spec, "answers") or _value(plain_type(spec.returns), spec.returns)
    except ValueError:
        return {"title": spec.returns}


def shape_of(spec: HandlerSpec, types: Mapping[str, Any], returns: Any) -> str:
    """What the two cannot make of `spec` alone, as JSON text; "" where that is nothing, or more than MAX_SHAPE_BYTES.

    Raises nothing: the code of the user's types can do anything, and a listing is not worth a workflow.
    """
    try:
        shape: dict[str, Any] = {} if spec.plain else {"takes": _arguments(spec, types)}
        if spec.returns is not None and not _is_plain(spec.returns, returns):
            shape["answers"] = _value(returns, spec.returns)
        text = msgspec.json.encode(shape) if shape else b""
        return text.decode() if len(text) <= MAX_SHAPE_BYTES else ""
    except Exception:
        return ""


def _is_plain(text: str, returns: Any) -> bool:
    try:
        return bool(plain_type(text) == returns)
    except ValueError:
        return False


def _carried(spec: HandlerSpec, part: str) -> dict[str, Any] | None:
    shape: dict[str, Any] = msgspec.json.decode(spec.shape) if spec.shape else {}
    return shape.get(part)


def _arguments(spec: HandlerSpec, types: Mapping[str, Any]) -> dict[str, Any]:
    shared: dict[str, Any] = {}
    document: dict[str, Any] = {
        "type": "object",
        "properties": {
            p.name: _schema(types[p.name], p.type, shared) if p.name in types else {"title": p.type}
            for p in spec.params
        },
        "required": [p.name for p in spec.params if p.required],
        "additionalProperties": spec.extra,
    }
    return {**document, "$defs": shared} if shared else document


def _value(type: Any, name: str) -> dict[str, Any]:
    shared: dict[str, Any] = {}
    schema = _schema(type, name, shared)
    return {**schema, "$defs": shared} if shared else schema


def _schema(type: Any, name: str, shared: dict[str, Any]) -> dict[str, Any]:
    """The schema of one type; what it refers to is put into `shared`."""
    mine: dict[str, Any] = {}
    try:
        (schema,), parts = msgspec.json.schema_components([type], schema_hook=_Custom(mine), ref_template=_REF)
        # JSON has no room for some defaults; and where two types have one name, one of them goes without.
        parts = msgspec.json.decode(msgspec.json.encode({**mine, **parts}))
        if any(shared.get(key, part) != part for key, part in parts.items()):
            return {"title": name}
        made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    except Exception:  # a type that msgspec or its author makes no schema of
        return {"title": name}
    shared.update(parts)
    return made


class _Custom:
    """The schema of a class that msgspec does not know: a Pydantic model's is its own, any other's is just its name."""

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared

    def __call__(self, cls: type[Any]) -> dict[str, Any]:
        model_json_schema = getattr(cls, "model_json_schema", None)
        if model_json_schema is None:
            return {"title": getattr(cls, "__qualname__", str(cls))}
        schema: dict[str, Any] = model_json_schema(ref_template="#/$defs/{model}")
        self._shared.update(schema.pop("$defs", {}))
        return schema
