"""Inputs and payloads against signatures, before anything is written: the sender gets the error, the receiver is untouched."""

from __future__ import annotations

from typing import Protocol

import msgspec

from wfctl.errors import InvalidArgumentError, InvalidPayloadError
from wfctl.values.codec import MAX_PAYLOAD_BYTES, decode, show, too_large
from wfctl.values.signature import HandlerSpec, TypeSpec, bind, unbound
from wfctl.values.times import MAX_MS

_encode = msgspec.json.Encoder().encode


class Checker(Protocol):
    """What has the user's own types: the workers."""

    async def check(
        self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]
    ) -> bytes: ...


def what(spec: TypeSpec, handler: HandlerSpec) -> str:
    """How the receiver is named in messages."""
    if handler.kind == "start":
        return f"input of {spec.workflow_type!r}"
    if handler.kind == "query":
        return f"arguments of query {handler.name!r} of {spec.workflow_type!r}"
    return f"payload of event {handler.name!r} of {spec.workflow_type!r}"


def bind_plain(spec: TypeSpec, handler: HandlerSpec, payload: bytes | msgspec.Raw, text: dict[str, str]) -> bytes:
    """Keyword arguments (JSON) for a handler whose parameters are all of plain types."""
    name = what(spec, handler)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise too_large(name, len(payload), MAX_PAYLOAD_BYTES)
    kwargs = _encode(bind(handler, _decode(payload, name), name, text=text))
    if len(kwargs) > MAX_PAYLOAD_BYTES:
        raise too_large(name, len(kwargs), MAX_PAYLOAD_BYTES)
    return kwargs


async def bind_any(
    workers: Checker, spec: TypeSpec, handler: HandlerSpec, payload: bytes | msgspec.Raw, text: dict[str, str]
) -> bytes:
    """Keyword arguments (JSON) for any handler; a worker checks what needs the user's own types."""
    if handler.plain:
        return bind_plain(spec, handler, payload, text)
    name = what(spec, handler)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise too_large(name, len(payload), MAX_PAYLOAD_BYTES)
    kwargs = await workers.check(spec.workflow_type, handler.kind, handler.name, bytes(payload), text)
    if len(kwargs) > MAX_PAYLOAD_BYTES:
        raise too_large(name, len(kwargs), MAX_PAYLOAD_BYTES)
    return kwargs


def bind_later(payload: bytes, text: dict[str, str], event: str, positional: bool = False) -> bytes:
    """What stands for the keyword arguments of an event that no handler is known for: they are made of it when there is one."""
    name = f"payload of event {event!r}"
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise too_large(name, len(payload), MAX_PAYLOAD_BYTES)
    value = _decode(payload, name)
    if text and value is not None and not isinstance(value, dict):
        raise InvalidPayloadError(
            f"{name}: key=value needs a payload that is an object, not {show(value)}", hint="give that alone"
        )
    return bytes(unbound(msgspec.Raw(_encode(value)), positional, text))


def rebound(handler: HandlerSpec, payload: bytes | msgspec.Raw, positional: bool) -> bytes | msgspec.Raw:
    """`payload` for `bind_any`. `positional`: its sender gave something that is no dict, though as JSON it may be an object."""
    if positional and handler.params and (data := bytes(payload)).lstrip().startswith(b"{"):
        return _encode({handler.params[0].name: msgspec.Raw(data)})
    return payload


def check_timeout(timeout_ms: int | None) -> None:
    """Raises InvalidArgumentError for a length of time that no run can have."""
    if timeout_ms is None:
        return
    if timeout_ms <= 0:
        raise InvalidArgumentError("a timeout must be longer than nothing", hint="give a longer one, or none")
    if timeout_ms > MAX_MS:
        raise InvalidArgumentError(f"a timeout is at most 100 years, not {timeout_ms} ms", hint="give a shorter one")


def _decode(payload: bytes | msgspec.Raw, name: str) -> object:
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidPayloadError(f"{name} is not JSON: {error}") from None
    except RecursionError:
        raise InvalidPayloadError(f"{name} is nested too deeply") from None
