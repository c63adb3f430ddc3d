"""What a program is told of an event: each clock hour over all settled sites, with how far it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.interval import Interval
from vpp.domain.program import NegativePolicy, Terms
from vpp.domain.quantities import MicroDollars, nearest
from vpp.domain.settlement import HourLine, Settlement, SettlementLine, SiteQuality
from vpp.domain.tariff import capped_energy


@dataclass(frozen=True, slots=True)
class HourTotal:
    """One clock hour of an event over all settled sites. Energies are of the part that counts.

    ``counted`` sites have energy and a baseline; only they are summed. ``quality`` is the worst hour of
    any site in it; a site without a baseline counts as MISSING. ``paid_wh`` and ``receivable`` are the
    hour's part of what the sites are paid for and of what the program owes: over all hours of an event they
    sum to both, to the last micro-dollar.
    """

    hour: Interval
    sites: int
    counted: int
    metered_wh: int
    baseline_wh: Fraction
    incremental_wh: Fraction
    paid_wh: Fraction
    receivable: MicroDollars
    quality: Quality


@dataclass(frozen=True, slots=True)
class StorageTotal:
    """What the settled batteries held together at a moment: when full, then, and the power they can give."""

    usable_wh: int  # above zero
    stored_wh: int
    max_discharge_w: int


@dataclass(slots=True)
class _Gathered:
    """The sums of one hour while its sites are added."""

    sites: int = 0
    counted: int = 0
    metered_wh: int = 0
    baseline_wh: Fraction = Fraction(0)
    incremental_wh: Fraction = Fraction(0)
    paid_wh: Fraction = Fraction(0)
    receivable: int = 0
    worst: int = 0


def hour_totals(settlement: Settlement, terms: Terms) -> tuple[HourTotal, ...]:
    """Return the hours of an event settled under these terms, in order; none where no site was settled."""
    found: dict[Interval, _Gathered] = {}
    for line in settlement.lines:
        for of_hour, (paid_wh, receivable) in zip(line.hours, hour_parts(line, terms), strict=True):
            total = found.setdefault(of_hour.hour, _Gathered())
            total.sites += 1
            total.paid_wh += paid_wh
            total.receivable += receivable
            _add_energy(total, line, of_hour)
    return tuple(_total(hour, found[hour]) for hour in sorted(found))


def _add_energy(total: _Gathered, line: SettlementLine, of_hour: HourLine) -> None:
    quality = Quality.MISSING if line.quality is SiteQuality.NO_BASELINE else of_hour.quality
    total.worst = max(total.worst, QUALITY_CODES.index(quality))
    if of_hour.metered_wh is None or of_hour.baseline_wh is None:
        return
    total.counted += 1
    total.metered_wh += of_hour.metered_wh
    total.baseline_wh += of_hour.baseline_wh
    total.incremental_wh += of_hour.incremental_wh


def _total(hour: Interval, of: _Gathered) -> HourTotal:
    return HourTotal(
        hour, of.sites, of.counted, of.metered_wh, of.baseline_wh, of.incremental_wh, of.paid_wh,
        MicroDollars(of.receivable), QUALITY_CODES[of.worst],
    )  # fmt: skip


def hour_parts(line: SettlementLine, terms: Terms) -> list[tuple[Fraction, MicroDollars]]:
    """Return each hour's part of a site's priced watt-hours and of the program's debt for them.

    In proportion to what the hours add to the energy that pays: an hour's own incremental energy where it
    pays as it is, less where a season, a cap or the floor at zero takes some of it. Debts are cut at whole
    micro-dollars along the hours, so that they sum to the site's. A minimum that no energy earned follows
    the length of the hours.
    """
    clamps = terms.negative_policy is NegativePolicy.CLAMP_INTERVAL
    energies = [
        max(Fraction(0), each.incremental_wh) if clamps else each.incremental_wh for each in line.hours
    ]
    whole, priced = sum(energies, start=Fraction(0)), capped_energy(terms, line.paid_wh)
    if not priced or not whole:
        # Nothing of the energy is paid, so what is owed, if anything, is a minimum.
        paid = [Fraction(0)] * len(energies)
        return list(zip(paid, _along(line.gross, [each.fraction for each in line.hours]), strict=True))
    paid = energies if priced == whole else [each * priced / whole for each in energies]
    return list(zip(paid, _along(line.gross, energies), strict=True))


def _along(amount: MicroDollars, weights: Sequence[Fraction]) -> list[MicroDollars]:
    """Return an amount in parts by weight, each a whole number, that sum to it."""
    whole, so_far, given = sum(weights, start=Fraction(0)), Fraction(0), 0
    parts = []
    for weight in weights:
        so_far += weight
        due = amount * so_far / whole if whole else Fraction(0)
        upto = nearest(due.numerator, due.denominator)
        parts.append(MicroDollars(upto - given))
        given = upto
    return parts
