"""JSON documents, straight from the structs of the protocol.

Instants (epoch milliseconds inside) become RFC 3339 text, durations stay integer `*_ms`, payloads are embedded as the
JSON they are. Only fields of our own structs are touched: a user's payload that happens to have a field `at` is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.protocol.runs import HistoryEntry
from wfctl.values.kinds import TEXT, UNBOUND
from wfctl.values.times import rfc3339

INSTANTS = frozenset(
    {
        "started_at",
        "closed_at",
        "ended_at",
        "received_at",
        "loaded_at",
        "wake_at",
        "at",
        "now",
        "deadline",
        "retry_at",
        "begun_at",
        "started_at_ms",
        "newest_at",
        "begins_at",
        "at_ms",
        "next_at",
        "until_at",
        "skipped_at",
        "missed_at",
        "created_at",
        "changed_at",
        "oldest_queued_at",
    }
)
_KEPT = f'{{"{UNBOUND}":'.encode()
_RENAMED = {"started_at_ms": "started_at", "at_ms": "at"}
# Fields of history records (`HistoryEntry.data`) that are instants.
_RECORD_INSTANTS = frozenset({"begins_at", "deadline", "wake_at", "retry_at"})


def as_data(value: Any, instant: Callable[[int], str] = rfc3339) -> Any:
    """`value` with its structs as dicts, every field present, and their instants as text."""
    if isinstance(value, msgspec.Struct):
        if isinstance(value, HistoryEntry):
            return _entry(value, instant)
        return {field_name(name): _field(name, getattr(value, name), instant) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [as_data(item, instant) for item in value]
    if isinstance(value, dict):
        return {key: as_data(item, instant) for key, item in value.items()}
    return value


def as_sent(payload: Any) -> Any:
    """A payload (data, or JSON as it is) as its sender gave it, also where it is kept for a handler that was not there."""
    if isinstance(payload, msgspec.Raw):
        if not bytes(payload).startswith(_KEPT):
            return payload
        raw = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        if TEXT not in raw:
            return raw[UNBOUND]
        return msgspec.Raw(msgspec.json.encode(as_sent(msgspec.json.decode(payload))))
    if not isinstance(payload, dict) or UNBOUND not in payload:
        return payload
    return {**(payload[UNBOUND] or {}), **payload[TEXT]} if TEXT in payload else payload[UNBOUND]


def field_name(name: str) -> str:
    """What a field of a struct is called in a document."""
    return _RENAMED.get(name, name)


def _field(name: str, value: Any, instant: Callable[[int], str]) -> Any:
    if name == "payload":
        return as_sent(value)
    if name in INSTANTS and type(value) is int:
        return instant(value)
    return as_data(value, instant)


def _entry(entry: HistoryEntry, instant: Callable[[int], str]) -> dict[str, Any]:
    data = {
        key: instant(value) if key in _RECORD_INSTANTS and type(value) is int else as_sent(value)
        for key, value in entry.data.items()
    }
    return {
        "rev": entry.rev,
        "run_id": entry.run_id,
        "workflow_id": entry.workflow_id,
        "seq": entry.seq,
        "at": instant(entry.at),
        "kind": entry.kind,
        "source": entry.source,
        "data": data,
    }


def document(schema: str, value: Any, **more: Any) -> dict[str, Any]:
    """`value` (a struct or dict) as one document: `schema` first, then its fields, then `more`."""
    return {"schema": f"wfctl.{schema}/1", **as_data(value), **{key: as_data(item) for key, item in more.items()}}


def text_of(value: Any, *, pretty: bool = False) -> str:
    """The JSON text of a document; `pretty` is for people's terminals."""
    data = msgspec.json.encode(value)
    return (msgspec.json.format(data, indent=2) if pretty else data).decode()
