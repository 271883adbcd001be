"""A task's exception crosses as data, and is raised again as what it was, as far as that goes."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest

from wfctl import StoreKeyNotFoundError, TaskError, TaskTimeoutError
from wfctl.sdk.failure import describe_task_failure, rebuilt
from wfctl.sdk.sources import Sources
from wfctl.values.failure import Failure


class Declined(Exception):
    def __init__(self, code: int, *, limit: float) -> None:
        super().__init__(f"declined with {code}")
        self.code = code
        self.limit = limit
        self.session = object()
        self._secret = 1


class Counted(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(28, "No space left", path)


class NeedsItsSession(Exception):
    def __init__(self, session: object) -> None:
        self.session = session

    def __str__(self) -> str:
        return f"gone: {self.session!r:.10}" if hasattr(self, "session") else self.nothing  # type: ignore[attr-defined]


@dataclasses.dataclass
class AsDataclass(Exception):
    code: int
    why: str = "so"


class Unbuildable(Exception):
    def __new__(cls, *args: Any) -> Unbuildable:
        if len(args) != 1 or not callable(args[0]):
            raise TypeError("needs a function")
        return super().__new__(cls)


class Outer:
    class Inner(ValueError):
        pass


def there_and_back(error: Exception) -> Any:
    try:
        raise error
    except Exception as caught:
        failure = describe_task_failure(caught, Sources("."))
    return rebuilt(msgspec.json.decode(msgspec.json.encode(failure), type=Failure))


def test_the_class_its_args_and_its_public_attributes_come_back() -> None:
    error = there_and_back(Declined(51, limit=9.5))
    assert type(error) is Declined
    assert str(error) == "declined with 51"
    assert (error.code, error.limit) == (51, 9.5)
    assert not hasattr(error, "session"), "JSON cannot hold it"
    assert not hasattr(error, "_secret")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3), KeyError("k"), FileNotFoundError(2, "No such file", "/x"), Counted("/y"), AsDataclass(3),
        Outer.Inner("inner"), TimeoutError(), StopIteration(4), TaskTimeoutError("late", hint="more", task="t"),
        StoreKeyNotFoundError("no such key", key="a"),
    ],
)  # fmt: skip
def test_common_exceptions_come_back_as_they_were(error: Exception) -> None:
    back = there_and_back(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert {name: value for name, value in vars(error).items() if name != "__notes__"} == vars(back)


def test_an_os_error_keeps_its_number_and_file() -> None:
    back = there_and_back(FileNotFoundError(2, "No such file", "/x"))
    assert (back.errno, back.strerror, back.filename) == (2, "No such file", "/x")


def test_a_group_comes_back_with_what_is_in_it() -> None:
    back = there_and_back(ExceptionGroup("several", [Declined(1, limit=2), ExceptionGroup("more", [KeyError("k")])]))
    assert [type(one) for one in back.exceptions] == [Declined, ExceptionGroup]
    assert back.exceptions[0].code == 1
    with pytest.raises(ExceptionGroup) as caught:
        raise back
    assert caught.value.subgroup(KeyError) is not None


def test_what_cannot_be_made_again_is_a_task_error_that_names_it() -> None:
    class Local(Exception):
        pass

    class Model(pydantic.BaseModel):
        x: int

    with pytest.raises(pydantic.ValidationError) as invalid:
        Model(x="text")  # type: ignore[arg-type]
    for error, name in (
        (Local("here"), "Local"),
        (invalid.value, "ValidationError"),
        (Unbuildable(print), "Unbuildable"),
        (NeedsItsSession(object()), "NeedsItsSession"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "UnicodeDecodeError"),
    ):
        back = there_and_back(error)
        assert type(back) is TaskError
        assert back.message.startswith(f"{name}: ")
        assert back.detail["type"] == name


def test_a_class_that_has_gone_is_a_task_error() -> None:
    for qualified in ("nowhere.Error", "builtins.Missing", "builtins.SystemExit", "os.path", ""):
        back = rebuilt(Failure("Gone", "what it said", qualified))
        assert (type(back), str(back)) == (TaskError, "Gone: what it said")


def test_args_that_json_cannot_hold_leave_the_message() -> None:
    back = there_and_back(LookupError(object()))
    assert type(back) is LookupError
    assert str(back).startswith("<object object")
