"""What crosses process boundaries, as structs: no sockets, no clock, no state.

`rpc` is the socket's envelope and framing (JSON-RPC 2.0, one object a line), `calls` its verbs, `views` what they
answer with; `channel` is the daemon's talk with its workers (length-prefixed msgpack).
"""

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
