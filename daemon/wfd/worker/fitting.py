"""Whether recorded arguments fit the parameters of the loaded code, and the conversion to the types that these have."""

from __future__ import annotations

from typing import Any

from wfctl.errors import InvalidPayloadError
from wfctl.sdk.handler import Handler
from wfctl.sdk.hints import listing
from wfctl.values.codec import convert, decode
from wfctl.values.signature import UNBOUND, bind, late


class Misfit(Exception):
    """What is to be run does not fit the loaded code; its run waits for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def arguments(handler: Handler, data: bytes) -> dict[str, Any]:
    """What to call `handler` with: `data` (a JSON object) converted to the annotated types."""
    if data == b"{}" and not handler.required:
        return {}
    given: dict[str, Any] = {}
    try:
        given = decode(data)
        if handler.takes_as_it_is(given):
            return given
        types = handler.types
        if UNBOUND in given:
            spec = handler.describe()
            payload, text = late(spec, given)
            given = bind(spec, payload, handler.label, text=text, types=types)
        if handler.required <= given.keys() and (
            given.keys() <= types.keys() or (handler.extra and handler.context not in given)
        ):
            return {
                name: convert(value, types[name], f"parameter {name!r}") if name in types else value
                for name, value in given.items()
            }
        bind(handler.describe(), given, handler.label, types=types)
        reason = "its parameters changed"
    except InvalidPayloadError as error:
        reason = error.message
    except BaseException as error:  # converting runs the user's own code, which may even exit
        reason = f"{type(error).__name__}: {error}"
    takes = handler.describe().signature()
    raise Misfit(
        f"what {handler.label} was given does not fit its parameters any more: {reason}. It takes {takes} and was given "
        f"{listing(given, none='nothing')}: put the parameters back, or give new ones a default"
    )
