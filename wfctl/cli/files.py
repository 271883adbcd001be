"""Writes a file whole or not at all, and none over another one unless that was asked for."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from wfctl.errors import ConflictError, DeniedError, NotFoundError, StorageError, UsageError


def write_new(file: str, text: str, *, force: bool) -> Path:
    """`text` in `file`; the absolute path. A file that is there is replaced only with `force`.

    Raises ConflictError, NotFoundError, DeniedError, UsageError or StorageError; what was there is then as it was.
    """
    path = Path(os.path.abspath(os.path.expanduser(file)))
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file in it", path=str(path))
    if not path.parent.is_dir():
        raise NotFoundError(f"no folder {path.parent}", hint="make it, or name another file", path=str(path))
    if not force and os.path.lexists(path):
        raise _taken(path)
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
    except FileExistsError:
        raise _taken(path) from None
    except PermissionError as error:
        raise DeniedError(f"{path} cannot be written: {error.strerror}", path=str(path)) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}", path=str(path)) from error
    finally:
        if part:
            Path(part).unlink(missing_ok=True)
    return path


def _taken(path: Path) -> ConflictError:
    return ConflictError(f"{path} exists", hint="name another file, or add --force to replace it", path=str(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
