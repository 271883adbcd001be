"""One question to the daemon, put and answered in plain JSON: for what is over sooner than the messages' classes are made.

Only completion asks so. It knows of the protocol that a message is a line, and that the handshake comes first; a daemon that
refuses, or says something else, is one that gives no answer.
"""

from __future__ import annotations

import json
import socket
import time

from wfctl import __version__
from wfctl.protocol import PROTOCOL_MAX, PROTOCOL_MIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

_CHUNK_BYTES = 1 << 16


def peek(path: Path, method: str, params: dict[str, Any], *, end: float) -> Any:
    """The result of a call, as it stands in the JSON: what has its default is left out. OSError where there is none by `end`
    (monotonic seconds), ValueError where it is none that can be read."""
    hello = {"protocol_min": PROTOCOL_MIN, "protocol_max": PROTOCOL_MAX, "version": __version__}
    # Both at once: a daemon that refuses the handshake reads no further.
    lines = _request(1, "hello", hello) + _request(2, method, params)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _wait(sock, end)
        sock.connect(str(path))
        sock.sendall(lines)
        data = b""
        while data.count(b"\n") < 2:
            _wait(sock, end)
            chunk = sock.recv(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionError(f"the daemon hung up before it answered {method!r}")
            data += chunk
    answer = json.loads(data.split(b"\n")[1])
    if "result" not in answer:
        raise ValueError(f"the daemon refused {method!r}")
    return answer["result"]


def _request(id: int, method: str, params: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


def _wait(sock: socket.socket, end: float) -> None:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
