"""What every verb of the socket is: the struct of its parameters, known by its method."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

CALLS: dict[str, type[Call]] = {}


class Call(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """Base of all parameter structs. `answer` is the type of the result, `item` that of a stream's notifications."""

    method: ClassVar[str] = ""
    answer: ClassVar[Any] = None
    item: ClassVar[Any] = None

    @property
    def protocol(self) -> int:
        """The oldest protocol whose daemons do what it says; older ones would not see all of it."""
        return 1

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "method" in cls.__dict__:
            CALLS[cls.method] = cls


class RunCall(Call, frozen=True, kw_only=True):
    """Base of those about one run. `id` is a workflow ID (of its open run), else a run ID, else a workflow ID (of its newest run),
    else what the ID of one run alone begins with. With `exact` it is a run ID and nothing else, whatever workflow IDs there are."""

    id: str
    exact: bool = False
