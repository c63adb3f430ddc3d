"""The homes that a settlement waits for, so that it is made again once they have spoken.

Knows which readings can say something new. When they are asked for, and how often, is not its business.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from vpp.domain.delivery import CLOSE_NEIGHBOURS_S, FAR_NEIGHBOURS_S, MeterMessage, Quality
from vpp.domain.interval import Interval
from vpp.domain.settlement import Settlement, SettlementState

_CLOSE, _FAR = timedelta(seconds=CLOSE_NEIGHBOURS_S), timedelta(seconds=FAR_NEIGHBOURS_S)


@dataclass(frozen=True, slots=True)
class AwaitedReadings:
    """Homes with an hour that is not metered yet, and when a reading says something new about it.

    ``missing`` and ``estimated`` say, by home, from when to when energy is not known, or not exactly. Of a
    home without energy for an hour every reading does that is at most an hour beyond it; of one whose hour is
    estimated only a reading close enough to make it exact. A home may be in both.
    """

    missing: Mapping[str, Interval]
    estimated: Mapping[str, Interval]

    @property
    def homes(self) -> frozenset[str]:
        """Return the homes that have not spoken yet."""
        return frozenset({*self.missing, *self.estimated})

    def answered_by(self, messages: Iterable[MeterMessage]) -> frozenset[str]:
        """Return the homes with an hour that one of these readings may complete."""
        answered = set[str]()
        for message in messages:
            for spans, reach in ((self.missing, _FAR), (self.estimated, _CLOSE)):
                span = spans.get(message.site_id)
                if span is not None and _reaches(message, span, reach):
                    answered.add(message.site_id)
        return frozenset(answered)

    def without(self, answered: Collection[str]) -> "AwaitedReadings":
        """Return what is still waited for when these homes have spoken."""
        return AwaitedReadings(_except(self.missing, answered), _except(self.estimated, answered))


def _reaches(message: MeterMessage, span: Interval, reach: timedelta) -> bool:
    return any(span.starts_at - reach <= each.at <= span.ends_at + reach for each in message.readings)


def _except(spans: Mapping[str, Interval], homes: Collection[str]) -> Mapping[str, Interval]:
    return {site_id: span for site_id, span in spans.items() if site_id not in homes}


def awaited_readings(settlement: Settlement) -> AwaitedReadings | None:
    """Return what a provisional settlement waits for; None where every hour is metered, or it is closed."""
    if settlement.state is not SettlementState.PROVISIONAL:
        return None
    homes: dict[Quality, dict[str, Interval]] = {Quality.MISSING: {}, Quality.ESTIMATED: {}}
    for line in settlement.lines:
        for hour in line.hours:
            part = None if line.settled is None else line.settled.overlap(hour.hour)
            if part is not None and hour.quality in homes:
                known = homes[hour.quality].get(line.site_id, part)
                homes[hour.quality][line.site_id] = Interval(known.starts_at, part.ends_at)
    if not any(homes.values()):
        return None
    return AwaitedReadings(missing=homes[Quality.MISSING], estimated=homes[Quality.ESTIMATED])
