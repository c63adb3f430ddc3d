"""The homes that a settlement waits for, so that it is made again once they have spoken.

Knows which readings can say something new. When they are asked for, and how often, is not its business.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vpp.domain.delivery import CLOSE_NEIGHBOURS_S, FAR_NEIGHBOURS_S, MeterMessage, Quality
from vpp.domain.settlement import Settlement, SettlementState

_CLOSE, _FAR = timedelta(seconds=CLOSE_NEIGHBOURS_S), timedelta(seconds=FAR_NEIGHBOURS_S)


@dataclass(frozen=True, slots=True)
class AwaitedReadings:
    """Homes with an hour that is not metered yet, and when a reading says something new about it.

    Of a home without energy for an hour every reading does that is at most an hour beyond its part of the
    event; of one whose hour is estimated only a reading close enough to make it exact.
    """

    starts_at: datetime
    ends_at: datetime
    missing: frozenset[str]
    estimated: frozenset[str]

    @property
    def homes(self) -> frozenset[str]:
        """Return the homes that have not spoken yet."""
        return self.missing | self.estimated

    def answered_by(self, messages: Iterable[MeterMessage]) -> frozenset[str]:
        """Return the homes with an hour that one of these readings may complete."""
        answered = set[str]()
        for message in messages:
            reach = _FAR if message.site_id in self.missing else _CLOSE
            if message.site_id not in self.missing and message.site_id not in self.estimated:
                continue
            if any(self.starts_at - reach <= each.at <= self.ends_at + reach for each in message.readings):
                answered.add(message.site_id)
        return frozenset(answered)

    def without(self, answered: Collection[str]) -> "AwaitedReadings":
        """Return what is still waited for when these homes have spoken."""
        return replace(
            self, missing=self.missing.difference(answered), estimated=self.estimated.difference(answered)
        )


def awaited_readings(settlement: Settlement) -> AwaitedReadings | None:
    """Return what a provisional settlement waits for; None where every hour is metered, or it is closed."""
    if settlement.state is not SettlementState.PROVISIONAL:
        return None
    homes: dict[Quality, set[str]] = {Quality.MISSING: set(), Quality.ESTIMATED: set()}
    for line in settlement.lines:
        for hour in line.hours:
            if hour.quality in homes:
                homes[hour.quality].add(line.site_id)
    spans = [line.settled for line in settlement.lines if line.settled is not None]
    if not spans or not any(homes.values()):
        return None
    return AwaitedReadings(
        starts_at=min(each.starts_at for each in spans),
        ends_at=max(each.ends_at for each in spans),
        missing=frozenset(homes[Quality.MISSING]),
        estimated=frozenset(homes[Quality.ESTIMATED]),
    )
