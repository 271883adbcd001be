"""A daemon that is only its protocol: a thread that answers each verb with what the test put there.

`answers` maps a verb to a value, an error to raise, or a function of the call. For a stream the function is a generator whose
return value is the final answer. `calls` keeps what was asked.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from wfctl import __version__
from wfctl.errors import WfctlError
from wfctl.protocol import rpc
from wfctl.protocol.calls import CALLS, PROTOCOL_MAX, Call, Welcome

NOW = 1_795_402_800_000  # 2026-11-23T03:00:00Z


class HangUp(Exception):
    """Raised by an answer: the connection is dropped without a word."""


def welcome(**changes: Any) -> Welcome:
    facts = {
        "protocol": PROTOCOL_MAX,
        "protocol_min": 1,
        "protocol_max": PROTOCOL_MAX,
        "version": __version__,
        "schema": 1,
        "project": "/shop",
        "pid": 4121,
        "limit_bytes": 1 << 20,
    }
    return Welcome(**{**facts, **changes})


class FakeDaemon:
    def __init__(self, path: Path, answers: dict[str, Any]) -> None:
        self.path = path
        self.answers = {"hello": welcome(), **answers}
        self.calls: list[Call] = []
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> FakeDaemon:
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away as a killed process does: connections end, the socket's name stays."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def remove(self) -> None:
        os.unlink(self.path)

    def asked(self, method: str) -> list[Any]:
        return [call for call in self.calls if call.method == method]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        buffer = rpc.LineBuffer()
        with sock, contextlib.suppress(OSError, HangUp):
            while data := sock.recv(1 << 16):
                for line in buffer.feed(data):
                    self._one(sock, rpc.parse(line))

    def _one(self, sock: socket.socket, message: rpc.Envelope) -> None:
        if message.id is None or message.method is None:
            return
        kind = CALLS[message.method]
        call = msgspec.json.decode(message.params, type=kind)
        self.calls.append(call)
        answer = self.answers.get(message.method, WfctlError(f"the test has no answer to {message.method}"))
        try:
            value = answer(call) if callable(answer) else answer
            if isinstance(value, WfctlError):
                raise value
            if inspect.isgenerator(value):
                value = self._stream(sock, message.id, value)
        except WfctlError as error:
            sock.sendall(rpc.failure(message.id, error))
        else:
            sock.sendall(rpc.response(message.id, value))

    def _stream(self, sock: socket.socket, id: int | str, items: Iterator[Any]) -> Any:
        while True:
            try:
                item = next(items)
            except StopIteration as end:
                return end.value
            sock.sendall(rpc.stream_item(id, item))
