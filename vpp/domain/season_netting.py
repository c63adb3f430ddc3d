"""A season that nets: the energy of its earlier events is carried to the later ones, site by site.

Takes settlements and says what reaches an event from those before it, and which events come after. Only
where ``net_season_floor_zero`` holds does any of it turn into money. What is carried is energy beyond a
baseline, which no netting changes: so it may be worked out in any order, and be netted afterwards.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from vpp.domain.grid_event import EventHistory, is_test
from vpp.domain.interval import Interval
from vpp.domain.program import NegativePolicy, Program
from vpp.domain.settled_event import SettledEvent
from vpp.domain.settlement import COUNTING, Settlement
from vpp.domain.tariff import earned_in_event, paid_energy


@dataclass(frozen=True, slots=True)
class EarlierEnergy:
    """A site's signed watt-hours beyond its baseline in an earlier event of the season."""

    site_id: str
    event_id: str
    starts_at: datetime  # of that event
    incremental_wh: Fraction


def earlier_energies(
    event: SettledEvent, run: Settlement, runs: Iterable[Settlement]
) -> Iterator[EarlierEnergy]:
    """Yield what the season's earlier events carry to the homes of an event's settlement, run by run.

    Of two events at once the one in which the home began first is the earlier for that home. Energy goes
    with the owner: who takes over a home begins with nothing.
    """
    if not event.parts:
        return
    begins = {(line.owner_id, line.site_id): begins_at(event, line.settled) for line in run.lines}
    for other in runs:
        if other.program_id != event.program.program_id or other.event_id == event.event_id:
            continue
        for line in other.lines:
            own = begins.get((line.owner_id, line.site_id))
            if own is None or line.settled is None:
                continue
            starts_at = line.settled.starts_at
            if is_earlier(event, starts_at, own):
                yield EarlierEnergy(line.site_id, other.event_id, starts_at, line.incremental_wh)


def begins_at(event: SettledEvent, settled: Interval | None) -> datetime:
    """Return when an event that was on began for a home: with the event, where nothing of it was settled."""
    return event.parts[0].starts_at if settled is None else settled.starts_at


def is_earlier(event: SettledEvent, starts_at: datetime, own: datetime) -> bool:
    """Return whether what a home did from then on comes before its part of an event, begun at ``own``."""
    season = event.program.season_around(event.day)
    return season is not None and season.starts_at <= starts_at < own


def summed(energies: Iterable[EarlierEnergy]) -> dict[str, Fraction]:
    """Return what is carried to an event, by site id: signed watt-hours."""
    carried: dict[str, Fraction] = {}
    for each in energies:
        carried[each.site_id] = carried.get(each.site_id, Fraction(0)) + each.incremental_wh
    return carried


def in_order_of_time(histories: Iterable[EventHistory]) -> list[EventHistory]:
    """Return events as they begin, those that begin together by id: the order in which they are settled.

    In another order an event that is settled for the first time at its close, after days without a
    controller, would not know what earlier ones carry to it, and nothing would settle it again.
    """
    return sorted(histories, key=lambda each: (_begins(each), each.latest.event_id))


def _begins(history: EventHistory) -> datetime:
    asking = [each.interval for each in history.versions if each.interval is not None]
    return asking[-1].starts_at if asking else history.latest.committed_at


def that_may_carry(
    histories: Iterable[EventHistory],
    asked: Mapping[str, Sequence[Interval]],
    program: Program,
    ends_at: datetime,
) -> list[EventHistory]:
    """Return the program's events that may carry energy to one that ends then: those that began before.

    A test carries nothing. ``asked`` is, by event id, when each event was on, in order.
    """
    return [
        each
        for each in histories
        if each.latest.program_id == program.program_id and not is_test(each)
        if (on := asked[each.latest.event_id]) and on[0].starts_at < ends_at
    ]


def later_in_season(event: SettledEvent | None, others: Iterable[SettledEvent]) -> tuple[SettledEvent, ...]:
    """Return the events that an event's energy may be carried on to, in their order.

    Those of the same program and season that end after it begins, under terms by which a season nets.
    """
    season = None if event is None else event.program.season_around(event.day)
    if event is None or season is None or not event.parts:
        return ()
    later = [
        each
        for each in others
        if each.program.program_id == event.program.program_id
        and each.event_id != event.event_id
        and each.program.season_around(each.day) == season
        and each.terms.negative_policy is NegativePolicy.NET_SEASON_FLOOR_ZERO
        and each.parts
        and each.parts[-1].ends_at > event.parts[0].starts_at
    ]
    return tuple(sorted(later, key=lambda each: (each.parts, each.event_id)))


def netted_again(event: SettledEvent, run: Settlement, runs: Sequence[Settlement]) -> Settlement:
    """Return an event's settlement as it would be beside these of its season: its energy stays what it was.

    The same settlement where nothing that is carried to it has changed. Only where a season nets.
    """
    carried = summed(earlier_energies(event, run, runs))
    lines = []
    for line in run.lines:
        paid_wh = paid_energy(
            [line.incremental_wh], event.terms.negative_policy, carried.get(line.site_id, Fraction(0))
        )
        counts = bool(line.hours) and line.quality in COUNTING
        earned = earned_in_event(event.terms, paid_wh, counts=counts)
        lines.append(
            replace(line, paid_wh=paid_wh, amount=earned.amount, gross=earned.gross, margin=earned.margin)
        )
    return replace(run, lines=tuple(lines))
