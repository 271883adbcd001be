"""What a check of code has found: modules that do not load, then each type with what its open runs would meet."""

from __future__ import annotations

from wfctl.cli.render.text import Line, clean, count, counted
from wfctl.protocol.code import CodeCheck, FindingView
from wfctl.protocol.daemon import ProblemView

_BAD, _GOOD, _ASIDE = "magenta", "green", "dim"
_WORDS = {
    "missing": "{} is missing",
    "arguments": "{} does not take what it is given",
    "replay": "{} does not repeat what was recorded",
    "crash": "{} ends or blocks its process",
    "goes_on": "{} would go on",
    "stopped": "{} was not followed to its end",
    "waits": "{} was not followed to its end",
    "skipped": "{} was not followed",
    "raises": "{} repeats what was recorded",
}


def check_lines(answer: CodeCheck, *, person: bool) -> list[Line]:
    lines: list[Line] = []
    for problem in answer.problems:
        lines += _problem(problem)
    groups = [(answer.findings, _BAD), (answer.goes_on, _GOOD), (answer.notes, _ASIDE)]
    for workflow_type in sorted({view.workflow_type for views, _ in groups for view in views}):
        if lines:
            lines.append([])
        lines.append([(clean(workflow_type), "bold")])
        for views, style in groups:
            for view in views:
                if view.workflow_type == workflow_type:
                    lines += _finding(view, style, person)
    return lines


def summary(answer: CodeCheck, *, person: bool) -> str:
    """The whole in one line."""
    checked = answer.checked
    runs = counted(checked.runs, "open run", grouped=person)
    rehearsed = f"; {counted(checked.rehearsed, 'step', grouped=person)} rehearsed" if checked.rehearsed else ""
    found = len(answer.problems) + len(answer.findings)
    if answer.problems and not checked.runs:
        return f"{counted(found, 'finding', grouped=person)}; no open run could be checked"
    if found:
        return f"{counted(found, 'finding', grouped=person)} among {runs}{rehearsed}"
    better = sum(view.runs for view in answer.goes_on)
    if not better:
        return f"would change nothing for {runs}{rehearsed}"
    rest = count(max(checked.runs - better, 0), grouped=person)
    return (
        f"{counted(better, 'stuck run', grouped=person)} would go on, and nothing change for {rest} others{rehearsed}"
    )


def _problem(problem: ProblemView) -> list[Line]:
    where = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file
    head = f"{problem.module} does not load" + (f" ({where})" if where and where != problem.module else "")
    lines: list[Line] = [[(clean(head), f"bold {_BAD}")]]
    lines += [[(f"  {clean(text.rstrip())}", "")] for text in problem.message.split("\n")]
    lines += [[(f"  {clean(text)}", "dim")] for text in problem.traceback.splitlines()]
    if problem.hint:
        lines.append([(f"  {clean(problem.hint)}", "dim")])
    return lines


def _finding(view: FindingView, style: str, person: bool) -> list[Line]:
    what = f"{view.handler_kind} {view.handler!r}" if view.handler else "the type"
    head = _WORDS.get(view.kind, f"{{}} ({view.kind})").format(what)
    already = f" ({count(view.stuck, grouped=person)} stuck already)" if view.stuck and view.kind != "goes_on" else ""
    number = counted(view.runs, "run", grouped=person)
    lines: list[Line] = [[(f"  {clean(head)}", style), (f": {number}{already}", "")]]
    if view.reason:
        lines.append([(f"    {clean(view.reason)}", "")])
    named = ", ".join(clean(id) for id in view.workflow_ids)
    more = view.runs - len(view.workflow_ids)
    if named:
        lines.append([(f"    {named}" + (f" and {count(more, grouped=person)} more" if more > 0 else ""), "cyan")])
    return lines
