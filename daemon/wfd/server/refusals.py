"""What a peer is told that is no verb's business, mostly instead of an answer."""

from __future__ import annotations

import logging
import os
from typing import Any

from wfctl.errors import ConflictError, DaemonDownError, InvalidArgumentError, PayloadTooLargeError, WfctlError
from wfctl.protocol import rpc
from wfctl.protocol.rpc import MAX_ANSWER_BYTES
from wfd.runtime.promise import Promise

log = logging.getLogger("wfd.server")


def stopping() -> DaemonDownError:
    return DaemonDownError("the daemon is stopping", hint="wfctl up", pid=os.getpid())


def kept(id: int | str, promise: Promise[Any], of: str) -> bytes:
    """The line that tells what has become of a promise."""
    error = promise.error
    if error is None:
        try:
            return rpc.response(id, promise.value)
        except Exception as raised:
            error = raised
    return rpc.failure(id, told(error, of))


def told(error: BaseException, of: str) -> WfctlError:
    """What `error`, raised where a call was served, is to its caller; one that nobody foresaw is logged."""
    if isinstance(error, WfctlError):
        return error
    log.error("%s failed", of, exc_info=error)
    return WfctlError(f"{of}: {type(error).__name__}: {error}", hint="wfctl logs")


def fitting(line: bytes, method: str) -> bytes:
    """`line`, which answers a call or is an item of its stream; PayloadTooLargeError where its reader would break off in the
    middle, and with that all other calls on the connection."""
    if len(line) > MAX_ANSWER_BYTES:
        raise PayloadTooLargeError(
            f"what {method!r} answers is {len(line):,} bytes; the limit is {MAX_ANSWER_BYTES:,}",
            hint="ask for less at once",
            size_bytes=len(line),
            limit_bytes=MAX_ANSWER_BYTES,
        )
    return line


def too_many_waits(most: int) -> ConflictError:
    return ConflictError(
        f"{most:,} calls wait on this connection already", hint="wait for fewer at once, or on a second connection"
    )


def invalid_params(method: str, error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(f"parameters of {method!r}: {str(error).replace('`', '')}", method=method)
