"""Writes a file whole or not at all, and none over another one unless that was asked for."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from wfctl.errors import ConflictError, UsageError
from wfctl.values.causes import cannot


def write_new(file: str, text: str, *, force: bool) -> Path:
    """`text` in `file`; the absolute path. What is there is only written over with `force`: a file is replaced, and a link, a
    device or a pipe stays what it is and is written to.

    Raises ConflictError, DeniedError, UsageError or StorageError; a file that was there is then as it was.
    """
    path = Path(os.path.abspath(os.path.expanduser(file)))
    try:
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder", hint="name a file in it", path=str(path))
        if not os.path.isdir(path.parent):
            raise UsageError(f"there is no folder {path.parent}", hint="make it, or name another file", path=str(path))
        there = _mode(path)
        if there is None or stat.S_ISREG(there):
            _place(path, text, force=force)
        elif force:
            path.write_text(text, encoding="utf-8")
        else:
            raise FileExistsError
    except FileExistsError:
        hint = "name another file, or add --force to write over it"
        raise ConflictError(f"{path} exists", hint=hint, path=str(path)) from None
    except OSError as error:
        raise cannot("write", path, error, otherwise="name another file") from error
    return path


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None


def _place(path: Path, text: str, *, force: bool) -> None:
    """Give the file its name once all of it is on disk. FileExistsError where there is one, without `force`."""
    part = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name[:64]}-", delete=False
        ) as out:
            part = out.name
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(part, 0o666 & ~_umask())
        if force:
            os.replace(part, path)
        else:
            # A link fails where a file of that name came into being meanwhile.
            os.link(part, path)
    finally:
        if part:
            Path(part).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
