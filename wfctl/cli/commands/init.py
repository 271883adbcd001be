"""`wfctl init`: the first files of a project. Nothing that is there is ever written over."""

import errno
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output, choose
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConflictError, UsageError, WfctlError
from wfctl.values.causes import cannot
from wfctl.values.commands import quoted
from wfctl.values.project import CONFIG_NAME

EXAMPLES = """
  wfctl init
  wfctl init shop --template orders
"""


class Template(NamedTuple):
    """A workflow that the product carries: its folder and file, and what to type once it is there."""

    folder: str
    module: str
    what: str
    commands: tuple[str, ...]


TEMPLATES = {
    "hello": Template("templates", "hello.py", "one task, one result", ("wfctl start Hello name=you --wait",)),
    "orders": Template(
        "templates",
        "orders.py",
        "an order that starts its payment and waits for its answer",
        (
            "wfctl start Order --id order-1 order_id=1 amount=9.99",
            "wfctl send order-1 start_payment",
            "wfctl result order-1",
        ),
    ),
    "approval": Template(
        "templates",
        "approval.py",
        "a request that waits for a person, for three days at most",
        (
            'wfctl start Approval --id approval-1 what="a new chair"',
            "wfctl query approval-1 question",
            "wfctl send approval-1 approve by=ann",
            "wfctl result approval-1",
        ),
    ),
}
CONFIG = """\
# The workflows of this project, for 'wfctl up'. What else can be set: man wfctl.toml
[workflows]
modules = ["{module}"]
"""


def run(
    ctx: typer.Context,
    folder: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="Folder of the project, made if need be (default: this one).")
    ] = None,
    template: Annotated[
        str, typer.Option("--template", metavar="hello|orders|approval", help="The first workflow.")
    ] = "hello",
) -> int:
    """Begin a project.

    Writes a wfctl.toml and a first workflow, and says what to type next. A folder that is a project already is left as it is.
    """
    shell = shell_of(ctx)
    chosen = TEMPLATES[choose(template, TEMPLATES, "template (--template)")]
    target = Path(os.path.abspath(os.path.expanduser(_one_folder(shell, folder))))
    if (target / CONFIG_NAME).exists():
        _tell(shell, target, None, [])
        return exit.OK
    try:
        created = _create(target, chosen)
    except OSError as error:
        raise _failed(target, error) from None
    _tell(shell, target, chosen, created)
    return exit.OK


def _one_folder(shell: Shell, folder: str | None) -> str:
    named = shell.settings.project
    if folder is not None and named is not None and folder != named:
        raise UsageError(f"--project {named!r} and {folder!r} name two folders", hint="give one of them")
    return folder or named or "."


def _create(target: Path, template: Template) -> list[Path]:
    """Write what is missing; ConflictError, before anything is written, where another file has one of the names."""
    module = files("wfctl.cli").joinpath(template.folder, template.module).read_bytes()
    # The configuration comes last: cut short before it, this is no project yet, and init goes on with it.
    wanted = {target / template.module: module, target / CONFIG_NAME: CONFIG.format(module=template.module).encode()}
    target.mkdir(parents=True, exist_ok=True)
    missing = [path for path, content in wanted.items() if not _is_there(path, content)]
    for path in missing:
        _write_new(path, wanted[path])
    return missing


def _is_there(path: Path, content: bytes) -> bool:
    """Whether `path` is such a file already; ConflictError where it is anything else."""
    try:
        if path.read_bytes() == content:
            return True
        why = "is another file"
    except FileNotFoundError:
        if not path.is_symlink():
            return False
        why = "is a link to nothing"
    except IsADirectoryError:
        why = "is a folder"
    raise ConflictError(
        f"{path} {why}; it is left as it is, and nothing was written",
        hint=f"move it away, or name another folder: wfctl init DIR --template {_name_of(path.name)}",
        path=str(path),
    )


def _name_of(module: str) -> str:
    return next((name for name, template in TEMPLATES.items() if template.module == module), "hello")


def _write_new(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)  # half a file would stand in the way of the next try
            raise


def _failed(target: Path, error: OSError) -> WfctlError:
    path = Path(error.filename or target)
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        reason = error.strerror or str(error)
        return ConflictError(f"{path} is in the way: {reason}", hint="name another folder", path=str(path))
    return cannot("write", path, error, otherwise="name another folder")


def _tell(shell: Shell, target: Path, template: Template | None, created: list[Path]) -> None:
    here = target == Path.cwd()
    go = [] if here else [f"cd {quoted(os.path.relpath(target) if target.is_relative_to(Path.cwd()) else str(target))}"]
    commands = [*go, "wfctl up", *(template.commands if template else ("wfctl status",))]
    if shell.json:
        facts: dict[str, Any] = {
            "project": str(target),
            "created": [str(path) for path in created],
            "already_there": template is None,
            "next": commands,
        }
        shell.document("init", facts)
        return
    if shell.output is Output.ID:
        shell.print_ids(map(str, created))
        return
    if template is None:
        shell.note(f"{target} is a project already: it has a {CONFIG_NAME}; nothing was written")
        return
    for path in created:
        shell.out.write(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    shell.out.flush()
    shell.note(f"a project with {template.what}; next, type:")
    for command in commands:
        shell.note(f"  {command}")
