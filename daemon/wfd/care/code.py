"""Checks of what runs the user's code: the workers' interpreter, and the modules, loaded as a worker loads them."""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import wfctl
from wfctl.errors import IncompatibleError
from wfctl.protocol import blame
from wfctl.protocol.care import Check
from wfctl.protocol.channel import Importing, Load, Loaded, Problem, to_daemon_frames
from wfctl.protocol.frames import FrameBuffer, pack
from wfd.care.finding import fail, ok, warn
from wfd.config import Config
from wfd.runtime.environment import of_workers
from wfd.runtime.exits import describe_exit
from wfd.runtime.interpreter import ASK_VERSION, REMEDY, too_old

LOAD_S = 30.0
# How long one that has hung up may take to be gone.
ENDED_S = 1.0
_READ_BYTES = 1 << 16
_ASK = "import wfctl, wfd.worker.main, platform; print(wfctl.__version__, platform.python_version())"


def python() -> Check:
    """What runs wfctl and its daemon. Older Pythons do not get as far as this."""
    return ok("python", f"wfctl {wfctl.__version__} on Python {platform.python_version()} ({sys.executable})")


def interpreter(config: Config) -> Check:
    """The workers' Python has this wfctl."""
    given = config.python
    remedy = f"{given} -m pip install wfctl=={wfctl.__version__}, or correct [workflows] python in wfctl.toml"
    try:
        done = subprocess.run(
            [str(given), "-P", "-c", _ASK], cwd=config.project, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=LOAD_S, check=False,
        )  # fmt: skip
    except OSError as error:
        return fail("interpreter", f"{given} cannot be run: {error.strerror}", remedy)
    except subprocess.TimeoutExpired:
        return fail("interpreter", f"{given} does not import wfctl within {LOAD_S:g} s", remedy)
    if done.returncode != 0 and (old := _too_old(given)):
        return fail("interpreter", old, REMEDY)
    if done.returncode != 0:
        return fail("interpreter", f"{given} cannot import wfctl: {_last(done.stderr)}", remedy)
    version, _, its_python = done.stdout.strip().partition(" ")
    if version != wfctl.__version__:
        return warn("interpreter", f"{given} has wfctl {version}, the daemon is {wfctl.__version__}", remedy)
    return ok("interpreter", f"workers run under {given} (Python {its_python})")


def _too_old(interpreter: Path) -> str:
    try:
        done = subprocess.run(
            [str(interpreter), *ASK_VERSION], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=LOAD_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return too_old(interpreter, done.stdout)


def modules(config: Config) -> Check:
    """The project's modules, imported in a worker of their own that then leaves. For when no daemon has loaded them."""
    given_up: dict[str, Problem] = {}
    loaded = _loaded(config, given_up)
    while isinstance(loaded, Problem):
        given_up[loaded.module] = loaded
        loaded = _loaded(config, given_up)
    if isinstance(loaded, str):
        return fail("modules", f"the modules cannot be loaded: {loaded}", "wfctl doctor, once the interpreter is well")
    problems = [*given_up.values(), *loaded.problems]
    if problems:
        first = problems[0]
        place = f"{first.file}:{first.line}" if first.line else first.file
        where = f" ({place})" if place and place != first.module else ""
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        return fail("modules", f"{first.module}: {first.message}{where}{more}", first.hint or "correct that line")
    types = ", ".join(sorted(spec.workflow_type for spec in loaded.types))
    return ok("modules", f"{', '.join(config.modules)}: {types or 'no workflows'}")


def _loaded(config: Config, without: Collection[str]) -> Loaded | Problem | str:
    """What a worker says of the modules; or which one ended it, or did not end; or why it says nothing."""
    ours, theirs = socket.socketpair()
    # A file takes whatever the modules print while they are imported; a pipe that nobody empties would hold them up.
    with ours, tempfile.TemporaryFile() as words:
        try:
            worker = subprocess.Popen(
                [str(config.python), "-P", "-m", "wfd.worker", "--fd", str(theirs.fileno())], cwd=config.project,
                stdin=subprocess.DEVNULL, stdout=words, stderr=words, pass_fds=(theirs.fileno(),),
                env=of_workers(),
            )  # fmt: skip
        except OSError as error:
            return f"{config.python}: {error.strerror}"
        finally:
            theirs.close()
        try:
            answer = _ask(ours, config, without)
            code = _ended(worker) if isinstance(answer, Importing) else None
        finally:
            # One that is busy with an import that never ends is not waited for.
            worker.kill()
            worker.wait()
        if isinstance(answer, Loaded):
            return answer
        words.seek(0)
        said = _last(words.read().decode("utf-8", "replace"))
        if answer is not None:
            last = [said] if said else []
            return blame.endless(answer, LOAD_S) if code is None else blame.ended(answer, describe_exit(code), last)
        return said or f"not within {LOAD_S:g} s"


def _ended(worker: subprocess.Popen[bytes]) -> int | None:
    """The exit code of one that has hung up; None where it goes on."""
    try:
        return worker.wait(ENDED_S)
    except subprocess.TimeoutExpired:
        return None


def _ask(channel: socket.socket, config: Config, without: Collection[str]) -> Loaded | Importing | None:
    """What it offers, else what it was importing last."""
    importing: Importing | None = None
    modules = [name for name in config.modules if name not in without]
    deadline = time.monotonic() + LOAD_S
    frames: FrameBuffer = to_daemon_frames()
    try:
        channel.sendall(pack(Load(str(config.project), modules, [str(one) for one in config.path], 1)))
        while (left := deadline - time.monotonic()) > 0:
            channel.settimeout(left)
            data = channel.recv(_READ_BYTES)
            if not data:
                break
            found: list[Any] = frames.feed(data)
            for message in found:
                if isinstance(message, Loaded):
                    return message
                if isinstance(message, Importing):
                    importing = message if message.module else None
    except (OSError, IncompatibleError):
        pass  # it has gone or talks otherwise; its last words say why
    return importing


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
