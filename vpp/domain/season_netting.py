"""A season that nets: the energy of its earlier events is carried to the later ones, site by site.

Takes settlements and says what reaches an event from those before it, and which events come after. Only
where ``net_season_floor_zero`` holds does any of it turn into money.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from vpp.domain.grid_event import EventHistory
from vpp.domain.program import NegativePolicy
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


def earlier_energies(event: SettledEvent, runs: Iterable[Settlement]) -> Iterator[EarlierEnergy]:
    """Yield each site's energy in the season's earlier events of the program, in the order of the runs."""
    for earlier in runs:
        if earlier.program_id != event.program.program_id or earlier.event_id == event.event_id:
            continue
        for line in earlier.lines:
            if line.settled is not None and is_earlier(event, line.settled.starts_at):
                starts_at = line.settled.starts_at
                yield EarlierEnergy(line.site_id, earlier.event_id, starts_at, line.incremental_wh)


def is_earlier(event: SettledEvent, starts_at: datetime) -> bool:
    """Return whether an event that starts then comes before this one in this one's season."""
    season = event.program.season_around(event.day)
    if season is None or not event.parts:
        return False
    return season.starts_at <= starts_at < event.parts[0].starts_at


def summed(energies: Iterable[EarlierEnergy]) -> dict[str, Fraction]:
    """Return what is carried to an event, by site id: signed watt-hours."""
    carried: dict[str, Fraction] = {}
    for each in energies:
        carried[each.site_id] = carried.get(each.site_id, Fraction(0)) + each.incremental_wh
    return carried


def carried_energy(event: SettledEvent, runs: Sequence[Settlement]) -> dict[str, Fraction]:
    """Return each site's signed watt-hours in the season's earlier events of the program, by site id."""
    return summed(earlier_energies(event, runs))


def in_order_of_time(histories: Iterable[EventHistory]) -> list[EventHistory]:
    """Return events as they begin, those that begin together by id: the order in which they are settled.

    In another order an event that is settled for the first time at its close, after days without a
    controller, would not know what earlier ones carry to it, and nothing would settle it again.
    """
    return sorted(histories, key=lambda each: (_begins(each), each.latest.event_id))


def _begins(history: EventHistory) -> datetime:
    asking = [each.interval for each in history.versions if each.interval is not None]
    return asking[-1].starts_at if asking else history.latest.committed_at


def later_in_season(event: SettledEvent | None, others: Iterable[SettledEvent]) -> tuple[SettledEvent, ...]:
    """Return the events that an event's energy is carried on to, in their order.

    Those of the same program and season that begin later, under terms by which a season nets.
    """
    season = None if event is None else event.program.season_around(event.day)
    if event is None or season is None or not event.parts:
        return ()
    later = [
        each
        for each in others
        if each.program.program_id == event.program.program_id
        and each.program.season_around(each.day) == season
        and each.terms.negative_policy is NegativePolicy.NET_SEASON_FLOOR_ZERO
        and each.parts
        and each.parts[0].starts_at > event.parts[0].starts_at
    ]
    return tuple(sorted(later, key=lambda each: (each.parts, each.event_id)))


def netted_again(event: SettledEvent, run: Settlement, runs: Sequence[Settlement]) -> Settlement:
    """Return an event's settlement as it would be beside these of its season: its energy stays what it was.

    The same settlement where nothing that is carried to it has changed. Only where a season nets.
    """
    carried = carried_energy(event, runs)
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
