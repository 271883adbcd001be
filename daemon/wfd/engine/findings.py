"""What a check has found, grouped: a hundred thousand runs with the same trouble are one row with a number."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from wfctl.protocol.views import FindingView
from wfd.store.needs import Name

# Reasons that differ only in which arguments an operation had, or in how often it was asked for, are one.
_OF_ONE_RUN = re.compile(r" \[[0-9a-f]{16}(?:, occurrence \d+)?\]")
# Different reasons that are kept for one handler; what comes beyond is counted with the last.
MOST_REASONS = 20


class Place(msgspec.Struct, frozen=True):
    """The handler that a run needs; without `kind` and `name`, its whole type."""

    workflow_type: str
    kind: str = ""
    name: str = ""


class _Group(msgspec.Struct):
    reason: str
    runs: int = 0
    stuck: int = 0
    first: list[Name] = []


class Groups:
    """Rows of one sort: findings, or notes. Each names at most `ids` of its runs."""

    def __init__(self, ids: int) -> None:
        self._ids = ids
        self._found: dict[tuple[str, Place], dict[str, _Group]] = {}

    def add(
        self, kind: str, place: Place, reason: str, first: Iterable[Name], *, runs: int = 1, stuck: int = 0
    ) -> None:
        """`runs` more runs, of which `stuck` are so already; `first` are some of them."""
        reasons = self._found.setdefault((kind, place), {})
        key = _OF_ONE_RUN.sub("", reason)
        if key not in reasons and len(reasons) >= MOST_REASONS:
            key = next(reversed(reasons))
        group = reasons.setdefault(key, _Group(reason))
        group.runs += runs
        group.stuck += stuck
        group.first += list(first)[: max(self._ids - len(group.first), 0)]

    def views(self) -> list[FindingView]:
        """By type, in the order they were found."""
        return [
            FindingView(
                kind=kind,
                workflow_type=place.workflow_type,
                handler_kind=place.kind,
                handler=place.name,
                reason=group.reason,
                runs=group.runs,
                stuck=group.stuck,
                ids=[name.run_id for name in group.first],
                workflow_ids=[name.workflow_id for name in group.first],
            )
            for (kind, place), reasons in sorted(self._found.items(), key=lambda item: item[0][1].workflow_type)
            for group in reasons.values()
        ]
