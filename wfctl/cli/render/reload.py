"""What a reload did, and what is wrong with the code, as lines."""

from __future__ import annotations

import re

from wfctl.cli.render.status import problem_lines
from wfctl.cli.render.text import Line, clean
from wfctl.cli.render.times import when
from wfctl.protocol.code import ReloadedType
from wfctl.protocol.daemon import CodeView, ProblemView

_STYLES = {"unchanged": "dim", "new version": "green", "new": "green", "removed": "yellow", "broken": "bold red"}
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+)')


def reload_lines(types: list[ReloadedType], now_ms: int, *, person: bool) -> list[Line]:
    """A line for each type: its name, what became of it, and what serves it now. Of what is unchanged also when it was loaded:
    where saving has done that, this is all there is to see of it."""
    width = max((len(item.workflow_type) for item in types), default=0)
    lines: list[Line] = []
    for item in types:
        serves = f"  generation {item.generation}  {item.source_hash}" if item.generation else ""
        kept = ", the code loaded before stays in use" if item.change == "broken" else ""
        if item.change == "unchanged" and item.loaded_at is not None:
            kept = f", loaded {when(item.loaded_at, now_ms, relative=person)}"
        lines.append(
            [
                (f"{clean(item.workflow_type):<{width}}  ", ""),
                (item.change, _STYLES.get(item.change, "")),
                (kept + serves, ""),
            ]
        )
    return lines


def trouble_lines(problem: ProblemView) -> list[Line]:
    """A problem with its traceback, the innermost frame first: that is where to look."""
    return [*problem_lines(problem), *([(f"  {clean(line)}", "dim")] for line in innermost_first(problem.traceback))]


def innermost_first(traceback: str) -> list[str]:
    """The frames of a traceback from the inside out, then what was raised. Each frame keeps its line of code."""
    frames: list[list[str]] = []
    rest: list[str] = []
    for line in traceback.rstrip().splitlines():
        if _FRAME.match(line):
            frames.append([line.strip()])
        elif frames and line.startswith("    ") and not rest:
            frames[-1].append(line)
        elif not line.startswith("Traceback "):
            rest.append(line)
    return [*rest, *(line for frame in reversed(frames) for line in frame)]


def code_lines(code: CodeView) -> list[Line]:
    """What a follower is told when the code has changed."""
    if not code.problems:
        return [[(f"code: generation {code.generation} serves ({code.source_hash})", "dim")]]
    return [line for problem in code.problems for line in problem_lines(problem)]
