"""Payloads: Python values to JSON and back, with nothing changed on the way without a word.

A value inside the system is JSON text (`bytes`, UTF-8); it is made here from what the author gave and turned
back here into what the author asked for. JSON cannot hold everything: what it cannot hold is refused by
name (`InvalidPayloadError`) at the moment it is given, not when a run needs it three days later. Types that
JSON renders in a form a typed read restores exactly (tuple, set, datetime, Decimal, UUID, Path, bytes, enum,
dataclass, Struct, Pydantic model) are accepted.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Container, Iterable, Reversible, Set
from datetime import datetime, time
from functools import partial
from itertools import pairwise
from math import isfinite
from operator import is_not
from pathlib import PurePath
from typing import Any, get_args, get_origin

import msgspec

from wfctl.errors import InvalidPayloadError, PayloadTooLargeError
from wfctl.values import models

MAX_PAYLOAD_BYTES = 1 << 20
NULL = b"null"


def _enc_hook(value: Any, dump: Callable[[Any], Any] = models.stored, *, paths: bool = True) -> Any:
    if models.is_model(value):
        return dump(value)
    if paths and isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"{type(value).__module__}.{type(value).__qualname__}")


def _dec_hook(wanted: type[Any], value: Any) -> Any:
    if hasattr(wanted, "model_validate"):
        try:
            return models.restored(wanted, value)
        except ValueError as error:  # pydantic.ValidationError is one
            raise msgspec.ValidationError(str(error)) from error
    origin = get_origin(wanted)
    if origin in ITERABLES and isinstance(value, list):
        return msgspec.convert(value, list[get_args(wanted)], dec_hook=_dec_hook)  # type: ignore[misc]
    if origin is None and issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    if origin is None and isinstance(value, wanted):
        return value
    raise msgspec.ValidationError(f"cannot make a {type_name(wanted)} from JSON")


_encode = msgspec.json.Encoder(enc_hook=_enc_hook).encode
_encode_sorted = msgspec.json.Encoder(enc_hook=partial(_enc_hook, dump=models.identity), order="sorted").encode
_encode_label = msgspec.json.Encoder(
    enc_hook=partial(_enc_hook, dump=models.identity, paths=False), order="sorted"
).encode
# What a list can be that msgspec does not know of.
ITERABLES = (Iterable, Reversible, Container)
_SCALARS = (str, int, bool, type(None))
# What JSON holds as it is, and what it holds so that reading gives the very same type back.
_PLAIN = frozenset(_SCALARS)
_SAME = frozenset({str, int, float, bool})
_FLAT = _SAME | _PLAIN


def _refuse(value: Any, path: str) -> None:
    """Raise for what msgspec would change silently: NaN to null, a key that is no text to text."""
    if isinstance(value, float):
        if not isfinite(value):
            raise InvalidPayloadError(f"{path} is {value}, which JSON cannot hold", path=path)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidPayloadError(
                    f"{path} has the key {key!r} of type {type(key).__name__}; JSON keys are text",
                    hint="use str keys",
                    path=path,
                )
            if type(item) not in _PLAIN:
                _refuse(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                _refuse(item, f"{path}[{index}]")
    elif isinstance(value, set | frozenset):
        for item in value:
            _refuse(item, f"{path}{{...}}")
    elif isinstance(value, datetime | time):
        if models.odd_offset(value):
            raise InvalidPayloadError(f"{path} {models.ODD_OFFSET}", hint=models.IN_UTC, path=path)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse(getattr(value, name), f"{path}.{name}")
    elif hasattr(type(value), "__dataclass_fields__"):
        for name in type(value).__dataclass_fields__:
            _refuse(getattr(value, name, None), f"{path}.{name}")


def _refuse_all(value: Any, what: str) -> None:
    try:
        _refuse(value, what)
    except RecursionError:
        raise InvalidPayloadError(f"{what} contains itself or is nested too deeply") from None


def _is_flat(value: dict[Any, Any]) -> bool:
    """Whether a dict needs no closer look: most hold a few texts and numbers."""
    for key, item in value.items():
        if type(key) is not str or (type(item) not in _PLAIN and not (type(item) is float and isfinite(item))):
            return False
    return True


def encode(value: Any, what: str, *, limit: int = MAX_PAYLOAD_BYTES) -> bytes:
    """JSON of `value`. `what` names it in errors (`store value 'amount'`, `payload of event 'paid'`).

    Raises InvalidPayloadError for what JSON cannot hold, PayloadTooLargeError over `limit` bytes.
    """
    if type(value) is dict:
        if not _is_flat(value):
            _refuse_all(value, what)
    elif not (isinstance(value, _SCALARS) or (type(value) is float and isfinite(value))):
        _refuse_all(value, what)
    try:
        data = _encode(value)
    except NotImplementedError as error:
        plain = "store plain data: text, numbers, lists, dicts, dataclasses"
        raise InvalidPayloadError(
            f"{what} holds a {error}, which JSON cannot hold",
            hint="is an `await` missing?" if str(error) == "builtins.coroutine" else plain,
            type=str(error),
        ) from None
    except models.Unkept as error:
        raise InvalidPayloadError(f"{what}: {error}", hint=error.hint, path=error.where) from None
    except RecursionError:
        raise InvalidPayloadError(f"{what} contains itself or is nested too deeply") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidPayloadError(f"{what} cannot be written as JSON: {error}") from None
    if len(data) > limit:
        raise too_large(what, len(data), limit)
    return data


def one_argument(value: Any, data: bytes) -> bool:
    """Whether `value` is one argument, though its JSON, an object, looks like keyword arguments: only a dict is those."""
    return data.startswith(b"{") and not isinstance(value, dict)


def encode_plain(value: Any) -> bytes | None:
    """As `encode`, for a text, a number, a boolean, None, or a dict of these; None where that has to look closer, or to say what
    is wrong."""
    kind = type(value)
    if kind in _PLAIN or (kind is float and isfinite(value)) or (kind is dict and _is_flat(value)):
        try:
            data = _encode(value)
        except (ValueError, OverflowError):
            return None
        if len(data) <= MAX_PAYLOAD_BYTES:
            return data
    return None


def unchanged(value: Any) -> bool:
    """Whether `value` is a text, number or boolean that JSON gives back as it is; an integer or a text may still be refused."""
    return type(value) in _SAME and (type(value) is not float or isfinite(value))


def all_flat(values: Iterable[Any]) -> bool:
    """Whether each is a text, a number, a boolean or None, whose JSON is read as the very same."""
    return _FLAT.issuperset(map(type, values))


def canonical(value: Any) -> bytes:
    """JSON of `value` that is the same in every process: keys sorted, and sets, whose order Python shuffles per process.

    For comparing and hashing what `encode` accepted; never stored.
    """
    return _encode_sorted(_settled(value))


def identified(value: Any, what: str, name: str) -> tuple[bytes, bytes]:
    """`value` by `encode` and by `canonical`. In errors it is `what` and `name`, as in `payload of event 'paid'`."""
    data = encode_plain(value)
    if data is None:
        return encode(value, f"{what} {name!r}"), canonical(value)
    return data, data if type(value) is not dict or len(value) < 2 else _encode_sorted(value)


def canonical_label(value: Any) -> bytes:
    """As `canonical`, and in the labels of branches: recorded ones tell nothing of paths, which no payload could hold then.

    `value` may be anything at all. What JSON cannot hold is refused before it is gone through: all that it leads to may be much.
    """
    if type(value) not in _FLAT:
        _encode(value)
    return _encode_label(_settled(value))


def _settled(value: Any) -> Any:
    """`value` with a list, in an order that is always the same, for each set in it; itself where there is none."""
    if type(value) in _FLAT:
        return value
    if isinstance(value, dict):
        own = value
        for key, item in value.items():
            if type(item) not in _FLAT and (settled := _settled(item)) is not item:
                if own is value:
                    own = {**value}
                own[key] = settled
        return own
    if isinstance(value, list | tuple):
        parts = [_settled(item) for item in value]
        return parts if any(map(is_not, parts, value)) else value
    if isinstance(value, set | frozenset):
        return _in_order(value)
    if isinstance(value, msgspec.Struct):
        return _with_settled(value, value.__struct_fields__, msgspec.structs.force_setattr)
    if hasattr(type(value), "__dataclass_fields__"):
        return _with_settled(value, type(value).__dataclass_fields__, object.__setattr__)
    return value


def _with_settled(value: Any, names: Iterable[str], assign: Callable[[Any, str, Any], None]) -> Any:
    own = value
    for name in names:
        part = getattr(value, name, None)
        settled = _settled(part)
        if settled is not part:
            if own is value:
                own = copy.copy(value)
            assign(own, name, settled)
    return own


def _in_order(items: Set[Any]) -> list[Any]:
    """As they are sorted by Python, where that leaves no two of them in doubt; else as their JSON is."""
    try:
        ordered = sorted(items)
        if all(one < other for one, other in pairwise(ordered)):
            return [_settled(item) for item in ordered]
    except TypeError:  # they have no order among themselves
        pass
    return [msgspec.Raw(data) for data in sorted(map(canonical, items))]


def too_large(what: str, size: int, limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"{what} is {size:,} bytes; the limit is {limit:,}",
        hint="keep large data in a file and pass its path",
        size_bytes=size,
        limit_bytes=limit,
    )


# Plain Python data (dict, list, str, int, float, bool, None) of JSON text.
decode: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.Decoder().decode


def as_it_is(value: Any, wanted: Any) -> bool:
    """Whether `value` (plain data) is a `wanted` already, as one sees without looking into it."""
    return wanted is Any or wanted is object or (type(value) is wanted and wanted in _SAME)


def convert(value: Any, wanted: Any, what: str, *, strict: bool = True) -> Any:
    """`value` (plain data) as `wanted`, or InvalidPayloadError naming `what` and both types.

    `strict=False` also reads numbers, booleans and null from text, as command lines give them.
    """
    if as_it_is(value, wanted):
        return value
    try:
        return msgspec.convert(value, wanted, strict=strict, dec_hook=_dec_hook)
    except msgspec.ValidationError as error:
        raise InvalidPayloadError(f"{what}: {_plain(error)}, got {show(value)}") from None
    except TypeError as error:
        # msgspec refuses the annotation itself, or a custom type's own constructor did.
        raise InvalidPayloadError(f"{what}: cannot convert to {type_name(wanted)}: {error}") from None


_EXAMPLES = {
    "Invalid ISO8601 duration": "expected an ISO 8601 duration such as PT1H30M",
    "Invalid RFC3339 encoded datetime": "expected a time such as 2026-11-28T09:00:00Z",
    "Invalid RFC3339 encoded date": "expected a date such as 2026-11-28",
    "Invalid RFC3339 encoded time": "expected a time of day such as 09:00:00",
    "Invalid base64 encoded string": "expected base64 such as aGVsbG8=",
}


def _plain(error: msgspec.ValidationError) -> str:
    """msgspec's words without what is said better: the type it got, next to the value itself; and with an example."""
    words, at, place = str(error).partition(" - at ")
    error = msgspec.ValidationError(f"{_EXAMPLES.get(words, words)}{at}{place}")
    text = re.sub(r", got `\w+`", "", str(error))
    return text.replace("`", "").replace(" - at $", " at ").replace("Expected", "expected").rstrip()


def show(value: Any, limit: int = 60) -> str:
    """`value` as JSON, cut to `limit` characters: for error messages."""
    try:
        text = _encode(value).decode()
    except Exception:
        text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def type_name(wanted: Any) -> str:
    """How an annotation is written in messages and listings."""
    if wanted is None or wanted is type(None):
        return "None"
    if isinstance(wanted, type) and not getattr(wanted, "__args__", None):
        return wanted.__qualname__ if wanted.__module__ != "builtins" else wanted.__name__
    return str(wanted).replace("typing.", "")
