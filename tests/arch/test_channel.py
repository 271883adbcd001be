"""What the daemon and its workers say to each other has a number, and no change of it goes without another one."""

from __future__ import annotations

import inspect
import zlib

import msgspec

from wfctl.protocol import channel, frames
from wfctl.values import failure, runinfo, signature

# With CHANNEL raised, what the test says comes here.
FINGERPRINT = (2, 2418837870)


def test_a_change_of_what_is_said_raises_its_number() -> None:
    told = [
        (struct.__name__, struct.__struct_config__.tag, [*map(str, struct.__bases__)], inspect.get_annotations(struct))
        for module in (channel, failure, runinfo, signature)
        for _, struct in sorted(vars(module).items())
        if inspect.isclass(struct) and issubclass(struct, msgspec.Struct) and struct.__module__ == module.__name__
    ]
    assert len(told) > 30
    assert all(isinstance(kind, str) for *_, fields in told for kind in fields.values())
    assert (frames.CHANNEL, zlib.crc32(repr(told).encode())) == FINGERPRINT
