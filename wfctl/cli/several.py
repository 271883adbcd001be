"""Several runs named on one command line that only looks: each is shown, and what is wrong with one is told beside the others."""

from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

import typer

from wfctl.cli import exit
from wfctl.cli.render.text import clean
from wfctl.cli.shell import Shell
from wfctl.cli.words import given_ids
from wfctl.errors import DaemonDownError, WfctlError

T = TypeVar("T")
Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin.")
]


class Several:
    """The runs that a command line names; `-` among them stands for the lines of stdin.

    One alone raises its error. Of several that is told on stderr, the others go on, and `code` is 9.
    """

    def __init__(self, shell: Shell, ids: list[str]) -> None:
        self._shell = shell
        self.ids = given_ids(ids)
        self._begun = False
        self.code = exit.OK

    @property
    def one(self) -> bool:
        return len(self.ids) == 1

    def each(self, look: Callable[[str], T]) -> Iterator[T]:
        """What `look` makes of each run, in the order they were named; those that it raises an error for are left out."""
        for id in self.ids:
            try:
                found = look(self._shell.run_id(id))
            except DaemonDownError:
                raise
            except WfctlError as error:
                if self.one:
                    raise
                self._tell(error)
            else:
                yield found

    def _tell(self, error: WfctlError) -> None:
        from wfctl.cli.render.problem import error_json, error_lines

        shell = self._shell
        self.code = exit.PARTIAL
        shell.out.flush()
        if shell.json:
            shell.err.write(error_json(error))
        else:
            shell.err.prose(error_lines(error))
        shell.err.flush()

    def head(self, workflow_id: str) -> None:
        """Before what is told of a run, where there are others: a line that says which one it is."""
        if not self.one:
            self._shell.out.line([("\n" if self._begun else "", ""), (f"==> {clean(workflow_id)} <==", "bold")])
            self._begun = True
