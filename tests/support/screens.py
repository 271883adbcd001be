"""The screens of the README: commands run on a real daemon, drawn as they came, in man/screens. `make screens` writes them.

A screen is written anew only when its shape has changed, which is what it shows without times, durations and run IDs: those differ
from run to run and say nothing about the program.
"""

from __future__ import annotations

import html
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from rich.text import Text

from support.cli import Cli
from support.manpages import FOLDER
from support.project import Project
from support.waiting import wait_until

SCREENS = FOLDER / "screens"
COLUMNS = 100
FLOWS = """\
from wfctl import Context, Directive, Workflow, task

order = Workflow("Order")
parcel = Workflow("Parcel")


class CardDeclined(Exception):
    pass


class CarrierTimeout(Exception):
    pass


@order.start()
async def place(ctx: Context, parcels: int, paid: bool = True) -> Directive:
    if not paid:
        return ctx.next.step(charge)
    for number in range(1, parcels + 1):
        await ctx.start("Parcel", workflow_id=f"parcel-{number:02}", workflow_input={"number": number})
    return ctx.next.wait_for_event("delivered")


@order.step()
async def charge(ctx: Context) -> Directive:
    await authorise(49.90)
    return ctx.next.complete()


@task()
async def authorise(amount: float) -> str:
    raise CardDeclined("limit exceeded")


@order.event()
async def delivered(ctx: Context) -> Directive:
    return ctx.next.complete()


@parcel.start()
async def book(ctx: Context, number: int) -> Directive:
    if number % 10 == 3:
        raise CarrierTimeout("no reply in 30s")
    if number % 10 == 7:
        return ctx.next.wait_for_event("address")
    return ctx.next.complete(number)


@parcel.event()
async def address(ctx: Context, street: str) -> Directive:
    return ctx.next.complete(street)
"""


class Screen(NamedTuple):
    name: str
    title: str
    lines: list[str]  # with escapes


COMMANDS = {
    "tree": ["tree", "order-1"],
    "list": ["list", "--limit", "12"],
    "show": ["show", "order-2"],
    "error": ["send", "parcel-07", "adress", "street=Elm"],
}


def capture(folder: Path) -> list[Screen]:
    """The screens as they are now."""
    project = Project(folder, {"flows.py": FLOWS}, workflows="")
    project.up()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name in ("NO_COLOR", "FORCE_COLOR", "WFCTL_OUTPUT", "WFCTL_PROJECT"):
                patch.delenv(name, raising=False)
            patch.setenv("WFCTL_SOCKET", str(project.socket))
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("WFCTL_PAGER", "")
            wfctl = Cli(patch)
            assert wfctl("start", "Order", "--id", "order-1", "parcels=30").code == 0
            wait_until(lambda: not wfctl("list", "--status", "running", "-o", "id").out)
            assert wfctl("start", "Order", "--id", "order-2", "parcels=1", "paid=false").code == 0
            assert wfctl("wait", "order-2").code == 10
            return [_screen(wfctl, name, words) for name, words in COMMANDS.items()]
    finally:
        project.stop()


def _screen(wfctl: Cli, name: str, words: list[str]) -> Screen:
    said = wfctl(*words, tty=True, columns=COLUMNS)
    return Screen(name, f"wfctl {' '.join(words)}", [line.rstrip() for line in (said.out + said.err).splitlines()])


def draw(screen: Screen) -> str:
    """One screen as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ {screen.title}", style="bold"))
    for line in screen.lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True, highlight=False)
    return console.export_svg(title=screen.title, unique_id=f"wfctl-{screen.name}")


# Times, durations, run IDs and process IDs: what is of one run, and not of the program.
_OF_ONE_RUN = re.compile(
    r"[0-9A-HJKMNP-TV-Z]{26}|[0-9A-HJKMNP-TV-Z]{3,}…[0-9A-HJKMNP-TV-Z]+|\d{4}-\d\d-\d\dT[\d:.]+Z|\d\d:\d\d:\d\dZ?"
    r"|\b\d+(?:\.\d+)?(?:ms|s|m|h)(?:\d+s)?\b"
)


def shape(lines: list[str]) -> list[str]:
    """Lines without blanks and without what differs from run to run."""
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    return [re.sub(r"\s+", "", _OF_ONE_RUN.sub("*", line)) for line in bare]


def drawn(file: Path) -> list[str]:
    """The lines of text in a screen that was written."""
    found: dict[int, str] = {}
    pattern = r'<text[^>]*clip-path="url\(#[\w-]+-line-(\d+)\)"[^>]*>(.*?)</text>'
    for number, text in re.findall(pattern, file.read_text(encoding="utf-8"), re.DOTALL):
        found[int(number)] = found.get(int(number), "") + html.unescape(text).replace("\xa0", " ").strip("\n")
    return [found.get(number, "") for number in range(max(found, default=-1) + 1)]


def stale(screen: Screen) -> bool:
    """Whether what was written of a screen is not what it looks like now."""
    file = SCREENS / f"{screen.name}.svg"
    return not file.exists() or shape(drawn(file)) != shape([f"$ {screen.title}", *screen.lines])


def main() -> int:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        screens = capture(Path(folder) / "shop")
    for screen in screens:
        changed = stale(screen)
        if changed:
            (SCREENS / f"{screen.name}.svg").write_text(draw(screen), encoding="utf-8")
        print(f"{'wrote' if changed else 'as it was:'} man/screens/{screen.name}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
