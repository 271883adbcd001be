"""What a handler takes, as data; and the check of a payload against it.

The worker, which alone has the user's types, describes each handler (`HandlerSpec`). Where every parameter's
type is made of plain ones (`float`, `list[str]`, `datetime | None`...) the description carries them, so
the daemon checks a payload itself; any other type is checked by a worker. Both run `bind`.

The law of DESIGN section 4: a dict is keyword arguments, any other value one positional argument, `None` no
argument. `bind` turns all three into keyword arguments, so what is stored is always an object.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import difflib
import uuid
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from operator import attrgetter
from typing import Any

import msgspec

from wfctl.errors import InvalidPayloadError
from wfctl.values.codec import as_it_is, convert, show
from wfctl.values.kinds import TEXT, UNBOUND as UNBOUND

_PLAIN: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "bytes": bytes, "None": None, "Any": Any,
    "object": Any, "list": list, "dict": dict, "tuple": tuple, "set": set, "frozenset": frozenset,
    "datetime": datetime.datetime, "date": datetime.date, "time": datetime.time,
    "timedelta": datetime.timedelta, "Decimal": decimal.Decimal, "UUID": uuid.UUID,
}  # fmt: skip


class ParamSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter after `ctx`. `type` is for people; `plain` is set where `type` is made of plain types."""

    name: str
    type: str = "Any"
    required: bool = True
    default: str | None = None
    plain: bool = True


_is_plain = attrgetter("plain")


