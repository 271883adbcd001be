"""`Load` to `Loaded`: the user's modules imported, as the daemon's catalog wants to hear it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

from wfctl.protocol.channel import Code, Importing, Load, Loaded, Problem
from wfctl.sdk.loader import LoadedModules, load
from wfctl.sdk.snapshot import Snapshot
from wfctl.sdk.sources import Sources


def run_load(
    message: Load, hidden: tuple[str, ...], say: Callable[[Importing], None]
) -> tuple[LoadedModules, Sources, Loaded]:
    def about(entry: str, file: str) -> None:
        shown = sources.show(file) if file else entry if entry.endswith(".py") else ""
        say(Importing(entry, shown))

    sources = Sources(message.project, message.path, hidden)
    given = None if message.code is None else Snapshot(message.code.texts, message.code.modules)
    modules = load(sources, message.modules, given, about)
    answer = Loaded(
        types=modules.specs,
        problems=[
            Problem(one.module, one.message, one.file, one.line, one.hint, one.traceback, one.twice)
            for one in modules.problems
        ],
        source_hash=modules.source_hash,
        files=modules.files,
        python=f"{platform.python_version()} ({sys.executable})",
        modules=modules.types,
        versions=modules.versions,
        code=Code(modules.snapshot.texts, modules.snapshot.modules) if given is None else None,
    )
    return modules, sources, answer
