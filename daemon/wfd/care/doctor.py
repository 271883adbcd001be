"""Everything that can be looked at from outside of the daemon, in the order in which one thing stands on the other."""

from __future__ import annotations

from collections.abc import Callable

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
    looks: list[tuple[str, Callable[[], Check | list[Check]]]] = [
        ("interpreter", lambda: code.interpreter(config)),
        ("modules", lambda: code.modules(config) if load_modules else []),
        ("state", lambda: places.state(config, fix=fix)),
        ("socket", lambda: places.socket_place(config, fix=fix)),
        ("lock", lambda: places.lock(config)),
        ("disk", lambda: places.disk(config)),
        ("sqlite", database.sqlite),
        ("database", lambda: database.database(config, SystemClock().now_ms())),
    ]
    checks = [ok("config", f"{config.file} can be used")]
    for name, look in looks:
        try:
            found = look()
        except OSError as error:
            # A folder of somebody else, a disk that fails: it shall not hide what the other checks find.
            where = f" at {error.filename}" if error.filename else ""
            found = fail(name, f"cannot be looked at: {error.strerror or error}{where}", "see to the permissions there")
        checks += found if isinstance(found, list) else [found]
    return checks
