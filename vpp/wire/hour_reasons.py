"""Why hours of a settlement line are not OK, in words: what a statement, a file and a bundle's check say.

``no reading from A to B`` (not bridged), ``readings from A to B are apart`` (bridged), ``the reading of A is
BAD`` or ``is estimated``, ``a counter began anew at A``: instants in UTC. Knows no store.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from vpp.domain.delivery import ReadingColumns, ReadingFault, counter_track
from vpp.domain.hour_reason import HourFault, HourReason, hour_reason
from vpp.domain.program import MeterOfRecord
from vpp.domain.settlement import SettlementLine
from vpp.wire.strict_json import time_text

Why = tuple[HourReason, ReadingFault | None]
"""Why an hour is not OK, and of a BAD reading why it is not believed, where that is known."""


def hour_reasons(
    line: SettlementLine,
    readings: ReadingColumns,
    site: int,
    meter: MeterOfRecord,
    faults: Mapping[datetime, ReadingFault] = MappingProxyType({}),
) -> Sequence[Why | None]:
    """Return, for each hour of a line, why it is not OK; None where it is.

    ``site`` is the home's position in the readings, which reach an hour beyond the event or farther;
    ``faults`` says of BAD readings, by their instant, why they are not believed, as far as that is known.
    """
    track = counter_track(readings, meter)
    found: list[Why | None] = []
    for hour in line.hours:
        stretch = None if line.settled is None else line.settled.overlap(hour.hour)
        why = None if stretch is None else hour_reason(track, site, stretch)
        of_reading = why is not None and why.fault is HourFault.BAD_READING
        found.append(None if why is None else (why, _fault(faults, why.from_at) if of_reading else None))
    return found


def _fault(faults: Mapping[datetime, ReadingFault], at: datetime | None) -> ReadingFault | None:
    return None if at is None else faults.get(at)


def in_words(why: Why | None) -> str | None:
    """Return a reason as people read it; None where there is none."""
    if why is None:
        return None
    reason, fault = why
    return _in_words(reason) + ("" if fault is None else f" ({fault.replace('_', ' ')})")


def _in_words(reason: HourReason) -> str:
    since = None if reason.from_at is None else time_text(reason.from_at)
    until = None if reason.until_at is None else time_text(reason.until_at)
    match reason.fault:
        case HourFault.BAD_READING:
            return f"the reading of {since} is BAD"
        case HourFault.ESTIMATED_READING:
            return f"the reading of {since} is estimated"
        case HourFault.COUNTER_RESET:
            return f"a counter began anew at {since}"
        case HourFault.READINGS_APART:
            return f"readings{_between(since, until)} are apart"
        case HourFault.NO_READING:
            return f"no reading{_between(since, until)}"


def _between(since: str | None, until: str | None) -> str:
    if since is None:
        return "" if until is None else f" before {until}"
    return f" after {since}" if until is None else f" from {since} to {until}"
