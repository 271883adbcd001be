"""Exceptions as data: the user's own line, and a traceback without ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

from wfctl.errors import NoParentError
from wfctl.sdk.failure import MAX_MESSAGE_CHARS, describe_exception, describe_task_failure, rebuilt
from wfctl.sdk.sources import Sources
from wfctl.values.codec import encode

HERE = Sources(os.path.dirname(__file__))
NAME = os.path.basename(__file__)


def caught(action: object) -> BaseException:
    try:
        action()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_the_frame_is_the_innermost_line_of_the_users_own_code() -> None:
    def charge() -> None:
        json.loads("{")

    failure = describe_exception(caught(charge), HERE)
    assert failure.type == "JSONDecodeError"
    assert failure.qualified == "json.decoder.JSONDecodeError"
    assert failure.frame == f"{NAME}:{charge.__code__.co_firstlineno + 1} in charge"
    assert "json/decoder.py" in failure.traceback


def test_our_own_frames_are_left_out_of_the_traceback() -> None:
    failure = describe_exception(caught(lambda: encode(float("nan"), "result")), HERE)
    assert "codec.py" not in failure.traceback
    assert failure.frame.startswith(f"{NAME}:")
    assert failure.detail["code"] == "invalid_payload"


def test_without_a_line_of_the_users_the_given_one_is_named() -> None:
    assert describe_exception(ValueError("x"), HERE, frame="flows/a.py:1 in f").frame == "flows/a.py:1 in f"


def test_causes_and_groups_keep_their_tracebacks() -> None:
    def grouped() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ExceptionGroup("many", [ValueError("one"), OSError("two")]) from error

    text = describe_exception(caught(grouped), HERE).traceback
    for part in ("KeyError: 'inner'", "ValueError: one", "OSError: two", "direct cause"):
        assert part in text


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_group_is_told_with_the_first_exceptions_in_it() -> None:
    inner = ExceptionGroup("inner", [ConnectionError("bank 1 down"), Unspeakable()])
    error: Exception = ExceptionGroup("outer", [inner, KeyError("card")])
    assert describe_exception(error, HERE).message == (
        "outer (2 sub-exceptions): ConnectionError: bank 1 down; Unspeakable: (its __str__ raised RuntimeError); KeyError: 'card'"
    )
    many = ExceptionGroup("many", [ValueError(number) for number in range(2)] + [OSError(), TypeError("last")])
    failure = describe_task_failure(many, HERE)
    assert failure.message == "many (4 sub-exceptions): ValueError: 0; ValueError: 1; OSError; ..."
    # Raised again, it is what it was.
    again = rebuilt(failure)
    assert (type(again), str(again)) == (ExceptionGroup, str(many))


def test_a_message_that_cannot_be_made_or_written_does_no_harm() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert describe_exception(Broken(), HERE).message == "(its __str__ raised RuntimeError)"
    assert describe_exception(ValueError("bad \ud800"), HERE).message == "bad \\ud800"
    long = describe_exception(ValueError("x" * 100_000), HERE).message
    assert len(long) < MAX_MESSAGE_CHARS + 100
    assert "characters left out" in long


def test_a_subclass_that_carries_what_json_cannot_hold_keeps_its_code() -> None:
    assert describe_exception(NoParentError("x", lock=object()), HERE).detail == {"code": "no_parent"}


def test_files_of_an_environment_inside_the_project_are_not_the_users(tmp_path: Path) -> None:
    sources = Sources(str(tmp_path), [".", "../lib"])
    assert sources.owns(f"{tmp_path}/flows/orders.py")
    assert sources.owns(f"{tmp_path.parent}/lib/helpers.py")
    assert not sources.owns(f"{tmp_path}/.venv/lib/python3.11/site-packages/x.py")
    assert not sources.owns(f"{tmp_path}/env/lib/python3.11/site-packages/x.py")
    assert not sources.owns("<string>")
    assert not sources.owns("/usr/lib/python3.11/json/decoder.py")
    assert sources.show(f"{tmp_path}/flows/orders.py") == "flows/orders.py"
