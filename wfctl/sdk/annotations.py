"""A handler's annotations: resolved to real types, and spelled for people and for the daemon.

The daemon rebuilds types from their spelling (`wfctl.values.signature.plain_type`), so whatever is called plain here must
come back as the same type there.
"""

from __future__ import annotations

import types
import typing
from pathlib import PurePath
from typing import Any

import msgspec
import msgspec.inspect

from wfctl.values.codec import ITERABLES, type_name
from wfctl.values.signature import plain_type

_JSON = (str, int, float, bool, list, dict)
_CONTAINERS = (list, dict, tuple, set, frozenset)


def spell(annotation: Any) -> tuple[str, bool]:
    """How `annotation` is written, and whether it is made of plain types only.

    Plain: `plain_type(text)` is an equal type (`typing.List[int]` counts as `list[int]`, `object` as `Any`).
    """
    if annotation is Any or annotation is object:
        return ("Any" if annotation is Any else "object"), True
    if annotation is None or annotation is type(None):
        return "None", True
    if annotation is Ellipsis:
        return "...", True
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return _joined(" | ", typing.get_args(annotation))
    if origin in _CONTAINERS:
        name = origin.__name__
        if not hasattr(annotation, "__args__"):  # a bare `typing.List`
            return name, True
        arguments = typing.get_args(annotation)
        inner, plain = _joined(", ", arguments) if arguments else ("()", True)
        return f"{name}[{inner}]", plain
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):  # a generic one, as ChildOutcome[...]
        return f"{origin.__qualname__}[{_joined(', ', typing.get_args(annotation))[0]}]", False
    if isinstance(annotation, type) and origin is None:
        return type_name(annotation), _is_plain(annotation)
    return type_name(annotation), False


def _joined(separator: str, parts: tuple[Any, ...]) -> tuple[str, bool]:
    spelled = [spell(part) for part in parts]
    return separator.join(text for text, _ in spelled), all(plain for _, plain in spelled)


def _is_plain(annotation: type[Any]) -> bool:
    try:
        return plain_type(annotation.__name__) is annotation
    except ValueError:
        return False


def resolve(annotation: Any, global_names: dict[str, Any], local_names: dict[str, Any] | None = None) -> Any:
    """The real type of one annotation, text (`from __future__ import annotations`) or not. NameError and the like pass."""
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, global_names, local_names, include_extras=True)["it"]


def unfillable(annotation: Any) -> bool:
    """Whether no value at all is of this type that JSON can hold: it is a class of which nothing can be made."""
    try:
        known = msgspec.inspect.type_info(annotation)
        return isinstance(known, msgspec.inspect.CustomType) and not _can_be(annotation)
    except Exception:  # a metaclass may raise anything
        return False


def _can_be(custom: Any) -> bool:
    if hasattr(custom, "model_validate"):
        return True
    if (origin := typing.get_origin(custom)) is not None:
        return origin in ITERABLES
    return issubclass(custom, PurePath) or any(issubclass(kind, custom) for kind in _JSON)


def unsupported(annotation: Any) -> str | None:
    """Why no value can be converted to this type, or None where it can."""
    try:
        msgspec.json.Decoder(annotation)
    except TypeError as error:
        return str(error)
    return None
