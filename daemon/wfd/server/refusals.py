"""What a peer is told instead of an answer, where that is no verb's business."""

from __future__ import annotations

import logging
import os

from wfctl.errors import ConflictError, DaemonDownError, InvalidArgumentError, WfctlError

log = logging.getLogger("wfd.server")


def stopping() -> DaemonDownError:
    return DaemonDownError("the daemon is stopping", hint="wfctl up", pid=os.getpid())


def told(error: BaseException, of: str) -> WfctlError:
    """What `error`, raised where a call was served, is to its caller; one that nobody foresaw is logged."""
    if isinstance(error, WfctlError):
        return error
    log.error("%s failed", of, exc_info=error)
    return WfctlError(f"{of}: {type(error).__name__}: {error}", hint="wfctl logs")


def too_many_waits(most: int) -> ConflictError:
    return ConflictError(
        f"{most:,} calls wait on this connection already", hint="wait for fewer at once, or on a second connection"
    )


def invalid_params(method: str, error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(f"parameters of {method!r}: {str(error).replace('`', '')}", method=method)
