"""The group of verbs, each imported when it is typed, and the one place where anything raised becomes an exit code."""

import difflib
import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from wfctl import __version__
from wfctl.cli import exit
from wfctl.cli.options import Output, Settings, all_parameters, asked_output, parameters
from wfctl.cli.screen import Screen
from wfctl.errors import UsageError, WfctlError
from wfctl.values.numbers import MOST

# Every verb with the first line of its help: to list them, none needs to be imported.
VERBS = {
    "up": "Start the project's daemon.",
    "down": "Stop the project's daemon.",
    "status": "Show the daemon and the runs by status.",
    "start": "Start a run and print its workflow ID.",
    "send": "Send an event to a run.",
    "tail": "Show what happens in runs.",
    "tree": "Show runs with their steps, waits and children.",
    "list": "List runs, newest first.",
    "show": "Show runs.",
    "history": "Show the history of runs, and where their code changed.",
    "timeline": "Show where the time of a run went.",
    "graph": "Show how the handlers of a workflow type lead to one another.",
    "result": "Wait for runs and print their results.",
    "query": "Ask a run's query handler and print its answer.",
    "cancel": "Ask runs to end.",
    "terminate": "End runs without asking them.",
    "retry": "Let failed, timed-out and stuck runs go on.",
    "workflows": "List workflow types.",
    "schedule": "Start runs by the clock.",
    "check": "Check code against the open runs before it is deployed.",
    "reload": "Load the code and wfctl.toml again.",
    "logs": "Show the daemon's log.",
    "demo": "Play a sample order: its payment, a failure, its cure.",
    "explain": "Explain an error, a warning or an exit status.",
    "wait": "Wait for runs.",
    "init": "Begin a project.",
    "doctor": "Look for what is wrong.",
    "backup": "Back up the database.",
    "restore": "Go back to a backup.",
    "purge": "Take closed runs away for good.",
    "completion": "Complete wfctl in your shell.",
    "service": "Run the daemon as a service.",
}

# What other tools call a verb, and nobody would guess from its letters.
ELSEWHERE = {
    "delete": "purge", "describe": "show", "dev": "demo", "execute": "start", "follow": "tail", "get": "show", "kill": "terminate",
    "log": "logs", "ls": "list", "ps": "list", "resume": "retry", "rm": "purge", "run": "start", "signal": "send", "stop": "down",
    "types": "workflows", "validate": "check",
}  # fmt: skip

# What other tools call an option.
_OPTIONS_ELSEWHERE = {
    "follow": ("watch",), "force": ("yes",), "format": ("output",), "json": ("output",), "n": ("lines", "limit"),
    "tail": ("lines", "limit"), "watch": ("follow",), "workflow-id": ("id",),
}  # fmt: skip

BEGIN = """\b
To begin:
  wfctl demo
  wfctl init shop && cd shop && wfctl up
  man wfctl                  (from init to a cured run)
  man wfctl-workflows        (how workflows are written)
"""

# What the parser raises is no public name of typer's, but an ancestor of one.
ParserError: type[Exception] = typer.BadParameter.__mro__[2]


class _Command:
    """Tells about itself as wide as the terminal is, and takes no number that there is no room for behind it."""

    def invoke(self, ctx: typer.Context) -> Any:
        for param in ctx.command.get_params(ctx):
            value = ctx.params.get(str(param.name))
            if type(value) is int and value > MOST:
                raise UsageError(
                    f"{ctx.command_path}: {max(param.opts, key=len)} {value} is more than {MOST}",
                    hint="give a smaller number",
                    value=value,
                )
        return super().invoke(ctx)  # type: ignore[misc]

    def get_help(self, ctx: typer.Context) -> str:
        from wfctl.cli.help import help_of

        return help_of(self, ctx)


