"""Checks of the database and of what it stands on: SQLite, the file, the clock its times come from. They change nothing."""

from __future__ import annotations

from wfctl.errors import IncompatibleError, NotFoundError, WfctlError
from wfctl.protocol.care import Check
from wfctl.values.states import former_state
from wfctl.values.times import format_duration, rfc3339
from wfd.care.finding import fail, ok, warn
from wfd.config import Config
from wfd.store.connect import OLDEST_SQLITE, SCHEMA_VERSION, sqlite_version, wal_of
from wfd.store.inspect import WAL_RESET_MENDED, Facts, inspect

# Two clocks that are kept right differ by less.
CLOCK_SLACK_MS = 1_000


def sqlite() -> Check:
    version = sqlite_version()
    shown = f"SQLite {_text(version)}"
    if version < OLDEST_SQLITE:
        return fail("sqlite", f"{shown} is too old; {_text(OLDEST_SQLITE)} is needed", "use a newer Python build")
    if version < WAL_RESET_MENDED:
        return ok(
            "sqlite",
            f"{shown} has the WAL-reset defect that {_text(WAL_RESET_MENDED)} mends: two connections that write or checkpoint at "
            "one moment can damage a database. wfd is safe from it, for one connection alone does either; "
            "let no other program write to the database",
        )
    return ok("sqlite", shown)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def database(config: Config, now_ms: int) -> list[Check]:
    """The database itself, and, where it can be read, the clock against its newest record."""
    path = config.database
    if not path.exists():
        if wal_of(path).exists():
            return [fail("database", f"{path} is missing, but its log is there", "wfctl restore FILE")]
        former = former_state(config.file, config.state)
        if former is not None:
            told = f"{path} is not there yet; the project's runs are in {former}, its state folder before"
            return [warn("database", told, f"move it to {config.state}, or name it as `state` in wfctl.toml again")]
        return [ok("database", f"{path} is not there yet; wfctl up makes it")]
    try:
        facts = inspect(path)
    except NotFoundError:
        return [warn("database", f"{path} was just taken away", "wfctl doctor")]
    except IncompatibleError as error:
        return [fail("database", error.message, error.hint or "pip install --upgrade wfctl")]
    except WfctlError as error:
        return [fail("database", error.message, error.hint or "wfctl restore FILE")]
    if facts.problems:
        more = f" (and {len(facts.problems) - 1} more)" if len(facts.problems) > 1 else ""
        return [
            fail(
                "database",
                f"{path} is damaged: {facts.problems[0]}{more}",
                "wfctl down && wfctl restore FILE, of a backup",
            )
        ]
    return [ok("database", _described(config, facts)), *_rows(facts), _clock(facts, now_ms)]


def _rows(facts: Facts) -> list[Check]:
    if not facts.unreadable:
        return []
    more = "; there are more of them" if len(facts.unreadable) > 1 else ""
    return [fail("rows", f"{facts.unreadable[0]}; it is set aside{more}", "wfctl explain unreadable_run")]


def _described(config: Config, facts: Facts) -> str:
    schema = f"schema {facts.schema}"
    if facts.schema < SCHEMA_VERSION:
        schema += f", which the next wfctl up brings to {SCHEMA_VERSION}"
    return f"{config.database} is whole: {facts.runs:,} run{'' if facts.runs == 1 else 's'}, revision {facts.rev:,}, {schema}"


def _clock(facts: Facts, now_ms: int) -> Check:
    if facts.newest_at is None:
        return ok("clock", f"it is {rfc3339(now_ms)}; nothing is recorded yet")
    ahead = facts.newest_at - now_ms
    if ahead > CLOCK_SLACK_MS:
        return warn(
            "clock",
            f"it is {rfc3339(now_ms)}, but the newest record is of {rfc3339(facts.newest_at)}: the clock was set back by "
            f"{format_duration(ahead)} or more, and deadlines come later by that",
            "set the clock right (timedatectl)",
        )
    return ok("clock", f"it is {rfc3339(now_ms)}, after the newest record")
