"""What no command expects: exceptions that are no errors of this product, as ones that are. A bug among them is told as such."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from wfctl import __version__
from wfctl.errors import InvalidArgumentError, StorageError, UsageError, WfctlError
from wfctl.values.causes import cannot, out_of_files

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)


def explained(error: Exception) -> WfctlError | None:
    """The error of ours that tells what kept the system from doing it; None where it may be a bug."""
    if (full := out_of_files(error)) is not None:
        return full
    if not isinstance(error, OSError):
        return None
    if error.errno in _NO_ROOM:
        return _unwritten(error)
    if isinstance(error, FileNotFoundError):
        return _nowhere()
    if error.filename is not None and error.errno in _NOT_ALLOWED:
        path = Path(os.path.abspath(os.fsdecode(error.filename)))
        return cannot("use", path, error, otherwise="name another")
    if error.filename is not None and error.errno in _NO_PATH:
        name = os.fsdecode(error.filename)
        return InvalidArgumentError(f"{name!r} cannot be used: {error.strerror}", hint="name another", path=name)
    return None


def terminal_is_gone(error: OSError) -> bool:
    import termios

    if error.errno != errno.EIO:
        return False
    for number in (1, 2, 0):
        try:
            termios.tcgetattr(number)
        except termios.error as cause:
            if cause.args[0] == errno.EIO:
                return True
    return False


def _unwritten(error: OSError) -> StorageError:
    """A disk that is full is no bug of ours. Without a file's name it is a stream that could not take what was written to it."""
    what = "what was asked for" if error.filename is None else os.fsdecode(error.filename)
    return StorageError(
        f"{what} cannot be written: {error.strerror}; what was changed stands",
        hint="make room where it goes, and look again",
    )


def _nowhere() -> UsageError | None:
    """A relative path means nothing in a working directory that was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return UsageError("the working directory does not exist any more", hint="cd into a folder that is there")
    return None


def unexpected(error: Exception, *, debug: bool, arguments: list[str]) -> WfctlError:
    """A bug: told in one line, with everything needed to find it in a file."""
    import tempfile
    import traceback

    trace = "".join(traceback.format_exception(error))
    last = traceback.format_exception_only(error)[-1].strip()
    if debug:
        sys.stderr.write(trace)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="wfctl-report-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"wfctl {__version__} on Python {sys.version}\narguments: {arguments!r}\n\n{trace}")
    except OSError as cause:
        return WfctlError(
            f"this should not happen: {last}\nno report could be written: {cause.strerror or cause}",
            hint="run it again with --debug, and send what it prints to the authors of wfctl",
        )
    return WfctlError(
        f"this should not happen: {last}\nthe report is in {file.name}",
        hint="send the report to the authors of wfctl, or run it again with --debug",
        report=file.name,
    )
