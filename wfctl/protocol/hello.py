"""The handshake, which every connection begins with. What a command does not need to shake hands is in other rooms: each message
that is declared costs every command that loads it a moment."""

from __future__ import annotations

import msgspec

from wfctl.protocol import PROTOCOL_MAX as PROTOCOL_MAX, PROTOCOL_MIN as PROTOCOL_MIN
from wfctl.protocol.call import Call
from wfctl.values.numbers import Number


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The server's half of the handshake. `schema` is the database's version; `limit_bytes` the largest line it reads; `state` the
    folder its files are in."""

    protocol: int
    protocol_min: int
    protocol_max: int
    version: str
    schema: int
    project: str
    pid: int
    limit_bytes: int
    state: str = ""


class Hello(Call, frozen=True):
    """Must be a connection's first call. Out of range: error `incompatible`, and the connection ends."""

    method = "hello"
    answer = Welcome
    protocol_min: Number = PROTOCOL_MIN
    protocol_max: Number = PROTOCOL_MAX
    version: str = ""
