"""`wfctl reload`: load the code and the configuration again, and say what came of it."""

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.reload import reload_lines, trouble_lines
from wfctl.cli.shell import now_ms, shell_of
from wfctl.protocol.code import Reload, Reloaded

EXAMPLES = """
  wfctl reload
  wfctl reload -o json
"""
# An import may take as long as the daemon lets it, and one that was under way comes first.
LOAD_TIMEOUT_S = 90.0


def run(ctx: typer.Context) -> int:
    """Load the code and wfctl.toml again.

    Says for each workflow type whether it is unchanged, new, a new version, removed, or broken; what is broken stays as it
    was loaded before, and makes the exit code 9. Saving a file does the same, unless wfctl.toml says reload = false.
    """
    shell = shell_of(ctx)
    done: Reloaded = shell.call(Reload(), timeout_s=LOAD_TIMEOUT_S)
    if shell.output is Output.JSON:
        shell.document("reload", done)
    elif shell.output is Output.JSONL:
        for item in (*done.types, *done.problems):
            shell.json_line(item)
    elif shell.output is Output.ID:
        shell.print_ids(item.workflow_type for item in done.types)
    else:
        shell.out.prose(reload_lines(done.types, now_ms(), person=shell.out.tty))
        shell.note(f"generation {done.generation} serves ({done.source_hash})" if done.generation else "nothing serves")
    if not shell.json:
        for problem in done.problems:
            shell.err.prose(trouble_lines(problem))
    return exit.PARTIAL if done.problems else exit.OK
