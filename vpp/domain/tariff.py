"""What energy earns: the tariff rules, and what becomes of hours below the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

from vpp.domain.program import NegativePolicy, Terms
from vpp.domain.quantities import MicroDollars, cents_half_up


def paid_energy(
    hours_wh: Sequence[Fraction], policy: NegativePolicy, carried_wh: Fraction = Fraction(0)
) -> Fraction:
    """Return the watt-hours that pay, after the program's rule for hours below the baseline.

    ``net_event_floor_zero`` nets an event's hours and stops at zero; ``clamp_interval`` stops each hour
    at zero. ``net_season_floor_zero`` nets the whole season: an event pays what it adds to the season's
    floor-zero sum, so the result is negative when it takes back what earlier events had earned.
    """
    total = sum(hours_wh, start=Fraction(0))
    match policy:
        case NegativePolicy.NET_EVENT_FLOOR_ZERO:
            return max(Fraction(0), total)
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


def incremental_kwh(terms: Terms, paid_wh: Fraction) -> Earned:
    """Return what incremental energy earns at the program's rate; the one tariff rule built so far.

    The owner's part is rounded once, half up to the cent. Gross and margin go to the nearest
    micro-dollar; what rounding leaves between the three is booked by the ledger.
    """
    exact = paid_wh * terms.rate.micro_dollars_per_wh
    share = Fraction(terms.owner_share)
    return Earned(
        amount=cents_half_up(exact * share),
        gross=_nearest(exact),
        margin=_nearest(exact * (1 - share)),
    )


def _nearest(exact: Fraction) -> MicroDollars:
    size = abs(exact)
    whole = (2 * size.numerator + size.denominator) // (2 * size.denominator)
    return MicroDollars(whole if exact >= 0 else -whole)
