"""Long answers, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from wfctl.cli.shell import Shell
from wfctl.protocol.runs import History, HistoryPage


def history_pages(shell: Shell, id: str, *, logs: bool = False) -> Iterator[HistoryPage]:
    """The history of one run from its first record on; at least one page."""
    after = 0
    while True:
        page: HistoryPage = shell.call(History(id=id, after_seq=after, logs=logs))
        yield page
        if page.next is None:
            return
        # By run ID from here on: the workflow ID may have a newer run by now.
        id, after = page.run.run_id, page.next
