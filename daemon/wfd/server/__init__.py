"""The socket: who may connect, what they say, and who answers. Knows nothing of workflows; a `Backend` does."""

from wfd.server.backend import Backend, Stream
from wfd.server.server import Server

__all__ = ["Backend", "Server", "Stream"]