class LazyGroup(_Command, TyperGroup):  # type: ignore[misc]
    """Imports `wfctl.cli.commands.VERB` for the verb that was typed alone."""

    verbs = VERBS
    elsewhere = ELSEWHERE

    def find(self, name: str) -> Any:
        return load(name)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        with formatter.section("Commands"):
            formatter.write_dl([*self.verbs.items()])

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(self.verbs)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        return self.find(cmd_name) if cmd_name in self.verbs else None

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        if args[0] not in self.verbs:
            near = difflib.get_close_matches(args[0], self.verbs, n=1, cutoff=0.6)
            if (word := self.elsewhere.get(args[0])) in self.verbs:
                near = [str(word)]
            hint = f"{ctx.command_path} {near[0]} --help" if near else f"{ctx.command_path} --help"
            if args[0] == "help" and args[1:2] and args[1] in self.verbs:
                hint = f"{ctx.command_path} {args[1]} --help"
            elif args[0] == "version":
                hint = "wfctl --version"
            raise UsageError(
                f"{ctx.command_path} has no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                hint=hint,
                value=args[0],
                allowed=list(self.verbs),
            )
        return super().resolve_command(ctx, args)


class ActionGroup(LazyGroup):
    """A verb with actions of its own: `wfctl schedule add`. Its module names them in ACTIONS, and finds each in `action`."""

    module: Any

    def find(self, name: str) -> Any:
        found = self.module.action(name)
        return command_of(name, found, self.module.EXAMPLES[name], self.module.ACTIONS_TAKE.get(name, ()))


class VerbCommand(_Command, TyperCommand):  # type: ignore[misc]
    def collect_usage_pieces(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        # typer writes required arguments in braces, which nobody else does.
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def load(verb: str) -> Any:
    """The command of one verb, with the options every command has."""
    module = import_module(f"wfctl.cli.commands.{verb}")
    takes = getattr(module, "TAKES", ())
    if hasattr(module, "ACTIONS"):
        return _group_of(verb, module, takes)
    return command_of(verb, module.run, module.EXAMPLES, takes)


def command_of(name: str, run: Any, examples: str, takes: Iterable[str]) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=VerbCommand, epilog=_examples(examples))(run)
    command = typer.main.get_command(app)
    command.params += parameters(takes)
    return command


def _group_of(verb: str, module: Any, takes: Iterable[str]) -> Any:
    """A verb that has actions: alone it does what its `run` does."""
    app = typer.Typer(
        cls=ActionGroup, name=verb, add_completion=False, rich_markup_mode=None, invoke_without_command=True,
        epilog=_examples(module.EXAMPLES[verb]),
    )  # fmt: skip
    app.callback()(module.run)
    group = typer.main.get_command(app)
    assert isinstance(group, ActionGroup)
    group.module, group.verbs, group.elsewhere = module, module.ACTIONS, module.ELSEWHERE
    group.params += parameters(takes)
    return group


def _examples(text: str) -> str:
    return "\b\nExamples:\n" + text.strip("\n")


