"""Everything that can be looked at from outside of the daemon, in the order in which one thing stands on the other."""

from __future__ import annotations

from wfctl.errors import WfctlError
from wfctl.protocol.care import Check, Findings
from wfctl.values.project import find_config
from wfd.care import code, database, places
from wfd.care.finding import fail, ok
from wfd.config import Config, load
from wfd.runtime.clock import SystemClock


def examine(project: str | None, *, fix: bool, load_modules: bool) -> Findings:
    """All checks; those of a project are left out where its configuration cannot be read.

    `load_modules` is for when no daemon has: it runs the modules' own top-level code.
    """
    checks = [code.python()]
    try:
        config = load(find_config(project))
    except WfctlError as error:
        first, *more = error.message.splitlines()
        rest = f" {'; '.join(line.strip() for line in more)}" if more else ""
        checks.append(fail("config", f"{first}{rest}", error.hint or "correct wfctl.toml"))
        return Findings(checks=[*checks, database.sqlite()])
    return Findings(checks=[*checks, *_of_project(config, fix=fix, load_modules=load_modules)])


def _of_project(config: Config, *, fix: bool, load_modules: bool) -> list[Check]:
    return [
        ok("config", f"{config.file} can be used"),
        code.interpreter(config),
        *([code.modules(config)] if load_modules else []),
        places.state(config, fix=fix),
        places.socket_place(config, fix=fix),
        places.lock(config),
        places.disk(config),
        database.sqlite(),
        *database.database(config, SystemClock().now_ms()),
    ]
