"""Whether a home's readings can be true: judged once, when they come, and stored with them.

Every source is judged alike. Which of two gateways or meters counts is not decided here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from vpp.domain.delivery import MeterReading, Quality, ReadingFault
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, is_test
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import Program
from vpp.domain.quantities import WattHours, Watts

PLAUSIBLE_POWER_PERCENT = 105
"""More energy than rated power could move, this margin included, is not believed."""
SERVICE_POWER = Watts(96_000)
"""400 A at 240 V, the largest service of a single home: a grid meter that counts more is not believed."""
CLOCK_TOLERANCE = timedelta(seconds=30)

_WATT_HOUR = 360_000  # in seconds of one watt at 1 %, so that a level is a whole number


@dataclass(frozen=True, slots=True)
class LateRule:
    """From when on a program's readings are late: so many days after the event that they are part of.

    Then the event is closed, and they count by a correction only. A reading in no event is one of many
    baselines, of events that are open and closed: its days begin at its own instant. The mark is for people:
    which readings a closed settlement counts is decided there, by when they were received.
    """

    days: int
    events: tuple[Interval, ...] = ()  # those that are settled, both ends included

    def is_late(self, at: datetime, received_at: datetime) -> bool:
        """Return whether a reading of an instant came too late."""
        after = timedelta(days=self.days)
        if received_at - at < after:
            return False
        ends = [each.ends_at for each in self.events if each.starts_at <= at <= each.ends_at]
        return received_at - max(ends, default=at) >= after


def may_be_late(oldest: datetime, received_at: datetime, programs: Mapping[str, Program]) -> bool:
    """Return whether the oldest of some readings is old enough that any program could be closed for it."""
    days = min((each.close_after_days for each in programs.values()), default=0)
    return received_at - oldest >= timedelta(days=days)


def late_rules(
    programs: Mapping[str, Program], histories: Iterable[EventHistory] = ()
) -> Mapping[str, LateRule]:
    """Return each program's rule by its id; tests are never settled, so they close nothing."""
    events: dict[str, list[Interval]] = {}
    for history in histories:
        asking = [each.interval for each in history.versions if each.interval is not None]
        ends_at = ended_at(history)
        if asking and asking[-1].starts_at < ends_at and not is_test(history):
            events.setdefault(history.latest.program_id, []).append(Interval(asking[-1].starts_at, ends_at))
    return {
        program_id: LateRule(program.close_after_days, tuple(events.get(program_id, ())))
        for program_id, program in programs.items()
    }


def judge_readings(
    readings: Sequence[MeterReading],
    *,
    known: Sequence[MeterReading],
    rated_discharge: Watts,
    rated_charge: Watts,
    received_at: datetime,
    late: LateRule | None,
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
        late: When a reading is late; its quality stays. None: never.
        consent_at: A reading from before it is refused and its values are left out: nobody agreed that
            they be kept. Its place stands, because a receipt runs over every index.
    """
    judged = list(readings)
    powers = (rated_discharge, rated_charge, SERVICE_POWER, SERVICE_POWER)
    walk = [_told(each, powers) for each in known if consent_at is None or consent_at <= each.at]
    for place, reading in enumerate(readings):
        fault = _own_fault(reading, received_at, consent_at)
        if fault is None:
            walk.append(_told(reading, powers, place))
            if late is not None and late.is_late(reading.at, received_at):
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
