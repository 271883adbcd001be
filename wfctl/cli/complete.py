"""`wfctl __complete`: what may stand where the cursor is, for the completion scripts of the shells.

    __complete line TEXT        bash: the command line up to the cursor
    __complete words WORD...    zsh, fish: the words after `wfctl`, the last one being typed

One candidate a line, for `words` with a tab and a word about it; the line `:files` means files. What the daemon has to be asked
for is there within 150 ms or not at all, and whatever fails is silent: nobody wants an error for a tab.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wfctl.cli.words import SHELLS
from wfctl.values.status import CLOSED, OPEN, Status

LIMIT_S = 0.15
MOST_RUNS = 500
FILES = ":files"
# Verbs that can do something with an open run only.
_FOR_OPEN = ("send", "cancel", "terminate", "wait")
_WORD_BREAKS = ":="


class Candidate(NamedTuple):
    value: str
    note: str = ""


def answer(arguments: list[str]) -> str:
    """The text for the shell. Never raises: what is not known is empty."""
    try:
        mode, *rest = arguments
        if mode not in ("line", "words"):
            return ""
        words = split(rest[0]) if mode == "line" else rest
        found = complete(words or [""], notes=mode != "line")
    except Exception:
        return ""
    if mode == "line":
        return "".join(f"{_for_bash(one.value, words[-1])}\n" for one in found)
    return "".join(f"{one.value}\t{_line(one.note)}".rstrip("\t") + "\n" for one in found)


def split(line: str) -> list[str]:
    """The words of a command line after the first, as far as it is typed; the last is the one the cursor is in."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words += lexer
    except ValueError:
        # A quote that is still open: what is in it is the word.
        words.append(str(lexer.token))
    if not line or (line[-1].isspace() and not line.endswith("\\ ")):
        words.append("")
    return words[1:]


def _line(note: str) -> str:
    """A note on the line of its candidate, whatever a user put into it."""
    return " ".join(note.split())


def _for_bash(value: str, current: str) -> str:
    """bash takes `:` and `=` for the end of a word, and puts a candidate in the place of what follows the last of them."""
    if value == FILES:
        return value
    start = max(current.rfind(char) for char in _WORD_BREAKS) + 1
    rest = value[start:] if value.startswith(current[:start]) else value
    return rest if rest.endswith("=") else shlex.quote(rest)


def complete(words: list[str], *, notes: bool = True) -> list[Candidate]:
    """What may stand in the place of the last of `words`."""
    from wfctl.cli.app import VERBS, build, load

    *before, current = words
    group = _Line(build(), before)
    verb = next(iter(group.positional), None)
    if verb is None:
        if group.pending is None and not current.startswith("-"):
            fitting = [verb for verb in VERBS if verb.startswith(current)]
            return [Candidate(verb, VERBS[verb] if notes else "") for verb in fitting]
        return _of_line(group, "", current, before)
    if verb not in VERBS:
        return []
    line = _Line(load(verb), group.rest)
    if line.group and (line.positional or not current.startswith("-")) and line.pending is None:
        return _of_actions(line, verb, current, before, notes=notes)
    return _of_line(line, verb, current, before)


def _of_actions(line: _Line, verb: str, current: str, before: list[str], *, notes: bool) -> list[Candidate]:
    """What may follow a verb that has actions: one of them, and what that takes."""
    actions = line.command.verbs
    if not line.positional:
        return _fitting(current, [Candidate(name, actions[name] if notes else "") for name in actions])
    action = line.positional[0]
    if action not in actions:
        return []
    return _of_line(_Line(line.command.find(action), line.rest), f"{verb} {action}", current, before)


def _of_line(line: _Line, verb: str, current: str, before: list[str]) -> list[Candidate]:
    prefix = ""
    parameter = line.pending
    if parameter is None and current.startswith("-") and not line.ended:
        name, sign, current_value = current.partition("=")
        if not sign:
            return _fitting(current, _options(line.command))
        parameter, prefix, current = line.options.get(name), f"{name}=", current_value
    elif parameter is None:
        parameter = line.argument()
    if parameter is None:
        return []
    source = Source(verb, line, before)
    found = source.values(parameter.metavar or "", current)
    return [one if one.value == FILES else Candidate(prefix + one.value, one.note) for one in found]


