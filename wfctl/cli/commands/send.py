"""`wfctl send`: hand an event to a run."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.inputs import parse_inputs
from wfctl.cli.options import Output
from wfctl.cli.project import LAST
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.starts import Send, Sent, StartFirst

EXAMPLES = """
  wfctl send order-1 start_payment
  wfctl send order-1 approved by=ann limit:=500
  wfctl send @last approved -i '{"by": "ann"}'
  wfctl send order-1 paid amount=5 --id txn-4711
  wfctl send cart-7 add sku=A1 --start Cart --start-input '{"owner": "ann"}'
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
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="TOKEN", help="Of several with this TOKEN the run accepts one.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TYPE", help="Where ID has no open run, begin one for the event.")
    ] = None,
    start_input: Annotated[
        str | None, typer.Option("--start-input", metavar="JSON|@FILE|-", help="With --start: the input of that run.")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Keep it even if there is no handler for it yet.")
    ] = False,
) -> int:
    """Send an event to a run.

    It is checked against the handler before it is kept; says whether the run handles it now or has it in its inbox.
    """
    shell = shell_of(ctx)
    if start is None and start_input is not None:
        raise UsageError("--start-input is for the run that --start begins", hint="add --start TYPE")
    if start is not None and id == LAST:
        raise UsageError("--start needs the workflow ID of the run that it may begin", hint=f"write an ID, not {LAST}")
    given = parse_inputs(inputs or [], data)
    first = None
    if start is not None:
        first = StartFirst(workflow_type=start, input=parse_inputs([], start_input, option="--start-input").data)
    sent: Sent = shell.call(
        Send(
            id=shell.run_id(id),
            event=event,
            payload=given.data,
            text=given.text,
            event_id=event_id,
            start=first,
            any_event=allow_unknown,
        )
    )
    _tell(shell, sent, event, event_id)
    return exit.OK


def _tell(shell: Shell, sent: Sent, event: str, event_id: str | None) -> None:
    if shell.json:
        shell.document("sent", sent)
        return
    if shell.output is Output.ID:
        shell.out.write(sent.run_id)
        return
    if sent.started:
        shell.note(f"started {sent.workflow_id} (run {sent.run_id})")
    if sent.duplicate:
        shell.note(f"{sent.workflow_id} has accepted an event of ID {event_id} before; nothing was sent")
    elif sent.dispatched:
        shell.note(f"delivered {event} to {sent.workflow_id}; it is being handled")
    else:
        shell.note(f"queued {event} for {sent.workflow_id}: number {sent.position} of its inbox")
