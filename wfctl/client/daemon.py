"""What programs ask of the daemon itself: its state, the code it serves, a copy of its database."""

from __future__ import annotations

from collections.abc import Callable

from wfctl.client.connection import Link
from wfctl.client.naming import PathLike, path
from wfctl.protocol import calls, views


class AboutDaemon:
    """A part of `Client`."""

    _link: Link

    async def status(self) -> views.StatusView:
        """The daemon itself: its process, settings, workers, counts of runs."""
        status: views.StatusView = await self._link.call(calls.GetStatus())
        return status

    async def workflows(self) -> calls.WorkflowList:
        """The workflow types on offer with their handlers, and what is wrong with the project's modules."""
        found: calls.WorkflowList = await self._link.call(calls.Workflows())
        return found

    async def check(self, *files: PathLike, ids: int = 5) -> calls.CodeCheck:
        """What the open runs would meet in these files, or (without any) in the modules of wfctl.toml as they are on disk now.

        The code is loaded beside the one that serves, and nothing is changed. A finding names `ids` of its runs at most.
        """
        paths = [path(file, "a file to check") for file in files]
        answer: calls.CodeCheck = await self._link.call(calls.CheckCode(files=paths, ids=ids))
        return answer

    async def reload(self) -> calls.Reloaded:
        """Load the code and wfctl.toml again; returns when what is sound has taken over, with what became of each workflow type.

        What is broken is among the `problems` of the answer, and stays as it was loaded before. Saving a file does the same, unless
        wfctl.toml says `reload = false`. Whoever is cancelled here, or loses the daemon, does not end it.
        """
        answer: calls.Reloaded = await self._link.call(calls.Reload())
        return answer

    async def backup(
        self, file: PathLike, *, force: bool = False, progress: Callable[[calls.Copied], object] | None = None
    ) -> calls.BackedUp:
        """Copy the database as of now into `file` on the daemon's machine, while the daemon works; returns once the copy was
        checked and has its name. `wfctl restore` goes back to it.

        `progress` is called with the bytes `copied` of `total` now and then. A file that is there is a ConflictError, or with
        `force` is replaced. Given up in the middle, by cancelling it or because the daemon went away, it leaves nothing.
        """
        call = calls.Backup(path=path(file, "the file of a backup"), force=force)
        async with self._link.stream(call) as stream:
            async for copied in stream:
                if progress is not None:
                    progress(copied)
            done: calls.BackedUp = stream.answer
        return done
