"""`hello`: the handshake. Refuses a peer of another protocol, and says which side is behind."""

from __future__ import annotations

import msgspec

from wfctl.errors import IncompatibleError
from wfctl.protocol.calls import Hello, Welcome


def greet(welcome: Welcome, call: Hello) -> Welcome:
    """`welcome` with the highest protocol both speak, or IncompatibleError."""
    if call.protocol_max < welcome.protocol_min:
        behind, hint = "this wfctl is too old", f"upgrade wfctl to {welcome.version}, the daemon's version"
    elif call.protocol_min > welcome.protocol_max:
        behind, hint = "the daemon is too old", "wfctl down && wfctl up, to start it from the upgraded wfctl"
    else:
        return msgspec.structs.replace(welcome, protocol=min(call.protocol_max, welcome.protocol_max))
    raise IncompatibleError(
        f"{behind}: wfctl {call.version or '(unknown version)'} speaks protocol "
        f"{_span(call.protocol_min, call.protocol_max)}, the daemon {welcome.version} "
        f"speaks {_span(welcome.protocol_min, welcome.protocol_max)}",
        hint=hint,
        protocol_min=welcome.protocol_min,
        protocol_max=welcome.protocol_max,
        version=welcome.version,
    )


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
