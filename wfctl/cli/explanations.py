"""What every code means, why it is usually seen, and what to do: the long form of what an error says in three lines.

Data alone, in the words of who meets it. The exit status of an error is its class's; nothing here repeats it.
"""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    meaning: str
    causes: tuple[str, ...]
    remedies: tuple[str, ...]


ERRORS: dict[str, Explanation] = {
    "internal": Explanation(
        "Something happened that wfctl does not expect: a bug in it, not in your workflows.",
        ("a mistake in the command or in the daemon", "a daemon that died before it was ready"),
        (
            "look into the report that the message names, and into the daemon's log: wfctl logs",
            "run the command again with WFCTL_DEBUG=1 to see the traceback",
            "send the report to the authors of wfctl",
        ),
    ),
    "usage": Explanation(
        "The command line cannot be right as it stands. Nothing was done.",
        (
            "a command or option that does not exist, or a missing argument",
            "a question that cannot be asked, because standard input is no terminal and --yes was not given",
        ),
        ("read what the command takes: wfctl COMMAND --help", "in scripts, add --yes where several runs are meant"),
    ),
    "invalid_argument": Explanation(
        "A value cannot be what it stands for: a duration, a status, a workflow ID, JSON. Nothing was done.",
        (
            "a misspelt word where one of a few is expected; the message lists them",
            "JSON that is not complete, or text without quotes after key:=",
        ),
        ("correct the value that the message quotes", "text needs no quotes with key=text; JSON needs key:=json"),
    ),
    "invalid_payload": Explanation(
        "The input or payload does not fit the parameters of the handler. Nothing was started or delivered.",
        (
            "a parameter that is missing, misspelt, or of another type than its annotation",
            "a handler whose parameters were changed since the caller was written",
        ),
        ("see what the handler takes: wfctl workflows", "correct the parameter that the message names"),
    ),
    "payload_too_large": Explanation(
        "An input, payload, result or message is larger than what is kept of one value, or what was asked for is larger than an "
        "answer may be. Nothing was done with it.",
        (
            "a file or a picture as a value",
            "a list that grows with every step",
            "a run with a very large store or inbox",
        ),
        (
            "keep large data in a file or an object store, and pass its name",
            "read a run that is too large to be shown in parts: wfctl history ID",
        ),
    ),
    "ambiguous_id": Explanation(
        "The beginning of an ID that was given fits several runs, so none was chosen.",
        ("a prefix that is too short", "workflow IDs that begin alike"),
        ("give more of the ID; the message has candidates", "list the IDs: wfctl list -o id"),
    ),
    "registration": Explanation(
        "A workflow or handler is declared in a way that cannot work; its module is not served.",
        (
            "two workflows of one type, no start handler or two, or a handler without ctx",
            "an annotation that cannot be read from JSON",
        ),
        ("correct the line that wfctl status names; a saved file is loaded again by itself",),
    ),
    "config": Explanation(
        "There is no wfctl.toml, or what it says cannot be right. A running daemon keeps the settings it has.",
        (
            "a working directory outside of the project",
            "a key or table that is misspelt, or a value of the wrong kind; each is told with its line",
        ),
        (
            "begin a project here: wfctl init",
            "name the project with --project or WFCTL_PROJECT",
            "correct the lines that the message names, then: wfctl down && wfctl up",
        ),
    ),
    "daemon_down": Explanation(
        "No daemon of this project can be reached, or it went away while it was asked. Runs are kept on disk.",
        (
            "it was never started, or was stopped: the socket does not exist",
            "it was killed: its socket is stale, and the next start takes it over",
            "it is stopping, or too busy to answer in time",
        ),
        ("start it: wfctl up", "see what it said last: wfctl logs", "look at everything at once: wfctl doctor"),
    ),
    "not_found": Explanation(
        "What was named does not exist.",
        ("a misspelt name; the message has the nearest one", "a file or log that was not written yet"),
        ("correct the name",),
    ),
    "run_not_found": Explanation(
        "No run has this workflow ID, run ID or beginning of an ID in this project.",
        (
            "a misspelt ID, or fewer than four characters of one",
            "another project: every project has runs of its own",
            "@last where nothing was started from this project yet",
        ),
        ("list the runs: wfctl list", "see which project is meant: wfctl status"),
    ),
    "unknown_type": Explanation(
        "The daemon serves no workflow of this type; where runs are looked for, there is none of it either.",
        ("a misspelt type", "its module is not listed in wfctl.toml, or does not load"),
        ("see the types and the modules that do not load: wfctl workflows", "add the module to wfctl.toml"),
    ),
    "unknown_event": Explanation(
        "The workflow type has no handler for this event, so it was refused and nothing was kept.",
        ("a misspelt event name", "a handler that was renamed"),
        ("see the events of every type: wfctl workflows",),
    ),
    "unknown_query": Explanation(
        "The workflow type has no query of this name.",
        ("a misspelt name", "a handler that was renamed"),
        ("list the queries of the run: wfctl query ID",),
    ),
    "schedule_not_found": Explanation(
        "There is no schedule of this ID. Schedules have to be named in full.",
        ("a misspelt ID; the message has the nearest", "a schedule that was removed, or is of another project"),
        ("list the schedules: wfctl schedule list", "make one: wfctl schedule add --help"),
    ),
    "conflict": Explanation(
        "What is there already stands in the way. Nothing was changed.",
        (
            "another daemon listens at the socket, or a file that would be overwritten exists",
            "the run is in a state in which this cannot be done",
        ),
        ("look at what the message names, and take it out of the way or name another",),
    ),
    "already_running": Explanation(
        "The workflow ID has an open run; one ID has one open run at a time. No second one was started.",
        ("a start that was repeated", "two callers that chose the same ID"),
        ("take the open run: wfctl start ... --if-running use", "use another --id", "see it: wfctl show ID"),
    ),
    "already_closed": Explanation(
        "The workflow ID has a run that has closed, and the start was to fail then (or names another type). No other was started.",
        ("a start that was made again, as its answer was lost", "an ID that was used before"),
        ("take that run: wfctl start ... --if-closed use", "use another --id", "see it: wfctl show ID"),
    ),
    "run_closed": Explanation(
        "The run has ended, so it takes no more events and reaches no other status.",
        ("an event that came late", "a wait for a status that the run can no longer reach"),
        ("see how it ended: wfctl history ID", "start a new run under the same ID"),
    ),
    "schedule_exists": Explanation(
        "There is a schedule of this ID already. It was left as it is.",
        ("the same command given twice", "an ID that somebody else has taken"),
        ("see what it is: wfctl schedule show ID", "change it: add --replace", "make another one under another ID"),
    ),
    "daemon_running": Explanation(
        "Another process has the project's state: there is never more than one daemon for a database.",
        (
            "the daemon is up already, perhaps started by a service manager",
            "a restore while the daemon is up",
            "two projects that name the same state folder",
        ),
        ("see it: wfctl status", "stop it: wfctl down"),
    ),
    "incompatible": Explanation(
        "Command, daemon and database are of versions that do not fit together. Nothing was changed.",
        (
            "an upgrade after which the daemon was not started again",
            "the database was written by a newer wfctl",
            "the Python that runs the daemon has too old an SQLite",
        ),
        ("start the daemon again: wfctl down && wfctl up", "pip install --upgrade wfctl"),
    ),
    "denied": Explanation(
        "The system does not permit the use of the socket, a file or a folder.",
        (
            "the daemon belongs to another user",
            "the state folder or the socket's folder is writable by others, or not by you",
            "the file system is mounted read-only",
        ),
        ("use the account that ran wfctl up", "see every permission that matters: wfctl doctor"),
    ),
    "storage": Explanation(
        "The database or a backup of it cannot be read or written as it should. What was acknowledged is on disk; "
        "a daemon that cannot write tries again by itself and then goes on.",
        (
            "the disk is full or fails, or another program holds a lock on the database",
            "the file is damaged, or is no database of wfctl",
            "the command or the daemon may not open as many files as it needs",
        ),
        (
            "look at disk, locks and integrity: wfctl doctor",
            "make room on the disk",
            "raise the limit of open files: ulimit -n 1024, or LimitNOFILE= in a unit",
            "a damaged database: wfctl down && wfctl restore BACKUP, which keeps the damaged file",
        ),
    ),
    "partial": Explanation(
        "Of several things, some failed; the others were done. Each failure is told by itself.",
        ("one of several IDs is wrong",),
        ("look at the errors above, and repeat the command for those alone",),
    ),
    "failed": Explanation(
        "The awaited run failed: a handler raised an exception, or returned ctx.next.fail.",
        ("an exception that the workflow does not handle", "a task that failed in every attempt"),
        (
            "see what happened: wfctl history --logs ID",
            "correct the workflow, and let the run go on where it stopped: wfctl retry ID",
        ),
    ),
    "cancelled": Explanation(
        "The awaited run was asked to end, and did.",
        ('wfctl cancel, handle.cancel, or a parent that closed with on_parent_close="cancel"',),
        ("see who asked and why: wfctl history ID",),
    ),
    "terminated": Explanation(
        "The awaited run was ended without being asked.",
        ('wfctl terminate, handle.terminate, or a parent that closed with on_parent_close="terminate"',),
        ("see who did it and why: wfctl history ID",),
    ),
    "timed_out": Explanation(
        "The awaited run was not closed by its deadline.",
        ("a --timeout or workflow_timeout that was too short", "an event that never came"),
        (
            "see what it waited for: wfctl history ID",
            "let it go on where it stopped, with as much time once more: wfctl retry ID",
            "start it again with a longer timeout",
        ),
    ),
    "not_finished": Explanation(
        "The time to wait is over, and the run is open still (or the daemon not ready). The run goes on.",
        (
            "a --timeout that is shorter than the run",
            "a run that waits for an event, or is stuck",
        ),
        ("see where it is: wfctl tree ID", "wait on: wfctl wait ID"),
    ),
    "stuck": Explanation(
        "The run cannot go on by itself: it needs code or a person. It is open, and nothing of it is lost.",
        (
            "a handler that is missing since the code was changed",
            "code that does something else than what was recorded of the same step",
            "a step that ended its worker too often",
        ),
        (
            "see why: wfctl show ID",
            "correct the code and save it; the run goes on by itself when that cures it",
            "or end the run: wfctl cancel ID",
        ),
    ),
    "declined": Explanation(
        "A question was answered with no, so nothing was changed.",
        ("the answer, or only Enter: no is what an empty answer means",),
        ("repeat the command and answer y, or give --yes",),
    ),
    "store_key": Explanation(
        "A handler read a key of its store that was never put there, without a default.",
        ("a misspelt key", "a key that another path through the workflow writes"),
        ("ctx.store.get(key, default=...) where it may be absent", "see the store: wfctl show ID"),
    ),
    "no_parent": Explanation(
        "A handler sent an event to its parent, and the run has none.",
        ("a workflow written as a child that was started by itself",),
        ("ask first: ctx.run.parent is None for a run without a parent",),
    ),
    "invalid_directive": Explanation(
        "A handler returned something that does not say how the run goes on.",
        ("a handler without a return", "ctx.next.step with a function that is no step of this workflow"),
        ("return ctx.next.step, wait_for_event, complete or fail",),
    ),
    "step_timeout": Explanation(
        "A step took longer than the timeout of its handler, and was cancelled.",
        ("a slow service", "a timeout meant for another amount of work"),
        ("raise timeout= of the handler", "put the slow call into a @task with retries"),
    ),
    "task_failed": Explanation(
        "A task failed for good with an exception whose class is not to be had here; its message was kept.",
        ("an exception of a library that the handler's process does not import",),
        ("see the attempts: wfctl history ID", "catch TaskError where the class does not matter"),
    ),
    "task_timeout": Explanation(
        "One attempt of a task took longer than its timeout.",
        ("a slow service", "a task without timeout=, which has the default"),
        ("raise timeout= of the @task", "give it a RetryPolicy"),
    ),
    "query_failed": Explanation(
        "The handler of a query raised, or took too long. The run is as it was, and goes on.",
        (
            "a store that does not have yet what the handler reads",
            "a mistake in the handler; the message names its line",
        ),
        (
            "correct the handler, then ask again",
            "see its traceback, in the error's detail: wfctl query ID NAME -o json",
        ),
    ),
    "non_deterministic": Explanation(
        "A step that ran again did something else than what was recorded of it. The run is stuck, not failed; "
        "no side effect was repeated.",
        (
            "the code of the step was changed while it was under way",
            "time, chance or the outside world was asked without ctx.now, ctx.random, ctx.uuid4 or a @task",
        ),
        (
            "see both sides: wfctl show ID",
            "put the old code back until the run is past the step, or make the step ask through ctx",
        ),
    ),
    "stale_step": Explanation(
        "A handler went on after it had lost its step, and was told so. Nothing it asked for was done.",
        ("a step that timed out or was cancelled and did not let go", "a run that was closed meanwhile"),
        ("let asyncio.CancelledError through", "raise the step's timeout"),
    ),
}

