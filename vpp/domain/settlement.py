"""What a settlement says: what each site earned in one event, hour by hour, with the numbers behind it.

Money was rounded once, for one site and one event; everything before it is exact. How it is computed is
not known here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from fractions import Fraction

from vpp.domain.delivery import Quality
from vpp.domain.interval import Interval
from vpp.domain.quantities import MicroDollars, Permille, WattHours


class SettlementState(StrEnum):
    """How final a settlement is."""

    PROVISIONAL = "provisional"
    FINAL = "final"
    CORRECTED = "corrected"


class SiteQuality(StrEnum):
    """The worst thing that an owner must know about a site's result."""

    OK = "OK"
    ESTIMATED = "ESTIMATED"
    MISSING = "MISSING"
    BAD = "BAD"
    NO_BASELINE = "NO_BASELINE"


COUNTING = (SiteQuality.OK, SiteQuality.ESTIMATED)


class SettlementReason(StrEnum):
    """Why a site's result is not simply its metered energy beyond the baseline."""

    OPTED_OUT = "opted_out"
    OUTSIDE_TERMS = "outside_terms"
    NEVER_ON = "never_on"  # cancelled before it began
    HELD_ELSEWHERE = "held_elsewhere"  # another event held the home all the time
    TOO_FEW_SIMILAR_DAYS = "too_few_similar_days"
    TOO_FEW_DAYS_OF_DATA = "too_few_days_of_data"
    READINGS_MISSING = "readings_missing"
    READINGS_BAD = "readings_bad"


@dataclass(frozen=True, slots=True)
class HourLine:
    """One settlement hour of one site. ``fraction`` is the part of the clock hour that counts."""

    hour: Interval  # the whole clock hour
    fraction: Fraction
    metered_wh: WattHours | None  # net discharge inside the part that counts; None when missing or bad
    baseline_wh: Fraction | None  # of the part that counts; None without a baseline
    incremental_wh: Fraction  # signed; zero where an hour does not count
    quality: Quality


@dataclass(frozen=True, slots=True)
class BaselineDays:
    """The days a baseline was made of, newest first, and those passed over with the reason."""

    chosen: tuple[date, ...]
    dropped: tuple[tuple[date, str], ...]


_NO_MARGIN = MicroDollars(0)
_UNADJUSTED = Fraction(1)


@dataclass(frozen=True, slots=True)
class SettlementLine:
    """One site's part of one event's settlement."""

    site_id: str
    owner_id: str
    settled: Interval | None  # the event, cut at the site's own opt-out; None when nothing is left
    hours: tuple[HourLine, ...]
    baseline_days: BaselineDays
    incremental_wh: Fraction  # signed sum over the hours, before the negative policy
    paid_wh: Fraction  # after the negative policy
    amount: MicroDollars  # what the owner earns, whole cents
    gross: MicroDollars  # what the program owes for it, to the nearest micro-dollar
    quality: SiteQuality
    reason: str | None
    margin: MicroDollars = _NO_MARGIN  # the aggregator's share of gross, to the nearest micro-dollar
    event_s: int = 0  # the settled event's length without what another held of it, stayed in or not
    adjustment: Fraction = _UNADJUSTED  # what the average of the similar days was multiplied by
    day: date | None = None  # the event's local day, where ``settled`` does not tell it
    meter_accuracy_permille: Permille | None = None  # of what was metered, by the meter's class


@dataclass(frozen=True, slots=True)
class Settlement:
    """One run of settlement for one event: the same inputs make the same bytes.

    ``parts`` are what of the event is settled, whoever stayed in: in order and apart. A period's run has
    none, nor has one that was stored before they were kept.
    """

    event_id: str
    program_id: str
    state: SettlementState
    settled_at: datetime
    lines: tuple[SettlementLine, ...]
    parts: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class SettlementTotals:
    """What one run of settlement comes to over all its sites, for whoever does not ask about each of them."""

    event_id: str
    program_id: str
    state: SettlementState
    settled_at: datetime
    sites: int
    delivered_wh: WattHours  # metered in the hours that count
    incremental_wh: Fraction  # signed, before the negative policy
    amount: MicroDollars
    gross: MicroDollars
    qualities: tuple[tuple[SiteQuality, int], ...]  # how many sites have each, by its name


def totals_of(run: Settlement) -> SettlementTotals:
    """Return what a run comes to."""
    qualities = Counter(line.quality for line in run.lines)
    return SettlementTotals(
        event_id=run.event_id,
        program_id=run.program_id,
        state=run.state,
        settled_at=run.settled_at,
        sites=len(run.lines),
        delivered_wh=WattHours(sum(hour.metered_wh or 0 for line in run.lines for hour in line.hours)),
        incremental_wh=exact_sum([line.incremental_wh for line in run.lines]),
        amount=MicroDollars(sum(line.amount for line in run.lines)),
        gross=MicroDollars(sum(line.gross for line in run.lines)),
        qualities=tuple(sorted(qualities.items())),
    )


def exact_sum(parts: Sequence[Fraction]) -> Fraction:
    """Return the sum of many fractions: of those with one denominator first, which needs no new divisor."""
    by_denominator: Counter[int] = Counter()
    for part in parts:
        by_denominator[part.denominator] += part.numerator
    return sum((Fraction(above, below) for below, above in by_denominator.items()), Fraction())


def same_result(one: Settlement, other: Settlement) -> bool:
    """Return whether two runs say the same; only when they ran may differ."""
    return replace(one, settled_at=other.settled_at) == other


def adds_nothing(state: SettlementState, standing: SettlementState) -> bool:
    """Return whether a run with the result of the one that stands changes nothing by its state either.

    A correction that finds what is booked leaves the settlement as it is; to close one is news.
    """
    return state in (standing, SettlementState.CORRECTED)
