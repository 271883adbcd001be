"""What every exit status means, for `wfctl explain`: data alone, as `explanations`."""

from __future__ import annotations

# Exit status: its name, and when a command ends with it.
EXITS: dict[int, tuple[str, str]] = {
    0: ("ok", "Done; also when there was nothing to do. An awaited run completed."),
    1: ("internal", "A bug, or an exception that nobody expected. The message names a file with the report."),
    2: ("usage", "An option, argument, input or configuration that cannot be right. Nothing was done."),
    3: ("daemon_down", "No daemon runs, or it cannot be reached."),
    4: ("not_found", "There is no such run, workflow type, event, query or code."),
    5: ("conflict", "What is there already stands in the way."),
    6: ("incompatible", "Command, daemon and database are of versions that do not fit together."),
    7: ("denied", "No permission for the socket or a file."),
    8: ("storage", "The database or a backup cannot be read or written as it should."),
    9: ("partial", "Of several items, some failed."),
    10: ("failed", "The awaited run failed."),
    11: ("cancelled", "The awaited run was cancelled."),
    12: ("terminated", "The awaited run was terminated."),
    13: ("timed_out", "The awaited run timed out."),
    14: ("not_finished", "The time to wait is over, and the run is open still."),
    15: ("stuck", "The awaited run needs code or a person, and --fail-if-stuck was given."),
    16: ("declined", "A question was answered with no."),
    130: ("interrupted", "Ctrl-C. Runs go on: it only ends the command."),
    143: ("terminated", "SIGTERM, or its terminal is gone. Runs go on: it only ends the command."),
}
