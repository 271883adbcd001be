"""`wfctl schedule`: runs that the clock starts. Its actions are in `wfctl.cli.schedules`; alone it lists."""

from typing import Any

import typer

ACTIONS = {
    "add": "Make a schedule, or change one.",
    "list": "List schedules.",
    "show": "Show one schedule.",
    "next": "Show the times that come next.",
    "pause": "Pause schedules.",
    "resume": "Let paused schedules go on.",
    "run-now": "Start a run of schedules now.",
    "remove": "Take schedules away.",
}
# What other tools call an action.
ELSEWHERE = {
    "create": "add", "delete": "remove", "describe": "show", "disable": "pause", "enable": "resume", "get": "show",
    "ls": "list", "preview": "next", "rm": "remove", "run": "run-now", "stop": "pause", "trigger": "run-now", "unpause": "resume",
    "update": "add",
}  # fmt: skip
TAKES = ("times", "table")
ACTIONS_TAKE = {"list": TAKES, "show": ("times",), "next": TAKES}
EXAMPLES = {
    "schedule": """
  wfctl schedule
  wfctl schedule add nightly Report --cron '0 3 * * *' --tz Europe/Paris
  wfctl schedule next --cron '0 9 * * mon-fri' -n 10
""",
    "add": """
  wfctl schedule add nightly Report --cron '0 3 * * *' --tz Europe/Paris
  wfctl schedule add poll Fetch url=https://example.org --every 15m --overlap queue
  wfctl schedule add weekly Report --cron @weekly --catch-up 3d --dry-run
  wfctl schedule add nightly Report --cron '30 3 * * *' --replace
""",
    "list": """
  wfctl schedule list
  wfctl schedule list --status paused,blocked -o id
""",
    "show": """
  wfctl schedule show nightly
  wfctl schedule show nightly -o json
""",
    "next": """
  wfctl schedule next nightly -n 10
  wfctl schedule next --cron '30 2 * * *' --tz Europe/Paris --after 2027-03-27
  wfctl schedule next --every 1h --offset 5m
""",
    "pause": """
  wfctl schedule pause nightly --note "the printer is broken"
  wfctl schedule list -o id | wfctl schedule pause --yes -
""",
    "resume": """
  wfctl schedule resume nightly
  wfctl schedule list --status paused -o id | wfctl schedule resume --yes -
""",
    "run-now": """
  wfctl schedule run-now nightly
  wfctl wait "$(wfctl schedule run-now nightly)"
  wfctl schedule run-now nightly poll --yes
""",
    "remove": """
  wfctl schedule remove nightly
  wfctl schedule remove nightly poll --yes
""",
}


def action(name: str) -> Any:
    """The function behind an action."""
    if name == "add":
        from wfctl.cli.schedules.add import add

        return add
    if name in ("list", "show", "next"):
        from wfctl.cli.schedules import look

        return {"list": look.list_all, "show": look.show, "next": look.next_times}[name]
    from wfctl.cli.schedules import change

    return {"pause": change.pause, "resume": change.resume, "run-now": change.run_now, "remove": change.remove}[name]


def run(ctx: typer.Context) -> int:
    """Start runs by the clock.

    Without an action: wfctl schedule list. A time starts one run, which is named after both: nightly-2026-11-27T03:00:00Z.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    listed: int = action("list")(ctx)
    return listed
