"""Inputs on the command line: `key=value`, `key:=json`, `key=@file`, and `-i JSON|@file|-`.

What is given later in this list wins over the former for the same key: `-i`, then `key:=json`, then `key=value`. Text is converted
to the parameter's type by the daemon, which knows the type; here only JSON is read.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from wfctl.cli.stdin import stdin_for
from wfctl.errors import InvalidArgumentError, PayloadTooLargeError
from wfctl.protocol.rpc import MAX_LINE_BYTES
from wfctl.values.codec import MAX_PAYLOAD_BYTES

NULL = msgspec.Raw(b"null")
EXAMPLES = "write key=value, key:=json, key=@file, or -i with JSON"
QUOTES = "text needs quotes in JSON: name:='\"text\"', or name=text"
# The first half of a pair without the second: the decoder takes the end of its string for that of everything.
_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")


class Inputs(NamedTuple):
    """`data` is JSON as it was given; `text` is still to be converted to the parameters' types."""

    data: msgspec.Raw
    text: dict[str, str]


def parse_inputs(arguments: list[str], document: str | None, *, option: str = "-i", id_option: bool = False) -> Inputs:
    """What the words after the verb and its `-i` (or the `option` that is like it) say.

    InvalidArgumentError names the word, and the place in JSON; with `id_option` also that an ID has an option of its own.
    """
    text: dict[str, str] = {}
    values: dict[str, msgspec.Raw] = {}
    problems: list[InvalidArgumentError] = []
    for argument in arguments:
        try:
            _parse_one(argument, text, values)
        except InvalidArgumentError as error:
            if id_option and error.hint == EXAMPLES:
                error.hint = f"{EXAMPLES}; a workflow ID is given with --id"
            problems.append(error)
    try:
        whole = None if document is None else _document(document, option)
    except InvalidArgumentError as error:
        problems.append(error)
    if problems:
        raise _together(problems)
    if whole is None:
        return Inputs(_raw(values) if values else NULL, text)
    if not values and not text:
        return Inputs(msgspec.Raw(whole), {})
    return Inputs(_merged(whole, values), text)


def _together(problems: list[InvalidArgumentError]) -> InvalidArgumentError:
    """One as it is; of several all that is wrong, and how inputs are written."""
    if len(problems) == 1:
        return problems[0]
    told = [problem.message for problem in problems]
    return InvalidArgumentError(
        "\n  ".join([f"{len(told)} problems in the input:", *told]), hint=EXAMPLES, problems=told
    )


def _parse_one(argument: str, text: dict[str, str], values: dict[str, msgspec.Raw]) -> None:
    key, equals, value = argument.partition("=")
    sign = ":=" if key.endswith(":") else equals
    key = key.removesuffix(":")
    if not equals or not key.isidentifier():
        raise InvalidArgumentError(f"{argument!r} is no input", hint=EXAMPLES, value=argument)
    if key in text or key in values:
        raise InvalidArgumentError(f"the input {key!r} is given twice", hint="give it once", key=key)
    if sign == ":=":
        source = _source(value, f"{key}:=") if value.startswith("@") else value.encode()
        values[key] = _checked(source, f"{key}:=")
    elif value.startswith("@"):
        text[key] = _text(_source(value, f"{key}="), f"{key}={value}")
    else:
        text[key] = value


def _document(given: str, option: str) -> bytes:
    if given == "-" or given.startswith("@"):
        return bytes(_checked(_source(given, f"{option} "), f"{option} {given}"))
    return bytes(_checked(given.encode(), option))


def _merged(whole: bytes, values: dict[str, msgspec.Raw]) -> msgspec.Raw:
    if not whole.startswith(b"{"):
        raise InvalidArgumentError(
            "-i is not a JSON object, so key=value has nothing to be added to", hint="give -i alone, or as an object"
        )
    if not values:
        return msgspec.Raw(whole)
    # Decoded one level only, so that what is not replaced keeps its own text.
    outer = msgspec.json.decode(whole, type=dict[str, msgspec.Raw])
    return _raw({**outer, **values})


def _raw(value: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _source(given: str, what: str) -> bytes:
    if given in ("-", "@-"):
        return _bounded(stdin_for(f"{what}{given}").buffer, f"{what}{given}")
    path = Path(given[1:])
    try:
        with path.open("rb") as file:
            return _bounded(file, f"{what}{given}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidArgumentError(
            f"{what}{given}: cannot read {str(path)!r}: {reason}", hint="name a file that can be read", path=str(path)
        ) from None


def _bounded(file: BinaryIO, what: str) -> bytes:
    """All of `file`, which may be a device or a pipe that never ends."""
    data = file.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        raise PayloadTooLargeError(
            f"{what} is over {MAX_LINE_BYTES:,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}",
            hint="keep large data in a file and pass its path", limit_bytes=MAX_PAYLOAD_BYTES,
        )  # fmt: skip
    return data


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{what}: byte {error.start + 1} is not UTF-8 text", hint="give it as UTF-8"
        ) from None


def _checked(data: bytes, what: str) -> msgspec.Raw:
    """`data`, known to be JSON, and otherwise untouched: no number loses a digit on the way."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        raise InvalidArgumentError(f"{what} is empty where JSON was expected", hint=EXAMPLES)
    try:
        msgspec.json.decode(data)
        return msgspec.Raw(data.strip())
    except RecursionError:
        raise InvalidArgumentError(
            f"{what} is nested too deeply to be read", hint="nest lists and objects in fewer levels"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # What is no text has no characters to count.
        text = _text(data, f"{what} is not JSON")
        reason, hint = _reason(data, text, str(error))
        raise InvalidArgumentError(f"{what} is not JSON: {reason}", hint=hint) from None


def _reason(data: bytes, text: str, message: str) -> tuple[str, str]:
    """What the decoder said without its own words around it, with the place where it stopped, as people count; and the remedy."""
    reason = message.removeprefix("JSON is malformed: ")
    found = re.search(r"\(byte (\d+)\)", reason)
    if "surrogate" in reason or ("truncated" in reason and _HALF.search(data)):
        return "half of a surrogate pair, which is no character", "write both halves, or the character itself"
    if "out of range" in reason:
        return reason[0].lower() + reason[1:], "give a smaller number, or text"
    if found is None:
        return (f"it ends too early (after {len(data)} bytes)" if "truncated" in reason else reason), QUOTES
    # For what follows a whole value the decoder has read one character on.
    trailing = reason.startswith("trailing characters")
    byte = int(found.group(1)) - trailing
    before = data[:byte].decode("utf-8", "replace")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    where = f" at line {line}, column {column}" if "\n" in text else f" at character {column}"
    near = data[byte : byte + 12].decode("utf-8", "replace")
    told = reason[: found.start()].strip() + where + (f", near {near!r}" if near else "")
    bare = trailing or not before.strip() or before.strip().isalpha()
    return told, QUOTES if bare else "correct it there"