class _Line:
    """The words of one command before the cursor, as far as they tell what may come next."""

    def __init__(self, command: Any, before: list[str]) -> None:
        self.command = command
        self.options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
        self.arguments = [one for one in command.params if one.param_type_name == "argument"]
        self.positional: list[str] = []
        self.pending: Any = None  # the option whose value comes next
        self.ended = False  # by `--`
        self.rest: list[str] = []
        self.group = hasattr(command, "commands")
        for index, word in enumerate(before):
            if self.pending is not None:
                self.pending = None
            elif word == "--" and not self.ended:
                self.ended = True
            elif word.startswith("-") and word != "-" and not self.ended:
                option = self.options.get(word)
                self.pending = option if option is not None and not option.is_flag else None
            else:
                self.positional.append(word)
                if self.group:
                    self.rest = before[index + 1 :]
                    break

    def argument(self) -> Any:
        """The argument that the word at the cursor would be; None where there are enough."""
        position = len(self.positional)
        if position < len(self.arguments):
            return self.arguments[position]
        return self.arguments[-1] if self.arguments and self.arguments[-1].nargs == -1 else None


def _options(command: Any) -> list[Candidate]:
    named = [(max(one.opts, key=len), one) for one in command.params if one.param_type_name == "option"]
    found = [Candidate(name, one.help or "") for name, one in named]
    found += [Candidate(name, one.help or "") for _, one in named for name in one.secondary_opts]
    return sorted([*found, Candidate("--help", "Show this message and exit.")])


def _fitting(current: str, candidates: list[Candidate]) -> list[Candidate]:
    return [one for one in candidates if one.value.startswith(current)]