WARNINGS: dict[str, Explanation] = {
    "clock_change": Explanation(
        "A time of a schedule falls into an hour in which the clocks of its time zone are changed.",
        (
            "clocks that jump over that time of day: the run starts right after the jump",
            "clocks that show that time twice: the run starts the first time, or both times where it comes every so often",
        ),
        (
            "choose a time of day that every day has once, such as noon",
            "let it go by a time zone without changes: --tz UTC",
            "see the days it is about: wfctl schedule next SCHEDULE -n 100",
        ),
    ),
    "version_skew": Explanation(
        "Command and daemon are of different versions that still understand each other.",
        ("an upgrade after which the daemon was not started again",),
        ("wfctl down && wfctl up",),
    ),
    "new_database": Explanation(
        "The daemon has made a new database, though the project has one elsewhere: the runs in that one are not seen.",
        ("`state` in wfctl.toml was edited, or the folder it names was moved",),
        ("name the folder of before as `state` in wfctl.toml again, then wfctl down && wfctl up",),
    ),
    "workflows": Explanation(
        "A module is not served, or not fully. The others are, and runs that need it wait for it.",
        ("a syntax error, an import that fails, or a workflow that is declared wrongly",),
        ("correct the line that is named; a saved file is loaded again by itself",),
    ),
    "pager": Explanation(
        "The pager could not be started; the text was printed without it.",
        ("WFCTL_PAGER or PAGER names a program that is not there",),
        ("name another one, or none: WFCTL_PAGER=cat", "add --no-pager"),
    ),
    "unreadable_run": Explanation(
        "The rows of a run hold what no daemon of this version has written, so nothing is done with it: it is left as it is, with "
        "the runs below it. All others go on.",
        ("a row that was changed with another program", "a database of a release that was never published"),
        (
            "see which runs, and which column: wfctl doctor, wfctl status",
            "go back to a backup: wfctl down && wfctl restore FILE",
            "or correct the column, with the daemon down; it is read again by: wfctl up",
        ),
    ),
    "long_log": Explanation(
        "Another program reads from the database without a pause, so the write-ahead log beside it grows with all that is written. "
        "Runs go on, and nothing is lost; the log is cut by itself once that program ends its transaction.",
        (
            "a sqlite3 shell or a script with a transaction that is still open, or a query that is not read to its end",
            "a backup tool that copies the database while the daemon runs",
        ),
        ("end that program, or its transaction: COMMIT", "copy the database with: wfctl backup FILE"),
    ),
    "no_worker": Explanation(
        "Steps wait in line, and no worker process takes them: there is none, or each is blocked.",
        ("the environment that [workflows] python names was moved or removed", "handlers that block all workers"),
        ("make that environment again, or name another: it is tried again by itself", "wfctl explain blocked_worker"),
    ),
    "no_thread": Explanation(
        "A worker runs 64 handlers and 64 tasks written with def alone at a time: so many do not end, and others wait for theirs.",
        ("a call without a time limit to something that does not answer, or too many of them at a time",),
        ("give what they call a time limit", "write them with async def", "raise [daemon] workers"),
    ),
    "blocked_worker": Explanation(
        "A worker process does not answer: a handler blocks its event loop, and holds up the others there.",
        (
            "time.sleep, a blocking call or a long computation in an async handler",
            "the same in a query, or in a task that a handler has left running: then it runs no step",
        ),
        ("await what takes long", "write the handler with def alone: it gets a thread of its own"),
    ),
}