def build() -> Any:
    """The whole command line, nothing of it loaded yet."""
    app = typer.Typer(
        cls=LazyGroup,
        name="wfctl",
        add_completion=False,
        rich_markup_mode=None,
        epilog=BEGIN,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    command = typer.main.get_command(app)
    command.params += all_parameters()
    return command


def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Durable workflows on one machine.

    Without a command: wfctl status. Exit codes: 0 done, 1 internal, 2 usage, 3 daemon down, 4 not found, 5 conflict,
    6 incompatible, 7 denied, 8 storage, 9 partial; of an awaited run: 10 failed, 11 cancelled, 12 terminated,
    13 timed out, 14 not finished, 15 stuck; 16 declined.
    """
    if version:
        typer.echo(f"wfctl {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        from wfctl.cli.commands.status import run as status

        raise typer.Exit(status(ctx) or 0)


def execute(arguments: list[str]) -> int:
    """Run one command line and return its exit code. All it raises ends here, but for what a signal raises."""
    settings = Settings()
    code = _execute(arguments, settings)
    return exit.OK if settings.exit_zero and code in exit.OUTCOMES else code


def _execute(arguments: list[str], settings: Settings) -> int:
    try:
        _check_text(arguments)
        command = build()
        try:
            with command.make_context("wfctl", list(arguments), obj=settings) as ctx:
                status = command.invoke(ctx)
        except typer.Exit as end:
            status = end.exit_code
        sys.stdout.flush()
        return int(status or exit.OK)
    except BrokenPipeError:
        return _pipe_closed()
    except WfctlError as error:
        _correct(error, arguments)
        return _report(error, settings, arguments)
    except ParserError as error:
        return _report(_usage(error, arguments), settings, arguments)
    except Exception as error:
        from wfctl.cli.trouble import explained, terminal_is_gone, unexpected

        if isinstance(error, OSError) and terminal_is_gone(error):
            return exit.TERMINATED  # as by the signal that says so, which may come later
        told = explained(error) or unexpected(error, debug=settings.debugging(), arguments=arguments)
        return _report(told, settings, arguments)


def _pipe_closed() -> int:
    # stdout is flushed once more on the way out; it shall find somebody to take it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit.OK


def _check_text(arguments: list[str]) -> None:
    for position, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"argument {position} ({argument!a}) is not UTF-8 text", hint="give it as UTF-8") from None


def _correct(error: WfctlError, arguments: list[str]) -> None:
    """Make the remedy of a name that is nearly one the command line as it was meant."""
    meant = re.fullmatch(r"did you mean '(\S+)'\?", error.hint or "")
    wrong = next((error.detail[key] for key in ("event", "workflow_type") if key in error.detail), None)
    if meant is not None and wrong in arguments:
        from wfctl.values.commands import quoted

        arguments = [*arguments]
        arguments[arguments.index(wrong)] = meant.group(1)
        error.hint = " ".join(["wfctl", *map(quoted, arguments)])


def _usage(error: Exception, arguments: list[str]) -> UsageError:
    """The parser's complaint as one of ours."""
    ctx = getattr(error, "ctx", None)
    verb = next((f" {word}" for word in arguments if word in VERBS), "")
    path = ctx.command_path if ctx is not None else f"wfctl{verb}"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        return _no_option(path, option, [] if ctx is None else ctx.command.get_params(ctx))
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    text = re.sub(r"is not a valid int(eger)? range", "is no whole number", text.strip().rstrip("."))
    text = re.sub(r"(\S+) is not in the range x>=(\d+)", r"\1 is less than \2", text)
    return UsageError(f"{path}: {text[:1].lower()}{text[1:]}", hint=_where_from(error, ctx) or f"{path} --help")


def _where_from(error: Exception, ctx: Any) -> str | None:
    """The command that tells what an argument may be that was left out."""
    name = getattr(getattr(error, "param", None), "name", None)
    if ctx is None:
        return None
    if name == "workflow_type":
        return "wfctl workflows"
    if name == "event" and ctx.params.get("id"):
        from wfctl.values.commands import command

        return command("show", ctx.params["id"])
    return None


def _no_option(path: str, option: str, params: list[Any]) -> UsageError:
    """An option that there is not: what it may be called here, or that it is an argument."""
    word = option.lstrip("-")
    told = f"{path} has no option {option!r}"
    argument = next((param for param in params if param.param_type_name == "argument" and param.name == word), None)
    if argument is not None:
        name = (argument.metavar or word.upper()).strip("[].")
        return UsageError(f"{told}: {name} is an argument", hint=f"{path} --help", value=option)
    # The dashes, which all of them have, make none alike.
    known = {
        name.lstrip("-"): name for param in params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"
    }
    meant = next((known[one] for one in _OPTIONS_ELSEWHERE.get(word, ()) if one in known), None)
    near = [meant] if meant else [known[one] for one in difflib.get_close_matches(word, known, n=1, cutoff=0.6)]
    return UsageError(told + (f"; did you mean {near[0]!r}?" if near else ""), hint=f"{path} --help", value=option)


def _report(error: WfctlError, settings: Settings, arguments: list[str]) -> int:
    from wfctl.cli.render.problem import error_json, error_lines, traceback_text

    try:
        # What was printed before the error stands, and comes first.
        sys.stdout.flush()
    except OSError:
        _pipe_closed()
    try:
        if asked_output(arguments) in (Output.JSON, Output.JSONL):
            print(error_json(error), file=sys.stderr, flush=True)
        else:
            screen = Screen(sys.stderr, settings.color if settings.color in ("always", "never") else "auto")
            screen.prose(error_lines(error))
            if settings.traceback:
                screen.stream.write(traceback_text(error))
            screen.flush()
    except OSError:
        pass  # nobody can be told; the exit status says it
    return error.exit_status
