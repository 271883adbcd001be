from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon
from wfctl.cli.inputs import Inputs, parse_inputs
from wfctl.errors import InvalidArgumentError, PayloadTooLargeError, UsageError


def parsed(*arguments: str, document: str | None = None) -> tuple[object, dict[str, str]]:
    given = parse_inputs(list(arguments), document)
    return msgspec.json.decode(given.data), given.text


def refused(*arguments: str, document: str | None = None) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_inputs(list(arguments), document)
    return caught.value


def test_nothing_given_is_null_and_no_text() -> None:
    assert parse_inputs([], None) == Inputs(msgspec.Raw(b"null"), {})


def test_key_value_stays_text_for_the_daemon_to_convert() -> None:
    assert parsed("order_id=1", "note=a=b", "empty=") == (None, {"order_id": "1", "note": "a=b", "empty": ""})


def test_key_json_is_a_value() -> None:
    assert parsed("amount:=9.99", 'tags:=["a", "b"]') == ({"amount": 9.99, "tags": ["a", "b"]}, {})


def test_a_file_gives_its_text_or_its_json(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("hello\n")
    (tmp_path / "v.json").write_text('{"a": 1}')
    data, text = parsed(f"note=@{tmp_path}/n.txt", f"value:=@{tmp_path}/v.json")
    assert (data, text) == ({"value": {"a": 1}}, {"note": "hello\n"})


def test_the_document_is_passed_on_digit_by_digit() -> None:
    exact = '{"amount": 9.990000000000000000001, "id": 123456789012345678901234567890}'
    assert bytes(parse_inputs([], exact).data).decode() == exact
    kept = bytes(parse_inputs(["x:=1"], exact).data).decode()
    assert "9.990000000000000000001" in kept
    assert "123456789012345678901234567890" in kept


def test_key_json_wins_over_the_document() -> None:
    assert parsed("a:=2", "b=3", document='{"a": 1, "c": 4}') == ({"a": 2, "c": 4}, {"b": "3"})


def test_a_document_comes_from_a_file_or_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "o.json").write_text('{"a": 1}')
    assert parsed(document=f"@{tmp_path}/o.json") == ({"a": 1}, {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b' {"b": 2}\n')))
    assert parsed(document="-") == ({"b": 2}, {})


def test_a_scalar_document_stands_alone() -> None:
    assert parsed(document="5") == (5, {})
    assert "not a JSON object" in refused("a=1", document="5").message


def test_bad_json_is_named_with_its_place() -> None:
    assert refused("amount:=9,99").message == ("amount:= is not JSON: trailing characters at character 2, near ',99'")
    assert "at line 2" in refused(document='{"a": 1,\n "b": nope}').message
    assert "ends too early" in refused(document='{"a": [1').message
    assert refused("name:=Ann").hint == "text needs quotes in JSON: name:='\"text\"', or name=text"


def test_json_that_is_nested_too_deeply_is_told_so_and_not_to_have_quotes() -> None:
    deep = "[" * 60_000
    for error in (refused(f"v:={deep}"), refused(document=deep + "]" * 60_000)):
        assert error.message.endswith(" is nested too deeply to be read")
        assert error.hint == "nest lists and objects in fewer levels"


def test_a_word_that_is_no_input_is_named() -> None:
    for word in ("amount", "=5", "1a=2", "a b=c", ":=3"):
        error = refused(word)
        assert repr(word) in error.message
        assert "key=value" in (error.hint or "")


def test_a_key_given_twice_is_an_error() -> None:
    assert refused("a=1", "a:=2").message == "the input 'a' is given twice"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(f"a=@{tmp_path}/none").message
    (tmp_path / "bin").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refused(f"a=@{tmp_path}/bin").message
    assert "is not JSON" in refused(document=f"@{tmp_path}/bin").message
    assert "empty" in refused(document="").message


def test_a_document_that_is_wrong_is_named_by_the_option_it_was_given_with() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^--start-input is not JSON"):
        parse_inputs([], "x", option="--start-input")


def test_half_a_surrogate_pair_is_told_as_that() -> None:
    for document in ('"\\ud800"', '["\\ud800", 1]', '"\\udc00"', '{"a": "\\ud83d\\u0041aaaaaa"}'):
        error = refused(document=document)
        assert error.message == "-i is not JSON: half of a surrogate pair, which is no character"
        assert error.hint == "write both halves, or the character itself"
    assert parsed("a:=" + '"\\ud83d\\ude00"') == ({"a": "\N{GRINNING FACE}"}, {})


def test_what_is_wrong_within_json_is_not_said_to_need_quotes() -> None:
    error = refused(document='\n{"a": 1,\n}')
    assert error.message == "-i is not JSON: trailing comma in object at line 3, column 1, near '}'"
    assert error.hint == "correct it there"
    assert refused("v:=1e400").hint == "give a smaller number, or text"
    assert (
        refused("v:=two words").hint
        == refused("v:=1 2").hint
        == "text needs quotes in JSON: name:='\"text\"', or name=text"
    )


def test_bytes_that_are_no_text_are_told_by_their_place_in_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"v": "\xff"}')
    for error in (refused(document=f"@{tmp_path}/f"), refused(f"v:=@{tmp_path}/f"), refused(f"v=@{tmp_path}/f")):
        assert error.message.endswith(": byte 8 is not UTF-8 text")
        assert error.hint == "give it as UTF-8"


def test_json_may_begin_with_the_mark_that_some_editors_write(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert parsed(document=f"@{tmp_path}/o.json") == ({"a": 1}, {})
    assert parsed(f"a:=@{tmp_path}/o.json") == ({"a": {"a": 1}}, {})


@pytest.mark.parametrize("words", [("a=@-", "b=@-"), ("a=@-", "b:=@-")])
def test_stdin_is_read_for_one_input_alone(monkeypatch: pytest.MonkeyPatch, words: tuple[str, str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"5")))
    with pytest.raises(UsageError, match=r"^stdin is read for a=@- and for b:?=@-, and can be read once$") as caught:
        parse_inputs(list(words), None)
    assert caught.value.hint == "give one of them as @FILE"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("start", "T", "a=@-", "-i", "-"), "a=@- and for -i -"),
        (("send", "-", "go", "-i", "-"), "-i - and for the IDs"),
        (("send", "a", "go", "-i", "-", "--start", "T", "--start-input", "-"), "-i - and for --start-input -"),
        (("query", "-", "total", "v=@-"), "the IDs and for v=@-"),
    ],
)
def test_a_command_that_would_read_stdin_twice_does_nothing(
    cli: Cli, daemon: Callable[..., FakeDaemon], words: tuple[str, ...], told: str
) -> None:
    fake = daemon()
    said = cli(*words, stdin="{}")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"error[usage]: stdin is read for {told}, and can be read once\n  hint: give one of them as @FILE\n"
    )
    assert not [call for call in fake.calls if call.method != "hello"]


def test_an_input_that_never_ends_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/zero", encoding="utf-8") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        told: list[str] = []
        for words, document in ((["v=@-"], None), (["v:=@/dev/zero"], None), ([], "@/dev/zero")):
            with pytest.raises(PayloadTooLargeError) as caught:
                parse_inputs(words, document)
            told.append(caught.value.message)
    limits = "is over 4,194,304 bytes; the limit is 1,048,576"
    assert told == [f"v=@- {limits}", f"v:=@/dev/zero {limits}", f"-i @/dev/zero {limits}"]
