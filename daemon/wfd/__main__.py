"""`wfd`: the daemon in the foreground, or with `--ready-fd` as `wfctl up` starts it in the background.

With `--ready-fd N` exactly one line of JSON is written to that descriptor, `{"ready": {...}}` or `{"error": {...}}`,
before it is closed; after it the daemon no longer depends on the terminal it was started from.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import stat
import sys
import traceback

import msgspec

import wfctl
from wfctl.errors import UsageError, WfctlError
from wfctl.values.causes import out_of_files
from wfctl.values.project import find_config
from wfd.app import Began, serve
from wfd.config import load


def main(arguments: list[str] | None = None) -> int:
    _have_descriptors()
    options = _parser().parse_args(arguments)
    faulthandler.enable()
    try:
        teller = Teller(options.ready_fd)
    except WfctlError as error:
        return _fail(error, None)
    try:
        config = load(find_config(options.project))

        def ready(began: Began) -> None:
            teller.tell({"ready": {"pid": os.getpid(), "socket": str(config.socket), **msgspec.to_builtins(began)}})
            if options.ready_fd is not None:
                _leave_terminal()
            else:
                # Who reads that may be gone, which costs no daemon.
                with contextlib.suppress(OSError):
                    print(f"wfd is ready for {config.project} at {config.socket}", file=sys.stderr, flush=True)

        serve(config, ready, stderr=options.ready_fd is None)
    except WfctlError as error:
        return _fail(error, teller)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if (told := out_of_files(error)) is not None:
            return _fail(told, teller)
        traceback.print_exc()
        return _fail(WfctlError(f"{type(error).__name__}: {error}", hint="report this as a bug"), teller)
    return 0


def _have_descriptors() -> None:
    """Open the standard descriptors that are closed: else a file or a socket of ours is one, and who prints writes into it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wfd",
        description="The wfctl daemon of one project, in the foreground. 'wfctl up' starts it in the background.",
    )
    parser.add_argument(
        "--project", metavar="PATH", help="a folder with a wfctl.toml, or that file (default: as wfctl)"
    )
    parser.add_argument("--ready-fd", metavar="N", type=int, help="write one line of JSON there when ready or failed")
    parser.add_argument("--version", action="version", version=f"wfd {wfctl.__version__}")
    return parser


class Teller:
    """Tells whoever started us, once, how the start went. Without a descriptor it tells nobody."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            try:
                os.set_inheritable(fd, False)
            except (OSError, OverflowError):
                raise UsageError(f"--ready-fd {fd} is not an open descriptor") from None

    def tell(self, what: object) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            with open(fd, "wb") as pipe:
                pipe.write(msgspec.json.encode(what) + b"\n")
        except OSError:
            pass  # who started us has gone: a daemon serves all the same


def _fail(error: WfctlError, teller: Teller | None) -> int:
    if teller is not None:
        teller.tell({"error": error.to_data()})
    print(f"error[{error.code}]: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {'try' if error.hint.startswith('wfctl ') else 'hint'}: {error.hint}", file=sys.stderr)
    return error.exit_status


def _leave_terminal() -> None:
    """Let go of the standard descriptors, except where they are files: a terminal or pipe may go away."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        try:
            kept = stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            kept = False
        if not kept:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)


if __name__ == "__main__":
    sys.exit(main())
