"""All that is known of an event's settlement besides the readings, for every home at once.

Says which homes it speaks of and what holds for them. Readings, and what they come to, are not its business.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from vpp.domain.baseline import LOOKBACK_DAYS, DayDropped, excluded_days
from vpp.domain.enrollment import Enrollment
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.quantities import IntColumn, column
from vpp.domain.settled_event import SettledEvent, SiteGrounds, without
from vpp.domain.settlement import SettlementLine
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, stayed_out

Exclusion = tuple[IntColumn | None, date, DayDropped]
"""Site numbers (None: every site), a local day that is kept out of their baselines, and why."""


@dataclass(frozen=True, slots=True)
class SettlementCase:
    """An event, its homes and what was said of them; columns are indexed by ``site_no``."""

    event: SettledEvent
    roster: Sequence[Enrollment]
    opted_out_s: IntColumn
    exclusions: tuple[Exclusion, ...]
    received_before: datetime | None = None  # what came later is for a correction; None: all counts

    def sites(self, chunk: IntColumn) -> SettledSites:
        """Return what settling these sites needs besides their readings."""
        enrolled = [self.roster[site_no] for site_no in chunk]
        return SettledSites(
            site_ids=tuple(each.site_id for each in enrolled),
            owner_ids=tuple(each.owner_id for each in enrolled),
            opted_out_s=self.opted_out_s[chunk],
            excluded=excluded_days(self.event.day, len(chunk), _positions(self.exclusions, chunk)),
            meter_accuracy=tuple(each.meter_accuracy_permille for each in enrolled),
        )

    def stayed_out(self, commanded: IntColumn) -> Iterator[tuple[int, SettlementLine]]:
        """Yield, by number, the lines of sites never commanded because their owners had said no."""
        event = self.event
        if event.on is None or not event.parts or not event.terms.tariff.for_power:
            return
        said_no = np.flatnonzero(self.opted_out_s < to_epoch(event.on.ends_at))
        for site_no in np.setdiff1d(said_no, commanded).tolist():
            home = self.roster[site_no]
            if home.program_id == event.program.program_id:
                yield site_no, stayed_out(event, home.site_id, home.owner_id)

    def grounds(
        self, commanded: IntColumn, taken: Mapping[int, tuple[Interval, ...]]
    ) -> Mapping[int, SiteGrounds]:
        """Return, by number in order, what the settled sites' lines stand on.

        A site that stayed out has nothing settled, however late in the event its owner said no: its
        opt-out is told no later than the event's beginning.
        """
        left_out = {site_no for site_no, _ in self.stayed_out(commanded)}
        found: dict[int, SiteGrounds] = {}
        for site_no in sorted({*commanded.tolist(), *left_out}):
            out_s, held = int(self.opted_out_s[site_no]), taken.get(site_no, ())
            if site_no in left_out and self.event.on is not None:
                out_s, held = min(out_s, to_epoch(self.event.on.starts_at)), ()
            opted_out_at = None if out_s == NEVER_OPTED_OUT else from_epoch(out_s)
            found[site_no] = SiteGrounds(self.roster[site_no], opted_out_at, held)
        return found

    def excluded(self, of_sites: IntColumn) -> tuple[tuple[str, date, DayDropped], ...]:
        """Return the days kept out of baselines of these sites, by site id or ``*``, with the reason."""
        found: list[tuple[str, date, DayDropped]] = []
        for site_nos, day, reason in self.exclusions:
            if not 0 < (self.event.day - day).days <= LOOKBACK_DAYS:
                continue
            if site_nos is None:
                found.append(("*", day, reason))
            else:
                settled = np.intersect1d(site_nos, of_sites)
                found.extend((self.roster[site_no].site_id, day, reason) for site_no in settled.tolist())
        return tuple(sorted(found))


def held_alike(
    event: SettledEvent, site_nos: IntColumn, taken: Mapping[int, tuple[Interval, ...]]
) -> Iterator[tuple[SettledEvent, IntColumn]]:
    """Yield the sites in groups that were held by the event at the same instants; most often one group."""
    groups: dict[tuple[Interval, ...], list[int]] = {}
    for site_no in site_nos.tolist():
        groups.setdefault(taken.get(site_no, ()), []).append(site_no)
    for intervals, members in sorted(groups.items()):
        yield without(event, intervals), column(members)


def _positions(exclusions: Iterable[Exclusion], chunk: IntColumn) -> list[Exclusion]:
    """Return exclusions with positions in a sorted chunk instead of site numbers."""
    return [
        (None if site_nos is None else np.flatnonzero(np.isin(chunk, site_nos)), day, reason)
        for site_nos, day, reason in exclusions
    ]
