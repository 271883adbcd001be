"""The whole numbers that a call can hold. Any other is refused where the call is decoded: behind that nobody meets one which the
database, a clock or another program's JSON has no room for.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

# As far as every reader of JSON counts exactly. Twice that, or one more, is still a number of 64 bits.
MOST = (1 << 53) - 1

# What older daemons have kept.
Long = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Number = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]
Quantity = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
