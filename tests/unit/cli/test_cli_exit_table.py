from __future__ import annotations

import pytest

from wfctl.cli.exit import LOOKS, look, worst
from wfctl.cli.render.runs import outcome_error
from wfctl.errors import WfctlError
from wfctl.protocol.views import Outcome
from wfctl.values.failure import Failure
from wfctl.values.status import Status


def outcome(status: Status) -> Outcome:
    error = Failure(type="E", message="m") if status is Status.FAILED else None
    return Outcome(run_id="r", workflow_id="order-1", workflow_type="Order", status=status, error=error)


def test_every_status_has_a_code_a_glyph_and_a_word() -> None:
    assert set(LOOKS) == set(Status)
    for status, shown in LOOKS.items():
        assert shown.word == status.value
        assert len(shown.glyph) == len(shown.ascii) == 1
        assert shown.ascii.isascii()
        assert shown.style


def test_only_a_completed_run_exits_with_zero() -> None:
    assert [status for status, shown in LOOKS.items() if shown.exit == 0] == [Status.COMPLETED]
    assert all(LOOKS[status].exit == 14 for status in Status if status.open and status is not Status.STUCK)


@pytest.mark.parametrize("status", list(Status))
def test_the_error_an_outcome_stands_for_has_the_code_of_its_status(status: Status) -> None:
    error = outcome_error(outcome(status))
    if status is Status.COMPLETED:
        assert error is None
    else:
        assert isinstance(error, WfctlError)
        assert error.exit_status == LOOKS[status].exit
        assert error.hint is not None
        assert error.hint.startswith("wfctl ")


def test_of_several_runs_the_most_severe_decides() -> None:
    order = [Status.STUCK, Status.FAILED, Status.TIMED_OUT, Status.TERMINATED, Status.CANCELLED, Status.RUNNING]
    for index, status in enumerate(order):
        assert worst([*order[index:], Status.COMPLETED]) == LOOKS[status].exit
    assert worst([Status.COMPLETED]) == worst([]) == 0


def test_a_word_of_a_newer_daemon_is_shown_as_it_is() -> None:
    assert look("paused").word == "paused"
