"""What energy cost on the wholesale market, hour by hour: it weighs the hours of a program's month."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from vpp.domain.quantities import MicroDollars


@dataclass(frozen=True, slots=True)
class WholesalePrice:
    """The price of one megawatt-hour in one clock hour of a program, which may be below zero.

    A later one of the same hour stands in place of an earlier one.
    """

    program_id: str
    hour_starts_at: datetime
    per_mwh: MicroDollars
    imported_at: datetime


Weights = Mapping[datetime, Fraction]
"""Dollars for a megawatt-hour by the start of the clock hour."""


def weights_of(prices: Iterable[WholesalePrice], *, before: datetime | None = None) -> Weights:
    """Return what stands for each hour, in the order made; of what was imported before then, or of all."""
    return {
        each.hour_starts_at: Fraction(each.per_mwh, 1_000_000)
        for each in prices
        if before is None or each.imported_at < before
    }
