"""What programs ask of the daemon itself: its state, the code it serves, a copy of its database."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.client.connection import Link
from wfctl.client.naming import PathLike, path
from wfctl.errors import UnknownWorkflowTypeError
from wfctl.protocol import calls, views
from wfctl.values import schema
from wfctl.values.ids import check_name


class HandlerSchema(msgspec.Struct, frozen=True, kw_only=True):
    """One handler as JSON Schema 2020-12: `takes` of the object of its keyword arguments, `answers` of what a query answers (None
    where its author does not say). `kind` is start, step, event or query; `doc` the first line of its docstring."""

    kind: str
    name: str
    takes: dict[str, Any]
    answers: dict[str, Any] | None = None
    doc: str = ""


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

    async def schemas(self, workflow_type: str) -> list[HandlerSchema]:
        """What each handler of a type takes: its input, the payload of an event, the arguments of a query. For a form, or for who
        checks what others send before it is sent on.

        Raises UnknownWorkflowTypeError where no such type is loaded.
        """
        check_name(workflow_type, "workflow type")
        found: calls.WorkflowList = await self._link.call(calls.Workflows(shapes=True))
        specs = {item.spec.workflow_type: item.spec for item in found.items}
        if workflow_type not in specs:
            near = difflib.get_close_matches(workflow_type, specs, n=1, cutoff=0.6)
            raise UnknownWorkflowTypeError(
                f"no workflow type {workflow_type!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                hint="wfctl workflows",
                workflow_type=workflow_type,
                known=list(specs),
            )
        return [
            HandlerSchema(
                kind=one.kind, name=one.name, takes=schema.takes(one), answers=schema.answers(one), doc=one.doc
            )
            for one in specs[workflow_type].handlers
        ]

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
