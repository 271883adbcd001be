"""`wfctl backup`: the database as of now in one file, checked."""

import os
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.care import Progress, ask
from wfctl.cli.project import LastBackup, remember_backup
from wfctl.cli.render.status import size
from wfctl.cli.render.text import counted
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.errors import ConfigError, DaemonDownError, UsageError
from wfctl.protocol.backup import BackedUp, Backup
from wfctl.values.commands import command
from wfctl.values.project import find_config

EXAMPLES = """
  wfctl backup orders.backup
  wfctl backup --force /mnt/backups/orders-monday
"""


def run(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="File to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it exists.")] = False,
) -> int:
    """Back up the database.

    While the daemon works, or without one. FILE holds everything up to one commit, is checked before it gets its name, and
    needs no other file. Put it back with wfctl restore.
    """
    shell = shell_of(ctx)
    if file == "-":
        raise UsageError("a backup is a database file and cannot be written to stdout", hint="wfctl backup FILE")
    path = os.path.abspath(os.path.expanduser(file))
    progress = Progress(shell, "copying")
    began = now_ms()
    try:
        done, online = _back_up(shell, path, force, progress)
    finally:
        progress.clear()
    _remember(shell, LastBackup(path=done.path, at=began, bytes=done.bytes))
    if shell.json:
        shell.document("backup", done, online=online)
        return exit.OK
    shell.out.write(done.path)
    shell.out.flush()
    what = f"{counted(done.runs, 'run')}, {size(done.bytes)}, checked"
    shell.note(f"{'replaced' if done.replaced else 'wrote'} {done.path}: {what}")
    shell.note(f"to go back to it: wfctl down && {command('restore', file)}")
    return exit.OK


def _remember(shell: Shell, backup: LastBackup) -> None:
    try:
        remember_backup(shell.state, backup)
    except ConfigError:
        pass  # reached through WFCTL_SOCKET from outside any project: there is no place to note it


def _back_up(shell: Shell, path: str, force: bool, progress: Progress) -> tuple[BackedUp, bool]:
    try:
        connection = shell.connect()
    except DaemonDownError as down:
        try:
            find_config(shell.settings.project)
        except ConfigError:
            raise down from None  # only a socket is known, so there is no database to be found
        arguments = ["--force"] if force else []
        return ask(shell, "backup", path, *arguments, answer=BackedUp, told=progress), False
    stream = connection.stream(Backup(path=path, force=force))
    for copied in stream:
        progress(copied)
    done: BackedUp = stream.answer
    return done, True
