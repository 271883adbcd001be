"""The user's code as clients see it: which generation serves what, and what is wrong with it."""

from __future__ import annotations

from wfctl.protocol import views
from wfctl.protocol.channel import Problem
from wfd.supervisor import Catalog


def code_view(catalog: Catalog, now: int) -> views.CodeView:
    return views.CodeView(
        at=now,
        generation=catalog.generation,
        source_hash=catalog.source_hash,
        problems=problem_views(catalog.problems),
    )


def problem_views(problems: tuple[Problem, ...]) -> list[views.ProblemView]:
    return [
        views.ProblemView(
            module=p.module, message=p.message, file=p.file, line=p.line, hint=p.hint, traceback=p.traceback
        )
        for p in problems
    ]
