"""What crosses process boundaries, as structs: no sockets, no clock, no state.

`rpc` is the socket's envelope and framing (JSON-RPC 2.0, one object a line). Its verbs and what they answer with are in a room for
each kind (`starts`, `runs`, `changes`, `lists`, `trees`, `streams`, `code`, `daemon` ...); `calls` and `views` collect them.
`channel` is the daemon's talk with its workers (length-prefixed msgpack).
"""

PROTOCOL_MIN = 1
# 2: `if_closed` of a start.
PROTOCOL_MAX = 2
