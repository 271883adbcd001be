"""What a verb works with: the settings as decided, the project, the connection, the two screens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wfctl import __version__
from wfctl.cli.options import Output, Settings, choose
from wfctl.cli.project import LAST, recall_last, state_folder
from wfctl.cli.render import times
from wfctl.cli.render.text import write_for
from wfctl.cli.screen import Screen
from wfctl.cli.words import given_ids
from wfctl.errors import AmbiguousIdError, ConfigError, DaemonDownError, RunNotFoundError, UsageError
from wfctl.values.commands import quoted
from wfctl.values.project import chosen_socket, find_config
from wfctl.values.times import parse_duration

if TYPE_CHECKING:
    import typer

    from wfctl.cli.render.fields import Fields
    from wfctl.cli.render.text import Line
    from wfctl.client.blocking import Connection
    from wfctl.protocol.call import Call
    from wfctl.protocol.runs import Outcome

RECONNECT_S = 30.0
T = TypeVar("T")


class Shell:
    """One command's surroundings. Everything is made on first use, so that a verb pays only for what it touches."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.output = settings.chosen_output()
        self.quiet = settings.quiet
        color = choose(settings.color, ("auto", "always", "never"), "colour setting") if settings.color else "auto"
        if self.json:
            color = "never"
        times.show_as(settings.chosen_times())
        # For how long whoever follows waits for a daemon that went away. Read at once: a follower that has begun is no place to
        # find that it cannot be.
        self.patience_s = RECONNECT_S if settings.reconnect is None else parse_duration(settings.reconnect) / 1_000
        self.out = Screen(sys.stdout, color)
        self.err = Screen(sys.stderr, color)
        write_for(self.out.stream.encoding or "ascii", ascii=self.out.ascii)
        self.fields: Fields | None = None
        self._connection: Connection | None = None
        self._reads_alone = False
        self._warned: set[str] = set()

    @property
    def json(self) -> bool:
        return self.output in (Output.JSON, Output.JSONL)

    @cached_property
    def config(self) -> Path:
        return find_config(self.settings.project)

    @cached_property
    def state(self) -> Path:
        """The project's state folder. A daemon of this project that was connected to has said where it is, and then nobody has to
        read the TOML for it."""
        welcome = None if self._connection is None else self._connection.welcome
        if welcome is not None and welcome.state and welcome.project == str(self.config.parent):
            return Path(welcome.state)
        return state_folder(self.config)

    @cached_property
    def socket(self) -> Path:
        return chosen_socket(self.settings.project)

    @property
    def project_name(self) -> str:
        """The project's folder, for messages; empty when only a socket is known."""
        if os.environ.get("WFCTL_SOCKET") and self.settings.project is None:
            return ""
        return str(self.config.parent)

    def read_alone(self) -> None:
        """From here on, where no daemon runs, its database answers by itself what can be read there."""
        self._reads_alone = True

    @property
    def alone(self) -> bool:
        """Whether it is the database that answers, for want of a daemon."""
        return self._connection is not None and self._connection.read_only

    def connect(self) -> Connection:
        """This command's connection, opened by the first that asks."""
        if self._connection is None:
            self._connection = self._dial_or_read() if self._reads_alone else self.dial()
            welcome = self._connection.welcome
            if welcome is not None and welcome.version != __version__:
                self.warn(
                    "version_skew",
                    f"the daemon is version {welcome.version}, this wfctl is {__version__}",
                    "wfctl down && wfctl up",
                )
        return self._connection

    def dial(self) -> Connection:
        """A connection of its own, for what must not share one (a stream beside calls)."""
        from wfctl.client.blocking import Connection

        try:
            return Connection.connect(self.socket, project=self.project_name)
        except DaemonDownError as error:
            if self.settings.project is not None and error.hint == "wfctl up":
                error.hint = f"wfctl up --project {quoted(self.settings.project)}"
            raise (error if error.detail.get("dropped") else self.held(error)) from None

    def held(self, error: DaemonDownError) -> DaemonDownError:
        """`error`, or what it is where somebody has the project's state all the same: then `detail` has a `pid`."""
        if "pid" in error.detail:
            return error
        from wfctl.cli.holder import held, holder_of_project

        try:
            holder = holder_of_project(self.config, self.state)
        except ConfigError:
            return error  # only a socket is known
        return error if holder is None else held(error, holder, self.socket, self.config)

    def _dial_or_read(self) -> Connection:
        try:
            return self.dial()
        except DaemonDownError as down:
            from wfctl.cli.standin import read_database

            try:
                config, state = self.config, self.state
            except ConfigError:
                raise down from None  # only a socket is known, so there is no database to be found
            connection = read_database(config, state, self.socket, self.project_name, down)
            there = "pid" in down.detail or (self.socket.exists() and not down.detail.get("stale"))
            why = "the daemon does not answer" if there else "no daemon runs"
            if "listens_at" in down.detail:
                why = f"the daemon listens at {down.detail['listens_at']}, not at {self.socket}"
            if "held_for" in down.detail:
                why = f"the daemon of {down.detail['held_for']} has the state folder of this project"
            self.note(f"{why}; this is read from its database as it lies", always=True)
            return connection

    def call(self, call: Call, *, timeout_s: float | None = 60.0) -> Any:
        return self.connect().call(call, timeout_s=timeout_s)

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def persist(
        self, attempt: Callable[[], T], *, deadline: float | None = None, rev: Callable[[], int | None] = lambda: None
    ) -> T:
        """`attempt()`, again on a new connection when the daemon goes away meanwhile: for at most --reconnect without one.

        A daemon that is not there to begin with is an error at once, and so is one that is not back by `deadline` (monotonic).
        `rev` tells the last revision that was shown, where there is such.
        """
        from wfctl.client.patience import Patience

        self.connect()
        patience = Patience(self.patience_s)
        back = True
        while True:
            began = time.monotonic()
            try:
                self.connect()
                if not back:
                    self._check_staying()
                    back = True
                    seen = rev()
                    self.note(
                        f"the daemon is back{'' if seen is None else f'; going on after revision {seen}'}", always=True
                    )
                return attempt()
            except DaemonDownError:
                self.hang_up()
                if patience.lost(began, time.monotonic()):
                    back = False
                    self.note(f"the daemon went away; waiting up to {self.patience_s:g} s for it", always=True)
                elif patience.over(time.monotonic()):
                    raise
                if deadline is not None and time.monotonic() >= deadline:
                    raise
                time.sleep(patience.delay_s())

    def _check_staying(self) -> None:
        """A daemon that drains still answers; whoever follows runs waits for the next one."""
        from wfctl.protocol.daemon import GetStatus

        if self.call(GetStatus()).draining:
            from wfctl.client.faults import stopping

            raise stopping()

    def without_end(self, in_lines: str, *, formats: Sequence[Output] = (Output.JSON,)) -> None:
        """For what goes on until it is interrupted: what is printed at the end, as these `formats` are, never would be. `in_lines`
        is the command that tells it line by line."""
        if self.output in formats:
            raise UsageError(f"-o {self.output} is printed when all is over, and this has no end", hint=in_lines)

    def run_id(self, given: str) -> str:
        """`given`, or the run that `@last` stands for, or the one line of stdin for `-`.

        Prefixes are resolved by the daemon; with --exact there are none.
        """
        if given == "-":
            given, *more = given_ids([given])
            if more:
                raise UsageError(f"one run is meant, and stdin names {len(more) + 1}", hint="add --limit 1 to the list")
        if given == LAST:
            return recall_last(self.state)
        return self._exactly(given) if self.settings.exact else given

    def _exactly(self, given: str) -> str:
        from wfctl.protocol.runs import Result

        try:
            found: Outcome | None = self.call(Result(id=given, wait=False))
        except AmbiguousIdError:
            found = None
        if found is None or given not in (found.workflow_id, found.run_id):
            raise RunNotFoundError(f"no run has exactly the ID {given!r}", hint="wfctl list", id=given)
        return found.run_id

    def note(self, text: str, *, always: bool = False) -> None:
        """Chatter on stderr. With JSON only what is said `always`, so that a script finds errors alone there."""
        if not self.quiet and (always or not self.json):
            if "wfctl " in text:
                self.err.write(text)  # a command stays on its line, to be copied
            else:
                self.err.prose([(line, "")] for line in text.splitlines())
            self.err.flush()

    def total(self, text: str) -> None:
        """How many there were, on stderr; a JSON document says so itself."""
        if not self.quiet and self.output is not Output.JSON:
            self.out.flush()
            self.note(text, always=True)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What is printed in here tells of work that is done as well where nobody reads it any more."""
        try:
            yield
        except BrokenPipeError:
            self.out.let_go()
            self.err.let_go()

    def warn(self, code: str, message: str, hint: str | None = None) -> None:
        """Once a command."""
        if not self.quiet and message not in self._warned:
            self._warned.add(message)
            from wfctl.cli.render.problem import warning_lines

            self.err.prose(warning_lines(code, message, hint))

    def choose_fields(self, *known: type | Sequence[str]) -> None:
        """Take --fields, if it is given, for items that are made of these structs, or have these names."""
        if self.settings.fields is not None:
            from wfctl.cli.render.fields import Fields

            self.fields = Fields(self.settings.fields, *known)

    def document(self, schema: str, value: Any, **more: Any) -> None:
        """Print one JSON document; laid out for reading on a terminal."""
        from wfctl.cli.render.document import document, text_of

        pretty = self.output is Output.JSON and self.out.tty
        self.out.write(text_of(document(schema, value, **more), pretty=pretty))

    def one(self, schema: str, item: Any) -> None:
        """Print one item as a JSON document; of it the fields that were chosen."""
        self.document(schema, self.pick([item])[0])

    def pick(self, items: list[Any]) -> list[Any]:
        """Of each item the fields that were chosen."""
        return items if self.fields is None else [self.fields.pick(item) for item in items]

    def listing(
        self, schema: str, items: list[Any], *, next: Any = None, total: int | None = None, **more: Any
    ) -> None:
        """Print a list as one JSON document."""
        self.document(schema, {"items": self.pick(items), "next": next, "total": total}, **more)

    def json_line(self, item: Any) -> None:
        """Print one line of `-o jsonl`."""
        from wfctl.cli.render.document import as_data, text_of

        self.out.write(text_of(as_data(self.pick([item])[0])))

    def table(self, items: Sequence[Any], lines: Callable[[int | None], list[Line]]) -> None:
        """Print items as the table that `lines` makes of them for a width (None: tabs), or as the fields that were chosen."""
        self.out.lines(self.table_lines(items, lines, self.out.columns if self.out.tty else None))

    def table_lines(
        self, items: Sequence[Any], lines: Callable[[int | None], list[Line]], width: int | None
    ) -> list[Line]:
        """That table, for whoever writes it elsewhere."""
        drawn = lines(width) if self.fields is None else self.fields.table(items, self.instant, width=width)
        return drawn[self.settings.no_header :]

    def instant(self, at_ms: int) -> str:
        """An instant as stdout shows it."""
        return times.when(at_ms, now_ms(), relative=self.out.tty)

    def paged(self) -> AbstractContextManager[object]:
        """What is written to stdout inside goes through a pager where it is longer than the terminal."""
        if not self.out.tty or self.settings.no_pager:
            return nullcontext()
        from wfctl.cli.pager import Paged, command

        words = command()
        if not words:
            return nullcontext()
        return Paged(self.out, words, lambda why: self.warn("pager", why, "set WFCTL_PAGER, or add --no-pager"))

    def print_ids(self, ids: Iterable[str]) -> None:
        for id in ids:
            self.out.write(id)


def shell_of(ctx: typer.Context) -> Shell:
    """The shell of the command being run. It is made here, after every option has been read."""
    shell = Shell(ctx.ensure_object(Settings))
    ctx.call_on_close(shell.hang_up)
    return shell


def now_ms() -> int:
    return time.time_ns() // 1_000_000