class Transition(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a handler does next, as its source tells.

    `kind`: step (goes to step `target`, `delayed` after a time), wait (for event `target`; None: any), timeout (its wait ends and
    step `target` runs; None: the run ends), complete, fail, child (starts a run of type `target`), child_closed (step `target`
    hears how a child closed, `note` says of which type), parent (event `target` to the parent), send (event `target` to another
    run), or unknown: `note` says what the source does not tell. A child, parent or send without a `target` has its name from
    elsewhere.
    """

    kind: str
    target: str | None = None
    line: int = 0
    delayed: bool = False
    note: str = ""


class HandlerSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One handler of a workflow type, as the catalog lists it.

    `kind` is start, step, event or query; `name` what directives and senders call it (for an event its event
    name); `function` the Python name. `extra` is true for `**kwargs`, which cannot take what the
    context is called: `context`, where it is not positional-only. Times are milliseconds. `transitions` are in the order of the
    source's lines. `returns` is the type of a query's answer, where its author says it; `shape` is for `wfctl.values.schema`.
    """

    kind: str
    name: str
    function: str
    params: tuple[ParamSpec, ...] = ()
    extra: bool = False
    context: str | None = None
    timeout_ms: int | None = None
    file: str = ""
    line: int = 0
    doc: str = ""
    transitions: tuple[Transition, ...] = ()
    returns: str | None = None
    shape: str = ""

    @property
    def plain(self) -> bool:
        return all(map(_is_plain, self.params))

    def signature(self) -> str:
        parts = [f"{p.name}: {p.type}" + (f" = {p.default}" if p.default is not None else "") for p in self.params]
        return f"({', '.join([*parts, '**'] if self.extra else parts)})"

    def told(self) -> str:
        """The signature with what a query answers."""
        return f"{self.signature()} -> {self.returns}" if self.returns else self.signature()


class TypeSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One workflow type of a generation: its handlers, and where it is written."""

    workflow_type: str
    handlers: tuple[HandlerSpec, ...]
    module: str = ""
    file: str = ""
    line: int = 0
    doc: str = ""

    def handler(self, kind: str, name: str) -> HandlerSpec | None:
        for spec in self.handlers:
            if spec.kind == kind and spec.name == name:
                return spec
        return None

    @property
    def start(self) -> HandlerSpec:
        for spec in self.handlers:
            if spec.kind == "start":
                return spec
        raise LookupError(f"workflow type {self.workflow_type!r} has no start")

    def plainly(self) -> TypeSpec:
        """Without the shapes, which few want to see."""
        if not any(spec.shape for spec in self.handlers):
            return self
        handlers = tuple(msgspec.structs.replace(spec, shape="") for spec in self.handlers)
        return msgspec.structs.replace(self, handlers=handlers)

    def names(self, kind: str) -> list[str]:
        return [spec.name for spec in self.handlers if spec.kind == kind]


@lru_cache(maxsize=4096)
def plain_type(expression: str) -> Any:
    """The type that `expression` spells in plain types; ValueError where it needs any other name."""

    def build(node: ast.expr) -> Any:
        match node:
            case ast.Name(id=name) if name in _PLAIN:
                return _PLAIN[name]
            case ast.Constant(value=None):
                return None
            case ast.Constant(value=value) if value is Ellipsis:
                return ...
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return build(left) | build(right)
            case ast.Subscript(value=base, slice=ast.Tuple(elts=items)):
                return build(base)[tuple(build(item) for item in items)]
            case ast.Subscript(value=base, slice=item):
                return build(base)[build(item)]
        raise ValueError(f"not a plain type: {expression}")

    try:
        return build(ast.parse(expression, mode="eval").body)
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"not a plain type: {expression}") from error


def bind(
    spec: HandlerSpec,
    payload: Any,
    what: str,
    *,
    text: Mapping[str, str] | None = None,
    types: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Keyword arguments for `spec` from `payload` (plain data) and command-line `text`, checked and not converted.

    What is returned is still plain data, ready to be stored; `text` values come back as the data they stand for.
    `types` gives the real annotations where the caller has them (the worker); without it, plain ones are
    rebuilt from the description. All problems are reported together in one InvalidPayloadError.
    """
    arguments = _arguments(spec, payload, what)
    if not text and _fit(spec, arguments, types):
        return dict(arguments)
    by_name = {param.name: param for param in spec.params}
    problems: list[str] = []
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        param = by_name.get(name)
        if param is None:
            if (problem := _unexpected(name, spec, by_name)) is None:
                given[name] = value
            else:
                problems.append(problem)
            continue
        try:
            convert(value, _type_of(param, types), f"parameter {name!r} ({param.type})")
            given[name] = value
        except InvalidPayloadError as error:
            problems.append(error.message)
    for name, raw in (text or {}).items():
        param = by_name.get(name)
        if param is None and (problem := _unexpected(name, spec, by_name)) is not None:
            problems.append(problem)
            continue
        try:
            given[name] = raw if param is None else _from_text(raw, _type_of(param, types), param)
        except InvalidPayloadError as error:
            problems.append(error.message)
    missing = [p for p in spec.params if p.required and p.name not in arguments and p.name not in (text or {})]
    problems += [f"missing parameter {param.name!r} ({param.type})" for param in missing]
    if problems:
        raise InvalidPayloadError(
            f"{what}: {'; '.join(problems)}",
            hint=f"it takes {spec.signature()}",
            problems=problems,
            takes=spec.signature(),
        )
    return given


def _arguments(spec: HandlerSpec, payload: Any, what: str) -> dict[str, Any]:
    if payload is None:
        return {}
    if isinstance(payload, dict):
        return payload
    if not spec.params:
        raise InvalidPayloadError(
            f"{what}: takes no arguments, got {show(payload)}", hint="send it without a payload", takes="()"
        )
    return {spec.params[0].name: payload}


def _fit(spec: HandlerSpec, arguments: dict[str, Any], types: Mapping[str, Any] | None) -> bool:
    """Whether each is, as nearly always, what there need not be a closer look at."""
    known = 0
    for param in spec.params:
        if (name := param.name) in arguments:
            if not as_it_is(arguments[name], _type_of(param, types)):
                return False
            known += 1
        elif param.required:
            return False
    return known == len(arguments)


def _type_of(param: ParamSpec, types: Mapping[str, Any] | None) -> Any:
    if types is not None:
        return types.get(param.name, Any)
    return plain_type(param.type) if param.plain else Any


_BOOLEANS = ("true", "false", "1", "0")


def _from_text(raw: str, wanted: Any, param: ParamSpec) -> Any:
    """Text from a command line as the plain data that converts to `wanted`.

    Text stays text where the type takes text as it is; otherwise it is read as a number, boolean or null, then as JSON.
    """
    what = f"parameter {param.name!r} ({param.type})"
    if wanted is Any or wanted is str:
        return raw
    if wanted is bool and raw.lower() not in _BOOLEANS:
        raise InvalidPayloadError(f"{what}: expected true or false, got {show(raw)}")
    if wanted in (int, float, bool):
        value = convert(raw, wanted, what, strict=False)
        if isinstance(value, float) and not isfinite(value):
            raise InvalidPayloadError(f"{what}: {value}, which JSON cannot hold")
        return value
    try:
        convert(raw, wanted, what)
        return raw
    except InvalidPayloadError as error:
        problem = error
    for decoded in _readings(raw):
        try:
            convert(decoded, wanted, what)
            return decoded
        except InvalidPayloadError as error:
            # Of what reads as JSON this says where in it the trouble is.
            problem = error
    raise problem


def _readings(raw: str) -> list[Any]:
    try:
        return [msgspec.json.decode(raw)]
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return [None] if raw.lower() in ("null", "none") else []


def _unexpected(name: str, spec: HandlerSpec, known: Mapping[str, ParamSpec]) -> str | None:
    """Why `name`, which is none of its parameters, cannot be given to a handler; None where its `**` takes it."""
    if spec.extra:
        taken = {spec.context: "that is what the handler calls its context", UNBOUND: "that name is taken"}
        return f"unknown parameter {name!r}: {taken[name]}" if name in taken else None
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"unknown parameter {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


_POSITIONAL = "$positional"


def unbound(payload: msgspec.Raw, positional: bool, text: Mapping[str, str] | None = None) -> msgspec.Raw:
    """What stands for the keyword arguments of a handler that is not there: they are made of it when it is back (`late`). `text` is
    what a command line gave."""
    held: dict[str, Any] = {UNBOUND: payload}
    if positional:
        held[_POSITIONAL] = True
    if text:
        held[TEXT] = text
    return msgspec.Raw(msgspec.json.encode(held))


def late(handler: HandlerSpec, held: Mapping[str, Any]) -> tuple[Any, Mapping[str, str]]:
    """The payload in what `unbound` made, as `bind` wants it, and the text."""
    payload, text = held[UNBOUND], held.get(TEXT) or {}
    if held.get(_POSITIONAL) and isinstance(payload, dict) and handler.params:
        return {handler.params[0].name: payload}, text
    return payload, text