class Source:
    """Values by what the help calls them. Those of runs and workflows come from the daemon."""

    def __init__(self, verb: str, line: _Line, before: list[str]) -> None:
        self._verb = verb
        self._line = line
        self._before = before
        self._end = time.monotonic() + LIMIT_S
        self._named: dict[str, Callable[[str], list[Candidate]]] = {
            "ID": self._runs,
            "SCHEDULE": self._schedules,
            "ZONE": lambda current: _zones(),
            "TYPE": lambda current: [Candidate(spec.workflow_type) for spec in self._specs()],
            "STATUS": self._statuses,
            "EVENT": lambda current: self._handlers("event"),
            "NAME": lambda current: self._handlers("query"),
            "KEY": lambda current: self._parameters(),
            "CODE": self._codes,
            "ACTION": lambda current: [Candidate("install"), Candidate("uninstall")],
            "SHELL": lambda current: [Candidate(shell) for shell in SHELLS],
            "FILE": lambda current: [Candidate(FILES)],
            "PATH": lambda current: [Candidate(FILES)],
            "DIR": lambda current: [Candidate(FILES)],
        }

    def values(self, metavar: str, current: str) -> list[Candidate]:
        words = metavar.strip("[].").split("|")
        if all(re.fullmatch(r"[a-z]+", word) for word in words):
            return _fitting(current, [Candidate(word) for word in words])
        kind = re.match(r"[A-Z]+", words[0])
        source = self._named.get(kind[0]) if kind else None
        if source is None:
            return []
        found = [*source(current), *(Candidate(word) for word in words if re.fullmatch(r"[a-z]+", word))]
        return [one for one in found if one.value == FILES or one.value.startswith(current)]

    def _statuses(self, current: str) -> list[Candidate]:
        done = current.rpartition(",")[0]
        head = f"{done}," if done else ""
        return [Candidate(head + word) for word in (*Status, "open", "closed") if word not in done.split(",")]

    def _codes(self, current: str) -> list[Candidate]:
        from wfctl.cli.explanations import ERRORS, WARNINGS

        return [Candidate(code, found.meaning) for code, found in (ERRORS | WARNINGS).items()]

    # -- from the daemon -----------------------------------------------------------------------

    def _call(self, call: Any) -> Any:
        from wfctl.cli.options import Settings
        from wfctl.cli.shell import Shell
        from wfctl.client.blocking import Connection

        settings = Settings()
        settings.project = _project(self._before)
        # Half for the connection and half for the handshake, at the worst.
        left = max(self._end - time.monotonic(), 0.001) / 2
        with Connection.connect(Shell(settings).socket, timeout_s=left) as connection:
            return connection.call(call, timeout_s=max(self._end - time.monotonic(), 0.001))

    def _runs(self, current: str) -> list[Candidate]:
        from wfctl.protocol.lists import List, RunPage

        statuses = [status for status in Status if status in OPEN] if self._verb in _FOR_OPEN else []
        page: RunPage = self._call(List(statuses=statuses, limit=MOST_RUNS))
        given = set(self._line.positional)
        found: dict[str, Candidate] = {}
        for run in page.items:
            if not {run.workflow_id, run.run_id} & given:
                found.setdefault(run.workflow_id, Candidate(run.workflow_id, f"{run.workflow_type} {run.status}"))
                if current and run.run_id.startswith(current):
                    found.setdefault(run.run_id, Candidate(run.run_id, f"{run.workflow_id} {run.status}"))
        # Of what is open somebody asks for sooner than of what is over.
        closed = {run.workflow_id for run in page.items if run.status in CLOSED}
        ordered = sorted(found.values(), key=lambda one: one.value in closed)
        return [*ordered, Candidate("@last", "the run started last in this project")]

    def _schedules(self, current: str) -> list[Candidate]:
        from wfctl.protocol.schedules import ListSchedules, ScheduleList

        if self._verb == "schedule add" and "--replace" not in self._before:
            return []  # a new one has a new ID
        wanted = {"schedule pause": ("active", "blocked"), "schedule resume": ("paused",)}.get(self._verb)
        answer: ScheduleList = self._call(ListSchedules())
        return [
            Candidate(one.schedule_id, f"{one.workflow_type} {one.status}")
            for one in answer.items
            if one.schedule_id not in self._line.positional
            and (wanted is None or one.status in wanted)
            # Of one that is set aside nothing is known, and nothing can be done with it but that.
            and (one.created_at is not None or self._verb == "schedule remove")
        ]

    def _specs(self) -> list[Any]:
        from wfctl.protocol.code import WorkflowList, Workflows

        answer: WorkflowList = self._call(Workflows())
        return [item.spec for item in answer.items]

    def _kind(self) -> str:
        """The workflow type that the words before are about."""
        from wfctl.protocol.runs import Result

        if self._verb == "schedule add":
            return self._line.positional[1]
        first = self._line.positional[0]
        return first if self._verb == "start" else str(self._call(Result(id=first, wait=False)).workflow_type)

    def _handlers(self, kind: str) -> list[Candidate]:
        return [Candidate(one.name, _takes(one)) for one in self._of_type() if one.kind == kind]

    def _of_type(self) -> Iterator[Any]:
        kind = self._kind()
        for spec in self._specs():
            if spec.workflow_type == kind:
                yield from spec.handlers

    def _parameters(self) -> list[Candidate]:
        """`key=` of the handler's parameters that are not given yet."""
        starts = self._verb in ("start", "schedule add")
        name = None if starts else self._line.positional[1]
        wanted = "start" if starts else {"send": "event", "query": "query"}.get(self._verb)
        given = {re.split(r":?=", word)[0] for word in self._line.positional}
        for handler in self._of_type():
            if handler.kind == wanted and name in (None, handler.name):
                return [Candidate(f"{one.name}=", one.type) for one in handler.params if one.name not in given]
        return []


def _zones() -> list[Candidate]:
    import zoneinfo

    return [Candidate(name) for name in sorted(zoneinfo.available_timezones())]


def _takes(handler: Any) -> str:
    return ", ".join(one.name for one in handler.params)


def _project(before: list[str]) -> str | None:
    """--project of a command line, before or after its verb."""
    found = None
    for word, following in zip(before, [*before[1:], ""], strict=True):
        if word == "--project":
            found = following
        elif word.startswith("--project="):
            found = word.removeprefix("--project=")
    return None if found is None else os.path.expanduser(found)


def run(arguments: list[str]) -> int:
    """Print the answer to `__complete ...`, and nothing else whatever happens."""
    with contextlib.suppress(OSError):
        os.write(1, answer(arguments[1:]).encode("utf-8", "surrogateescape"))
    return 0
