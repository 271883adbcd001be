"""`wfctl __complete`: what may stand where the cursor is, for the completion scripts of the shells.

    __complete line TEXT BREAKS    bash: the command line up to the cursor, and what ends a word there (COMP_WORDBREAKS)
    __complete words WORD...       zsh, fish: the words after `wfctl`, the last one as it is typed, with its quotes

One candidate a line, for `words` with a tab and a word about it; the line `:files` means files. What the daemon has to be asked
for is there within 150 ms or not at all, and whatever fails is silent: nobody wants an error for a tab. So nothing here
loads the commands, the parser or the classes of messages, which would take most of that time.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence

from wfctl.values.status import CLOSED, OPEN, Status

TYPE_CHECKING = False  # typing alone would cost a tenth of what a tab does
if TYPE_CHECKING:
    from typing import Any

SHELLS = ("bash", "zsh", "fish")
LIMIT_S = 0.15
MOST_RUNS = 500
FILES = ":files"
TREE = "commands.json"
# Verbs that can do something with an open run only.
_FOR_OPEN = ("send", "cancel", "terminate", "wait")
# Of those that bash has by itself.
_WORD_BREAKS = "@=:"
_BLANKS = " \t\n"


class Parameter:
    """An option by its `names` (and those that switch it `off`), or an argument, which has none; `many` of them may follow."""

    __slots__ = ("flag", "help", "many", "metavar", "names", "off")

    def __init__(
        self, *, names: Sequence[str] = (), metavar: str = "", help: str = "", flag: bool = False, off: Sequence[str] = (),
        many: bool = False,
    ) -> None:  # fmt: skip
        self.names = names
        self.metavar = metavar
        self.help = help
        self.flag = flag
        self.off = off
        self.many = many


class Command:
    """What a command takes, and the commands below it, where it is the group of some."""

    def __init__(self, tree: dict[str, Any], shared: dict[str, Any]) -> None:
        self.help: str = tree.get("help", "")
        self.actions = {name: Command(one, shared) for name, one in tree.get("actions", {}).items()}
        self._own: list[dict[str, Any]] = tree.get("params", [])
        self._taken = [shared[name] for name in tree.get("takes", [])]

    def params(self) -> list[Parameter]:
        return [Parameter(**one) for one in (*self._own, *self._taken)]


def commands() -> Command:
    """The whole command line. Read from a file, which is made of the commands: to load them takes longer than all the rest."""
    with open(os.path.join(os.path.dirname(__file__), "completions", TREE), "rb") as file:
        tree = json.load(file)
    return Command(tree, tree["shared"])


class Candidate:
    __slots__ = ("note", "value")

    def __init__(self, value: str, note: str = "") -> None:
        self.value = value
        self.note = note


class Word:
    """A word of the command line: its `text`, the `quote` it is left in, and how much of it is `kept` before what bash replaces."""

    __slots__ = ("kept", "quote", "text")

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.quote = ""
        self.kept = 0


def answer(arguments: list[str]) -> str:
    """The text for the shell. Never raises: what is not known is empty."""
    try:
        mode, *rest = arguments
        if mode == "line":
            words = split(*rest)
        elif mode == "words":
            words = [*map(Word, rest[:-1]), *_read(rest[-1] if rest else "", blanks="")]
        else:
            return ""
        found = complete([one.text for one in words] or [""])
    except Exception:
        return ""
    if mode == "line":
        return "".join(f"{_for_bash(one.value, words[-1])}\n" for one in found)
    return "".join(f"{one.value}\t{_line(one.note)}".rstrip("\t") + "\n" for one in found)


def split(line: str, breaks: str = _WORD_BREAKS) -> list[Word]:
    """The words of a command line after the first, as far as it is typed; the last is the one the cursor is in."""
    return _read(line, breaks=breaks)[1:]


def _read(text: str, *, breaks: str = "", blanks: str = _BLANKS) -> list[Word]:
    words, word, begun, broken = [], Word(), False, 0
    chars = iter(text)
    for char in chars:
        if not word.quote and char in blanks:
            if begun:
                words.append(word)
                word, begun, broken = Word(), False, 0
            continue
        begun = True
        if char == word.quote:
            # Once it is closed nothing in it ends a word.
            word.quote, word.kept = "", broken
        elif char in "'\"" and not word.quote:
            word.quote, word.kept = char, len(word.text)
        elif char == "\\" and word.quote != "'":
            following = next(chars, "")
            word.text += following if not word.quote or following in '"\\$`' else char + following
        else:
            word.text += char
            if not word.quote and char in breaks:
                # Of what is replaced an `@` is the beginning.
                word.kept = broken = len(word.text) - (char == "@")
    return [*words, word]


def _line(note: str) -> str:
    """A note on the line of its candidate, whatever a user put into it."""
    return " ".join(note.split())


def _for_bash(value: str, word: Word) -> str:
    """What bash is to put in the place of the word, from the last unquoted `:`, `=` or `@` in it, or from the quote that is open.

    It is quoted as the word is. Without a quote each character is by itself, so that what candidates have in common is so still.
    """
    if value == FILES:
        return value
    rest = value.removeprefix(word.text[: word.kept])
    if word.quote == "'":
        return "'" + rest.replace("'", "'\\''") + "'"
    if word.quote:
        # In these quotes history is looked up for a `!`, and a backslash before one would stay in the word.
        return '"' + re.sub(r'([\\"$`])', r"\\\1", rest).replace("!", '"\\!"') + '"'
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", rest)


def complete(words: list[str]) -> list[Candidate]:
    """What may stand in the place of the last of `words`."""
    *before, current = words
    command, path, rest = commands(), "", before
    while True:
        line = _Line(command, rest)
        if not command.actions:
            return _of_line(line, path, current, before)
        if not line.positional:
            if line.pending is not None or current.startswith("-"):
                return _of_line(line, path, current, before)
            return _fitting(current, [Candidate(name, one.help) for name, one in command.actions.items()])
        named = command.actions.get(line.positional[0])
        if named is None:
            return []
        command, path, rest = named, f"{path} {line.positional[0]}".lstrip(), line.rest


def _of_line(line: _Line, verb: str, current: str, before: list[str]) -> list[Candidate]:
    prefix = ""
    parameter = line.pending
    if parameter is None and current.startswith("-") and not line.ended:
        name, sign, current_value = current.partition("=")
        if not sign:
            return _fitting(current, _options(line))
        parameter, prefix, current = line.options.get(name), f"{name}=", current_value
    elif parameter is None:
        parameter = line.argument()
    if parameter is None:
        return []
    source = Source(verb, line, before)
    found = source.values(parameter.metavar, current)
    return [one if one.value == FILES else Candidate(prefix + one.value, one.note) for one in found]


class _Line:
    """The words of one command before the cursor, as far as they tell what may come next."""

    def __init__(self, command: Command, before: list[str]) -> None:
        self.command = command
        self.all = command.params()
        self.options = {name: one for one in self.all for name in (*one.names, *one.off)}
        self.arguments = [one for one in self.all if not one.names]
        self.positional: list[str] = []
        self.pending: Parameter | None = None  # the option whose value comes next
        self.ended = False  # by `--`
        self.rest: list[str] = []
        for index, word in enumerate(before):
            if self.pending is not None:
                self.pending = None
            elif word == "--" and not self.ended:
                self.ended = True
            elif word.startswith("-") and word != "-" and not self.ended:
                option = self.options.get(word)
                self.pending = option if option is not None and not option.flag else None
            else:
                self.positional.append(word)
                if command.actions:
                    self.rest = before[index + 1 :]
                    break

    def argument(self) -> Parameter | None:
        """The argument that the word at the cursor would be; None where there are enough."""
        position = len(self.positional)
        if position < len(self.arguments):
            return self.arguments[position]
        return self.arguments[-1] if self.arguments and self.arguments[-1].many else None


def _options(line: _Line) -> list[Candidate]:
    named = [one for one in line.all if one.names]
    found = [Candidate(max(one.names, key=len), one.help) for one in named]
    found += [Candidate(name, one.help) for one in named for name in one.off]
    return sorted([*found, Candidate("--help", "Show this message and exit.")], key=lambda one: one.value)


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
            "TYPE": lambda current: [Candidate(spec["workflow_type"]) for spec in self._specs()],
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

    def _ask(self, method: str, **params: Any) -> Any:
        from wfctl.cli.peek import peek
        from wfctl.values.project import chosen_socket

        return peek(chosen_socket(_project(self._before)), method, params, end=self._end)

    def _runs(self, current: str) -> list[Candidate]:
        runs = self._begun(current) if current else self._newest()
        given = set(self._line.positional)
        found: dict[str, Candidate] = {}
        for run in runs:
            id, run_id, status = run["workflow_id"], run["run_id"], run["status"]
            if not {id, run_id} & given:
                found.setdefault(id, Candidate(id, f"{run['workflow_type']} {status}"))
                if current and run_id.startswith(current):
                    found.setdefault(run_id, Candidate(run_id, f"{id} {status}"))
        # Of what is open somebody asks for sooner than of what is over.
        closed = {run["workflow_id"] for run in runs if run["status"] in CLOSED}
        ordered = sorted(found.values(), key=lambda one: one.value in closed)
        return [*ordered, Candidate("@last", "the run started last in this project")]

    def _newest(self) -> list[dict[str, Any]]:
        statuses = [status for status in Status if status in OPEN] if self._verb in _FOR_OPEN else []
        found: list[dict[str, Any]] = self._ask("list", statuses=statuses, limit=MOST_RUNS)["items"]
        return found

    def _begun(self, current: str) -> list[dict[str, Any]]:
        """The runs whose IDs begin so, of all that there are."""
        opened = self._verb in _FOR_OPEN
        try:
            found: list[dict[str, Any]] = self._ask("ids", prefix=current, open=opened, limit=MOST_RUNS)["items"]
        except ValueError:
            return self._newest()  # a daemon of before, which knows no better
        return found

    def _schedules(self, current: str) -> list[Candidate]:
        if self._verb == "schedule add" and "--replace" not in self._before:
            return []  # a new one has a new ID
        wanted = {"schedule pause": ("active", "blocked"), "schedule resume": ("paused",)}.get(self._verb)
        return [
            Candidate(one["schedule_id"], f"{one['workflow_type']} {one['status']}")
            for one in self._ask("schedule_list")["items"]
            if one["schedule_id"] not in self._line.positional
            and (wanted is None or one["status"] in wanted)
            # Of one that is set aside nothing is known, and nothing can be done with it but that.
            and (one.get("created_at") is not None or self._verb == "schedule remove")
        ]

    def _specs(self) -> list[dict[str, Any]]:
        return [item["spec"] for item in self._ask("workflows")["items"]]

    def _kind(self) -> str:
        """The workflow type that the words before are about."""
        if self._verb == "schedule add":
            return self._line.positional[1]
        first = self._line.positional[0]
        return first if self._verb == "start" else str(self._ask("result", id=first, wait=False)["workflow_type"])

    def _handlers(self, kind: str) -> list[Candidate]:
        return [
            Candidate(one["name"], ", ".join(param["name"] for param in one.get("params", ())))
            for one in self._of_type()
            if one["kind"] == kind
        ]

    def _of_type(self) -> Iterator[dict[str, Any]]:
        kind = self._kind()
        for spec in self._specs():
            if spec["workflow_type"] == kind:
                yield from spec["handlers"]

    def _parameters(self) -> list[Candidate]:
        """`key=` of the handler's parameters that are not given yet."""
        starts = self._verb in ("start", "schedule add")
        name = None if starts else self._line.positional[1]
        wanted = "start" if starts else {"send": "event", "query": "query"}.get(self._verb)
        given = {re.split(r":?=", word)[0] for word in self._line.positional}
        for handler in self._of_type():
            if handler["kind"] == wanted and name in (None, handler["name"]):
                params = handler.get("params", ())
                return [
                    Candidate(f"{one['name']}=", one.get("type", "Any")) for one in params if one["name"] not in given
                ]
        return []


def _zones() -> list[Candidate]:
    import zoneinfo

    return [Candidate(name) for name in sorted(zoneinfo.available_timezones())]


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
    try:
        os.write(1, answer(arguments[1:]).encode("utf-8", "surrogateescape"))
    except OSError:
        pass
    return 0
