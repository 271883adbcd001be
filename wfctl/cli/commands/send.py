"""`wfctl send`: an event for a run."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.inputs import parse_inputs
from wfctl.cli.options import Output
from wfctl.cli.shell import shell_of
from wfctl.protocol.calls import Send, Sent

EXAMPLES = """
  wfctl send order-1 start_payment
  wfctl send order-1 approved by=ann limit:=500
  wfctl send @last approved -i '{"by": "ann"}'
"""
TAKES = ("ids",)


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event name.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE|KEY:=JSON|KEY=@FILE]...", help="Payload by name.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("-i", "--input", metavar="JSON|@FILE|-", help="Payload as JSON; key=value wins over it."),
    ] = None,
) -> int:
    """Send an event to a run.

    It is checked against the handler before it is kept; says whether the run handles it now or has it in its inbox.
    """
    shell = shell_of(ctx)
    given = parse_inputs(inputs or [], data)
    sent: Sent = shell.call(Send(id=shell.run_id(id), event=event, payload=given.data, text=given.text))
    if shell.json:
        shell.document("sent", sent)
    elif shell.output is Output.ID:
        shell.out.write(sent.run_id)
    elif sent.dispatched:
        shell.note(f"delivered {event} to {sent.workflow_id}; it is being handled")
    else:
        shell.note(f"queued {event} for {sent.workflow_id}: number {sent.position} of its inbox")
    return exit.OK
