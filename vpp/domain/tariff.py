"""What energy earns: the tariff rules, and what becomes of hours below the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import assert_never

from vpp.domain.program import NegativePolicy, Period, Terms
from vpp.domain.quantities import MICRO_DOLLARS_PER_CENT, MicroDollars, cents_half_up, nearest


def paid_energy(
    hours_wh: Sequence[Fraction], policy: NegativePolicy, carried_wh: Fraction = Fraction(0)
) -> Fraction:
    """Return the watt-hours that pay, after the program's rule for hours below the baseline.

    ``net_event_floor_zero`` nets an event's hours and stops at zero; ``clamp_interval`` stops each hour
    at zero. ``net_season_floor_zero`` nets the whole season: an event pays what it adds to the season's
    floor-zero sum, so the result is negative when it takes back what earlier events had earned. Energy is
    netted, not dollars: rate, caps and minimum are applied event by event, to what each event pays.
    """
    total = hours_wh[0] if len(hours_wh) == 1 else sum(hours_wh, start=Fraction(0))
    match policy:
        case NegativePolicy.NET_EVENT_FLOOR_ZERO:
            return total if total.numerator > 0 else Fraction(0)
        case NegativePolicy.CLAMP_INTERVAL:
            return sum((max(Fraction(0), hour) for hour in hours_wh), start=Fraction(0))
        case NegativePolicy.NET_SEASON_FLOOR_ZERO:
            return max(Fraction(0), carried_wh + total) - max(Fraction(0), carried_wh)
        case _ as unreachable:
            assert_never(unreachable)


@dataclass(frozen=True, slots=True)
class Earned:
    """What a tariff rule makes of energy: the owner's whole cents, the program's debt, our margin."""

    amount: MicroDollars
    gross: MicroDollars
    margin: MicroDollars


NOTHING = Earned(MicroDollars(0), MicroDollars(0), MicroDollars(0))
MICRO_DOLLARS = 1_000_000
"""Micro-dollars of one dollar."""


def earned_in_event(terms: Terms, paid_wh: Fraction, *, counts: bool) -> Earned:
    """Return what one event's energy earns a site; nothing where the tariff gathers longer than an event.

    Args:
        terms: The program's.
        paid_wh: After the rule for hours below the baseline, before any cap.
        counts: Whether the site's result is usable; only then is a minimum paid.
    """
    if terms.tariff.period is not Period.EVENT or not (paid_wh or terms.tariff.minimum_amount):
        return NOTHING
    owner, gross, margin = _plain_rates(terms)
    if owner is not None:
        # Products of whole numbers: making them fractions first took as long as all the rest of a line.
        wh, parts = paid_wh.numerator, paid_wh.denominator
        cents = nearest(wh * owner.numerator, parts * owner.denominator * MICRO_DOLLARS_PER_CENT)
        return Earned(
            amount=MicroDollars(cents * MICRO_DOLLARS_PER_CENT),
            gross=MicroDollars(nearest(wh * gross.numerator, parts * gross.denominator)),
            margin=MicroDollars(nearest(wh * margin.numerator, parts * margin.denominator)),
        )
    return _bounded(terms, capped_energy(terms, paid_wh) * terms.rate.micro_dollars_per_wh, counts=counts)


def capped_energy(terms: Terms, paid_wh: Fraction) -> Fraction:
    """Return the watt-hours of a site's event that have a price: what pays, at most the cap in kWh."""
    cap_kwh = terms.tariff.cap_kwh
    return paid_wh if cap_kwh is None else min(paid_wh, Fraction(cap_kwh) * 1_000)


@lru_cache(maxsize=64)
def _plain_rates(terms: Terms) -> tuple[Fraction | None, Fraction, Fraction]:
    """Return micro-dollars for a watt-hour: the owner's, gross, our margin; no owner's where bounds hold."""
    tariff = terms.tariff
    gross = terms.rate.micro_dollars_per_wh * Fraction(tariff.bonus)
    owner = gross * Fraction(terms.owner_share)
    bounded = tariff.cap_kwh is not None or tariff.cap_amount is not None or tariff.minimum_amount
    return None if bounded else owner, gross, gross - owner


def earned_by_power(terms: Terms, average_kw: Fraction, per_kw: Decimal) -> Earned:
    """Return what an average power earns a site in one period."""
    return _bounded(terms, average_kw * Fraction(per_kw) * MICRO_DOLLARS, counts=True)


def earned_by_presence(terms: Terms, powerwalls: int, month: int) -> Earned:
    """Return the fixed credit of one period for a site's Powerwalls.

    Of a year's credit that is paid by the month, a month earns what the year has come to by its end less
    what it had come to by its beginning, each rounded once: twelve months on end sum to the year's cent.

    Args:
        terms: The program's.
        powerwalls: How many the site has.
        month: The calendar month, 1 to 12, where a year's credit is paid by the month.
    """
    if not terms.tariff.pays_in_twelfths:
        return credit_to_date(terms, powerwalls, 12)
    by_end, before = (credit_to_date(terms, powerwalls, each) for each in (month, month - 1))
    return Earned(
        amount=MicroDollars(by_end.amount - before.amount),
        gross=MicroDollars(by_end.gross - before.gross),
        margin=MicroDollars(by_end.margin - before.margin),
    )


def credit_to_date(terms: Terms, powerwalls: int, months: int) -> Earned:
    """Return what a fixed credit has come to after some of its twelve months, rounded once."""
    credit = Fraction(terms.tariff.credit) * powerwalls * MICRO_DOLLARS
    return _bounded(terms, credit, counts=True, part=Fraction(months, 12))


def average_power_kw(stretches: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    """Return the weighted mean of powers, zero of none.

    Args:
        stretches: (weight, kW). A season weighs each of its events one; a month weighs each hour, by
            its wholesale price where that is known.

    Raises:
        ValueError: The weights of at least one stretch do not sum to more than zero.
    """
    weight = sum((weight for weight, _ in stretches), start=Fraction(0))
    if stretches and weight <= 0:
        raise ValueError(f"{len(stretches)} stretches weigh {weight}; a mean needs a weight above zero")
    weighted = sum((weight * kw for weight, kw in stretches), start=Fraction(0))
    return weighted / weight if stretches else Fraction(0)


def _bounded(terms: Terms, exact: Fraction, *, counts: bool, part: Fraction = Fraction(1)) -> Earned:
    """Return the parts of an exact gross in micro-dollars, after bonus, minimum and cap; or a part of it.

    No program at hand has both bounds. Interpretation: the cap is the last word, because it is the program's
    promise that nobody gets more.

    The owner's part is rounded once, half up to the cent. Gross and margin go to the nearest
    micro-dollar; what rounding leaves between the three is booked by the ledger.
    """
    share = Fraction(terms.owner_share)
    owner = exact * Fraction(terms.tariff.bonus) * share
    if counts:
        owner = max(owner, Fraction(terms.tariff.minimum_amount) * MICRO_DOLLARS or owner)
    if terms.tariff.cap_amount is not None:
        owner = min(owner, Fraction(terms.tariff.cap_amount) * MICRO_DOLLARS)
    owner *= part
    gross = owner / share
    return Earned(amount=cents_half_up(owner), gross=_nearest(gross), margin=_nearest(gross - owner))


def _nearest(exact: Fraction) -> MicroDollars:
    return MicroDollars(nearest(exact.numerator, exact.denominator))
