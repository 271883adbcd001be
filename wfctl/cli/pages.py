"""Long answers, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from wfctl.cli.shell import Shell
from wfctl.protocol.runs import History, HistoryPage


def history_pages(shell: Shell, id: str, *, logs: bool = False) -> Iterator[HistoryPage]:
    """The history of one run from its first record on; at least one page."""
    after, exact = 0, False
    while True:
        page: HistoryPage = shell.call(History(id=id, exact=exact, after_seq=after, logs=logs))
        yield page
        if page.next is None:
            return
        # By run ID from here on: the workflow ID may have a newer run by now.
        id, exact, after = page.run.run_id, True, page.next
