"""Why the system did not do what was asked of it, as an error of this product: its class, and a remedy by the cause."""

from __future__ import annotations

import errno
import os
import pwd
import resource
from pathlib import Path

from wfctl.errors import DeniedError, StorageError, WfctlError
from wfctl.values.commands import quoted

_NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a shell allows as a rule.
USUAL_FILES = 1_024


def cannot(doing: str, path: Path, error: OSError, *, otherwise: str) -> WfctlError:
    """`error` that came of `doing` something (`write the log`) at `path`. `otherwise` is what helps whatever the cause is:
    `name another file`."""
    message = f"cannot {doing} {path}: {error.strerror or error}"
    facts = {"path": str(path)}
    if error.errno in _NO_MORE_FILES:
        return StorageError(message, hint=_more_files(error), **facts)
    if error.errno == errno.EROFS:
        return DeniedError(message, hint=f"mount its file system for writing, or {otherwise}", **facts)
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedError(message, hint=f"{_permission(path)}, or {otherwise}", **facts)
    if error.errno in _NO_ROOM:
        return StorageError(message, hint=f"make room there, or {otherwise}", **facts)
    return StorageError(message, hint=otherwise, **facts)


def out_of_files(error: BaseException | None) -> StorageError | None:
    """What to tell where `error`, or what it came of, is that no more files may be open; None where it is not."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
            at = "" if error.filename is None else f": {os.fsdecode(error.filename)} cannot be opened"
            return StorageError(f"{(error.strerror or str(error)).lower()}{at}", hint=_more_files(error))
        error = error.__cause__ or error.__context__
    return None


def lost_link(path: Path) -> StorageError | None:
    """What to tell of `path` where it, or a folder it is in, is a link to what is not there; None where that is not so."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.parent / place.readlink()
            hint = "mount or make that folder, or remove the link"
            return StorageError(f"{place} is a link, and {target} is not there", hint=hint, path=str(place))
    return None


def _more_files(error: OSError) -> str:
    if error.errno == errno.ENFILE:
        return "the system has no more: end programs that have many files open, or raise fs.file-max"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = USUAL_FILES if hard == resource.RLIM_INFINITY else min(max(2 * soft, USUAL_FILES), hard)
    if wanted > soft:
        return f"raise the limit of {soft} and try again: ulimit -n {wanted}"
    return f"start it where more than {soft} may be open (ulimit -Hn, LimitNOFILE= of a unit)"


def _permission(path: Path) -> str:
    """What lets this process at `path`, or at the nearest above it that can be looked at."""
    for place in (path, *path.parents):
        try:
            facts = place.stat()
        except OSError:
            continue
        if facts.st_uid == os.geteuid():
            return f"chmod u+rw{'x' if place.is_dir() else ''} {quoted(str(place))}"
        return f"use the account that {place} belongs to ({_name(facts.st_uid)})"
    return "see to the permissions there"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
