"""Whether a home's readings can be true: judged once, when they come, and stored with them.

Every source is judged alike. Which of two gateways or meters counts is not decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from vpp.domain.delivery import MeterReading, Quality, ReadingFault
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import WattHours, Watts

PLAUSIBLE_POWER_PERCENT = 105
"""More energy than rated power could move, this margin included, is not believed."""
SERVICE_POWER = Watts(96_000)
"""400 A at 240 V, the largest service of a single home: a grid meter that counts more is not believed."""
CLOCK_TOLERANCE = timedelta(seconds=30)

_WATT_HOUR = 360_000  # in seconds of one watt at 1 %, so that a level is a whole number


def late_after(close_after_days: int) -> timedelta:
    """Return the age from which on a reading is marked late when it arrives.

    Then every event of up to a day that it was part of has closed, in a program that takes readings for so
    many days after an event. Before, none is marked. The mark is for people: which readings a closed
    settlement counts is decided there, by when they were received.
    """
    return timedelta(days=close_after_days + 1)


def judge_readings(
    readings: Sequence[MeterReading],
    *,
    known: Sequence[MeterReading],
    rated_discharge: Watts,
    rated_charge: Watts,
    received_at: datetime,
    late: timedelta,
    consent_at: datetime | None = None,
) -> tuple[MeterReading, ...]:
    """Return readings of one site, in the order given, with the quality and reason they are stored with.

    A counter may have risen by 105 % of rated power since *every* reading before it, and by one watt-hour
    for its own rounding: against the one before alone, a reading every second would gain that watt-hour
    every second. What rose further is a jump, and the measure is taken anew from there: after a lasting
    jump only the first reading is BAD. Where a new reading makes a stored one a jump that was none, the
    new one is BAD: it came later and would lend its rise to a shorter time.

    Args:
        readings: New ones, in any order.
        known: Readings of the site that are stored already, those around the new ones. They are compared
            with and not judged again.
        rated_discharge: The most the battery gives.
        rated_charge: The same for charging, which pays when it lowers a baseline.
        received_at: When the controller got them.
        late: The age from which on a reading is late, as of ``late_after``; its quality stays.
        consent_at: A reading from before it is refused and its values are left out: nobody agreed that
            they be kept. Its place stands, because a receipt runs over every index.
    """
    judged = list(readings)
    powers = (rated_discharge, rated_charge, SERVICE_POWER, SERVICE_POWER)
    late_before = received_at - late
    walk = [_told(each, powers) for each in known if consent_at is None or consent_at <= each.at]
    for place, reading in enumerate(readings):
        fault = _own_fault(reading, received_at, consent_at)
        if fault is None:
            walk.append(_told(reading, powers, place))
            if reading.at < late_before:
                judged[place] = replace(reading, reason=ReadingFault.LATE.value)
        elif fault is ReadingFault.BEFORE_CONSENT:
            judged[place] = _without_values(reading)
        else:
            judged[place] = replace(reading, quality=Quality.BAD, reason=fault.value)
    for place in _jumps(walk):
        judged[place] = replace(readings[place], quality=Quality.BAD, reason=ReadingFault.JUMP.value)
    return tuple(judged)


def _own_fault(
    reading: MeterReading, received_at: datetime, consent_at: datetime | None
) -> ReadingFault | None:
    """Return what is wrong with a reading whatever stands beside it."""
    if consent_at is not None and reading.at < consent_at:
        return ReadingFault.BEFORE_CONSENT
    for counter in _counters(reading):
        if counter is not None and counter < 0:
            return ReadingFault.NEGATIVE_COUNTER
    return ReadingFault.IN_THE_FUTURE if reading.at > received_at + CLOCK_TOLERANCE else None


def _without_values(reading: MeterReading) -> MeterReading:
    return replace(
        reading,
        discharged_wh=WattHours(0),
        charged_wh=WattHours(0),
        soc_permille=None,
        imported_wh=None,
        exported_wh=None,
        quality=Quality.BAD,
        reason=ReadingFault.BEFORE_CONSENT.value,
    )


def _counters(reading: MeterReading) -> tuple[WattHours | None, ...]:
    return reading.discharged_wh, reading.charged_wh, reading.imported_wh, reading.exported_wh


_Levels = tuple[int, ...]
"""How far each counter stands above what its power could have given since 1970. It falls while a counter
rises as it may, so the lowest of earlier readings is the one that allows the least."""
_NOT_TOLD = 2**80  # above any level: lower than nothing, and no jump
_NOTHING: _Levels = (_NOT_TOLD,) * 4


@dataclass(frozen=True, slots=True)
class _Told:
    """A reading on the walk through time; ``place`` is its position among the new ones, None if stored."""

    at: datetime
    levels: _Levels
    bad: bool
    place: int | None


def _told(reading: MeterReading, powers: Sequence[Watts], place: int | None = None) -> _Told:
    seconds = PLAUSIBLE_POWER_PERCENT * to_epoch(reading.at)
    levels = [
        _NOT_TOLD if counter is None else counter * _WATT_HOUR - power * seconds
        for counter, power in zip(_counters(reading), powers, strict=True)
    ]
    return _Told(reading.at, tuple(levels), reading.quality is Quality.BAD, place)


_AT = attrgetter("at")


def _jumps(walk: Sequence[_Told]) -> set[int]:
    """Return the places of the new readings that no battery or service of their power explains."""
    jumps: set[int] = set()
    since: list[_Told] = []  # the last jump, and what was told after it
    lowest = _NOTHING
    for _, instant in groupby(sorted(walk, key=_AT), key=_AT):
        told = list(instant)
        jumped = False
        for each in told:
            if not _above(each.levels, lowest):
                continue
            if each.place is not None:
                jumps.add(each.place)
            elif not each.bad:
                blamed = [new for new in since if new.place is not None and _above(each.levels, new.levels)]
                jumps.update(new.place for new in blamed if new.place is not None)
                since = [before for before in since if before not in blamed]
                lowest = _lowest(_NOTHING, since)
                if not _above(each.levels, lowest):
                    continue
            jumped = True
        if jumped:
            since, lowest = [], _NOTHING
        since += told
        lowest = _lowest(lowest, told)
    return jumps


def _above(levels: _Levels, lowest: _Levels) -> bool:
    return any(least + _WATT_HOUR < level < _NOT_TOLD for level, least in zip(levels, lowest, strict=True))


def _lowest(lowest: _Levels, told: Sequence[_Told]) -> _Levels:
    for each in told:
        lowest = tuple(map(min, lowest, each.levels))
    return lowest
