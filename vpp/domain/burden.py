"""How the season's burden was shared: hours, energy and cycles of every home, and one index of fairness."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.track_record import Asked

USABLE_PERMILLE = 950  # of a pack, between what owners see as empty and as full
MILLI = 1000


@dataclass(frozen=True, slots=True)
class Burden:
    """What homes did in a season, one row per site: events, seconds asked, watt-hours given."""

    events: IntColumn
    seconds: IntColumn
    energy_wh: IntColumn

    @classmethod
    def none(cls, sites: int) -> "Burden":
        """Return the burden of homes that were never asked."""
        nothing = np.zeros(sites, dtype=np.int64)
        return cls(nothing, nothing, nothing)

    def with_event(self, seconds: IntColumn, energy_wh: IntColumn) -> "Burden":
        """Return the burden with one more event."""
        return Burden(
            self.events + (seconds > 0), self.seconds + seconds, self.energy_wh + np.maximum(energy_wh, 0)
        )

    def milli_cycles(self, energy_full_wh: IntColumn) -> IntColumn:
        """Return thousandths of full cycles: energy given by what the pack holds for its owner."""
        cycles: IntColumn = self.energy_wh * MILLI // usable_wh(energy_full_wh)
        return cycles


def usable_wh(energy_full_wh: IntColumn) -> IntColumn:
    """Return what packs hold for their owners, in watt-hours: between what they see as empty and as full."""
    usable: IntColumn = np.maximum(energy_full_wh * USABLE_PERMILLE // 1000, 1)
    return usable


def jain_permille(shares: IntColumn) -> int:
    """Return Jain's fairness index of the shares in permille: the square of the sum by n sums of squares.

    1000 when all carry the same, 1000 / n when one carries everything; 1000 when nobody carries anything.

    Source: R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination", DEC-TR-301,
    1984. Shares are cycles, so that a home with two packs that gives twice as much carries the same.
    """
    squares = sum(share * share for share in shares.tolist())
    total = int(shares.sum())
    return MILLI * total * total // (len(shares) * squares) if squares else MILLI


@dataclass(slots=True)
class SeasonUse:
    """How long each site was asked in its program's season, as read at one moment.

    ``cycled`` are the sites that did the cycles of their program's calendar year; ``year_ws`` is what that
    year asked, by program that limits cycles. ``before`` is what was asked where this store knows nothing of
    it: a count begins with it.
    """

    read_at: datetime | None = None
    seconds: IntColumn = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    cycled: BoolColumn = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    year_ws: dict[str, IntColumn] = field(default_factory=dict)
    of_ended: dict[str, Asked] = field(default_factory=dict)  # by event id, for events that are over
    before: "SeasonUse | None" = None

    def begun(self, program_ids: Iterable[str], sites: int) -> tuple[IntColumn, dict[str, IntColumn]]:
        """Return where a count begins: seconds by site, and by program watt-seconds of the year by site."""
        seconds: IntColumn = np.zeros(sites, dtype=np.int64)
        year_ws = {program_id: np.zeros(sites, dtype=np.int64) for program_id in program_ids}
        if self.before is not None:
            seconds[: len(self.before.seconds)] += self.before.seconds[:sites]
            for program_id in year_ws.keys() & self.before.year_ws:
                earlier_ws = self.before.year_ws[program_id]
                year_ws[program_id][: len(earlier_ws)] += earlier_ws[:sites]
        return seconds, year_ws

    def reached(self, cap_s: int | None, sites: int) -> BoolColumn:
        """Return the sites that have done their part of the season, or the cycles of the year."""
        done = np.zeros(sites, dtype=np.bool_)
        done[: len(self.cycled)] = self.cycled[:sites]
        if cap_s is not None:
            done[: len(self.seconds)] |= self.seconds[:sites] >= cap_s
        return done
