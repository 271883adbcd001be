"""One project with the sample's orders, its daemon up, for all tests of a module; and one for all tests of the rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cli import Cli
from support.project import SAMPLES, Project


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("shop"), {"orders.py": (SAMPLES / "orders" / "orders.py").read_text()})
    project.serve()
    yield project
    project.stop()


FLOWS = """
from datetime import timedelta
from wfctl import Context, Directive, Workflow

hold = Workflow("Hold")
quick = Workflow("Quick")
broken = Workflow("Broken")

@hold.start()
async def begin(ctx: Context, note: str = "", when: int = 0) -> Directive:
    ctx.store.put("note", note)
    return ctx.next.wait_for_event()

@hold.event()
async def release(ctx: Context, by: str = "") -> Directive:
    return ctx.next.complete(by)

@hold.query()
def state(ctx: Context, of: str = "all") -> str:
    return of

@quick.start()
async def answer(ctx: Context, value: int = 42) -> Directive:
    ctx.logger.info("answering")
    return ctx.next.complete({"value": value})

def charge() -> None:
    raise ValueError("limit exceeded")

@broken.start()
async def fail(ctx: Context) -> Directive:
    charge()
    return ctx.next.complete()
"""


@pytest.fixture(scope="session")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A daemon for all tests of the rules, with a run of each outcome that can be had in no time."""
    project = Project(tmp_path_factory.mktemp("ruled"), {"flows.py": FLOWS}, workflows="")
    project.serve()
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, project)
        wfctl = Cli(patch)
        for words in (
            ("Quick", "--id", "quick-1"), ("Broken", "--id", "broken-1"), ("Hold", "--id", "hold-1", "note=first"),
            ("Hold", "--id", "hold-2"),
            ("Hold", "--id", "sent-1"), ("Hold", "--id", "cancelled-1"), ("Hold", "--id", "terminated-1"),
            ("Hold", "--id", "late-1", "--timeout", "1ms"),
        ):  # fmt: skip
            assert wfctl("start", *words).code == 0
        for id in ("cancelled-1", "terminated-1"):
            assert wfctl({"c": "cancel", "t": "terminate"}[id[0]], id).code == 0
        # What they do at their start is done.
        assert wfctl("wait", "--for", "waiting", "hold-1", "hold-2", "sent-1").code == 0
        assert wfctl("wait", "quick-1", "broken-1", "late-1", "cancelled-1", "terminated-1").code == 10
    yield project
    project.stop()


def enter(patch: pytest.MonkeyPatch, project: Project) -> None:
    patch.chdir(project.folder)
    for name in (
        "WFCTL_PROJECT",
        "WFCTL_OUTPUT",
        "WFCTL_DEBUG",
        "WFCTL_PAGER",
        "NO_COLOR",
        "FORCE_COLOR",
        "XDG_RUNTIME_DIR",
    ):
        patch.delenv(name, raising=False)
    patch.setenv("TERM", "xterm-256color")
    patch.setenv("PAGER", "cat")
    patch.setenv("WFCTL_SOCKET", str(project.socket))


@pytest.fixture
def cli(ruled: Project, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in this process, in the project of the rules."""
    enter(monkeypatch, ruled)
    return Cli(monkeypatch)
