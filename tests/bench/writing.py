"""What it costs to write an order down, without the rest of the daemon: making and packing its units, and writing them.

    python tests/bench/writing.py [ORDERS] [UNITS_A_COMMIT ...]

Processor time in microseconds an order; `PYTHONPATH` says of which tree. The least of some rounds: what else runs makes it more.
"""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from wfd.core import records as r, stimuli as s
from wfd.core.state import Raw
from wfd.engine.batch import Batch
from wfd.engine.memory import Live
from wfd.engine.unit import unit_of
from wfd.store import apart, database

AT_ONCE = 100
ROUNDS = 5
NOW = 1_700_000_000_000


class _Code:
    """As much of a catalog as a batch asks for."""

    source_hash = "3dbe9092515e"

    def owner_of(self, workflow_type: str) -> _Code:
        return self


class Orders:
    """Decides orders as the engine does; `seconds` is what turning decisions into packed units has taken."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._rev = 0
        self._key = itertools.count(1).__next__

    def _batch(self) -> Batch:
        return Batch(NOW, cast(Any, _Code()))

    def _packed(self, batch: Batch) -> bytes:
        began = time.process_time()
        unit, self._rev = unit_of([batch], self._rev)
        packed = database.packed(unit)
        self.seconds += time.process_time() - began
        return packed

    def _open(self, batch: Batch, name: str, kind: str, handler: str, given: bytes, parent: Live | None = None) -> Live:
        key = self._key()
        live = batch.open(
            key=key, run_id=f"01JF{key:022d}", workflow_id=name, workflow_type=kind, handler=handler, input=given,
            timeout_ms=None, parent=parent,
        )  # fmt: skip
        live.source = _Code.source_hash
        return live

    def one(self, number: int) -> Iterator[bytes]:
        """The units of an order, each decided when it is asked for."""
        batch = self._batch()
        order = self._open(batch, f"order-{number}", "Order", "place", b'{"order_id":"%d","amount":9.99}' % number)
        yield self._packed(batch)
        batch = self._batch()
        name = f"payment-{number}"
        begun = r.ChildStarted("child:Payment:495ab545eaf16667:0", f"01JF{0:022d}", name, "Payment", Raw(b'{"id":"1"}'))
        batch.decide(order, s.OperationAsked(1, 1, begun))
        payment = self._open(batch, name, "Payment", "begin", b'{"amount":9.99}', order)
        yield self._packed(batch)
        put = {"order_id": b'"%d"' % number, "amount": b"9.99"}
        yield self._step(order, s.StepReturned(1, 1, "wait", put=put))
        yield self._step(payment, s.StepReturned(1, 1, "step", "process", put={"amount": b"9.99"}))
        batch = self._batch()
        task = "task:flows.charge:676a234c2eaaa4d0:0"
        batch.decide(
            payment, s.OperationAsked(2, 1, r.TaskStarted(task, "charge", 1, Raw(b'{"amount":9.99}'))), cause=True
        )
        batch.decide(payment, s.OperationAsked(2, 1, r.TaskCompleted(task, "charge", 1, Raw(b'"txn-1"'))), cause=True)
        yield self._packed(batch)
        yield self._step(payment, s.StepReturned(2, 1, "step", "done", put={"txn_id": b'"txn-1"'}))
        batch = self._batch()
        batch.decide(order, s.EventArrived("paid", Raw(b'{"txn_id":"txn-1"}'), name, report=True))
        sent = r.ParentEventSent("parent_event:paid:490be700adc0ae2a:0", "paid", "dispatched")
        batch.decide(payment, s.OperationAsked(3, 1, sent), cause=True)
        yield self._packed(batch)
        yield self._step(payment, s.StepReturned(3, 1, "complete", value=b'"txn-1"'))
        done = s.StepReturned(2, 1, "complete", value=b'"txn-1"', put={"txn_id": b'"txn-1"'})
        yield self._step(order, done)

    def _step(self, live: Live, stimulus: s.StepReturned) -> bytes:
        batch = self._batch()
        assert batch.decide(live, stimulus).records
        return self._packed(batch)

    def units(self, orders: int) -> Iterator[bytes]:
        """The units of so many orders, AT_ONCE of them under way at a time."""
        under_way = [self.one(number) for number in range(min(AT_ONCE, orders))]
        number = len(under_way)
        while under_way:
            for place, order in reversed(list(enumerate(under_way))):
                if (unit := next(order, None)) is not None:
                    yield unit
                elif number < orders:
                    under_way[place] = self.one(number)
                    number += 1
                else:
                    del under_way[place]


def written(units: list[bytes], at_once: int) -> float:
    """Seconds of processor time that writing them takes, so many in a commit."""
    requests = [database.commit(units[first : first + at_once]) for first in range(0, len(units), at_once)]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        target = database.Database(database.Setting(str(Path(folder) / "w.db"), 1_000, "full"))
        target.open()
        began = time.process_time()
        for request in requests:
            if error := database.failure(target.obey(request)):
                sys.exit(error.message)
        took = time.process_time() - began
        target.close()
    return took


def main(orders: int = 2_000, *sizes: int) -> None:
    gc.set_threshold(100_000)
    apart.use_alone()  # as the process that writes for the daemon
    made: list[float] = []
    units: list[bytes] = []
    for _ in range(ROUNDS):
        source = Orders()
        units = list(source.units(orders))
        made.append(source.seconds)
    gc.freeze()
    size = sum(map(len, units))
    print(
        f"units {len(units) / orders:.1f}, {size / orders:,.0f} B; made and packed in {min(made) / orders * 1e6:.0f} us"
    )
    for at_once in sizes or (1, 20, 100):
        some = units[: len(units) // 10] if at_once == 1 else units
        took = min(written(some, at_once) for _ in range(ROUNDS))
        print(f"{at_once:4} a commit: {took / len(some) * len(units) / orders * 1e6:6.0f} us")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
