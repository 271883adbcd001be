"""`python -P -m wfd.care VERB --project PATH ...`: started by the command line, which may not open a database itself.

Says on stdout what `wfctl.protocol.care` has, and exits with 0 whenever it has said it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec

from wfctl.errors import WfctlError
from wfctl.protocol.calls import BackedUp, Copied
from wfctl.protocol.care import Said
from wfctl.values.causes import out_of_files
from wfctl.values.project import find_config
from wfd.care.doctor import examine
from wfd.care.restore import restore
from wfd.config import load
from wfd.store.copy import Copy


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    # As an exception, so that what is half done is cleared away.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        options.run(options)
    except WfctlError as error:
        _say(Said(error=error.to_data()))
    except OSError as error:
        if (full := out_of_files(error)) is None:
            raise
        _say(Said(error=full.to_data()))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wfd.care", description="Looks after a project's state, for wfctl.")
    verbs = parser.add_subparsers(required=True)
    for name, run in (("doctor", _doctor), ("backup", _backup), ("restore", _restore)):
        verb = verbs.add_parser(name)
        verb.set_defaults(run=run)
        verb.add_argument("--project", help="as of wfctl")
        if name == "doctor":
            verb.add_argument("--fix", action="store_true")
            verb.add_argument("--load-modules", action="store_true")
        else:
            verb.add_argument("file", type=Path)
        if name == "backup":
            verb.add_argument("--force", action="store_true")
    return parser


def _doctor(options: argparse.Namespace) -> None:
    _answer(examine(options.project, fix=options.fix, load_modules=options.load_modules))


def _backup(options: argparse.Namespace) -> None:
    copied = Copy(load(find_config(options.project)).database, options.file, force=options.force).run(_progress)
    _answer(msgspec.convert(copied, BackedUp, from_attributes=True))


def _restore(options: argparse.Namespace) -> None:
    restore(load(find_config(options.project)), options.file, _progress, _answer)


def _answer(answer: msgspec.Struct) -> None:
    _say(Said(answer=msgspec.Raw(msgspec.json.encode(answer))))


def _progress(copied: int, total: int) -> None:
    _say(Said(progress=Copied(copied=copied, total=total)))


def _say(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
