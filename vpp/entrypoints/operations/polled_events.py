"""What a VTN's list of events says anew becomes notifications; what it lacks twice is withdrawn.

Knows what was accepted of the VTN's source before. Refuses to judge: every notification goes the way of
all signals.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vpp.adapters.openadr import polled_topic
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import Operation
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.events import next_instant
from vpp.wire.openadr import event_object, wrap_event
from vpp.wire.strict_json import time_text

Event = Mapping[str, object]


@dataclass(slots=True)
class Polled:
    """What was seen of one VTN in this life; may be lost, then its events are told once more."""

    told: dict[str, str] = field(default_factory=dict)  # event id: digest of what was answered last
    missing: frozenset[str] = frozenset()  # ids that stand here and were not in the list before


@dataclass(frozen=True, slots=True)
class News:
    """One notification to hand over; once it was answered, ``digest`` is noted as told."""

    event_id: str
    digest: str
    message: bytes


async def news_of(
    desk: Desk,
    events: Sequence[Event],
    *,
    source: str,
    programs: Mapping[str, str],
    polled: Polled,
) -> Sequence[News]:
    """Return what a complete list of a VTN's events says that was not told before.

    Args:
        desk: Where accepted signals are, and what time it is.
        events: All events of the VTN, each with an ``id``.
        source: Whose they are.
        programs: The VTN's program ids, and what the programs are called here.
        polled: What was told before; who is missing is noted in it.
    """
    standing: dict[str, Event] = {}
    withdrawable: set[str] = set()
    for receipt, raw in await desk.store.accepted_signals(source):
        standing[receipt.event_id] = event_object(raw.payload)
        withdrawable.discard(receipt.event_id)
        if raw.topic == polled_topic(source) and receipt.operation is not Operation.DELETE:
            withdrawable.add(receipt.event_id)
    listed = {str(each["id"]): _here(each, programs) for each in events}
    found = [
        News(event_id, _digest(event), wrap_event(_operation(event_id, standing), event))
        for event_id, event in listed.items()
        if event != standing.get(event_id) and polled.told.get(event_id) != _digest(event)
    ]
    running = [each for each in withdrawable - listed.keys() if await _goes_on(desk, each)]
    withdrawn = [await _withdrawal(desk, each, standing[each]) for each in running if each in polled.missing]
    polled.missing = frozenset(running)
    return found + withdrawn


def _here(event: Event, programs: Mapping[str, str]) -> Event:
    theirs = event.get("programID")
    return (
        {**event, "programID": programs[theirs]} if isinstance(theirs, str) and theirs in programs else event
    )


def _operation(event_id: str, standing: Mapping[str, Event]) -> Operation:
    return Operation.UPDATE if event_id in standing else Operation.CREATE


def _digest(event: Event) -> str:
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()


async def _goes_on(desk: Desk, event_id: str) -> bool:
    history = await desk.store.history(event_id)
    return history is not None and ended_at(history) > desk.clock.now()


async def _withdrawal(desk: Desk, event_id: str, event: Event) -> News:
    """Return a cancel that a newer version of the VTN takes back: a list may have been cut by mistake."""
    at = next_instant(await desk.history(event_id), desk.clock.now())
    nothing = {"start": "0001-01-01T00:00:00Z", "duration": "PT0S"}
    cancel = {**event, "modificationDateTime": time_text(at), "intervalPeriod": nothing}
    return News(event_id, _digest(cancel), wrap_event(Operation.UPDATE, cancel))
