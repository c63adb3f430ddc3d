"""What a VTN's list of events says anew becomes notifications; what it lacks twice is withdrawn.

Knows what was accepted of the VTN's source before. Refuses to judge: every notification goes the way of
all signals.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vpp.adapters.openadr import polled_topic
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import Operation
from vpp.domain.verdict import FURTHEST_AHEAD
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.events import next_instant
from vpp.ports import Malformed
from vpp.wire.openadr import decode_notification, event_object, wrap_event
from vpp.wire.strict_json import time_text

Event = Mapping[str, object]

_NEEDED = ("id", "objectType", "createdDateTime", "programID", "eventName")
"""What a cancel says besides its times; an event that just fits must not be too long to be cancelled."""


@dataclass(slots=True)
class Polled:
    """What was seen of one VTN in this life; may be lost, then its events are told once more."""

    told: dict[str, str] = field(default_factory=dict)  # event id: digest of what was answered last
    missing: frozenset[str] = frozenset()  # ids that stand here and were not in the list before


@dataclass(frozen=True, slots=True)
class News:
    """One notification to hand over; once it was answered, ``digest`` is noted as told.

    What ``stops`` an event comes first, and finds a place in a full queue. ``message`` is empty where the
    event cannot be written down again.
    """

    event_id: str
    digest: str
    message: bytes
    stops: bool = False


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
    now = desk.clock.now()
    found = [
        _news(event_id, _operation(event_id, standing), event, source=source, now=now)
        for event_id, event in listed.items()
        if event != standing.get(event_id)
    ]
    running = [each for each in withdrawable - listed.keys() if await _goes_on(desk, each)]
    withdrawn = [
        _news(each, Operation.UPDATE, await _withdrawal(desk, each, standing[each]), source=source, now=now)
        for each in running
        if each in polled.missing
    ]
    polled.missing = frozenset(running)
    untold = [each for each in found if polled.told.get(each.event_id) != each.digest]
    return sorted(withdrawn + untold, key=lambda each: not each.stops)


def _news(event_id: str, operation: Operation, event: Event, *, source: str, now: datetime) -> News:
    try:
        message = wrap_event(operation, event)
        digest = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
    except (ValueError, RecursionError):  # NaN, half of a surrogate pair, a thousand lists in each other
        return News(event_id, "", b"")
    signal = decode_notification(message, source=source)
    if isinstance(signal, Malformed):
        return News(event_id, digest, message)
    # What lay too far ahead is told again when it does not any more.
    ahead = "too far ahead" if signal.modified_at > now + FURTHEST_AHEAD else ""
    return News(event_id, digest + ahead, message, signal.cancels)


def _here(event: Event, programs: Mapping[str, str]) -> Event:
    theirs = event.get("programID")
    return (
        {**event, "programID": programs[theirs]} if isinstance(theirs, str) and theirs in programs else event
    )


def _operation(event_id: str, standing: Mapping[str, Event]) -> Operation:
    return Operation.UPDATE if event_id in standing else Operation.CREATE


async def _goes_on(desk: Desk, event_id: str) -> bool:
    history = await desk.store.history(event_id)
    return history is not None and ended_at(history) > desk.clock.now()


async def _withdrawal(desk: Desk, event_id: str, event: Event) -> Event:
    """Return a cancel that a newer version of the VTN takes back: a list may have been cut by mistake."""
    at = next_instant(await desk.history(event_id), desk.clock.now())
    nothing = {"start": "0001-01-01T00:00:00Z", "duration": "PT0S"}
    short = {name: value for name, value in event.items() if name in _NEEDED}
    return {**short, "modificationDateTime": time_text(at), "intervalPeriod": nothing}
